"""Runs one chapter, or all of a profile: parameters are checked, papermill executes, the record must be there after.

    python -m lib.engine.run all --profile laptop             every chapter that is not up to date, through Snakemake
    python -m lib.engine.run 02_tokenizer --profile laptop    this chapter, or these, whatever their state
    python -m lib.engine.run --minutes laptop                 what its chapters took, into params/minutes.yaml
"""
import argparse
import ast
import contextlib
import fcntl
import gc
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from lib.engine import assets, forks, keys, machine, params, paths, reach, records, store
from lib.engine.markup import printable

UPSTREAM = {"01_corpus": [], "02_tokenizer": ["01_corpus"], "03_pretraining": ["02_tokenizer"],
            "04_alignment": ["03_pretraining"], "05_sft": ["04_alignment"], "06_evaluation": ["05_sft"],
            "07_base_strength": ["05_sft"], "08_phases_and_transfer": ["02_tokenizer"],
            "09_curriculum": ["02_tokenizer"], "10_multialpaca": ["01_corpus"],
            "11_multilingual_benchmark": ["05_sft", "10_multialpaca"],
            "12_rank_and_precision": ["05_sft", "10_multialpaca"]}
COLLECTING = ("13_carbon", "14_paper")  # read whatever records there are
UPSTREAM |= {"13_carbon": list(UPSTREAM), "14_paper": ["13_carbon"]}
DESCRIBING = ("01_corpus", "02_tokenizer")  # later chapters read their parameters too
ALONE = {"07_base_strength": {"reuse": False}, "11_multilingual_benchmark": {"start": "base"},
         "12_rank_and_precision": {"start": "base"}}  # parameters with which a chapter reads no trained model of others

SIDE_BY_SIDE = ("smoke", "night")  # profiles of many small models: a chapter a core does more than one on all
COMMITTED = ("night", "full")  # profiles whose results stand in figures/, from clean trees only
PREPARE = "lib.engine.run:prepare"  # what the process that forks does first
ELSEWHERE = {"--executor", "-e", "--profile", "--workflow-profile"}  # Snakemake's options that may name another machine
EXECUTED = "notebook.ipynb"  # as a chapter's folder has it
ASIDE = "before.json"  # a record while its chapter is to run again
MINUTES = paths.PARAMS / "minutes.yaml"
MINUTES_HEAD = (f"# Minutes of each chapter on two cores without a GPU (a chapter a core in {' and '.join(SIDE_BY_SIDE)}), by "
                "`python -m lib.engine.run --minutes PROFILE`.\n")


def chapters() -> list[str]:
    """The chapters in their order, those whose notebook exists."""
    return [chapter for chapter in UPSTREAM if paths.notebook(chapter).exists()]


def record(profile: str, chapter: str) -> Path:
    """Where the chapter's record lies, without making the folder."""
    return paths.runs(profile) / chapter / "record.json"


def upstream(profile: str, chapter: str) -> list[str]:
    """The chapters that this one rests on directly in a profile: 02 instead of 05 where it reads no model of theirs."""
    if chapter in ALONE and ALONE[chapter].items() <= params.load(profile, chapter).items():
        return [name.replace("05_sft", "02_tokenizer") for name in UPSTREAM[chapter]]
    return UPSTREAM[chapter]


def before(chapter: str, profile: str = "") -> list[str]:
    """Every chapter that this one rests on, in their order: in a profile, or else whatever its parameters are."""
    direct = upstream(profile, chapter) if profile else UPSTREAM[chapter]
    found = set(direct).union(*(before(name, profile) for name in direct))
    return [name for name in chapters() if name in found]


def offer(profile: str, chapter: str) -> str:
    """A sentence with the command, as a notebook gives it, that runs the earlier chapters which have no record here, and its
    minutes; empty when there are none. Chapters that collect what there is ask for none."""
    lacking = [name for name in before(chapter, profile)
               if not record(profile, name).exists() and chapter not in COLLECTING]
    command = f"`!python -m lib.engine.run {' '.join(lacking)} --profile {profile}`"
    took = f" ({_total(profile, lacking)})" if any(minutes(profile, name) for name in lacking) else ""
    return f"{chapter} rests on chapters that have not run here: {command}{took}." if lacking else ""


def inputs(profile: str, chapter: str) -> list[Path]:
    """The records that a chapter rests on."""
    return [record(profile, name) for name in upstream(profile, chapter) if name in chapters()]


def stale(profile: str) -> dict[str, list[str]]:
    """Chapter → why it has to run, in their order; those that are up to date are left out."""
    found = {}
    for chapter in chapters():
        reasons = why(record(profile, chapter), params.load(profile, chapter), inputs(profile, chapter))
        reasons = reasons or [f"{name} is new" for name in upstream(profile, chapter) if name in found]
        found |= {chapter: reasons} if reasons else {}
    return found


def why(place: Path, values: dict, before: list[Path]) -> list[str]:
    """Why a record has to be made, each reason in a few words: it or a file beside it is not there or spoiled, it was made
    with, or without, what is otherwise now, or rests on another than one `before` it."""
    if not place.exists():
        return ["it has no record yet"]
    if any(place.parent.glob(f"{store.MAKING}*{EXECUTED}")):
        return ["it was stopped before its end"]
    if wrong := store.spoiled(place.parent, quickly=True):
        return [store.told(wrong)]
    try:
        made = records.made(place)
    except store.SpoiledError as error:
        return [str(error).partition(": ")[0]]
    return [*(f"{title} can be had now" for name, title in made.get("lacking", {}).items() if not assets.absent(name)),
            *keys.outdated(made, values),
            *(f"{file.parent.name} is new" for file in before
              if file.exists() and read_of(file, made.get("chapter", "")) != made.get("rests", {}).get(file.parent.name))]


def rests(profile: str, chapter: str) -> dict[str, dict[str, str]]:
    """What a chapter rests on as it is now: earlier chapter → `read_of` its record. No clock says which is newer."""
    return {name: read_of(record(profile, name), chapter) for name in before(chapter) if record(profile, name).exists()}


def read_of(place: Path, reader: str) -> dict[str, str]:
    """What a later chapter reads of the one whose record lies at `place`, name → sha256: what it left, with its parameters
    where they describe the corpus and the base, so that more trainings of an arm make only their own chapter run again;
    the whole record where the reader collects records."""
    if reader in COLLECTING:
        return {"record": store.digest(place)}
    try:
        made = records.made(place)
    except store.SpoiledError:  # is made anew before the reader, which then reads another
        return {}
    described = made.get("key", {}) if made.get("chapter") in DESCRIBING else {}
    return made.get("leaves", {}) | {name: key for name, key in described.items() if name.startswith("parameter ")}


def run(profile: str, chapter: str, given: dict | None = None):
    """Executes the chapter's notebook to `runs/<profile>/<chapter>/notebook.ipynb`, showing what it prints.

    Its parameters are those of the profile, unless others are `given`. Raises params.ParameterError before a kernel
    starts, and ChapterError when a cell fails or no record was written.
    """
    engine = papermill()
    given = given or params.load(profile, chapter)
    os.environ["TMPDIR"] = tempfile.tempdir = str(store.passing())  # what tools leave of a killed kernel goes with the run
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment, not a namesake in the user's home
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(paths.ROOT), os.environ.get("PYTHONPATH")]))
    written, executed = record(profile, chapter), paths.run(profile, chapter) / EXECUTED
    store.discard(executed.parent)
    making, last = store.making(executed), _written(written)
    try:
        engine.execute_notebook(paths.notebook(chapter), making, given, kernel_name="python3", progress_bar=False,
                                cwd=paths.NOTEBOOKS, stdout_file=_Told(chapter[:2]), autosave_cell_every=0,
                                coalesce_streams=True, extra_arguments=["--log-level=CRITICAL"])
    except engine.PapermillExecutionError as error:
        raise ChapterError(_failure(chapter, error, executed)) from error
    except RuntimeError as error:
        raise ChapterError(f"The kernel of chapter {chapter} died ({error}), most often for want of memory: "
                           "free some, or lower the batch size in its parameter file.") from error
    finally:
        if making.exists():
            making.replace(executed)
    if _written(written) in (None, last):
        raise ChapterError(f"Chapter {chapter} ran to its end without writing its record: its last cell has to call "
                           "chapter.finish(record).")


def papermill():
    """Papermill, which takes seconds to import."""
    sys.modules.setdefault("rfc3987_syntax", None)  # a grammar of URLs, two seconds to build, that no notebook needs
    import papermill
    return papermill


def _written(file: Path) -> tuple | None:
    """What another writing of a file changes, whatever the clock does; None when there is none."""
    return (file.stat().st_ino, file.stat().st_mtime_ns) if file.exists() else None


class ChapterError(RuntimeError):
    """A chapter that stopped; says which cell and why."""


def left(profile: str, done: str) -> str:
    """What of the announced plan is still to come after a chapter, e.g. `3 left, about 5 min`."""
    waiting = [chapter for chapter in _announced(profile) if chapter != done and not _made(profile, chapter)]
    return f"{len(waiting)} left, {_total(profile, waiting)}" if waiting else "nothing left"


def minutes(profile: str, chapter: str) -> float | None:
    """Minutes of the chapter's last run here, else those of `params/minutes.yaml`; None when neither was measured."""
    with contextlib.suppress(FileNotFoundError, store.SpoiledError, TypeError):
        return records.made(record(profile, chapter))["measured"]["seconds"] / 60
    return params.read(MINUTES).get(profile, {}).get(chapter)


def note_minutes(profile: str):
    """Writes what the chapters of a profile last took here into `params/minutes.yaml`, tenths of minutes."""
    known = params.read(MINUTES)
    took = {chapter: max(0.1, round(minutes(profile, chapter), 1)) for chapter in chapters()
            if record(profile, chapter).exists()}
    known[profile] = known.get(profile, {}) | took
    MINUTES.write_text(MINUTES_HEAD + yaml.safe_dump(known, sort_keys=False, default_flow_style=None, width=10_000), "utf8")
    print(f"{paths.shown(MINUTES)}: the minutes of {len(took)} chapters of profile {profile}.")


def all_chapters(profile: str, options: list[str]) -> int:
    """Runs every stale chapter of a profile and returns the exit status; ParameterError before anything runs."""
    for chapter in chapters():
        params.load(profile, chapter)
    tell_reach()
    with locked(profile) as lock:
        return make(lock, profile, chapters(), ["--cores", "all", "--keep-going", *options])


def tell_reach():
    """Says, within ten seconds, what this machine reaches and which public files it lacks; the chapters go by that."""
    found = reach.survey()
    reached, away = ([kind for kind in found if bool(found[kind]) == missing] for missing in (False, True))
    print(f"Reached: {', '.join(reach.KINDS[kind] for kind in reached) or 'nothing'}."
          + (f" Not reached: {', '.join(f'{reach.KINDS[kind]} ({found[kind]})' for kind in away)}." if away else ""))
    lacking = assets.absent(*assets.public()) if "files" in away else []
    if lacking:
        print(f"Not at hand: {', '.join(assets.titles(lacking).values())}; rows made from the corpus "
              "stand in. COMPANION_DATA may name a folder that holds them; what lacked them runs again then.")


def make(lock, profile: str, wanted: list[str], options: list[str]) -> int:
    """Says which of the wanted chapters are stale, why, and how long they took before, and runs them under the lock;
    Snakemake's status."""
    plan = {chapter: listed(reasons) for chapter, reasons in stale(profile).items() if chapter in wanted}
    if not plan:
        print(f"Nothing to be done: all {len(wanted)} chapters of profile {profile} are up to date.")
        return 0
    records.write_json(_plan(profile), plan)
    print(f"Profile {profile}: {len(plan)} of {len(wanted)} chapters to run, {_total(profile, plan)} as they took here "
          "before, or else on two cores.")
    for chapter, reason in plan.items():
        print(f"  {chapter:{max(map(len, plan))}} {span(minutes(profile, chapter)):>8}  because {reason}", flush=True)
        _aside(profile, chapter)
    targets = [str(record(profile, chapter)) for chapter in plan]
    with snakemake(lock, plan, [*targets, "--force", *options, "--config", f"profile={profile}"]) as process:
        try:
            status = process.wait()
        finally:
            process.kill()
            _plan(profile).unlink()
    if status:
        print("Not everything ran. Finished chapters are kept; the same command goes on with the others.", file=sys.stderr)
    return status


@contextlib.contextmanager
def locked(profile: str):
    """The profile's lock while it is run: its open file. Raises ChapterError when another process holds it.

    The system drops it when its holders die; Snakemake's own, which outlives a kill, is not used.
    """
    with open(paths.run(profile, ".") / ".running", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise ChapterError(f"Profile {profile} is already being run by process {lock.read().strip()}: "
                               "wait for it or stop it first.") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock
        store.clear(paths.run(profile, "."), below=True)


def prepare(*wanted: str):
    """Imports what running these chapters takes (papermill, a kernel, what their notebooks import), and reads their code
    for their keys: a fork of this process has that behind it."""
    papermill()
    pkgutil.resolve_name("ipykernel.ipkernel")
    machine.versions()
    for source in map(keys.source, wanted):
        keys.code(source, ())
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    pkgutil.resolve_name(f"{getattr(node, 'module', '')}.{alias.name}".strip("."))


@contextlib.contextmanager
def snakemake(lock, wanted, arguments: list[str], **streams) -> Iterator[subprocess.Popen]:
    """Snakemake on the graph of chapters; it holds the lock too. The chapters wanted, if they run on this machine, are forks
    of a process that is prepared for them."""
    # Targets come first: an option with many values would take them for its own.
    command = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(paths.ROOT / "Snakefile"),
               "--directory", str(paths.output()), "--rerun-incomplete", "--nolock", "--rerun-triggers", "input",
               "--quiet", "all"]
    here = ELSEWHERE.isdisjoint(arguments)
    with forks.serving(store.passing(), PREPARE, *wanted) if here else contextlib.nullcontext({}) as found:
        own = found | {"TMPDIR": str(store.passing())}  # which goes with this run, whatever ends it
        yield subprocess.Popen(command, pass_fds=[lock.fileno()], env=os.environ | own, **streams)


class _Told:
    """A stream that shows a notebook's output as it comes, behind its chapter's number; progress bars' rewritten lines
    are left out."""

    def __init__(self, number: str):
        self.number, self.rest = number, ""

    def write(self, text: str):
        *lines, self.rest = (self.rest + text).split("\n")
        print("".join(f"  {self.number}  {printable(line)}\n" for line in lines if "\r" not in line), end="", flush=True)

    def flush(self):
        sys.stdout.flush()


def _failure(chapter: str, error, executed: Path) -> str:
    """One sentence for a failed cell: chapter, cell, error, and where the whole traceback is."""
    first = error.source.strip().splitlines()[0] if error.source.strip() else ""
    return (f"Chapter {chapter} stopped in cell {error.cell_index + 1} (`{first}`): {error.ename}: {error.evalue}\n"
            f"The executed notebook has the whole traceback: {executed}")


def _plan(profile: str) -> Path:
    return paths.runs(profile) / "plan.json"


def _made(profile: str, chapter: str) -> bool:
    """Whether the run in progress has made the chapter's record."""
    file = record(profile, chapter)
    return file.exists() and file.stat().st_mtime > _plan(profile).stat().st_mtime


def _aside(profile: str, chapter: str):
    """Lays a copy of a record that is to be made again aside, since Snakemake deletes it before the chapter begins."""
    place = record(profile, chapter)
    if place.exists():
        shutil.copyfile(place, place.with_name(ASIDE))


def _taken_back(profile: str, chapter: str) -> bool:
    """Whether the record laid aside is up to date after all, since the chapters before it left what they had left before;
    it is back in its place then."""
    place = record(profile, chapter)
    if not place.with_name(ASIDE).exists():
        return False
    place.with_name(ASIDE).replace(place)
    os.utime(place)
    if stale := why(place, params.load(profile, chapter), inputs(profile, chapter)):
        place.unlink()
    return not stale


def _announced(profile: str) -> dict[str, str]:
    """The plan of the run in progress: chapter → why it runs."""
    with contextlib.suppress(store.SpoiledError):
        return records.read(_plan(profile)) if _plan(profile).exists() else {}
    return {}


def listed(names: list[str]) -> str:
    """The first of many reasons, and how many more there are."""
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _total(profile: str, waiting) -> str:
    """What chapters take together, and how many of them were never measured."""
    took = [minutes(profile, chapter) for chapter in waiting]
    known = [value for value in took if value is not None]
    told = f"about {span(sum(known))}" if known else "of unknown length"
    return f"{told} and {len(took) - len(known)} of unknown length" if 0 < len(known) < len(took) else told


def span(value: float | None) -> str:
    """Minutes as a person says them: `40 s`, `12 min`, `5 h`."""
    if value is None:
        return "(not measured)"
    return f"{value * 60:.0f} s" if value < 1.5 else f"{value:.0f} min" if value < 180 else f"{value / 60:.0f} h"


def command(parser: argparse.ArgumentParser, arguments: list[str] | None, act) -> int:
    """The frame of a command line of the house: the exit status (`told`) of `act`, of its values and further options."""
    parser.add_argument("--child", action="store_true", help="end when the process that started this one ends")
    values, options = parser.parse_known_args(arguments)
    if values.child:
        from ipykernel.parentpoller import ParentPollerUnix
        ParentPollerUnix(os.getppid()).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill is a stop by hand: no child stays behind
    return told(lambda: _house() or act(values, options))


def told(act, *errors: type[Exception]) -> int:
    """The exit status of what `act` does: an error for people (the engine's, or one of `errors`) is told in a sentence, with
    status 1; a stop by hand gives 130."""
    try:
        paths.settle()
        gc.freeze()  # libraries are no garbage, in which statsmodels has every table of p values searched
        return act() or 0
    except (params.ParameterError, paths.FolderError, ChapterError, store.SpoiledError, *errors) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'A file'} could not be read or written ({error.strerror or error}): make room or get the "
              "right to it, or name other folders in COMPANION_OUTPUT and COMPANION_CACHE.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. What is finished is kept; the same command continues.", file=sys.stderr)
        return 130


def no_options(options: list[str]):
    """Raises ParameterError for an option that nobody knows and nobody would hand on."""
    if options:
        raise params.ParameterError(f"Option {options[0]} is not known: `--help` names those that are (only `all` and a sweep "
                                    "hand others on, to Snakemake).")


def _house():
    """Gives the tools that write into a home another one for this run, where the home cannot be written."""
    try:
        tempfile.TemporaryFile(dir=Path.home()).close()
    except OSError as error:
        print(f"The home {Path.home()} cannot be written ({error.strerror}): what tools keep there goes with this run.")
        os.environ |= {"COMPANION_CACHE": str(paths.cache()), "HOME": str(store.passing())}


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when everything ran."""
    parser = argparse.ArgumentParser(description="Run chapters, or `all` that are not up to date.")
    parser.add_argument("chapters", nargs="*", default=["all"], metavar="chapter")
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--minutes", metavar="PROFILE", help="write what this profile's chapters took to params/minutes.yaml")
    return command(parser, arguments, _act)


def _act(values: argparse.Namespace, options: list[str]) -> int | None:
    profile = values.profile
    if "all" in values.chapters and not values.minutes:
        return all_chapters(profile, options)
    no_options(options)
    if values.minutes:
        return note_minutes(values.minutes)
    for chapter in values.chapters:
        params.load(profile, chapter)
    with contextlib.nullcontext() if values.child else locked(profile):
        for chapter in values.chapters:
            began = time.monotonic()
            if values.child and _taken_back(profile, chapter):
                print(f"Chapter {chapter}: what it rests on came out as before, so its record is kept.", flush=True)
                continue
            print(f"Chapter {chapter}: {_announced(profile).get(chapter, 'you asked for it')}.", flush=True)
            run(profile, chapter)
            took = span((time.monotonic() - began) / 60)
            print(f"Chapter {chapter} done in {took}; {left(profile, chapter)}.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
