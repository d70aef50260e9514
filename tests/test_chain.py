"""The whole chain on the smoke profile, by the command that users type: complete, repeatable, resumable.

First as on a machine that reaches Python packages alone, without apt and public files; then anew with the public files,
as far as this machine has them.
"""
import json
import os
import subprocess
import sys

import pytest

from lib.engine import assets, paths, run, sweep

pytestmark = pytest.mark.chain

HERE = {name: value for name, value in os.environ.items() if name != "COMPANION_REACH"}
LACKING = {"07_base_strength", "08_phases_and_transfer", "10_multialpaca", "11_multilingual_benchmark",
           "12_rank_and_precision"}


def _reproduce(output, **more):
    """`make reproduce PROFILE=smoke` into a folder of its own; (exit status, what it printed)."""
    done = _run("lib.engine.run", "all", "--profile", "smoke", COMPANION_OUTPUT=str(output), **more)
    return done.returncode, done.stdout


def _run(module, *arguments, **more):
    """`python -m <module> <arguments>` as a user types it, both streams in `stdout`."""
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=paths.ROOT, env={**HERE, **more}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=3600)


def _records(output):
    found = (output / "runs/smoke").glob("*/record.json")
    return {path.parent.name: json.loads(path.read_text("utf8")) for path in found}


def _computed(record):
    """The record's metrics but for speeds, which are measured and never twice the same."""
    return [row for row in record["metrics"] if row["unit"] != "tokens/s"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What a machine is told that reaches Python packages alone: its cache has these, and no public file."""
    cache = tmp_path_factory.mktemp("cache")
    for folder in ("assets", "models"):
        (paths.cache() / folder).mkdir(parents=True, exist_ok=True)
        (cache / folder).symlink_to(paths.cache() / folder)
    return {"COMPANION_CACHE": str(cache), "COMPANION_DATA": "", "COMPANION_REACH": "pip"}


@pytest.fixture(scope="module")
def chain(tmp_path_factory, alone):
    """The output folder of one smoke run."""
    output = tmp_path_factory.mktemp("chain")
    status, printed = _reproduce(output, **alone)
    assert status == 0, printed
    assert "Reached: Python packages. Not reached: Debian packages" in printed and "Not at hand: " in printed
    return output


def test_every_chapter_leaves_its_record(chain):
    found = _records(chain)
    assert sorted(found) == sorted(run.UPSTREAM)
    for chapter, record in found.items():
        assert record["parameters"]["profile"] == "smoke", chapter
        assert record["measured"]["seconds"] > 0 and record["measured"]["kwh"] > 0, chapter
        assert record["measured"]["peak_memory"] < 8e9, chapter


def test_every_metric_has_n_and_an_interval_around_it(chain):
    metrics = [(chapter, row) for chapter, record in _records(chain).items() for row in record["metrics"]]
    assert metrics
    for chapter, row in metrics:
        assert row["n"] > 0 and row["unit"], (chapter, row)
        assert row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9, (chapter, row)


def test_every_table_and_figure_is_there(chain):
    page = (chain / "figures/smoke/README.md").read_text("utf8")
    assert "Not made here" not in page
    assert page.count(", not at hand.") > 10
    for exhibit in ("P1-T3", "P1-T4", "P1-T5", "P1-T7", "P1-F1", "P1-F3", "P2-T8"):
        assert f"### {exhibit}." in page, exhibit


def test_an_unchanged_run_does_nothing_and_says_so(chain, alone):
    status, printed = _reproduce(chain, **alone)
    sentence = f"Nothing to be done: all {len(run.UPSTREAM)} chapters of profile smoke are up to date."
    assert status == 0 and printed.strip().endswith(sentence), printed
    assert len(printed.strip().splitlines()) == 3


def test_with_the_files_what_lacked_them_is_stale_and_the_rest_gives_the_same_metrics(chain, tmp_path, monkeypatch):
    """With those of the public files, maybe none, that this machine has or can fetch."""
    first, absent = _records(chain), set(assets.absent(*assets.public()))
    lacked = {chapter: set(record["lacking"]) for chapter, record in first.items() if record["lacking"]}
    assert set(lacked) == LACKING
    found = {chapter for chapter, names in lacked.items() if names - absent}
    monkeypatch.setenv("COMPANION_OUTPUT", str(chain))
    assert set(run.stale("smoke")) == (found | {"13_carbon", "14_paper"} if found else set())
    status, printed = _reproduce(tmp_path, COMPANION_REACH="pip")  # the files are in the cache now
    assert status == 0, printed
    second = _records(tmp_path)
    for chapter in run.UPSTREAM:
        assert set(second[chapter]["lacking"]) == lacked.get(chapter, set()) & absent, chapter
        assert (_computed(first[chapter]) == _computed(second[chapter])) == (chapter not in found), chapter


def test_a_cell_run_alone_gives_the_metrics_of_its_record(chain, alone, monkeypatch):
    """One rank of chapter 12, from the parameters that its record keeps, trained anew in a folder of its own."""
    monkeypatch.setenv("COMPANION_OUTPUT", str(chain))
    whole = _records(chain)["12_rank_and_precision"]
    cell = sweep.Cell("12_rank_and_precision", whole["parameters"] | {"ranks": [8]}, {"ranks": [8]})
    folder = sweep.prepare(cell, 1)  # core, as a chapter of smoke has one: several round otherwise
    done = _run("lib.engine.sweep", "--cell", str(folder), COMPANION_OUTPUT=str(chain), **alone)
    assert done.returncode == 0, done.stdout
    made = json.loads(cell.record.read_text("utf8"))
    expected, found = ([row for row in record["metrics"] if row.get("rank") == 8] for record in (whole, made))
    assert expected and found == expected
