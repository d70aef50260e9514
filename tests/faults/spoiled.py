"""Files that are spoiled on purpose: torn, emptied, with one other byte, or swapped for another whole one of an older date.

`survey` does it to what a finished run left and asks whether the next run would notice.
"""
import contextlib
import io
import os
import re
import shutil
import time
from collections import Counter, defaultdict
from pathlib import Path
from unittest import mock

from lib.engine import assets, params, paths, run, store
from lib.model import folders
from lib.study.journal import Journal

WAYS = ("torn", "emptied", "one other byte", "an older one")
MOST = 3  # files of a kind that are spoiled
# Files that nothing is made from: what a run shows to people, its locks and Snakemake's own notes.
SHOWN = re.compile(r"(notebook\.ipynb|log\.txt|\.running|SHA256SUMS|.*\.(samples|items)\.jsonl|provenance\.json\.bak)$")


def spoil(file: Path, way: str):
    """Spoils a file as one of WAYS says."""
    content = file.read_bytes()
    if way == "torn":
        file.write_bytes(content[:len(content) // 2])
    elif way == "emptied":
        file.write_bytes(b"")
    elif way == "one other byte":
        place = len(content) // 2
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1:])
    else:  # whole, and of the same kind: where it counts, with another number in it
        older = re.sub(rb"\d", lambda digit: b"1" if digit[0] != b"1" else b"2", content, count=1)
        file.write_bytes(older if older != content else content + b" ")
        os.utime(file, (time.time() - 3600,) * 2)


@contextlib.contextmanager
def spoiled(file: Path, way: str):
    """A file spoiled for as long as the block lasts."""
    content, times = file.read_bytes(), file.stat()
    spoil(file, way)
    try:
        yield
    finally:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def survey(folder: Path) -> dict:
    """Spoils files of every kind in a life's output and cache; how many of each kind and way the next run would notice."""
    os.environ |= {"COMPANION_OUTPUT": str(folder / "output"), "COMPANION_CACHE": str(folder / "cache"), "COMPANION_DATA": "",
                   "COMPANION_REACH": "pip"}
    began, files = time.monotonic(), defaultdict(list)
    for file in sorted([*paths.output().glob("runs/smoke/[01]*/**/*"), *paths.cache().rglob("*")]):
        if file.is_file() and not file.is_symlink() and file.stat().st_size:
            files[_kind(file)].append(file)
    tried, noticed, unread = Counter(), Counter(), Counter()
    for kind, found in files.items():
        if SHOWN.match(found[0].name):
            unread[kind] = len(found)
            continue
        for file in found[::max(1, len(found) // MOST)][:MOST]:
            replies = _replies(file)
            for way in WAYS:
                with spoiled(file, way):
                    tried[kind] += 1
                    noticed[kind] += _replies(file) < replies if replies else _noticed(file)
    return {"kinds": len(tried), "tried": tried, "noticed": noticed, "unread": unread, "ways": WAYS,
            "files": sum(map(len, files.values())), "seconds": round(time.monotonic() - began)}


def _kind(file: Path) -> str:
    """What a file is, as the table names it."""
    top = "cache" if file.is_relative_to(paths.cache()) else "runs"
    if top == "cache" and file.relative_to(paths.cache()).parts[0] == "assets":
        return "cache: " + (file.name if file.name in (store.SUMS, "provenance.json") else "a package's file")
    name = re.sub(r"-\d{5}-of-\d{5}|^(samples_|generated-).*(?=\.)", "", file.name)
    if file.suffix in (".parquet", ".jsonl") and not SHOWN.match(file.name):
        name = f"{'replies-' * file.name.startswith('replies-')}*{file.suffix}"
    elif SHOWN.match(file.name) and file.suffix == ".jsonl":
        name = "*.samples.jsonl, *.items.jsonl"
    return f"{top}: {name}"


def _replies(file: Path) -> int:
    """Teachers' replies in a file that are as they were written: others are asked for again."""
    return len(Journal(file).replies) if file.name.startswith("replies-") else 0


def _noticed(file: Path) -> bool:
    """Whether what reads this file next says that it is spoiled, and makes it again: the run's plan, or the cache."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        if file.is_relative_to(paths.cache()):
            return _refetched(file) and "is not as it was written" in told.getvalue()
    chapter = file.relative_to(paths.output()).parts[2]
    reasons = run.why(run.record("smoke", chapter), params.load("smoke", chapter), run.inputs("smoke", chapter))
    return any("is not as it was written" in reason for reason in reasons)


def _refetched(file: Path) -> bool:
    """Whether the cache throws away what holds the file: it makes it again then."""
    kind, name = file.relative_to(paths.cache()).parts[:2]
    home, gone = paths.cache() / kind / name, []
    with mock.patch.object(shutil, "rmtree", gone.append):
        if kind == "models":
            folders.base(name)
        else:
            assets.fetch(next(name for name in assets.registry() if assets._home(name) == home))
    return gone == [home]
