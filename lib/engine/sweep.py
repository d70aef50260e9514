"""Sweeps: one chapter run once for every combination of listed parameter values, in parallel.

    python -m lib.engine.sweep params/sweeps/rank.yaml                    the cells that have no record yet
    python -m lib.engine.sweep params/sweeps/rank.yaml --cluster slurm    the same on a cluster, see params/cluster/
    python -m lib.engine.sweep --cell runs/smoke/sweeps/05_sft/0f3a…      one cell again, alone

A sweep file names the profile, the chapter, what a cell needs (`KEYS`), and under `grid` or `zip` parameter → list of
values. A cell is an output folder of its own, `runs/<profile>/sweeps/<chapter>/<key>/`: the key is made of all its
parameters, and the chapters before it are links to those of the profile. So an order or a name changes nothing, two
sweeps share the cells that they have in common, and whatever reads an output folder reads a cell
(`COMPANION_OUTPUT=<cell> python -m lib.exhibits.pages smoke`).
"""
import argparse
import hashlib
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas
import psutil

from lib.engine import keys, params, paths, records, run
from lib.engine.params import ParameterError

KEYS = """
profile = ""  # whose parameters hold where the sweep names none
chapter = ""  # what a cell runs
cores = 1  # processor cores of a cell [1..]
memory = "4 GB"  # memory of a cell, in GB or MB
gpus = 0  # GPUs of a cell [0..]
minutes = 0  # longest time of a cell on a cluster, 0: what the cluster's profile says [0..]
set = {}  # parameter → value, the same in every cell
grid = {}  # parameter → list of values, every combination is a cell
zip = {}  # parameter → list of values, taken together: first with first, second with second …
"""
ATTEMPTS = 2


class Cell(NamedTuple):
    """One run of a chapter: all its parameters, and apart those that the sweep varies."""

    chapter: str
    parameters: dict
    varied: dict

    @property
    def key(self) -> str:
        """What the cell is called, from what it computes."""
        content = json.dumps([self.chapter, self.parameters], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """The cell's own output folder."""
        return _folder(self.parameters["profile"], self.chapter) / self.key

    @property
    def record(self) -> Path:
        """Where its record lies once it is done."""
        return self.folder / _record(self.parameters["profile"], self.chapter)

    @property
    def state(self) -> dict:
        """How far it is: `state` (waiting, running, failed, done), and then `attempt`, `seconds`, `error`, `host`."""
        found = _noted(self.folder)
        return found | {"state": "done"} if self.record.exists() else {"state": "waiting"} | found

    def __str__(self):
        return ", ".join(f"{name}={value}" for name, value in self.varied.items())


class Sweep(NamedTuple):
    """A sweep file, checked: what each cell needs (memory in MB) and the cells."""

    name: str
    cells: list[Cell]
    profile: str
    chapter: str
    cores: int
    memory: int
    gpus: int
    minutes: int

    @property
    def resources(self) -> dict[str, int]:
        """What a cell needs beside cores, as Snakemake and its executors name it."""
        return {name: value for name, value in (("mem_mb", self.memory), ("gpu", self.gpus), ("runtime", self.minutes))
                if value}


def load(path: Path) -> Sweep:
    """Reads and checks a sweep file; ParameterError names file, key, value and a way out."""
    path = Path(path)
    if not path.exists():
        known = ", ".join(map(paths.shown, files())) or "none yet"
        raise ParameterError(f"There is no sweep file {path}; there are: {known}.")
    source = paths.shown(path.resolve())
    values = params.compared(params.model(KEYS), params.read(path), source, "a sweep")
    base, fixed = _profile(values["profile"], values["chapter"], source), values.pop("set")
    cells = [Cell(values["chapter"], _checked(values["chapter"], base, fixed | chosen, source), chosen)
             for chosen in _combinations(values.pop("grid"), values.pop("zip"), source)]
    counts = Counter(cell.key for cell in cells)
    twice = next((cell for cell in cells if counts[cell.key] > 1), None)
    if twice:
        raise ParameterError(f"{source}: the cell {twice} stands twice; name every value of a list once.")
    return Sweep(path.stem, cells, **values | {"memory": _megabytes(values["memory"], source)})


def files() -> list[Path]:
    """The sweep files that come with the project."""
    return sorted((paths.PARAMS / "sweeps").glob("*.yaml"))


def sweep(path: Path, cluster: str = "", options: list[str] = ()) -> int:
    """Runs the cells that have no record, the chapters before them first if missing; 0 when every cell is done.

    Locally as many cells at a time as the machine's cores, memory and GPUs allow; with `cluster` as
    `params/cluster/<cluster>/config.yaml` says. `options` go to Snakemake. Raises ParameterError before anything runs.
    """
    found = load(path)
    where = _cluster(cluster) if cluster else _local(found)
    with run.locked(found.profile) as lock:
        if lock is None:
            return 1
        waiting = _waiting(found)
        _announce(found, waiting, cluster)
        missing = [run.record(found.profile, name) for name in run.before(found.chapter)]
        missing = [record for record in missing if not record.exists()]
        if missing and run.make(lock, found.profile, [*where, *options], missing):
            return 1
        return _cells(lock, found, waiting, [*where, *options])


def prepare(cell: Cell, cores: int) -> Path:
    """Makes the cell's folder, with its parameters and with links to the chapters before it; returns the folder."""
    profile, folder = cell.parameters["profile"], cell.folder
    own = folder / "runs" / profile
    own.mkdir(parents=True, exist_ok=True)
    for chapter in run.before(cell.chapter):
        if not (own / chapter).is_symlink():
            (own / chapter).symlink_to(os.path.relpath(run.record(profile, chapter).parent, own))
    records.write_json(folder / "cell.json", {"chapter": cell.chapter, "parameters": cell.parameters, "cores": cores})
    for old in (folder / "state.json", cell.record):
        old.unlink(missing_ok=True)
    return folder


def run_cell(folder: Path, wanted: Path | None = None) -> int:
    """Runs one prepared cell here and notes its state; 0 when its record is written, else 1 after one sentence.

    The record is copied to where it is `wanted` too: an executor without a shared file system fetches it from there.
    """
    folder = Path(folder).resolve()
    cell = records.read(folder / "cell.json")
    os.environ |= {"COMPANION_OUTPUT": str(folder), "OMP_NUM_THREADS": str(cell["cores"])}
    began, noted = time.monotonic(), {"attempt": _noted(folder).get("attempt", 0) + 1, "host": socket.gethostname()}
    records.write_json(folder / "state.json", {"state": "running", **noted})
    try:
        run.run(cell["parameters"]["profile"], cell["chapter"], cell["parameters"])
    except (ParameterError, run.ChapterError) as error:
        records.write_json(folder / "state.json", {"state": "failed", **noted, "error": str(error)})
        print(error, file=sys.stderr)
        return 1
    if wanted and not wanted.exists():
        wanted.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.record(cell["parameters"]["profile"], cell["chapter"]), wanted)
    noted["seconds"] = round(time.monotonic() - began, 1)
    records.write_json(folder / "state.json", {"state": "done", **noted})
    return 0


def table(found: Sweep) -> pandas.DataFrame:
    """The cells, one row each: key, varied parameters, state, seconds, record (from the output folder), error."""
    rows = []
    for cell in found.cells:
        state = cell.state
        record = os.path.relpath(cell.record, paths.output()) if state["state"] == "done" else ""
        rows.append({"cell": cell.key, **cell.varied, "state": state["state"], "seconds": state.get("seconds"),
                     "record": record, "error": state.get("error", "").partition("\n")[0]})
    return pandas.DataFrame(rows)


def progress(found: Sweep) -> tuple[str, str]:
    """How many cells are done, running and failed, and the time that is left, both as a person reads them."""
    states = [cell.state for cell in found.cells]
    done = [state for state in states if state["state"] == "done"]
    running = sum(state["state"] == "running" for state in states)
    failed = sum(state["state"] == "failed" and state["attempt"] >= ATTEMPTS for state in states)
    counts = f"{len(done)} of {len(states)} cells done, {running} running, {failed} failed"
    seconds = [state["seconds"] for state in done if "seconds" in state]
    each = sum(seconds) / len(seconds) / 60 if seconds else run.minutes(found.profile, found.chapter)
    to_come = len(states) - len(done) - failed
    return counts, f"about {run.span(each * to_come / max(running, 1))} left" if each is not None else "time not known"


def _cells(lock, found: Sweep, waiting: list[Cell], options: list[str]) -> int:
    """Runs the waiting cells through Snakemake and reports; 0 when every cell is done."""
    for cell in waiting:
        prepare(cell, found.cores)
    home = _folder(found.profile, found.chapter)
    if waiting:
        plan = records.write_json(home / f"{found.name}.json", {
            "folder": str(home), "record": _record(found.profile, found.chapter).as_posix(), "cores": found.cores,
            "resources": found.resources, "waiting": [cell.key for cell in waiting]})
        with open(home / f"{found.name}.log", "w", encoding="utf8") as log:
            _watch(found, run.snakemake(lock, ["--keep-going", *options, "--config", f"sweep={plan}"], stdout=log,
                                        stderr=subprocess.STDOUT))
    table(found).to_csv(home / f"{found.name}.csv", index=False)
    return _report(found, home)


def _watch(found: Sweep, engine: subprocess.Popen):
    """Prints a line whenever the counts change, until the engine ends; one that is interrupted may end in order."""
    shown = ""
    try:
        while engine.poll() is None:
            counts, left = progress(found)
            if counts != shown:
                print(f"  {counts}, {left}", flush=True)
                shown = counts
            time.sleep(0.5)
    except KeyboardInterrupt:
        engine.wait()
        raise


def _report(found: Sweep, home: Path) -> int:
    """Says what became of the cells and where they are; 0 when every cell is done."""
    unfinished = [cell for cell in found.cells if cell.state["state"] != "done"]
    for cell in unfinished:
        print(f"Cell {cell.key} ({cell}) {_misfortune(cell, home / f'{found.name}.log')}", file=sys.stderr)
    print(f"{len(found.cells) - len(unfinished)} of {len(found.cells)} cells of sweep {found.name} done"
          f"{f', {len(unfinished)} not' if unfinished else ''}: {paths.shown(home / f'{found.name}.csv')}")
    return bool(unfinished)


def _misfortune(cell: Cell, engine: Path) -> str:
    """Why a cell has no record, as the end of a sentence."""
    state, log = cell.state, paths.shown(cell.folder / "log.txt")
    if state["state"] == "waiting":
        return f"was never started; the engine's own words are in {paths.shown(engine)}."
    if state["state"] == "running":
        return (f"ended without a word at attempt {state['attempt']} on {state['host']}: stopped, or out of memory or "
                f"time; what it printed: {log}.")
    return f"failed {state['attempt']} times: {state['error']}"


def _waiting(found: Sweep) -> list[Cell]:
    """The cells without a record, and those whose record other code or other chapters before it have made old."""
    earlier = [run.record(found.profile, name) for name in run.before(found.chapter)]
    newest = max((file.stat().st_mtime for file in earlier if file.exists()), default=0)
    return [cell for cell in found.cells if not cell.record.exists() or cell.record.stat().st_mtime < newest
            or keys.outdated(records.read(cell.record), cell.parameters)]


def _announce(found: Sweep, waiting: list[Cell], cluster: str):
    """Prints what will run, and how many cells at a time."""
    old = sum(cell.record.exists() for cell in waiting)
    place = f"on {cluster}" if cluster else f"{_at_a_time(found)} at a time"
    done = len(found.cells) - len(waiting)
    print(f"Sweep {found.name}: {len(found.cells)} cells of {found.chapter} in profile {found.profile}, {done} "
          f"finished before; {place}, cores {found.cores} and memory {found.memory / 1024:.3g} GB each.", flush=True)
    if old:
        print(f"  {old} of them rest on other code or other chapters before them than there are now, and run again.")


def _local(found: Sweep) -> list[str]:
    """Snakemake's options for this machine; ParameterError when not even one cell fits on it."""
    if not _at_a_time(found):
        has = ", ".join(f"{value} {name}" for name, value in _machine(found).items())
        needs = ", ".join(f"{value} {name}" for name, value in _needs(found).items())
        raise ParameterError(f"A cell of sweep {found.name} needs {needs}, but this machine has {has}: "
                             "lower the needs in the sweep file, or use a cluster.")
    limits = [f"{name}={value}" for name, value in _machine(found).items() if name != "cores"]
    return ["--cores", "all", "--resources", *limits]


def _at_a_time(found: Sweep) -> int:
    """Cells that fit on this machine together."""
    has = _machine(found)
    return min(has[name] // need for name, need in _needs(found).items())


def _needs(found: Sweep) -> dict[str, int]:
    return {"cores": found.cores, **{name: found.resources[name] for name in found.resources if name != "runtime"}}


def _machine(found: Sweep) -> dict[str, int]:
    """Cores, memory in MB, and GPUs when a cell needs one."""
    has = {"cores": os.cpu_count(), "mem_mb": psutil.virtual_memory().total // 2**20}
    if found.gpus:
        import torch
        has["gpu"] = torch.cuda.device_count()
    return has


def _cluster(name: str) -> list[str]:
    """Snakemake's options for a cluster of `params/cluster/`; ParameterError when there is no such profile."""
    folder = paths.PARAMS / "cluster" / name
    if not (folder / "config.yaml").exists():
        known = ", ".join(sorted(file.parent.name for file in folder.parent.glob("*/config.yaml")))
        raise ParameterError(f"There is no cluster profile {paths.shown(folder)}/config.yaml; there are: {known}.")
    return ["--profile", str(folder)]


def _combinations(grid: dict, together: dict, source: str) -> list[dict]:
    """Every cell's varied parameters: the grid's cross product, times the lists that go together."""
    for name, values in [*grid.items(), *together.items()]:
        if not isinstance(values, list) or not values:
            raise ParameterError(f"{source}: key `{name}` is {values!r}, but it needs a list of one value or more.")
    lengths = {name: len(values) for name, values in together.items()}
    if len(set(lengths.values())) > 1 or set(grid) & set(together) or not {**grid, **together}:
        raise ParameterError(f"{source}: `grid` names {', '.join(grid) or 'nothing'} and the lists of `zip` have lengths "
                             f"{lengths or 'none'}; name each parameter once, and give those lists one length.")
    rows = [dict(zip(together, values)) for values in zip(*together.values())] or [{}]
    return [dict(zip(grid, values)) | row for *values, row in itertools.product(*grid.values(), rows)]


def _profile(profile: str, chapter: str, source: str) -> dict:
    """The chapter's parameters in the profile that the file names."""
    if not profile or not chapter:
        missing = "chapter" if profile else "profile"
        raise ParameterError(f"{source}: key `{missing}` is missing; a sweep needs `profile` and `chapter`.")
    try:
        return params.load(profile, chapter)
    except ParameterError as error:
        raise ParameterError(f"{source}: {error}") from error


def _checked(chapter: str, base: dict, values: dict, source: str) -> dict:
    """All parameters of a cell."""
    if "profile" in values:
        raise ParameterError(f"{source}: key `profile` is {values['profile']!r} among the parameters, but a sweep "
                             "stays within one profile: name it at the top of the file.")
    return params.check(chapter, base | values, source)


def _megabytes(text: str, source: str) -> int:
    """`4 GB` or `500 MB` as megabytes of 2²⁰ bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(GB|MB)", text.strip())
    if not match or not float(match[1]):
        raise ParameterError(f"{source}: key `memory` is {text!r}, but it has to be like `4 GB` or `500 MB`.")
    return round(float(match[1]) * (1024 if match[2] == "GB" else 1))


def _folder(profile: str, chapter: str) -> Path:
    """Where the cells of a chapter lie, and the tables of its sweeps."""
    return paths.output().resolve() / "runs" / profile / "sweeps" / chapter


def _record(profile: str, chapter: str) -> Path:
    """Where a record lies in an output folder."""
    return run.record(profile, chapter).relative_to(paths.output())


def _noted(folder: Path) -> dict:
    """What a cell last noted of itself; empty before it began."""
    place = folder / "state.json"
    return records.read(place) if place.exists() else {}


def _overview():
    """Checks every sweep file and prints how far each is."""
    for file in files():
        found = load(file)
        print(f"{paths.shown(file)}: {found.chapter} in profile {found.profile}, {progress(found)[0]}")


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when every cell is done. Without a file it lists and checks the sweep files."""
    parser = argparse.ArgumentParser(description="Run a chapter over lists of parameter values.")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--cluster", default="", help="a folder of params/cluster/, e.g. slurm")
    parser.add_argument("--cell", type=Path, help="run this cell again, alone, from its folder")
    parser.add_argument("--record", type=Path, help="copy the cell's record to this place, if it is another one")
    parser.add_argument("--child", action="store_true", help="end when the process that started this one ends")
    values, options = parser.parse_known_args(arguments)
    if values.child:
        threading.Thread(target=run.end_with, args=[os.getppid()], daemon=True).start()
    try:
        paths.settle()
        if values.cell:
            return run_cell(values.cell, values.record)
        return sweep(values.file, values.cluster, options) if values.file else _overview() or 0
    except (ParameterError, paths.FolderError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. Finished cells are kept; the same command continues.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
