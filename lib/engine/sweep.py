"""Sweeps: one chapter run once for every combination of listed parameter values, in parallel.

    python -m lib.engine.sweep params/sweeps/smoke.yaml                   the cells that have no record yet
    python -m lib.engine.sweep params/sweeps/smoke.yaml --cluster slurm   the same on a cluster, see params/cluster/
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
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pandas
import psutil
from tqdm import tqdm

from lib.engine import launch, params, paths, records, run
from lib.engine.params import ParameterError

KEYS = """
profile = ""  # whose parameters hold where the sweep names none
chapter = ""  # what a cell runs
cores = 1  # processor cores of a cell [1..]
memory = 4.0  # memory of a cell in GB [0.1..]
gpus = 0  # GPUs of a cell [0..]
minutes = 0  # longest time of a cell on a cluster, 0: what the cluster's profile says [0..]
set = {}  # parameter → value, the same in every cell
grid = {}  # parameter → list of values, every combination is a cell
zip = {}  # parameter → list of values, taken together: first with first, second with second …
"""
MOST = 10_000  # cells of a sweep


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
        return paths.output().resolve() / "runs" / self.parameters["profile"] / "sweeps" / self.chapter / self.key

    @property
    def record(self) -> Path:
        """Where its record lies once it is done."""
        return self.folder / "runs" / self.parameters["profile"] / self.chapter / "record.json"

    @property
    def error(self) -> str:
        """The last lines of what a cell without a record printed; empty when it never began."""
        log = self.folder / "log.txt"
        return " ".join(log.read_text(encoding="utf8").splitlines()[-2:]) if log.exists() else ""

    def __str__(self):
        return ", ".join(f"{name}={value}" for name, value in self.varied.items())


class Sweep(NamedTuple):
    """A sweep file, checked: what each cell needs beside cores, as Snakemake and its executors name it, and the cells."""

    name: str
    profile: str
    chapter: str
    cores: int
    resources: dict[str, int]
    cells: list[Cell]

    @property
    def home(self) -> Path:
        """Where its cells lie, and its table."""
        return self.cells[0].folder.parent


def load(path: Path) -> Sweep:
    """Reads and checks a sweep file; ParameterError names file, key, value and a way out."""
    path = Path(path)
    if not path.exists():
        known = ", ".join(map(paths.shown, files())) or "none yet"
        raise ParameterError(f"There is no sweep file {path}; there are: {known}.")
    source = paths.shown(path.resolve())
    values = params.compared(params.model(KEYS), params.read(path), source, "a sweep")
    profile, chapter, fixed = values["profile"], values["chapter"], values["set"]
    varied = _combinations(values["grid"], values["zip"], source)
    if "profile" in fixed | varied[0]:
        raise ParameterError(f"{source}: `profile` is among the parameters, but a sweep stays within one profile: "
                             "name it at the top of the file.")
    if not profile or not chapter:
        raise ParameterError(f"{source}: key `{'chapter' if profile else 'profile'}` is missing; a sweep needs `profile` and "
                             "`chapter`.")
    try:
        base = params.load(profile, chapter)
    except ParameterError as error:
        raise ParameterError(f"{source}: {error}") from error
    cells = [Cell(chapter, params.check(chapter, base | fixed | chosen, source), chosen) for chosen in varied]
    first = {cell.key: cell for cell in reversed(cells)}
    twice = next((cell for cell in cells if first[cell.key] is not cell), None)
    if twice:
        raise ParameterError(f"{source}: the cell {twice} stands twice; name every value of a list once.")
    needs = {"mem_mb": round(values["memory"] * 1024), "gpu": values["gpus"], "runtime": values["minutes"]}
    return Sweep(path.stem, profile, chapter, values["cores"], {name: need for name, need in needs.items() if need}, cells)


def files() -> list[Path]:
    """The sweep files that come with the project."""
    return sorted((paths.PARAMS / "sweeps").glob("*.yaml"))


def sweep(path: Path, cluster: str = "", options: list[str] = ()) -> int:
    """Runs the cells without a record or with an old one, after what is missing before them; 0 when every cell is done.

    Locally as many cells at a time as the machine's cores, memory and GPUs allow; with `cluster` as
    `params/cluster/<cluster>/config.yaml` says. `options` go to Snakemake. Raises ParameterError before anything runs.
    """
    found = load(path)
    options = [*(_cluster(cluster) if cluster else _local(found)), *options]
    with run.locked(found.profile) as lock:
        before = [run.record(found.profile, name) for name in run.before(found.chapter)]
        missing = [file for file in before if not file.exists()]
        if missing and run.make(lock, found.profile, run.before(found.chapter), options):
            return 1
        waiting = [cell for cell in found.cells if run.why(cell.record, cell.parameters, before)]
        print(f"Sweep {found.name}: {len(found.cells)} cells of {found.chapter} in profile {found.profile}, "
              f"{len(found.cells) - len(waiting)} finished before.", flush=True)
        if waiting:
            _run(lock, found, waiting, options)
    return _report(found)


def prepare(cell: Cell, cores: int) -> Path:
    """Makes the cell's folder, with its parameters and with links to the chapters before it; returns the folder."""
    profile, folder = cell.parameters["profile"], cell.folder
    own = folder / "runs" / profile
    own.mkdir(parents=True, exist_ok=True)
    for chapter in run.before(cell.chapter):
        if not (own / chapter).is_symlink():
            (own / chapter).symlink_to(os.path.relpath(run.record(profile, chapter).parent, own))
    content = {"chapter": cell.chapter, "parameters": cell.parameters, "cores": cores}
    records.write_json(folder / "cell.json", content, sealed=True)
    for old in (folder / "log.txt", cell.record):
        old.unlink(missing_ok=True)
    return folder


def run_cell(folder: Path, wanted: Path | None = None):
    """Runs one prepared cell here; raises as `run.run` does.

    The record is copied to where it is `wanted` too: an executor without a shared file system fetches it from there.
    """
    folder = Path(folder).resolve()
    cell = records.read(folder / "cell.json")
    os.environ |= {"COMPANION_OUTPUT": str(folder), "OMP_NUM_THREADS": str(cell["cores"])}
    run.run(cell["parameters"]["profile"], cell["chapter"], cell["parameters"])
    if wanted and not wanted.exists():
        wanted.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.record(cell["parameters"]["profile"], cell["chapter"]), wanted)


def table(found: Sweep) -> pandas.DataFrame:
    """The cells, one row each: key, varied parameters, state (done, failed, waiting), seconds, record (from the output
    folder), error."""
    rows = []
    for cell in found.cells:
        row = {"cell": cell.key, **cell.varied, "state": "failed" if cell.error else "waiting", "error": cell.error}
        if cell.record.exists():
            row |= {"state": "done", "error": "", "seconds": records.made(cell.record)["measured"]["seconds"],
                    "record": os.path.relpath(cell.record, paths.output())}
        rows.append(row)
    return pandas.DataFrame(rows)


def _run(lock, found: Sweep, waiting: list[Cell], options: list[str]):
    """Runs the waiting cells through Snakemake and shows how many are done; a stop by hand lets it end in order."""
    for cell in waiting:
        prepare(cell, found.cores)
    plan = records.write_json(found.home / f"{found.name}.json", {
        "folder": found.home, "record": waiting[0].record.relative_to(waiting[0].folder), "cores": found.cores,
        "resources": found.resources, "waiting": [cell.key for cell in waiting]})
    arguments = ["--keep-going", *options, "--config", f"sweep={plan}"]
    with (open(found.home / f"{found.name}.log", "w", encoding="utf8") as log, tqdm(total=len(waiting), unit="cell") as bar,
          run.snakemake(lock, [found.chapter], arguments, stdout=log, stderr=subprocess.STDOUT) as engine):
        running = True
        try:
            while running:
                time.sleep(0.5)
                running = engine.poll() is None
                done = sum(cell.record.exists() for cell in waiting)
                if done > bar.n:  # in a log, an entry a finished cell
                    bar.update(done - bar.n)
        except KeyboardInterrupt:
            engine.terminate()  # Snakemake, of which a polite kill of this process has told nothing, begins no further cell
            raise
        finally:
            engine.wait()


def _report(found: Sweep) -> int:
    """Says what became of the cells and where they are; 0 when every cell is done."""
    place, rows = found.home / f"{found.name}.csv", table(found)
    place.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(place, index=False)
    unfinished = [cell for cell in found.cells if not cell.record.exists()]
    for cell in unfinished:
        why = (f"ended without its record; {paths.shown(cell.folder / 'log.txt')} ends in: {cell.error}" if cell.error
               else f"never began; Snakemake's own words are in {paths.shown(place.with_suffix('.log'))}.")
        print(f"Cell {cell.key} ({cell}) {why}", file=sys.stderr)
    print(f"{len(found.cells) - len(unfinished)} of {len(found.cells)} cells of sweep {found.name} done: {paths.shown(place)}")
    return bool(unfinished)


def _local(found: Sweep) -> list[str]:
    """Snakemake's options for this machine; ParameterError when not even one cell fits on it."""
    has = {"cores": os.cpu_count(), "mem_mb": psutil.virtual_memory().total // 2**20}
    if "gpu" in found.resources:
        import torch
        has["gpu"] = torch.cuda.device_count()
    needs = {"cores": found.cores, **found.resources}
    if any(needs[name] > has[name] for name in has):
        told = [", ".join(f"{numbers[name]} {name}" for name in has) for numbers in (needs, has)]
        raise ParameterError(f"A cell of sweep {found.name} needs {told[0]}, but this machine has {told[1]}: "
                             "lower the needs in the sweep file, or use a cluster.")
    return ["--cores", "all", "--resources", *(f"{name}={value}" for name, value in has.items() if name != "cores")]


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
            raise ParameterError(f"{source}: key `{name}` is {params.beginning(repr(values))}, but it needs a list of one "
                                 "value or more.")
    lengths = {name: len(values) for name, values in together.items()}
    if len(set(lengths.values())) > 1 or set(grid) & set(together) or not {**grid, **together}:
        named = params.beginning(", ".join(grid)) or "nothing"
        raise ParameterError(f"{source}: `grid` names {named} and the lists of `zip` have lengths {lengths or 'none'}; name "
                             "each parameter once, and give those lists one length.")
    count = math.prod(map(len, grid.values())) * max(lengths.values(), default=1)
    if count > MOST:
        raise ParameterError(f"{source}: `grid` and `zip` make {count} cells, more than {MOST}: shorten the lists.")
    rows = [dict(zip(together, values)) for values in zip(*together.values())] or [{}]
    return [dict(zip(grid, values)) | row for *values, row in itertools.product(*grid.values(), rows)]


def _wrong(file: Path):
    """What is wrong with a parameter file, and with its profile's launch."""
    for check, *names in ((params.load, file.parent.name, file.stem), (launch.load, file.parent.name)):
        try:
            check(*names)
        except ParameterError as error:
            yield str(error)


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when every cell is done. Without a file all parameter files and sweeps are checked."""
    parser = argparse.ArgumentParser(description="Run a chapter over lists of parameter values.")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--cluster", default="", help="a folder of params/cluster/, e.g. slurm")
    parser.add_argument("--cell", type=Path, help="run this cell again, alone, from its folder")
    parser.add_argument("--record", type=Path, help="copy the cell's record to this place, if it is another one")
    return run.command(parser, arguments, _act)


def _act(values: argparse.Namespace, options: list[str]) -> int | None:
    if values.file and not values.cell:
        return sweep(values.file, values.cluster, options)
    run.no_options(options)
    if values.cell:
        return run_cell(values.cell, values.record)
    wrong = [error for file in params.files() for error in _wrong(file)]
    if wrong:
        raise ParameterError("\n".join(dict.fromkeys(wrong)))
    print(f"{len(params.files())} parameter files are valid.")
    for found in map(load, files()):
        done = sum(cell.record.exists() for cell in found.cells)
        print(f"Sweep {found.name}: {found.chapter} in profile {found.profile}, {done} of {len(found.cells)} cells done")


if __name__ == "__main__":
    sys.exit(main())
