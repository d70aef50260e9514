"""What this machine reaches: Python packages, Debian packages, public files.

It is asked once, when a run starts (`survey`), and handed to the chapters in the environment variable COMPANION_REACH,
so that none of them waits again for a server that does not answer. Who sets that variable decides: `pip apt` behaves as
on a machine that reaches package registries alone.
"""
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import requests

VARIABLE = "COMPANION_REACH"
KINDS = {"pip": "Python packages", "apt": "Debian packages", "files": "public files"}
RAW = "https://raw.githubusercontent.com"
# A small file that has been there for years, to ask for: an answer from a proxy's own page is none.
SMALL = f"{RAW}/tatsu-lab/stanford_alpaca/761dc5bfbdeeffa89b8bff5d038781a4055f796a/seed_tasks.jsonl"
ASKED, PATIENCE = 5, 8  # seconds for one question, and for all of them, which are asked side by side
HELPER = "/usr/lib/apt/apt-helper"


def reaches(kind: str) -> bool:
    """Whether the machine reaches a kind of KINDS: what a survey found, else asked now, once a process."""
    told = os.environ.get(VARIABLE)
    return kind in told.split() if told is not None else not _obstacle(kind)


def survey() -> dict[str, str]:
    """What stands in the way of each kind, empty where nothing does, after PATIENCE seconds at most.

    This process and those it starts know it from then on.
    """
    if VARIABLE in os.environ:
        return {kind: "" if reaches(kind) else f"not named in {VARIABLE}" for kind in KINDS}
    found = {}
    threads = [threading.Thread(target=lambda kind=kind: found.update({kind: _obstacle(kind)}), daemon=True)
               for kind in KINDS]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    found = {kind: found.get(kind, "no answer") for kind in KINDS}
    os.environ[VARIABLE] = " ".join(kind for kind in KINDS if not found[kind])
    return found


@functools.cache
def _obstacle(kind: str) -> str:
    return {"pip": _pip, "apt": _apt, "files": _files}[kind]()


def _pip() -> str:
    """Asks pip, which knows the index and the proxy that the user configured."""
    return _answered([sys.executable, "-m", "pip", "index", "versions", "pip", "--retries", "0", "--timeout", str(ASKED)])


def _apt() -> str:
    """Asks apt for the release file of its first archive, by apt's own downloader, which knows the user's proxy."""
    missing = [tool for tool in ("apt-get", "dpkg-deb") if not shutil.which(tool)]
    if missing:
        return f"this machine has no {missing[0]}"
    targets = subprocess.run(["apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)dists/$(RELEASE)"],
                             capture_output=True, text=True)
    archives = [line for line in targets.stdout.splitlines() if line.startswith("http")]
    if not archives or not os.path.exists(HELPER):
        return ""  # an archive on disk, or an apt that cannot be asked: the download itself will tell
    with tempfile.TemporaryDirectory() as folder:
        return _answered([HELPER, "-o", f"Acquire::http::Timeout={ASKED}", "-o", f"Acquire::https::Timeout={ASKED}",
                          "-o", "Acquire::Retries=0", "-o", "APT::Sandbox::User=root", "download-file",
                          f"{archives[0]}/InRelease", f"{folder}/InRelease"])


def _files() -> str:
    try:
        return "" if requests.head(SMALL, timeout=ASKED, allow_redirects=True).ok else "refused"
    except requests.RequestException:
        return "no answer"


def _answered(command: list[str]) -> str:
    try:
        failed = subprocess.run(command, capture_output=True, timeout=ASKED + 2).returncode
    except (subprocess.TimeoutExpired, OSError):
        failed = True
    return "no answer" if failed else ""
