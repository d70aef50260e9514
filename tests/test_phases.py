"""Phases: what each reads, how states follow each other, and how their scores come into the record."""
import numpy
import pandas
import pytest

from lib import exhibits
from lib.engine import records, statistics
from lib.model import folders
from lib.study import ch03_pretraining as pretraining
from lib.study import ch04_bilingual as bilingual
from lib.study import ch08_phases as phases
from lib.study import contrast
from lib.train import training


def test_states_run_from_the_base_through_both_halves_of_every_phase():
    names = [state.name for state in phases.states(2)]
    assert names == ["base", "extended", "phase 1 text", "phase 1", "phase 2 text", "phase 2"]


def test_no_two_phases_share_a_text_and_only_training_text_is_read(english, persian):
    split = ["train", "train", "test", "validation"] * 5
    documents = pandas.DataFrame({"split": split * 2, "language": ["en"] * 20 + ["fa"] * 20,
                                  "text": [f"{line} {n}" for n, line in enumerate(english + persian)]})
    pairs = pandas.DataFrame({"split": split, "english": [f"{line} {n}" for n, line in enumerate(english)],
                              "target": [f"{line} {n}" for n, line in enumerate(persian)]})
    found = phases.streams(documents, pairs, "fa", 3, seed=0)
    assert len(found) == 3 and set(found[0]) == {"fa", "en", "pairs"}
    texts = [text for part in found for stream in part.values() for text in stream]
    assert len(texts) == len(set(texts))
    assert set(texts) & set(documents["text"]) <= set(documents.loc[documents["split"] == "train", "text"])


def test_rows_that_do_not_suffice_and_shares_over_the_whole_are_refused():
    assert phases.own(list(range(7)), 2, 3) == [2, 3]
    with pytest.raises(ValueError, match="2 rows are too few for 3 phases"):
        phases.own([1, 2], 1, 3)
    assert bilingual.shares("pairs", "fa", 0.3, 0.2) == {"fa": pytest.approx(0.5), "pairs": 0.3, "en": 0.2}
    with pytest.raises(ValueError, match="lower one of them"):
        bilingual.shares("pairs", "fa", 0.8, 0.3)


def test_perplexity_is_that_of_a_token():
    rows = pandas.DataFrame({"item": range(3), "bits": [3.0, 5.0, 8.0], "tokens": [1, 2, 1], "bytes": [4, 4, 4]})
    assert contrast.estimate(rows, phases.PERPLEXITY).value == pytest.approx(2**4)


@pytest.fixture
def scores():
    """Bits of six texts in two languages over one phase: its text helps Persian, its instructions help English."""
    generator = numpy.random.default_rng(0)
    size = generator.uniform(50, 60, 6)
    level = {("base", "fa"): 3, ("extended", "fa"): 4, ("text", "fa"): 2, ("instructions", "fa"): 2,
             ("base", "en"): 1, ("extended", "en"): 1, ("text", "en"): 1.2, ("instructions", "en"): 1}
    return pandas.concat([pandas.DataFrame({
        "phase": int(stage in phases.STAGES), "stage": stage, "seed": seed, "language": language, "item": range(6),
        "bits": size * bits, "bytes": size, "tokens": size / 4}) for (stage, language), bits in level.items()
        for seed in (0, 1)])


def test_instructions_are_compared_with_the_text_before_them_and_the_end_with_the_start(scores, output):
    record = records.Record(phases.CHAPTER, {"profile": "test"}, {})
    phases.note(record, scores)
    found = pandas.DataFrame(record.content["metrics"]).set_index(["metric", "phase", "stage", "language"])
    assert found.loc[("perplexity", 1, "text", "fa"), "value"].item() == pytest.approx(2**8)
    assert found.loc[("bits_per_byte", 0, "base", "en"), "n"].item() == 6
    changes = found.loc["bits_per_byte_difference"].set_index("against", append=True)["value"]
    assert changes[1, "instructions", "en", "text"] == pytest.approx(-0.2)
    assert changes["all", "instructions", "en", "text"] == pytest.approx(-0.2)
    assert changes[1, "instructions", "fa", "extended"] == pytest.approx(-2)
    assert changes[1, "text", "fa", "extended"] == pytest.approx(-2)
    frame, reading = exhibits.TABLES["P2-T3"].build("test")
    assert list(frame["state"]) == ["base", "extended", "text", "instructions"]
    assert "en -0.200 [-0.200, -0.200]" in reading and "n = 6 texts" in reading


def test_a_phase_trains_text_then_instructions_and_is_not_repeated(byte_tokenizer, tiny_model, english, output,
                                                                    monkeypatch, capsys):
    from lib.data import mixture
    start = folders.save(tiny_model(byte_tokenizer), byte_tokenizer, output / "start")
    monkeypatch.setattr(folders, "stage", lambda profile, stage: start)
    packed = mixture.blocks([("en", text) for text in english], byte_tokenizer, 32)
    rows = pandas.DataFrame({"task": ["dialogue"] * 2, "language": "en", "text": "Open the file.", "answer": "Yes."})
    settings = {"text": training.Settings(block_length=32, batch_size=8, lora_rank=2),
                "instructions": training.Settings(block_length=128, lora_rank=2)}
    results = phases.train("test", 1, packed, rows, settings, "chat")
    assert set(results) == {"text", "instructions"} and results["instructions"]["eos_labels"] == 2
    texts, last = pandas.DataFrame({"language": "en", "text": english[:2]}), phases.State(1, "instructions")
    scored, again = (pretraining.score(phases.folder("test", last, 0), texts, output / "scores", seed=0) for _ in range(2))
    assert (scored["bits"] > 0).all() and again.equals(scored)
    other = pretraining.score(phases.folder("test", last, 0), texts[:1], output / "scores", seed=0)
    assert len(other) == 1, "texts are asked anew where there are others"
    record = records.Record(phases.CHAPTER, {"profile": "test"}, {})
    phases.budget(record, 1, 0, packed, len(rows), results)
    facts = pandas.DataFrame(record.content["facts"])
    assert facts.query("fact == 'stream_tokens'")["value"].sum() == results["text"]["tokens"] == len(packed) * 32
    phases.train("test", 1, packed, rows, settings, "chat")
    assert capsys.readouterr().out.count("not repeated") == 3


@pytest.fixture
def record(scores, output):
    """A record of the whole chapter with scores that are made up, as a run without one of the formats leaves it."""
    made = records.Record(phases.CHAPTER, {"profile": "test"}, {})
    phases.note(made, scores)
    for stream, tokens in (("fa", 60), ("pairs", 30), ("en", 10)):
        made.fact("stream_tokens", tokens, "tokens", phase=1, seed=0, stage="text", stream=stream)
    for stage in phases.STAGES:
        made.fact("examples", 4, "examples", phase=1, seed=0, stage=stage)
        made.fact("tokens", 50, "tokens", phase=1, seed=0, stage=stage)
        made.fact("seconds", 2.0, "s", phase=1, seed=0, stage=stage)
    made.fact("benchmarks", True)
    return made


def test_the_budget_counts_tokens_by_stream_and_leaves_the_papers_blank(record):
    frame, reading = exhibits.TABLES["P2-T2"].build("test")
    assert frame.loc[0, ["fa text", "pairs", "en replay", "their tokens"]].tolist() == [60, 30, 10, 50]
    assert frame.loc[0, "paper"] == "not reported" and "100 tokens of text, 30 of them translation pairs" in reading


def test_formats_are_compared_with_the_first_and_a_missing_one_says_why(record):
    items = pandas.DataFrame({"item": range(8), "language": "fa", "correct": [1, 0] * 4, "margin": [0.5, -0.5] * 4})
    read = pandas.DataFrame({"item": range(4), "language": "fa", "bits": 8.0, "bytes": 4})
    phases.note_formats(record, pandas.concat([items.assign(stage="fp32"), items.assign(stage="nf4", correct=1)]),
                        pandas.concat([read.assign(stage="fp32"), read.assign(stage="nf4", bits=9.0)]))
    for kind, size in (("fp32", 500_000_000), ("nf4", 100_000_000)):
        record.metric("tokens_per_second", statistics.Estimate(9.0, 2, 8.0, 10.0), "tokens/s", precision=kind)
        record.fact("size", size, "bytes", precision=kind)
        record.fact("peak_memory", 2 * size, "bytes", precision=kind)
    record.fact("not_run", "int8 was not run, because there is no kernel.", precision="int8")
    frame, reading = exhibits.TABLES["P2-T1"].build("test")
    frame = frame.set_index("format")
    assert frame.loc["nf4", "accuracy %"].startswith("100.0 [") and frame.loc["nf4", "Δ accuracy"].startswith("50.0 [")
    assert frame.loc["nf4", "Δ bits/byte fa"].startswith("0.250 [0.250, 0.250]")
    assert frame.loc["nf4", "paper Belebele %"] == 70.2 and frame.loc["fp32", "paper GB"] == ""
    assert "no kernel" in frame.loc["int8", "remark"] and "1 formats not run" in reading and "nf4 50.0" in reading
    _, data, reading = exhibits.FIGURES["P2-F2"].build("test")
    ours = data[data["of"] == "ours"]
    assert ours["size"].tolist() == [40] and ours["value"].tolist() == [50] and "nf4 takes 40 %" in reading
    assert "28 % and costs 3.7 points" in reading


def test_questions_stand_beside_what_papers_report_or_are_left_blank(record):
    frame, reading = exhibits.TABLES["P2-T4"].build("test")
    assert "nothing to ask" in reading and "here" not in set(frame["from"])
    assert frame.loc[frame["model"].str.contains("GPT-3.5, 0-shot, fa prompt"), "MCQ literature %"].item() == "28.0"
    choices = pandas.DataFrame({"item": range(8), "stage": "base", "category": ["literature", "math & logic"] * 4, "correct": [1, 0] * 4,
                             "choices": 4})
    answers = pandas.DataFrame({"item": range(2), "stage": "base", "f1": [0.5, 1], "exact": [False, True], "invalid": [False, False]})
    phases.note_questions(record, choices, answers, "fa")
    frame, reading = exhibits.TABLES["P2-T4"].build("test")
    ours = frame.set_index("model").loc["base"]
    assert ours["MCQ literature %"].startswith("100.0 [") and ours["reading comprehension F1 %"].startswith("75.0 [")
    assert "n = 4 questions a category" in reading


def test_translations_and_transfer_become_tables(record):
    answers = [(f"open {n}", f"read page {n} of it") for n in range(6)]
    frames = [pandas.DataFrame({"direction": "fa-en", "prompt": "chat", "item": range(6), "stage": stage,
                                "invalid": False, "hypothesis": [pair[side] for pair in answers],
                                "reference": [pair[1] for pair in answers]})
              for side, stage in enumerate(("base", "phase 1"))]
    phases.note_translations(record, pandas.concat(frames), "stage")
    frame, reading = exhibits.TABLES["P2-T5"].build("test")
    ours = frame.set_index(["model", "measure"])["value"]
    assert ours["phase 1", "chrF++"].startswith("100.0") and ours["phase 1", "BLEU"].startswith("100.0")
    assert "fa-en" in reading and "COMET" in set(frame["measure"])
    tested = pandas.concat([pandas.DataFrame({"task": "emoji_mcq", "language": language, "item": range(8), "choices": 4,
                                              "correct": [stage == language] * 8, "margin": 0.1, "stage": stage, "seed": seed})
                            for stage in ("none", "fa", "en", "both") for language in ("fa", "en") for seed in (0, 1)])
    phases.note_transfer(record, tested)
    frame, reading = exhibits.TABLES["P2-T7"].build("test")
    frame = frame.set_index("tuned on")
    assert frame.loc["fa", "Δ fa"].startswith("100.0") and frame.loc["none", "Δ fa"] == ""
    assert "fa → en 0.0 [-20.0, 20.0]†, en → fa 0.0 [-20.0, 20.0]†" in reading


def test_perplexity_is_drawn_from_the_extended_model_on(record):
    drawing, frame, reading = exhibits.FIGURES["P2-F1"].build("test")
    assert [len(line.get_xdata()) for line in drawing.axes[0].lines[::3]] == [3, 3]
    assert "extended to 1 instructions" in reading and "fa 4.00 → 2.00" in reading


def test_training_items_are_as_many_in_every_language_and_no_test_item(output):
    items = pandas.DataFrame([{"id": f"{code}{n}", "task": "emoji_mcq", "language": code, "question": f"{code} {n}",
                               "split": "test" if n % 4 == 0 else "train", "choices": ["a", "b"], "answer": 0}
                              for code in ("fa", "en") for n in range(20)])
    found = phases.transfer_rows(items, ["emoji_mcq"], "fa", 6, 100, seed=0)
    assert {name: len(rows) for name, rows in found.items()} == {"fa": 6, "en": 6, "both": 6}
    assert found["both"]["language"].value_counts().to_dict() == {"fa": 3, "en": 3}
    assert (pandas.concat(found.values())["split"] == "train").all()
    with pytest.raises(ValueError, match="No training item of heading_mcq in fa, en"):
        phases.transfer_rows(items, ["heading_mcq"], "fa", 6, 100, seed=0)
