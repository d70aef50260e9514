"""Runs that are killed at seeded moments and started again by the same command, until they are finished.

`Life` is one output folder with a cache, temporary files and a command of its own. What was going on at a kill is seen on
the disk, where everything unfinished has a name of its own (`store.MAKING`).
"""
import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import psutil

from lib.engine import store

MARK = "COMPANION_FAULTS"  # environment variable by which all processes of a start are found, whatever their session
GONE = 20  # seconds after which a process that outlived its run's kill counts as an orphan
HOMES = ("runs/smoke/*", "runs/smoke/sweeps/*/*/runs/smoke/*")  # where chapters write in an output folder
SPEEDS = ("tokens/s",)  # units of metrics that are never twice the same


class Life:
    """A run in a folder, from its first start to its end; `root` is the checkout that it runs in."""

    def __init__(self, root: Path, folder: Path, command: list[str], cache: Path | None = None, output: Path | None = None):
        self.root, self.folder, self.command, self.marks = root, folder, [sys.executable, "-m", *command], {}
        self.output, self.cache = output or folder / "output", cache or folder / "cache"
        for place in (self.output, self.cache, folder / "tmp"):
            place.mkdir(parents=True, exist_ok=True)

    def start(self):
        """Starts the command in a session of its own, with a mark that all its processes inherit."""
        self.mark = uuid.uuid4().hex
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        own = {"COMPANION_OUTPUT": self.output, "COMPANION_CACHE": self.cache, "COMPANION_DATA": "", "COMPANION_REACH": "pip",
               "TMPDIR": self.folder / "tmp", "OMP_NUM_THREADS": 1, MARK: self.mark}
        self.log = open(self.folder / "log.txt", "ab")
        self.process = subprocess.Popen(self.command, cwd=self.root, env=kept | {name: str(value) for name, value in own.items()},
                                        stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)

    def kill(self, everything: bool):
        """Kills the process group or, as a machine that goes down does, every process there is; returns the moments."""
        found = processes(self.mark) if everything else []
        for one in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.suspend()
        seen = self.moments()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for one in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()
        self.marks[self.mark] = time.monotonic()
        return seen

    def wait_for(self, target: str, seconds: float) -> bool:
        """Waits for a moment, or for the seconds; whether the run still goes on."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None and target not in (self.moments() if target else ()):
            time.sleep(0.02)
        return self.process.poll() is None

    def finish(self, seconds: float) -> int | None:
        """The exit status once the run has ended by itself; None when it took longer."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)

    def moments(self) -> set[str]:
        """What is going on, by what is unfinished on the disk."""
        found = {"unpacking" if (place / "staged").exists() else "download"
                 for kind in ("assets", "files/*/*/*") for place in self.cache.glob(f"{kind}/{store.MAKING}*")}
        found |= {"making the base" for _ in self.cache.glob(f"models/{store.MAKING}*")}
        for home in HOMES:
            for place in self.output.glob(f"{home}/{store.MAKING}*"):
                name = place.name.rpartition("-")[2]
                found.add("scoring, reading" if name.endswith("ipynb") else "record" if name == "record.json" else
                          "data set" if name.endswith("parquet") else "model" if place.is_dir() else "other file")
            for place in self.output.glob(f"{home}/*/checkpoints"):
                found.add("training step")
                if any(not (one / store.SUMS).exists() for one in place.glob("checkpoint-*")):
                    found.add("checkpoint")
        fresh = time.time() - 0.3
        for place in self.output.glob("figures/smoke/*"):
            with contextlib.suppress(FileNotFoundError):
                if place.stat().st_mtime > fresh:
                    found.add("drawing")
        return found or {"start"}

    def orphans(self) -> list[psutil.Process]:
        """Processes of killed starts that had time enough to end."""
        late = [mark for mark, when in self.marks.items() if time.monotonic() - when > GONE]
        return [one for mark in late for one in processes(mark)]

    def left(self) -> list[str]:
        """What a finished run must not leave: unfinished files, held locks, Snakemake's notes of unfinished jobs."""
        places = [*self.output.rglob(f"{store.MAKING}*"), *self.cache.rglob(f"{store.MAKING}*"), *(self.folder / "tmp").iterdir(),
                  *self.output.rglob("*.lock"), *self.output.glob(".snakemake/locks/*"), *self.output.glob(".snakemake/incomplete/*"),
                  *self.output.glob("runs/smoke/plan.json"), *self.output.glob("runs/smoke/*/*/checkpoints")]
        for lock in self.output.glob("runs/*/.running"):
            with open(lock) as held:
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    places.append(lock)
        return [str(place.relative_to(self.folder.parent)) for place in places]

    def metrics(self) -> dict[str, list]:
        """Place of a record → its metrics, but for speeds."""
        found = {}
        for place in sorted(path for home in HOMES for path in self.output.glob(f"{home}/record.json")):
            rows = json.loads(place.read_text("utf8"))["metrics"]
            found[place.relative_to(self.output).as_posix()] = [row for row in rows if row["unit"] not in SPEEDS]
        return found


def processes(mark: str) -> list[psutil.Process]:
    """All processes of a start that are alive."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if one.environ().get(MARK) == mark and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


def undisturbed(life: Life, seconds: float = 1800) -> dict[str, list]:
    """Metrics of a run that nobody disturbs."""
    life.start()
    assert life.finish(seconds) == 0, (life.folder / "log.txt").read_text("utf8")[-2000:]
    return life.metrics()


def torment(begin, expected: dict[str, list], number: int, draw: random.Random, targets: list[str], longest: float = 60,
            each: int = 10, patience: float = 1800, told=lambda report: None) -> dict:
    """Kills runs `number` times, each at most `each` times, and lets it finish; `begin(n)` is the n-th run.

    Returns kills, those of them whose run has finished (`survived`, if nothing was wrong), moments, manners, and all that
    is wrong: metrics that differ, what is left, orphans. `told` hears of it after every kill and run.
    """
    report = {"asked": number, "kills": 0, "survived": 0, "runs": 0, "moments": Counter(), "manners": Counter(), "wrong": [],
              "seconds": 0}
    began = time.monotonic()
    while report["kills"] < number:
        life, mine = begin(report["runs"]), 0
        life.start()
        while report["kills"] < number and mine < each:
            target = draw.choice(targets)
            if not life.wait_for(target, longest if target else draw.uniform(1, longest)):
                break
            everything, mine = draw.random() < 0.5, mine + 1
            report["moments"].update(life.kill(everything))
            report["manners"]["every process" if everything else "the process group"] += 1
            report |= {"kills": report["kills"] + 1, "seconds": round(time.monotonic() - began)}
            told(report)
            life.start()
        wrong = _wrong(life, expected, patience)
        report |= {"runs": report["runs"] + 1, "survived": report["survived"] + mine * (not wrong),
                   "wrong": report["wrong"] + wrong, "seconds": round(time.monotonic() - began)}
        told(report)
    return report


def _wrong(life: Life, expected: dict[str, list], patience: float) -> list[dict]:
    """All that is wrong once a run has finished; nothing when it is as if nobody had killed it."""
    status, found = life.finish(patience), life.metrics()
    time.sleep(2)  # the last of its processes go a moment after it
    differing = sorted(place for place in expected.keys() | found.keys() if found.get(place) != expected.get(place))
    told = {"status": status, "differing": differing, "left": life.left(),
            "orphans": [" ".join(one.cmdline()) for one in life.orphans()]}
    return [{**told, "log": str(life.folder / "log.txt")}] if any(told.values()) or status is None else []
