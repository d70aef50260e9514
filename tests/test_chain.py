"""The whole chain on the smoke profile, by the command that users type, twice: complete, repeatable, resumable."""
import json
import os
import subprocess
import sys

import pytest

from lib import paths, run, sweep

pytestmark = pytest.mark.chain


def _reproduce(output):
    """`make reproduce PROFILE=smoke` into a folder of its own; (exit status, what it printed)."""
    environment = {**os.environ, "COMPANION_OUTPUT": str(output)}
    done = subprocess.run([sys.executable, "-m", "lib.run", "all", "--profile", "smoke"], cwd=paths.ROOT, text=True,
                          env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1800)
    return done.returncode, done.stdout


def _records(output):
    found = (output / "runs/smoke").glob("*/record.json")
    return {path.parent.name: json.loads(path.read_text("utf8")) for path in found}


def _computed(record):
    """The record's metrics but for speeds, which are measured and never twice the same."""
    return [row for row in record["metrics"] if row["unit"] != "tokens/s"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The output folder of one smoke run."""
    output = tmp_path_factory.mktemp("chain")
    status, printed = _reproduce(output)
    assert status == 0, printed
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
    for exhibit in ("P1-T3", "P1-T4", "P1-T5", "P1-T7", "P1-F1", "P1-F3", "P2-T8"):
        assert f"### {exhibit}." in page, exhibit


def test_an_unchanged_run_does_nothing_and_says_so(chain):
    status, printed = _reproduce(chain)
    sentence = f"Nothing to be done: all {len(run.UPSTREAM)} chapters of profile smoke are up to date."
    assert (status, printed.strip()) == (0, sentence)


def test_a_second_run_gives_the_same_metrics(chain, tmp_path):
    status, printed = _reproduce(tmp_path)
    assert status == 0, printed
    first, second = _records(chain), _records(tmp_path)
    for chapter in run.UPSTREAM:
        assert _computed(first[chapter]) == _computed(second[chapter]), chapter


def test_a_cell_run_alone_gives_the_metrics_of_its_record(chain, monkeypatch):
    """One rank of chapter 12, from the parameters that its record keeps, trained anew in a folder of its own."""
    monkeypatch.setenv("COMPANION_OUTPUT", str(chain))
    whole = _records(chain)["12_rank_and_precision"]
    cell = sweep.Cell("12_rank_and_precision", whole["parameters"] | {"ranks": [8]}, {"ranks": [8]})
    folder = sweep.prepare(cell, os.cpu_count())
    done = subprocess.run([sys.executable, "-m", "lib.sweep", "--cell", str(folder)], cwd=paths.ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
    assert done.returncode == 0, done.stdout
    alone = json.loads(cell.record.read_text("utf8"))
    expected, found = ([row for row in record["metrics"] if row.get("rank") == 8] for record in (whole, alone))
    assert expected and found == expected
