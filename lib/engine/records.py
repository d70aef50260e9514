"""What a chapter found: `record.json`, written once and atomically, and read back as tables.

A record holds *metrics* (estimates, each with n and a 95 % interval), *facts* (exact counts and measurements: rows,
seconds, bytes) and *rows* (curves and samples). Tables and figures are made from records alone.
"""
import functools
import hashlib
import json
import math
import os
import re
from pathlib import Path

import pandas
import pyarrow
from pyarrow import parquet

from lib.engine import paths, store
from lib.engine.statistics import Difference, Estimate

LEFT = re.compile(r"model|[a-z]+\.(parquet|jsonl)")  # of what a chapter leaves in its folder, what later chapters read
REMEDY = "delete it, and run the command that made it again"
ROWS = 2 ** 17  # rows of a table that are held in memory until they are written
_open: dict[tuple[str, str], dict] = {}
refused: set[tuple[str, str]] = set()  # (profile, chapter) whose run is passed over for the committed record
# The parts of a record; an old one may lack some.
SHAPE = {"chapter": str, "parameters": dict, "environment": dict, "key": dict, "lacking": dict, "leaves": dict,
         "measured": dict, "metrics": list, "facts": list, "rows": dict}
# Columns that a reader may count on, blank where no row has such a label.
COLUMNS = {"metrics": ["chapter", "metric", "value", "n", "low", "high", "unit", "language", "task", "against", "p",
                       "trainings", "least"],
           "facts": ["chapter", "fact", "value", "unit"]}


class RecordError(store.SpoiledError):
    """A record that this version cannot use; one sentence says what it lacks and the command that makes it anew."""


class Part(dict):
    """A part of a record that was read: a name that it lacks is a RecordError, which tells how the record is made anew."""

    def __init__(self, content: dict, path: Path):
        super().__init__(content)
        self.path = path

    def __missing__(self, name):
        raise RecordError(f"{paths.shown(self.path)} has no {name!r}, so another version of the companion wrote it: "
                          f"{anew(self.path)}.")


class Record:
    """Collects a chapter's results; `write` puts them under `runs/<profile>/<chapter>/record.json`.

    While a chapter runs, `load` answers with the record in the making, so that its tables can be shown before the end.
    """

    def __init__(self, chapter: str, parameters: dict, environment: dict):
        self.chapter, self.profile = chapter, parameters["profile"]
        self.content = {"chapter": chapter, "parameters": parameters, "environment": environment,
                        "key": {}, "inputs": {}, "lacking": {}, "metrics": [], "facts": [], "rows": {}}
        _open[self.profile, chapter] = self.content

    def input(self, path: Path) -> Path:
        """Notes the sha256 of a file that this chapter reads, and returns the path."""
        name = os.path.relpath(path, paths.output()) if Path(path).is_relative_to(paths.output()) else Path(path).name
        self.content["inputs"][name] = digest(path)
        return path

    def lack(self, titles: dict[str, str]):
        """Notes public files that were not at hand, name → title: the chapter runs again when they are."""
        self.content["lacking"] |= titles

    def metric(self, name: str, estimate: Estimate | Difference, unit: str, **labels):
        """An estimate with n and interval; `labels` say of what: stage, arm, language, task, seed …

        Raises ValueError for one that is not a number, since no table could say of it more than that.
        """
        if math.isnan(estimate.value + estimate.low + estimate.high):
            raise ValueError(f"The metric {name} with {labels} is not a number: look at the scores it is made of.")
        self.content["metrics"].append({"metric": name, **estimate._asdict(), "unit": unit, **labels})

    def fact(self, name: str, value, unit: str = "", **labels):
        """An exact count or a measurement of this run (rows removed, parameters, seconds); NaN is kept as null, in a
        label such as `low` or `high` too."""
        row = {"fact": name, "value": value, "unit": unit, **labels}
        self.content["facts"].append({key: known(found) for key, found in row.items()})

    def rows(self, name: str, rows: list[dict]):
        """A curve or a list of samples, kept under a name."""
        self.content["rows"].setdefault(name, []).extend(rows)

    def write(self, **measured) -> Path:
        """Adds what was measured around the chapter (seconds, kWh, peak memory) and what it leaves, and writes the record."""
        folder = paths.run(self.profile, self.chapter)
        self.content |= {"measured": measured, "leaves": leaves(folder)}
        _open.pop((self.profile, self.chapter), None)
        return write_json(folder / "record.json", self.content, sealed=True)


def write_json(path: Path, content, sealed: bool = False) -> Path:
    """Writes JSON as `store.atomically` does."""
    text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False, default=_plain)
    return store.atomically(path, lambda temporary: temporary.write_text(text, encoding="utf8"), sealed)


def write_frame(path: Path, frame: pandas.DataFrame) -> Path:
    """Writes a frame as parquet, sealed; the bytes do not depend on the pieces that it was put together from."""
    table = pyarrow.Table.from_pandas(frame)

    def write(temporary: Path):
        with parquet.ParquetWriter(temporary, table.schema, compression="snappy") as file:
            for start in range(0, max(1, len(table)), ROWS):
                file.write_table(table.slice(start, ROWS).combine_chunks())
    return store.atomically(path, write, sealed=True)


def read_frame(path: Path, remedy: str = "run what made it again") -> pandas.DataFrame:
    """The frame of a parquet file. Raises store.SpoiledError with the remedy for one that is not as it was written."""
    return pandas.read_parquet(store.whole(path, remedy))


def known(value):
    """The value, or None for a number that JSON does not know: NaN or an infinite one."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value):
    """Numpy scalars and paths as plain JSON values."""
    return value.item() if hasattr(value, "item") else str(value)


def digest(path: Path) -> str:
    """sha256 of a file, or of a folder's file names and contents."""
    path, total = Path(path), hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            total.update(file.relative_to(path).as_posix().encode())
            total.update(bytes.fromhex(store.digest(file)))
    return total.hexdigest()


def leaves(folder: Path) -> dict[str, str]:
    """What later chapters read of a chapter's folder (its corpus, tasks, or model with tokenizer): name → sha256."""
    return {path.name: digest(path) for path in sorted(folder.iterdir()) if LEFT.fullmatch(path.name)}


def load(profile: str, chapter: str) -> dict:
    """The record of a chapter: the open one, else that of `place`; FileNotFoundError if there is none."""
    if (profile, chapter) in _open:
        return _open[profile, chapter]
    return made(place(profile, chapter))


def made(path: Path) -> dict:
    """The content of a chapter's record, whatever version wrote it, not to be changed; RecordError for what is none."""
    store.whole(path, anew(path))
    return _made(path, store.digest(path))


@functools.lru_cache(maxsize=32)
def _made(path: Path, _digest: str) -> dict:
    content = read(path, anew(path))
    parts = content if isinstance(content, dict) else {}
    wrong = [name for name, kind in SHAPE.items() if not isinstance(parts.get(name, kind()), kind)]
    lists = [parts.get("metrics", []), parts.get("facts", []), *parts.get("rows", {}).values()] if not wrong else []
    if wrong or not parts or not all(isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in lists):
        raise RecordError(f"{paths.shown(path)} is no record, or of another version (its {wrong or 'rows'} are of another "
                          f"kind): {anew(path)}.")
    return Part({name: Part(part, path) if isinstance(part, dict) else part for name, part in parts.items()}, path)


def anew(path: Path) -> str:
    """The command that makes a record anew, from the record's place."""
    chapter = path.parent.name if path.name == "record.json" else path.stem
    return f"make it anew by `python -m lib.engine.run {chapter} --profile {path.parents[1].name}`"


def read(path: Path, remedy: str = REMEDY) -> dict:
    """The content of a record's file. Raises store.SpoiledError with the remedy for one that is not as it was written."""
    try:
        return json.loads(store.whole(path, remedy).read_text(encoding="utf8"))
    except (ValueError, RecursionError) as error:
        raise store.SpoiledError(f"{paths.shown(path)} is no whole JSON file ({error}): {remedy}.") from error


def committed(profile: str, chapter: str) -> Path:
    """Where a chapter's record lies in the repository."""
    return paths.figures(profile) / "records" / f"{chapter}.json"


def place(profile: str, chapter: str) -> Path:
    """The record's file: that of this machine's run, else the committed one; FileNotFoundError if there is none."""
    places = [paths.runs(profile) / chapter / "record.json", committed(profile, chapter)]
    for path in places[(profile, chapter) in refused:]:
        if path.exists():
            return path
    raise FileNotFoundError(f"Chapter {chapter} has no record in profile {profile}: "
                            f"run it first, e.g. `make reproduce PROFILE={profile}`.")


def lacking(profile: str, chapter: str) -> dict[str, str]:
    """Public files that a chapter lacked, name → title."""
    return load(profile, chapter).get("lacking", {})


def available(profile: str) -> list[str]:
    """Chapters of a profile that have a record, in order."""
    run = {path.parent.name for path in paths.runs(profile).glob("*/record.json")}
    run -= {chapter for name, chapter in refused if name == profile}
    run |= {chapter for name, chapter in _open if name == profile}
    return sorted(run | {path.stem for path in (paths.figures(profile) / "records").glob("*.json")})


def metrics(profile: str, *chapters: str) -> pandas.DataFrame:
    """All metrics of the chapters (default: every one available), one row each, with a `chapter` column."""
    return _frame(profile, chapters, "metrics")


def facts(profile: str, *chapters: str) -> pandas.DataFrame:
    """All facts of the chapters, one row each, with a `chapter` column."""
    return _frame(profile, chapters, "facts")


def rows(profile: str, chapter: str, name: str) -> pandas.DataFrame:
    """A named curve or list of samples of one chapter; empty when the chapter has none of that name."""
    return pandas.DataFrame(load(profile, chapter)["rows"].get(name, []))


def _frame(profile: str, chapters, kind: str) -> pandas.DataFrame:
    found = [{"chapter": chapter, **row} for chapter in chapters or available(profile)
             for row in load(profile, chapter)[kind]]
    frame = pandas.DataFrame(found)
    return frame.reindex(columns=list(dict.fromkeys([*frame, *COLUMNS[kind]])))
