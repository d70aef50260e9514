"""What probes read off the arms of chapter 04, with translation pairs and without."""
import pandas
import pytest

from lib.engine import paths, records
from lib.study import ch07_pairs as pairs


@pytest.fixture
def trained(output):
    """Chapter 04 as it left two seeds of both arms."""
    records.write_json(paths.runs("test") / pairs.CHAPTER / "record.json", {"parameters": {"seeds": [0, 1]}, "metrics": []})
    for arm in pairs.ARMS:
        for seed in (0, 1):
            folder = paths.runs("test") / pairs.CHAPTER / f"{arm}-{seed}"
            folder.mkdir(parents=True)
            (folder / "adapter_model.safetensors").write_bytes(f"{arm} {seed}".encode())
    return records.Record("07_base_strength", {"profile": "test"}, {})


def test_arms_are_all_of_chapter_04_or_none(trained):
    found = pairs.arms("test", trained)
    assert list(found) == [("no-pairs", 0), ("pairs", 0), ("no-pairs", 1), ("pairs", 1)]
    assert len(trained.content["inputs"]) == 4, "a record says what it read"
    (found["pairs", 1] / "adapter_model.safetensors").unlink()
    assert pairs.arms("test", trained) == {}


def test_a_difference_of_arms_counts_their_trainings(trained):
    """Of three items one more is right with pairs, whatever the seed; what is fitted on the other language is not compared."""
    rows = [{"stage": arm, "seed": seed, "task": "sentiment", "trained_on": fitted, "language": "fa", "item": item, "choices": 2,
             "correct": item < (2 if arm == "pairs" else 1) and fitted == "fa"}
            for arm in pairs.ARMS for seed in (0, 1) for fitted in ("fa", "en") for item in range(3)]
    pairs.note(trained, pandas.DataFrame(rows), "tiny")
    found = pandas.DataFrame(trained.content["metrics"]).query("task == 'all'").set_index(["metric", "stage"])
    gained = found.loc["probe_accuracy_difference", "pairs"]
    assert (gained["value"], gained["n"], gained["trainings"], gained["against"]) == (pytest.approx(1 / 3), 3, 2, "no-pairs")
    assert found.loc[("probe_accuracy", "no-pairs"), "value"] == pytest.approx(1 / 3)
