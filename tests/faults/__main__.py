"""Makes the faults of docs/reliability.md and writes what became of them.

    python -m tests.faults kills 50 FOLDER    kills in smoke, in a sweep and in a training of two processes (about an hour)
    python -m tests.faults spoiled FOLDER     every file that a finished smoke run in FOLDER left, spoiled in four ways
    python -m tests.faults resources FOLDER   full disks, little memory, no home, two runs at once; as root
    python -m tests.faults table              docs/reliability.md from what the others found

What they find lies in FOLDER and in tests/faults/found/; everything runs in a copy of the last commit.
"""
import argparse
import functools
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

from lib.engine import paths
from tests.faults import kills, resources, spoiled, table

SEED = 16
CHAPTERS = ["lib.engine.run", "all", "--profile", "smoke"]
TWO = "distributed_type: MULTI_GPU\nnum_machines: 1\nnum_processes: 2\nmain_process_port: 0\nuse_cpu: true\n"
ANY = ["", "", "", "training step", "checkpoint", "model", "record", "data set", "drawing", "other file"]
# Chapters that a run has to make, and with them all that rest on them.
LEFT_OUT = [["08_phases_and_transfer"], ["09_curriculum"], ["06_evaluation", "07_base_strength"], ["12_rank_and_precision"],
            ["03_pretraining"], ["10_multialpaca"], ["01_corpus"]]


def checkout(folder: Path) -> Path:
    """The last commit, laid out in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(["git", "-C", paths.ROOT, "archive", revision()], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    return folder


class Kills:
    """Kills in a sweep, in a training of two processes, in a run whose cache is empty, and in runs of the 14 chapters.

    A second time in the same folder the undisturbed run is not repeated.
    """

    PARTS = {"sweep": "a sweep of four cells", "two": "a training of two processes", "first": "chapter 01, with an empty cache",
             "some": "14 chapters, some of them made before"}

    def __init__(self, number: int, folder: Path):
        self.folder, self.root, self.few = folder, checkout(folder / "checkout"), max(1, number // 8)
        self.number, self.draw = number, random.Random(SEED)
        self.whole = kills.Life(self.root, folder / "whole", CHAPTERS)
        self.expected = kills.undisturbed(self.whole)
        records = [json.loads((self.whole.output / place).read_text("utf8")) for place in self.expected]
        note("undisturbed", {"seconds": round(sum(record["measured"]["seconds"] for record in records)),
                             "records": len(records), "metrics": sum(map(len, self.expected.values()))})

    def part(self, name: str) -> dict:
        """One of PARTS; what became of it, noted too."""
        kind = self.PARTS[name]
        return getattr(self, name)(told=lambda report: note(f"kills-{name}", {"kind": kind, **report}))

    def sweep(self, told):
        def cells(turn):
            return self.life(f"sweep-{turn}", ["lib.engine.sweep", "params/sweeps/smoke.yaml"])
        return kills.torment(cells, kills.undisturbed(cells("whole")), self.few, self.draw,
                             ["", "training step", "model", "record"], 40, told=told)

    def two(self, told):
        def shared(turn):
            return self.life(f"two-{turn}", ["lib.engine.run", "05_sft", "--profile", "smoke"], "05_sft")
        (self.root / "two.yaml").write_text(TWO)
        (self.root / "params/smoke/launch.yaml").write_text("accelerate: two.yaml\n")
        try:
            return kills.torment(shared, kills.undisturbed(shared("whole")), self.few, self.draw,
                                 ["", "training step", "checkpoint", "model"], told=told)
        finally:
            (self.root / "params/smoke/launch.yaml").unlink()

    def first(self, told):
        def empty(turn):
            return kills.Life(self.root, self.folder / f"first-{turn}", ["lib.engine.run", "01_corpus", "--profile", "smoke"])
        early = {place: rows for place, rows in self.expected.items() if "01_corpus" in place}
        return kills.torment(empty, early, self.few, self.draw, ["download", "unpacking", "unpacking", ""], told=told)

    def some(self, told):
        def partly(turn):
            return self.life(f"some-{turn}", CHAPTERS, *LEFT_OUT[turn % len(LEFT_OUT)])
        return kills.torment(partly, self.expected, self.number - 3 * self.few, self.draw, ANY, 75, each=6, told=told)

    def life(self, turn: str, command: list[str], *left_out: str) -> kills.Life:
        """A run in a copy of the undisturbed run's output, but for the chapters `left_out`."""
        place = self.folder / turn / "output"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.whole.output, place, symlinks=True)
        for name in left_out:
            shutil.rmtree(place / "runs/smoke" / name)
        return kills.Life(self.root, self.folder / turn, command, self.whole.cache, place)


def note(name: str, found: dict):
    """Keeps what was found under a name, with the revision that it was found at."""
    place = table.FOUND / f"{re.sub(r'[^a-z0-9]+', '-', name)}.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps({"revision": revision(), "cores": os.cpu_count(), **found}, indent=1, ensure_ascii=False) + "\n", "utf8")
    print(name, json.dumps(found)[-400:], flush=True)


@functools.cache
def revision() -> str:
    """The commit that this process began with."""
    return subprocess.run(["git", "-C", paths.ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults that are made on purpose, and what became of them.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("kills")
    one.add_argument("number", type=int)
    one.add_argument("folder", type=Path)
    one.add_argument("parts", nargs="*", help=f"of {', '.join(Kills.PARTS)}; default: all")
    for name in ("spoiled", "resources"):
        kinds.add_parser(name).add_argument("folder", type=Path)
    kinds.add_parser("table")
    given = parser.parse_args()
    revision()
    if given.kind == "kills":
        made = Kills(given.number, given.folder.resolve())
        for name in given.parts or made.PARTS:
            made.part(name)
    elif given.kind == "spoiled":
        note("spoiled", spoiled.survey(given.folder.resolve()))
    elif given.kind == "resources":
        note("resources", resources.survey(given.folder.resolve()))
    else:
        table.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
