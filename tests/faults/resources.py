"""Faults of the machine, each on a small house with two chapters: what a user is told, and what is left.

They need root and Linux's namespaces for real full disks and machines without temporary folders.
"""
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

from lib.engine import store
from tests.house import END, build, environment, write

PYTHON = str(Path(sys.prefix).resolve() / "bin/python")  # also where /tmp, and a link in it, is hidden
FRAMES = ("import pandas\nfrom lib.engine import paths\nfor part in range(8):\n"
          "    frame = pandas.DataFrame({'a': range(20000 * part, 20000 * part + 20000)})\n"
          "    records.write_frame(paths.run(profile, '01_corpus') / f'{part}.parquet', frame)\n")
ALL = ("all", "--profile", "smoke")


def survey(folder: Path) -> dict:
    """Every fault: name, what came of it, and its seconds."""
    rows = []
    for fault in (full_disk, full_disk_of_downloads, little_memory, killed_kernel, no_home, no_temporary_folder,
                  two_runs, two_profiles, clock):
        began, place = time.monotonic(), folder / fault.__name__
        outcome = fault(build(_empty(place)))
        left = [path.name for path in place.rglob(f"{store.MAKING}*")]
        rows.append([fault.__doc__, outcome + (f"; LEFT: {left}" if left else ""), round(time.monotonic() - began)])
        print(rows[-1], flush=True)
    return {"rows": rows}


def full_disk(house: Path) -> str:
    """disk of the results full (a tmpfs of 600 kB), then more room"""
    write(house, "01_corpus", FRAMES + END)
    with _mounted(house / "out", "600k"):
        status, printed = _run(house, *ALL, COMPANION_OUTPUT=str(house / "out"))
        whole = store.spoiled(house / "out")
        subprocess.run(["mount", "-o", "remount,size=64m", str(house / "out")], check=True)
        again, _ = _run(house, *ALL, COMPANION_OUTPUT=str(house / "out"))
    return f"{_outcome(status, printed)}; files spoiled by it: {len(whole)}; with room the same command ends with status {again}"


def full_disk_of_downloads(house: Path) -> str:
    """disk of the downloads full (a tmpfs of 64 kB)"""
    write(house, "01_corpus", "import os\nfrom lib.engine import assets\n"
          "assets.registry = lambda: {'big': {'kind': 'pip', 'package': 'big', 'version': '1', 'licence': 'MIT', 'sha256': ''}}\n"
          "def pack(name, asset, folder):\n    (folder / 'big.whl').write_bytes(os.urandom(2 ** 20))\n    return folder / 'big.whl', '1'\n"
          "assets.PACKAGES['pip'] = pack\nassets.fetch('big')\n" + END)
    with _mounted(house / "cache", "64k"):
        status, printed = _run(house, *ALL, COMPANION_CACHE=str(house / "cache"))
        left = [path.name for path in (house / "cache").rglob("*") if path.is_file()]
    return f"{_outcome(status, printed)}; files left in the cache: {len(left)}"


def little_memory(house: Path) -> str:
    """4 GiB of address space (RLIMIT_AS), 8 wanted"""
    write(house, "01_corpus", "much = bytes(2 ** 33)\n" + END)
    return _outcome(*_run(house, *ALL, limit=(resource.RLIMIT_AS, 2 ** 32)))


def killed_kernel(house: Path) -> str:
    """kernel killed by the system for want of memory"""
    write(house, "01_corpus", "import os\nos.kill(os.getpid(), 9)\n" + END)
    return _outcome(*_run(house, *ALL))


def no_home(house: Path) -> str:
    """home that cannot be written"""
    return _outcome(*_run(house, *ALL, HOME="/proc"))


def no_temporary_folder(house: Path) -> str:
    """no /tmp, /var/tmp and /dev/shm (read-only)"""
    hide = "".join(f"mount -t tmpfs -o ro tmpfs {place}; " for place in ("/tmp", "/var/tmp", "/dev/shm"))
    inside = f"mount --bind {house} /mnt; {hide} cd /mnt; exec {PYTHON} -m lib.engine.run {' '.join(ALL)}"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", inside], env=environment(), text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=600)
    return _outcome(done.returncode, done.stdout)


def two_runs(house: Path) -> str:
    """two runs of one profile at once"""
    return " and ".join(sorted(_outcome(*done) for done in _together(house, ALL, ALL)))


def two_profiles(house: Path) -> str:
    """runs of two profiles at once on one cache"""
    (house / "params/smoke").rename(house / "params/kept")
    for profile in ("smoke", "other"):
        subprocess.run(["cp", "-r", house / "params/kept", house / "params" / profile], check=True)
        for file in (house / "params" / profile).glob("*.yaml"):
            file.write_text(file.read_text().replace("profile: smoke", f"profile: {profile}"))
    return " and ".join(sorted(_outcome(*done) for done in _together(house, ALL, ("all", "--profile", "other"))))


def clock(house: Path) -> str:
    """clock that goes back two hours between two chapters"""
    first = _run(house, *ALL)
    os.utime(house / "runs/smoke/02_tokenizer/record.json", (time.time() - 7200,) * 2)
    status, printed = _run(house, *ALL)
    return f"{_outcome(*first)}; then {'nothing' if 'Nothing to be done' in printed else 'something'} to be done, status {status}"


class _mounted:
    """A tmpfs of a size for as long as the block lasts."""

    def __init__(self, place: Path, size: str):
        self.place = place
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        subprocess.run(["umount", self.place], check=True)


def _empty(place: Path) -> Path:
    subprocess.run(["rm", "-rf", place], check=True)
    place.mkdir(parents=True)
    return place


def _start(house: Path, *arguments, limit=None, **more) -> subprocess.Popen:
    return subprocess.Popen([PYTHON, "-m", "lib.engine.run", *arguments], cwd=house, env=environment(**more), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            preexec_fn=limit and (lambda: resource.setrlimit(limit[0], (limit[1],) * 2)))


def _run(house: Path, *arguments, **more) -> tuple[int, str]:
    process = _start(house, *arguments, **more)
    printed, _ = process.communicate(timeout=600)
    return process.returncode, printed


def _together(house: Path, *commands) -> list[tuple[int, str]]:
    every = [_start(house, *arguments) for arguments in commands]
    return [(one.returncode, printed) for one, (printed, _) in [(one, one.communicate(timeout=600)) for one in every]]


def _outcome(status: int, printed: str) -> str:
    """A result, or the sentence that was told; a traceback would be shown as one."""
    if "Traceback" in printed:
        return "TRACEBACK"
    if not status:
        return "a result"
    words = "^Chapter .* stopped in|^The kernel|could not|cannot|already"
    told = [re.sub(r"(/[\w.-]+){2,}/", "…/", line.strip()) for line in printed.splitlines() if re.search(words, line)]
    told = told or ["NOTHING TOLD"]
    return f"“{told[0][:150]}{'…' if len(told[0]) > 150 else ''}”".replace("|", "/")
