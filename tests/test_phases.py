"""Phases: what each reads, how states follow each other, and how their scores come into the record."""
import numpy
import pandas
import pytest

from lib import models, phases, records, tables, training


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
    assert phases.shares("fa", 0.3, 0.2) == {"fa": pytest.approx(0.5), "pairs": 0.3, "en": 0.2}
    with pytest.raises(ValueError, match="lower one of them"):
        phases.shares("fa", 0.8, 0.3)


def test_perplexity_is_that_of_a_token():
    rows = pandas.DataFrame({"bits": [3.0, 5.0, 8.0], "tokens": [1, 2, 1], "bytes": [4, 4, 4]})
    assert phases.perplexity(rows).value == pytest.approx(2**4)


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
    phases.compare(record, scores)
    found = pandas.DataFrame(record.content["metrics"]).set_index(["metric", "phase", "stage", "language"])
    assert found.loc[("perplexity", 1, "text", "fa"), "value"].item() == pytest.approx(2**8)
    assert found.loc[("bits_per_byte", 0, "base", "en"), "n"].item() == 6
    changes = found.loc["bits_per_byte_difference"].set_index("against", append=True)["value"]
    assert changes[1, "instructions", "en", "text"] == pytest.approx(-0.2)
    assert changes["all", "instructions", "en", "text"] == pytest.approx(-0.2)
    assert changes[1, "instructions", "fa", "extended"] == pytest.approx(-2)
    assert changes[1, "text", "fa", "extended"] == pytest.approx(-2)
    frame, reading = tables.TABLES["P2-T3"].build("test")
    assert list(frame["state"]) == ["base", "extended", "text", "instructions"]
    assert "en -0.200 [-0.200, -0.200]" in reading and "n = 6 texts" in reading


def test_a_phase_trains_text_then_instructions_and_is_not_repeated(byte_tokenizer, tiny_model, english, output,
                                                                    monkeypatch, capsys):
    from lib import mixture
    start = models.save(tiny_model(byte_tokenizer), byte_tokenizer, output / "start")
    monkeypatch.setattr(models, "stage", lambda profile, stage: start)
    packed = mixture.blocks([("en", text) for text in english], byte_tokenizer, 32)
    rows = pandas.DataFrame({"task": ["dialogue"] * 2, "language": "en", "text": "Open the file.", "answer": "Yes."})
    settings = {"text": training.Settings(block_length=32, batch_size=8, lora_rank=2),
                "instructions": training.Settings(block_length=128, lora_rank=2)}
    results = phases.train("test", 1, packed, rows, settings, "chat")
    assert set(results) == {"text", "instructions"} and results["instructions"]["eos_labels"] == 2
    scored = phases.score("test", phases.State(1, "instructions"), 0, {"en": english[:2]})
    assert (scored["bits"] > 0).all() and set(scored["stage"]) == {"instructions"}
    record = records.Record(phases.CHAPTER, {"profile": "test"}, {})
    phases.budget(record, 1, 0, packed, len(rows), results)
    facts = pandas.DataFrame(record.content["facts"])
    assert facts.query("fact == 'stream_tokens'")["value"].sum() == results["text"]["tokens"] == len(packed) * 32
    phases.train("test", 1, packed, rows, settings, "chat")
    assert capsys.readouterr().out.count("not repeated") == 2
