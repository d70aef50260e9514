"""What a machine reaches is asked once, side by side, within seconds, and then handed on."""
import functools
import os
import subprocess
import threading
import time

import pytest

from lib.engine import reach


@pytest.fixture
def untold(monkeypatch):
    """A process that nobody has told anything; nothing outside is asked."""
    monkeypatch.delenv(reach.VARIABLE)
    reach._obstacle.cache_clear()
    yield monkeypatch
    reach._obstacle.cache_clear()


def test_a_survey_is_handed_on_and_not_repeated(untold):
    untold.setattr(reach, "_pip", lambda: "")
    untold.setattr(reach, "_apt", lambda: "this machine has no apt-get")
    untold.setattr(reach, "_files", lambda: "no answer")
    assert reach.survey() == {"pip": "", "apt": "this machine has no apt-get", "files": "no answer"}
    assert os.environ[reach.VARIABLE] == "pip"
    untold.setattr(reach, "_files", lambda: pytest.fail("asked again"))
    assert reach.reaches("pip") and not reach.reaches("files")


def test_servers_that_hang_cost_the_patience_once(untold):
    gate = threading.Event()
    untold.setattr(reach, "PATIENCE", 0.3)
    untold.setattr(reach, "_obstacle", functools.cache(lambda kind: "" if gate.wait(60) else "hung"))
    try:
        began = time.monotonic()
        assert set(reach.survey().values()) == {"no answer"} and time.monotonic() - began < 20
    finally:
        gate.set()


def test_who_sets_the_variable_decides(monkeypatch):
    monkeypatch.setenv(reach.VARIABLE, "pip")
    assert reach.survey() == {"pip": "", "apt": "not named in COMPANION_REACH", "files": "not named in COMPANION_REACH"}


def test_a_machine_without_apt_is_told_from_one_whose_archive_is_away(untold):
    untold.setattr(reach.shutil, "which", lambda tool: None)
    assert reach._apt() == "this machine has no apt-get"
    untold.setattr(reach.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    untold.setattr(reach.os.path, "exists", lambda path: True)
    failed = subprocess.CompletedProcess([], 100, "http://archive.example/debian/dists/stable\n", "")
    untold.setattr(reach.subprocess, "run", lambda *arguments, **rest: failed)
    assert reach._apt() == "no answer"


def test_a_page_that_is_not_the_file_is_no_answer(untold):
    import requests
    answer = requests.Response()
    answer.status_code = 403
    untold.setattr(reach.requests, "head", lambda *arguments, **rest: answer)
    assert reach._files() == "refused"
