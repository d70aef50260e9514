"""How files are written and read so that nothing is lost: whole or not at all, and known again by their sums.

What lies under runs/ and in the cache is written beside its place, pressed to the disk and renamed, and its sha256 stays
in the SHA256SUMS of its folder, which `sha256sum --check` reads too. A file that a power cut tore, a disk spoiled or
somebody swapped for an older one is noticed when it is read. One without a sum, such as a user's own, is taken as it is.
"""
import atexit
import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from lib.engine import paths

SUMS = "SHA256SUMS"
LARGE = 2 ** 26  # bytes of a file that is read through only where its content is wanted, or when it was touched
MAKING = ".making-"  # how names of what is not finished begin; machine and process follow
ABANDONED = 24 * 3600  # seconds after which another machine's unfinished files are taken for left behind


class SpoiledError(RuntimeError):
    """A file is not as it was written; one sentence names it and the way out."""


def atomically(path: Path, write, sealed: bool = False) -> Path:
    """Writes (`write` takes a path) through a temporary file and a rename, so that nobody sees half of it, power cuts
    included. `sealed` keeps its sum, which is kept up to date from then on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, before = making(path), _read(path.parent)
    try:
        write(temporary)
        _press(temporary)
        if sealed or path.name in before:
            # Old and new sum stand side by side until the new file is in its place.
            _note(path.parent, before | {path.name: before.get(path.name, set()) | {digest(temporary)}})
        os.replace(temporary, path)
        _press(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    if sealed or path.name in before:
        _note(path.parent, before | {path.name: {digest(path)}})
    return path


def seal(folder: Path, without: tuple[str, ...] = ()) -> Path:
    """Presses all files of a folder to the disk and keeps their sums, but for those of folders within that have sums
    themselves, or are named in `without`."""
    own = {path.parent for path in folder.rglob(SUMS) if path.parent != folder} | {folder / name for name in without}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != SUMS
             and not path.name.startswith(MAKING) and not own & {*path.parents}]
    for file in files:
        _press(file)
    _note(folder, {file.relative_to(folder).as_posix(): {digest(file)} for file in files})
    return folder


def spoiled(folder: Path, quickly: bool = False) -> list[Path]:
    """Files at and below a folder that are missing, or not as they were written. `quickly` believes large ones that
    nobody touched since."""
    found = []
    for sums in sorted(folder.rglob(SUMS)):
        since = sums.stat().st_mtime if quickly else 0.0
        found += [sums.parent / name for name, known in _read(sums.parent).items()
                  if not _believed(sums.parent / name, since) and digest(sums.parent / name) not in known]
    return found


def discard(folder: Path):
    """Removes what is spoiled below a folder and says so: single files of its own, and every folder that was sealed as one."""
    wrong = spoiled(folder, quickly=True)
    if present := [file for file in wrong if file.exists()]:
        print(f"{told(present)}: made again.", flush=True)
    for file in wrong:
        home = next(place for place in file.parents if (place / SUMS).exists() or place == folder)
        if home == folder:
            file.unlink(missing_ok=True)
            _note(folder, {name: known for name, known in _read(folder).items() if name != file.name})
        else:
            shutil.rmtree(home, ignore_errors=True)


def drop(folder: Path, then: str):
    """Removes a folder in which anything is spoiled, and says so, and what comes of it `then`."""
    if wrong := spoiled(folder):
        print(f"{told(wrong)}: {then}.")
        shutil.rmtree(folder)


def whole(path: Path, remedy: str) -> Path:
    """The file or folder, as it was written; SpoiledError with the remedy when that is no longer so."""
    if path.is_dir():
        wrong = spoiled(path)
    else:
        wrong = [path] * (digest(path) not in _read(path.parent).get(path.name, {digest(path)}))
    if wrong:
        raise SpoiledError(f"{told(wrong)}: {remedy}.")
    return path


def told(wrong: list[Path]) -> str:
    """What to say of spoiled files."""
    more = f", and {len(wrong) - 1} more are not either" if len(wrong) > 1 else ""
    state = " is not as it was written (torn, damaged or replaced)" if wrong[0].exists() else " is not there any more"
    return f"{paths.shown(wrong[0])}{state}{more}"


def digest(file: Path) -> str:
    """sha256 of a file's bytes, read once a process unless it was touched; empty when there is none."""
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    # A file written a moment ago can be written again without another time.
    settled = abs(time.time() - found.st_mtime) > 2
    return (_digest if settled else _digest.__wrapped__)(file, found.st_size, found.st_mtime_ns, found.st_ino)


@contextlib.contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """A folder beside the place of what is made in it (default: among the system's temporary files), removed in the end.

    What killed processes left beside it goes first.
    """
    parent = parent or Path(tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    clear(parent)
    with tempfile.TemporaryDirectory(dir=parent, prefix=_mark()) as folder:
        yield Path(folder)


@functools.cache
def passing() -> Path:
    """A folder for what goes with this process."""
    kept = contextlib.ExitStack()
    atexit.register(kept.close)
    return kept.enter_context(scratch())


def clear(folder: Path, below: bool = False):
    """Removes what killed processes left unfinished in a folder, and `below` it."""
    for path in list((folder.rglob if below else folder.glob)(f"{MAKING}*")):
        if _abandoned(path):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def making(path: Path) -> Path:
    """Where a file is while it is made: beside its place."""
    return path.with_name(f"{_mark()}{path.name}")


def _mark() -> str:
    return f"{MAKING}{_machine()}.{os.getpid()}-"


@functools.cache
def _machine() -> str:
    """This machine, or its container, in which a process number means a process."""
    space = Path("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {space.stat().st_ino if space.exists() else 0}".encode()).hexdigest()[:8]


def _abandoned(path: Path) -> bool:
    machine, number = re.match(rf"{re.escape(MAKING)}(.+)\.(\d+)-", path.name).groups()
    if machine == _machine():
        return not psutil.pid_exists(int(number))
    with contextlib.suppress(FileNotFoundError):  # its maker, elsewhere, has finished just now
        return time.time() - path.stat().st_mtime > ABANDONED
    return False


def _believed(file: Path, since: float) -> bool:
    found = file.stat() if file.exists() else None
    return bool(found and found.st_size > LARGE and found.st_mtime <= since)


@functools.lru_cache(maxsize=4096)
def _digest(file: Path, _size: int, _modified: int, _inode: int) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read(folder: Path) -> dict[str, set[str]]:
    """File → the sums it may have, by the folder's SHA256SUMS; a line that is none says nothing."""
    place, found = folder / SUMS, {}
    for line in place.read_text("utf8", "replace").splitlines() if place.exists() else ():
        known, _, name = line.partition("  ")
        found.setdefault(name, set()).add(known)
    return found


def _note(folder: Path, known: dict[str, set[str]]):
    lines = [f"{value}  {name}\n" for name in sorted(known) for value in sorted(known[name])]
    temporary = making(folder / SUMS)
    temporary.write_text("".join(lines), "utf8")
    _press(temporary)
    os.replace(temporary, folder / SUMS)
    _press(folder)


def _press(path: Path):
    """Has the system write a file, or a folder's names, to the disk now."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
