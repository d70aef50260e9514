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
TWO = "distributed_type: MULTI_GPU\nnum_machines: 1\nnum_processes: 2\nmain_process_port: 0\nuse_cpu: true\n"
ANY = ["", "", "", "training step", "checkpoint", "model", "record", "data set", "drawing", "other file"]
# Chapters that a run has to make, and with them all that rest on them.
LEFT_OUT = [["08_phases_and_transfer"], ["09_curriculum"], ["06_evaluation", "07_base_strength"], ["12_rank_and_precision"],
            ["03_pretraining"], ["10_multialpaca"], ["01_corpus"]]
FIRST = ["download", "unpacking", "making the base", ""]


def checkout(folder: Path) -> Path:
    """The last commit, laid out in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(["git", "-C", paths.ROOT, "archive", revision()], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    return folder


def killed(number: int, folder: Path) -> list[dict]:
    """Kills in a sweep, in a training of two processes, in a run whose cache is empty, and in runs of the 14 chapters; what
    became of each, noted too. A second time in the same folder the undisturbed run is not repeated."""
    draw, root = random.Random(SEED), checkout(folder / "checkout")
    chapters, sweep = ["lib.engine.run", "all", "--profile", "smoke"], ["lib.engine.sweep", "params/sweeps/smoke.yaml"]
    whole = kills.Life(root, folder / "whole", chapters)
    expected, few = kills.undisturbed(whole), max(1, number // 8)
    seconds = sum(json.loads((whole.output / place).read_text("utf8"))["measured"]["seconds"] for place in expected)
    note("undisturbed", {"seconds": round(seconds), "records": len(expected), "metrics": sum(map(len, expected.values()))})

    def told(name):
        return lambda report: note(f"kills-{name}", {"kind": name, **report})

    def without(turn: str, *left_out: str) -> Path:
        """The output of the undisturbed run without some of it, as a run's own."""
        place = folder / turn / "output"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole.output, place, symlinks=True)
        for name in left_out:
            shutil.rmtree(place / "runs/smoke" / name, ignore_errors=True)
        return place

    def cells(turn):
        return kills.Life(root, folder / f"sweep-{turn}", sweep, whole.cache, without(f"sweep-{turn}"))

    def shared(turn):
        own = ["lib.engine.run", "05_sft", "--profile", "smoke"]
        return kills.Life(root, folder / f"two-{turn}", own, whole.cache, without(f"two-{turn}", "05_sft"))

    def first(turn):
        return kills.Life(root, folder / f"first-{turn}", ["lib.engine.run", "01_corpus", "02_tokenizer", "--profile", "smoke"])

    def some(turn):
        place = without(f"some-{turn}", *LEFT_OUT[turn % len(LEFT_OUT)])
        return kills.Life(root, folder / f"some-{turn}", chapters, whole.cache, place)

    found = [kills.torment(cells, kills.undisturbed(cells("whole")), few, draw, ["", "training step", "model", "record"], 40,
                           told=told("a sweep of four cells"))]
    (root / "two.yaml").write_text(TWO)
    (root / "params/smoke/launch.yaml").write_text("accelerate: two.yaml\n")
    found.append(kills.torment(shared, kills.undisturbed(shared("whole")), few, draw,
                               ["", "training step", "checkpoint", "model"], told=told("a training of two processes")))
    (root / "params/smoke/launch.yaml").unlink()
    early = {place: rows for place, rows in expected.items() if re.search("01_corpus|02_tokenizer", place)}
    found.append(kills.torment(first, early, few, draw, FIRST, told=told("chapters 01 and 02, with an empty cache")))
    found.append(kills.torment(some, expected, number - 3 * few, draw, ANY, 75, each=6, told=told("14 chapters, some of them made")))
    return found


def note(name: str, found: dict):
    """Keeps what was found under a name, with the revision that it was found at."""
    place = table.FOUND / f"{re.sub(r'[^a-z0-9]+', '-', name)}.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps({"revision": revision(), "cores": os.cpu_count(), **found}, indent=1) + "\n", "utf8")
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
    for name in ("spoiled", "resources"):
        kinds.add_parser(name).add_argument("folder", type=Path)
    kinds.add_parser("table")
    given = parser.parse_args()
    revision()
    if given.kind == "kills":
        killed(given.number, given.folder.resolve())
    elif given.kind == "spoiled":
        note("spoiled", spoiled.survey(given.folder.resolve()))
    elif given.kind == "resources":
        note("resources", resources.survey(given.folder.resolve()))
    else:
        table.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
