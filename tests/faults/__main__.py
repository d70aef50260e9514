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
import subprocess
import sys
import time
from pathlib import Path

from lib.engine import paths
from tests.faults import kills, resources, spoiled, table

SEED = 16
TWO = "distributed_type: MULTI_GPU\nnum_machines: 1\nnum_processes: 2\nmain_process_port: 0\nuse_cpu: true\n"
ANY = ["", "", "", "training step", "checkpoint", "model", "record", "data set", "drawing", "other file"]
FIRST = ["download", "unpacking", "making the base", ""]


def checkout(folder: Path) -> Path:
    """The last commit, laid out in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(["git", "-C", paths.ROOT, "archive", revision()], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    return folder


def killed(number: int, folder: Path) -> list[dict]:
    """Kills in the chapters of smoke, in its sweep, and in a training of two processes; what became of each, noted too.

    An eighth of the kills goes to the sweep and the processes each, four are of runs whose cache is empty.
    """
    draw, root = random.Random(SEED), checkout(folder / "checkout")
    chapters, sweep = ["lib.engine.run", "all", "--profile", "smoke"], ["lib.engine.sweep", "params/sweeps/smoke.yaml"]
    whole = kills.Life(root, folder / "whole", chapters)
    began, expected = time.monotonic(), kills.undisturbed(whole)
    note("undisturbed", {"seconds": round(time.monotonic() - began), "records": len(expected),
                         "metrics": sum(map(len, expected.values()))})
    first, few = min(4, number // 10), number // 8

    def told(name):
        return lambda report: note(f"kills-{name}", {"kind": name, **report})

    def again(command, made):
        """Runs of a command on the chapters of the undisturbed run, each without what the one before it made."""
        def begin(turn):
            subprocess.run(["rm", "-rf", whole.output / "runs/smoke" / made], check=True)
            return kills.Life(root, folder / f"{made}-{turn}", command, whole.cache, whole.output)
        return begin

    sweeping = again(sweep, "sweeps")
    swept = kills.undisturbed(sweeping("whole"))
    found = [kills.torment(sweeping, swept, few, draw, ["", "training step", "model", "record"], 40, told=told("a sweep"))]
    subprocess.run(["rm", "-rf", whole.output / "runs/smoke/sweeps"], check=True)
    (root / "two.yaml").write_text(TWO)
    (root / "params/smoke/launch.yaml").write_text("accelerate: two.yaml\n")
    sharing = again(["lib.engine.run", "05_sft", "--profile", "smoke"], "05_sft")
    shared = kills.undisturbed(sharing("whole"))
    found.append(kills.torment(sharing, shared, few, draw, ["", "training step", "checkpoint", "model"], told=told("two processes")))
    (root / "params/smoke/launch.yaml").unlink()
    found.append(kills.torment(lambda turn: kills.Life(root, folder / f"life-{turn}", chapters, whole.cache), expected,
                               number - first - 2 * few, draw, ANY, 75, each=18, told=told("14 chapters")))
    found.append(kills.torment(lambda turn: kills.Life(root, folder / f"empty-{turn}", chapters), expected, first, draw, FIRST,
                               told=told("14 chapters, with an empty cache")))
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
