"""A user's own files as text and rows: .txt, .jsonl or .json, .csv, .tsv and .parquet, each also packed as .gz or .zst.

Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark. What cannot be read raises SourceError.
"""
import codecs
import contextlib
import csv
import io
import itertools
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet

from lib.data import text
from lib.engine.params import beginning

PACKED = {".gz": "gzip", ".zst": "zstd"}
ROWS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
# A mark of 32 bits begins like one of 16.
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
         codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# What old files of a script are most often written in, as iconv names it.
OLD = {"Arabic": "WINDOWS-1256", "Cyrillic": "WINDOWS-1251", "Hebrew": "WINDOWS-1255", "Greek": "WINDOWS-1253",
       "Thai": "WINDOWS-874", "Han": "GB18030", "Japanese": "SHIFT-JIS", "Hangul": "UHC"}
HEAD, BATCH = 8192, 1000  # bytes that tell text from other files; rows kept together
ABSENT = object()


class SourceError(ValueError):
    """A source or a user's file cannot be read; one sentence says what was found and the way out."""


class Spool(Sequence):
    """Rows that are kept on disk once they are many, to be read as often as wanted."""

    def __init__(self, rows: Iterable):
        self.file, self.starts, self.size = tempfile.SpooledTemporaryFile(max_size=2 ** 24), [], 0
        rows = iter(rows)
        while batch := list(itertools.islice(rows, BATCH)):
            self.starts.append(self.file.tell())
            pickle.dump(batch, self.file, pickle.HIGHEST_PROTOCOL)
            self.size += len(batch)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: int):
        return self._batch(self.starts[place // BATCH])[place % BATCH]

    def __iter__(self) -> Iterator:
        return itertools.chain.from_iterable(map(self._batch, self.starts))

    def _batch(self, start: int) -> list:
        self.file.seek(start)
        return pickle.load(self.file)


def kind(path: Path) -> str:
    """The file's last suffix in lower case, that of a packing apart: `.jsonl` of `a.jsonl.gz`."""
    return next((suffix.lower() for suffix in reversed(path.suffixes) if suffix.lower() not in PACKED), "")


def stem(path: Path) -> str:
    """The file's name without its kind and packing: `exam` of `exam.jsonl.gz`."""
    return Path(path.stem).stem if path.suffix.lower() in PACKED else path.stem


def check(path: Path, *kinds: str):
    """Raises SourceError for a folder, and for a file that is of none of the kinds."""
    if os.path.isdir(path):
        raise SourceError(f"{path} is a folder, not a file: name the files in it.")
    if kind(path) not in kinds:
        raise SourceError(f"{path} is of an unknown kind {kind(path)!r}; use one of {', '.join(kinds)}, also packed as "
                          ".gz or .zst.")


def texts(path: Path, column: str, language: str) -> Iterator[object]:
    """The documents of a .txt file, apart by blank lines (else one a line), or what each row has in the column.

    `column` may lead inside: `article.text`. A row without it gives None. Raises SourceError when no row has it.
    """
    check(path, ".txt", *ROWS)
    if kind(path) == ".txt":
        runs = itertools.groupby(lines(path, language), lambda line: bool(line.strip()))
        apart = sum(1 for _ in itertools.islice((filled for filled, _ in runs if filled), 2)) > 1
        for filled, run in itertools.groupby(lines(path, language), lambda line: bool(line.strip())):
            yield from (["\n".join(run)] if apart else run) if filled else ()
        return
    known, first = False, {}
    for _, row in records(path, language, [column]):
        found, first = value(row or {}, column, ABSENT), first or row or {}
        known |= found is not ABSENT
        yield None if found is ABSENT else found
    if first and not known:
        raise SourceError(f"{path} has no column {column!r}, only {beginning(', '.join(_names(first)))}; set "
                          "`corpus_text_column`.")


def records(path: Path, language: str, columns: list[str]) -> Iterator[tuple[int, dict | None]]:
    """(number of the line or row, row) of a file of rows; None for a row with more or fewer fields than the header.

    Of .parquet only `columns` are read, which may lead inside, or all when it has none of them.
    """
    if kind(path) in (".jsonl", ".json"):
        yield from _json(path, language)
    elif kind(path) == ".parquet":
        yield from enumerate(_parquet(path, columns), 1)
    else:
        header, *rows = table(path, language) or [[]]
        names = [name.strip() for name in header]
        yield from ((number, dict(zip(names, row)) if len(row) == len(names) else None)
                    for number, row in enumerate(rows, 2))


def table(path: Path, language: str) -> list[list[str]]:
    """The rows of a .csv or .tsv file, its header among them; a .tsv file may be written with or without quotes."""
    content, tabs = decoded(path, language), kind(path) == ".tsv"
    csv.field_size_limit(sys.maxsize)
    try:
        rows = list(csv.reader(io.StringIO(content, newline=""), delimiter="\t" if tabs else ",", strict=True))
    except csv.Error as error:
        if not tabs:
            raise SourceError(f"{path} is not a readable .csv file ({error}); write a quote inside quotes "
                              "twice.") from error
        rows = [line.split("\t") for line in text.lines(content)]
    return [row for row in rows if any(map(str.strip, row))]


def value(row: dict, column: str, default=None):
    """What a row has in a column, which may lead inside its objects: `article.text`."""
    if column in row:
        return row[column]
    first, _, rest = column.partition(".")
    return value(row[first], rest, default) if rest and isinstance(row.get(first), dict) else default


def content(path: Path) -> bytes:
    """The bytes of a file, unpacked."""
    with _opened(path) as stream:
        return stream.read()


@contextlib.contextmanager
def _opened(path: Path):
    """The bytes of a file as a stream, unpacked."""
    if not os.path.exists(path):  # pathlib errs for a long name
        raise SourceError(f"There is no file {path}; check `corpus_files`, `pair_files` and `test_files` (in "
                          "09_curriculum `corpora`).")
    packing = PACKED.get(path.suffix.lower())
    try:
        with pyarrow.input_stream(str(path), compression=packing) as stream:
            yield stream
    except OSError as error:
        found = f"is not a whole {packing} file" if packing else "cannot be read"
        raise SourceError(f"{path} {found} ({beginning(str(error))}); {'pack' if packing else 'write'} it again.") from error


def decoded(path: Path, language: str) -> str:
    """The text of a file, by its byte order mark or as UTF-8, its line ends as they are."""
    return "".join(_decoded(path, language, ""))


def lines(path: Path, language: str) -> Iterator[str]:
    """The lines of a file (`text.lines`), read piece by piece."""
    return (line.removesuffix("\n") for line in _decoded(path, language, None))


def _decoded(path: Path, language: str, newline: str | None) -> Iterator[str]:
    """The lines of a file with their ends, as `io.open` gives them for a `newline`."""
    with _opened(path) as stream:
        head = stream.read(HEAD)
    encoding = next((name for mark, name in MARKS.items() if head.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in head:
        raise SourceError(f"{path} is binary, not text (or UTF-16 without a byte order mark); give text, or .parquet.")
    try:
        with _opened(path) as stream, io.TextIOWrapper(stream, encoding, newline=newline) as file:
            yield from file
    except UnicodeDecodeError:
        raise _misread(path, language, encoding) from None


def _misread(path: Path, language: str, encoding: str) -> SourceError:
    """What to say of a file that is not of the encoding."""
    data = content(path)
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        old = OLD.get(text.LANGUAGES[language].script if language in text.LANGUAGES else "", "WINDOWS-1252")
        return SourceError(f"{path} is not {encoding.removesuffix('-sig').upper()}: byte {data[error.start]:#04x} at "
                           f"position {error.start}; convert it first, e.g. by `iconv -f {old} -t UTF-8` if it is "
                           f"{old}, as old files in {language!r} often are.")
    return SourceError(f"{path} changed while it was read; try again.")


def _json(path: Path, language: str) -> Iterator[tuple[int, dict]]:
    """The objects of a file with one a line, or with an array of them."""
    place, rows = "line", ((number, line) for number, line in enumerate(lines(path, language), 1) if line.strip())
    if next(filter(str.strip, lines(path, language)), "").lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):  # else lines that begin with a bracket
            place, rows = "entry", enumerate(json.loads(decoded(path, language)), 1)
    for number, row in rows:
        try:
            row = json.loads(row) if place == "line" else row
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{path}, line {number} is not JSON ({error}); write one object a line, or an array of "
                              "objects.") from error
        if not isinstance(row, dict):
            raise SourceError(f"{path}, {place} {number} holds {beginning(str(row))!r}, which is no object; write "
                              'an object a line, like {"text": "…"}, or an array of objects.')
        yield number, row


def _parquet(path: Path, columns: list[str]) -> Iterator[dict]:
    """The rows of a parquet file, with the columns wanted."""
    try:
        packed = path.suffix.lower() in PACKED
        with _opened(path):
            file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content(path)) if packed else path)
        names = [file.schema.column(place).path for place in range(len(file.schema))]
        here = [column for column in columns if any(f"{name}.".startswith(f"{column}.") for name in names)]
        for batch in file.iter_batches(columns=here or None):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # of text and dates that are none, too
        raise SourceError(f"{path} is not a readable parquet file ({beginning(str(error))}); write it again.") from error


def _names(row: dict) -> list[str]:
    """The columns of a row, those inside its objects too."""
    return [inner for name, found in row.items()
            for inner in ([f"{name}.{part}" for part in _names(found)] if isinstance(found, dict) else [str(name)])]
