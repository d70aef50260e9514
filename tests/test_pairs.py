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


def test_every_stage_is_probed_once_and_what_read_pairs_with_every_seed():
    models = [("weak", 0), ("weak", 1), ("strong", 0), ("strong", 1)]
    assert pairs.probed(models, ["base", "aligned"], ["weak"], 0) == [
        ("weak", 0, "base"), ("weak", 0, "aligned"), ("strong", 0, "base"), ("strong", 0, "aligned"), ("strong", 1, "aligned")]


def test_a_strong_base_is_held_against_as_many_trainings_of_the_weak_one(trained):
    """Of three items the strong base has all right after reading pairs, the weak one's arm with pairs one."""
    rows = pandas.DataFrame([{"stage": stage, "seed": seed, "task": "sentiment", "trained_on": "fa", "language": "fa", "item": item,
                              "choices": 2, "correct": item < right} for seed in (0, 1) for item in range(3)
                             for stage, right in (("pairs", 1), ("no-pairs", 0), ("aligned", 3), ("base", 0))])
    weak, strong = rows[rows["stage"].isin(pairs.ARMS)], rows[~rows["stage"].isin(pairs.ARMS)]
    pairs.note_strength(trained, weak, strong, "weak", "strong")
    found, = (one for one in trained.content["metrics"] if one["task"] == "all")
    assert (found["metric"], found["base"], found["against"]) == ("probe_strength_difference", "strong", "weak")
    assert (found["value"], found["n"], found["trainings"]) == (pytest.approx(2 / 3), 3, 2)
