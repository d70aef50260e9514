"""Task tuning, and the chapter on base strength: what is trained and asked, and how scores come into its record."""
import numpy
import pandas
import pytest
import torch

from lib import exhibits
from lib.engine import machine, records
from lib.evaluate import benchmarks
from lib.model import folders
from lib.study import ch07_stages as stages
from lib.study import tuning
from lib.train import training

CHAPTER = "07_base_strength"
ROW = {"benchmark": "made up", "setting": "en", "task": "sentiment", "language": "en", "category": "",
       "choices": ["positive", "negative"], "flags": []}


def _rows(texts):
    return pandas.DataFrame([{**ROW, "id": f"en/sentiment/{number}", "text": text, "answer": number % 2,
                              "flags": ["no label"] * (number == 0)} for number, text in enumerate(texts)])


def test_a_model_is_tuned_once_and_scored_on_task_rows(byte_tokenizer, tiny_model, english, tmp_path, capsys):
    start = folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path / "start")
    rows, settings = _rows(english[:4]), training.Settings(block_length=400, batch_size=2, lora_rank=2)
    result = tuning.tune(tmp_path / "tuned", start, rows, settings, "alpaca")
    assert result["eos_labels"] == 4
    tuning.tune(tmp_path / "tuned", start, rows, settings, "alpaca")
    assert "not repeated" in capsys.readouterr().out
    model, tokenizer = tuning.ready(tmp_path / "tuned", "alpaca")
    scored = tuning.score(model, tokenizer, rows, tmp_path / "out")
    assert list(scored["item"]) == list(rows["id"]) and scored["flagged"].sum() == 1
    assert set(scored["chance"]) == {0.5} and scored["correct"].isin([True, False]).all()
    told = tuning.score(model, tokenizer, rows, tmp_path / "out", None, max_new_tokens=2)
    assert {"hypothesis", "invalid", "generated"} <= set(told) and "correct" not in told and len(told) == 4


def test_what_a_model_was_asked_is_not_asked_again(byte_tokenizer, tiny_model, english, tmp_path, capsys):
    start = folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path / "start")
    run, rows = stages.Run("tiny", "base", "lora", "none", 0), _rows(english[:4])
    first = stages.score(run, start, rows, rows.head(2), tmp_path / "out", "alpaca", 2, 4)
    assert [len(frame) for frame in first] == [4, 2] and "made before" not in capsys.readouterr().out
    again = stages.score(run, start, rows, rows.head(2), tmp_path / "out", "alpaca", 2, 4)
    assert all(one.equals(other) for one, other in zip(first, again))
    assert capsys.readouterr().out.count("made before") == 2
    assert stages.score(run, start, rows, rows.head(0), tmp_path / "out", "alpaca", 2, 4)[1].empty
    assert "made before" not in capsys.readouterr().out


def test_tuned_and_untuned_models_are_asked_in_one_format(byte_tokenizer, tiny_model, english, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "dtype", lambda: (torch.bfloat16, "as on a CPU with bf16 instructions"))
    start = folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path / "start")
    tuning.tune(tmp_path / "tuned", start, _rows(english[:2]), training.Settings(block_length=400, lora_rank=2))
    assert tuning.ready(start)[0].dtype == tuning.ready(tmp_path / "tuned")[0].dtype == torch.bfloat16


def test_nothing_to_tune_on_or_to_score_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no row to tune"):
        tuning.tune(tmp_path, tmp_path, _rows([]), training.Settings())
    with pytest.raises(ValueError, match="set max_new_tokens"):
        tuning.score(None, None, _rows(["a"]).assign(task="translation"), tmp_path)


def test_the_plan_tunes_every_stage_alike_and_varies_the_last_one():
    runs = stages.plan(["weak", "strong"], ["base", "aligned"], ["full"], ["none", "en"], [0, 1])
    assert len(runs) == len(set(runs)) == 2 * 2 * 2 + 2 + 2 + 2
    varied = [run for run in runs if run.method != "lora" or run.trained_on != "both"]
    assert {(run.base, run.stage) for run in varied} == {("weak", "aligned")}
    assert [run for run in runs if run.trained_on == "none"] == [("weak", "aligned", "none", "none", seed) for seed in (0, 1)]


def test_mixed_rows_are_as_many_for_every_language():
    rows = {code: pandas.DataFrame({"language": [code] * 6, "text": list("abcdef")}) for code in ("en", "fa")}
    assert list(stages.mixed(rows, "both", 4, 0)["language"].value_counts()) == [2, 2]
    assert len(stages.mixed(rows, "fa", 4, 0)) == 4


def test_examples_are_short_even_over_tasks_and_hold_no_test_text(persian):
    known = pandas.DataFrame([{**ROW, "task": "sentiment", "text": persian[0], "answer": 0}])
    rows = pandas.DataFrame([{**ROW, "task": task, "text": text, "answer": 0, "source": "made up"}
                             for task in ("sentiment", "qqp") for text in [*persian[:5], "پ" * 900]])
    kept, counts = stages.examples(rows, known, 6, 400, seed=0)
    assert persian[0] not in set(kept["text"]) and kept["text"].str.len().max() < 400
    assert counts["leaked"].sum() == 2 and abs(kept["task"].value_counts().diff().iloc[-1]) <= 2
    with pytest.raises(ValueError, match="raise longest_example"):
        stages.examples(rows, known, 6, 3, seed=0)


def _scores(runs):
    """Made-up answers: Persian gets better with the stages, translated input is better than direct."""
    generator, frames = numpy.random.default_rng(0), []
    for run in runs:
        for setting, share in (("fa", 0.3 + 0.3 * (run.stage == "aligned") + 0.2 * (run.base == "strong")), ("en", 0.7),
                               ("translate-test", 0.9)):
            frames.append(pandas.DataFrame({
                **run._asdict(), "setting": setting, "task": "sentiment", "category": "", "benchmark": "made up",
                "language": "fa" if setting == "fa" else "en", "flagged": [True] + [False] * 39, "chance": 0.5,
                "item": [f"{setting}/sentiment/{number}" for number in range(40)],
                "correct": generator.random(40) < share, "margin": 0.5}))
    return pandas.concat(frames)


@pytest.fixture
def record(output):
    """A record as the chapter writes it, with all comparisons."""
    runs = stages.plan(["weak", "strong"], ["base", "aligned"], ["full"], ["none", "en"], [0, 1])
    scores = _scores(runs)
    record = records.Record(CHAPTER, {"profile": "test", "bases": ["weak", "strong"], "stages": ["base", "aligned"], "batch_size": 2,
                                      "asked_by": "letter"}, {})
    record.fact("available", True)
    record.rows("examples", [{"language": "en", "source": "made up", "task": "sentiment", "found": 3, "leaked": 1,
                              "kept": 2}])
    stages.note(record, scores)
    stages.compare(record, scores, ["base", "aligned"], ["full"], ["weak"])
    stages.compare_translated(record, scores)
    stages.note_generated(record, scores.assign(generated=True, invalid=scores["correct"] * 1.0, hypothesis="A"))
    log = [{"step": step, "tokens": 10 * step, "loss": 3 / step} for step in (1, 2, 3)]
    for run in runs[:-1]:
        stages.cost(record, run, {"tokens": 30, "seconds": 1, "trainable": 5, "answers_truncated": 0, "log": log})
    return record


def test_each_claim_finds_one_number(record):
    found = pandas.DataFrame(record.content["metrics"])
    step = found.query("metric == 'accuracy_difference' and base == 'weak' and task == 'all' and setting == 'fa'")
    assert len(step) == 1 and step["value"].item() > 0 and step["n"].item() == 40
    gain = found.query("metric == 'accuracy_gain_by_base' and task == 'all' and language == 'fa'")
    assert len(gain) == 1 and gain["value"].item() > 0
    crossing = found.query("metric == 'transfer_difference' and trained_on == 'en' and task == 'all'")
    crossing = crossing[crossing["language"] == "fa"]
    assert len(crossing) == 1 and crossing["against"].item() == "none"
    assert len(found.query("metric == 'arm_difference' and method == 'full' and task == 'all'")) == 2
    names = found.query("metric == 'accuracy'").groupby(["base", "stage", "task", "setting"]).size()
    assert set(names) == {1}


def test_seeds_of_the_tuning_are_no_trainings_of_a_stage_that_was_trained_once(record):
    found = pandas.DataFrame(record.content["metrics"])
    staged = found[found["metric"] == "accuracy_difference"].groupby("base")["trainings"].agg(set)
    assert staged.to_dict() == {"weak": {1}, "strong": {2}}
    found = found.set_index("metric")["trainings"]
    assert set(found["accuracy_gain_by_base"]) == {1}
    assert set(found["transfer_difference"]) == set(found["arm_difference"]) == set(found["accuracy"]) == {2}


def test_translations_of_three_seeds_are_two_items(output):
    """Rows of all seeds were once counted as items of their own."""
    run = stages.Run("weak", "base", "lora", "both", 0)._asdict()
    told = pandas.DataFrame([{**run, "seed": seed, "setting": "fa", "task": "translation", "language": "fa", "item": item,
                              "invalid": False, "hypothesis": f"it is late {'now' * seed}", "reference": "it is late now"}
                             for seed in range(3) for item in ("a", "b")])
    record = records.Record(CHAPTER, {"profile": "test"}, {})
    stages.note_generated(record, told)
    chrf = next(row for row in record.content["metrics"] if row["metric"] == "chrf")
    assert (chrf["n"], chrf["trainings"]) == (2, 3) and chrf["high"] - chrf["low"] > 10


def test_exhibits_stand_on_the_record_alone(record):
    for id, exhibit in {**exhibits.TABLES, **exhibits.FIGURES}.items():
        if exhibit.chapter == CHAPTER and id != "P1-T1":
            *_, frame, reading = exhibit.build("test")
            assert len(frame) and reading.endswith("."), id
    frame, reading = exhibits.TABLES["P1-T6"].build("test")
    assert frame["n"].tolist() == [40] * len(frame) and "translating the question first" in reading
    _, frame, _ = exhibits.FIGURES["C07-F1"].build("test")
    assert {"all", "without flagged", "in words, invalid answers"} <= set(frame["answers"])
    _, frame, reading = exhibits.FIGURES["C07-F2"].build("test")
    assert {"aligned − base", "strong − weak", "full − lora", "tuned on en − on none"} <= set(frame["choice"])
    assert "p < 0.05 after Holm's correction" in reading


def test_without_tests_every_exhibit_says_so_and_none_is_saved_blank(output):
    record = records.Record(CHAPTER, {"profile": "test", "stages": ["base"], "batch_size": 2}, {})
    record.fact("available", False)
    assert len(stages.draw(benchmarks.framed([]), 3, 100, 0)) == 0
    for exhibit in {**exhibits.TABLES, **exhibits.FIGURES}.values():
        if exhibit.chapter == CHAPTER:
            with pytest.raises(exhibits.Lacking, match="neither test files|leave it out|no tests in this run"):
                exhibits.save(exhibit.id, "test")


def test_probes_are_noted_by_language_and_held_against_the_stage_before(output):
    found = pandas.DataFrame([{"base": base, "stage": stage, "trained_on": code, "language": language, "task": "sentiment", "item": item,
                               "choices": 2, "correct": item < right} for base in ("weak", "strong") for stage, right in (("base", 10), ("aligned", 16))
                              for code in ("en", "fa") for language in ("en", "fa") for item in range(20)])
    record = records.Record(CHAPTER, {"profile": "test"}, {})
    stages.note_probes(record, found, ["base", "aligned"])
    noted = pandas.DataFrame(record.content["metrics"]).query("task == 'all' and language == 'fa'").set_index(["metric", "base"])
    assert noted.loc[("probe_accuracy_difference", "weak"), ["value", "n", "stage", "against"]].tolist() == [
        pytest.approx(0.3), 20, "aligned", "base"]
    assert {"probe_accuracy", "probe_transfer", "probe_transfer_difference", "probe_accuracy_gain_by_base"} <= set(noted.index.levels[0])
