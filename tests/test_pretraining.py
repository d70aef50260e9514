"""Continued pretraining: what arms read, adapters added in part, what is kept of a run, and any model on the tests."""
import pandas
import pytest
import torch

from lib.data import corpus, mixture
from lib.engine import records
from lib.evaluate import __main__ as command
from lib.model import folders
from lib.study import ch03_pretraining as pretraining
from lib.train import training

pytestmark = pytest.mark.usefixtures("fp32")


def test_arms_differ_in_how_often_english_is_replayed():
    assert pretraining.shares("main", "fa", 0.1, "corpus") == {"fa": 0.9, "en": 0.1}
    assert pretraining.shares("no-replay", "fa", 0.1, "corpus") == pretraining.shares("main", "fa", 0.0, "corpus") == {"fa": 1.0}
    assert pretraining.shares("more-replay", "fa", 0.1, "generated") == pytest.approx({"fa": 0.7, "en": 0.3})
    assert pretraining.shares("main", "fa", 0.1, "generated") == {"fa": 0.9, "generated": 0.1}
    assert pretraining.shares("generated-replay", "fa", 0.1, "corpus") == {"fa": 0.9, "generated": 0.1}
    assert pretraining.shares("distilled-replay", "fa", 0.1, "generated") == {"fa": 0.9, "en": 0.1}
    assert pretraining.settings("distilled-replay", "corpus")["distilled"] == ("en",)
    assert [pretraining.settings(arm, "distilled")["distilled"] for arm in ("main", "lora")] == [("en",), ()]
    with pytest.raises(ValueError, match="more-replay reads 3 times the replay of 0.4"):
        pretraining.shares("more-replay", "fa", 0.4, "corpus")


@pytest.fixture
def start(tmp_path, byte_tokenizer, tiny_model):
    """A toy with the last of its rows new."""
    model = tiny_model(byte_tokenizer)
    model.config.base_vocab_size = len(byte_tokenizer) - 20
    return folders.save(model, byte_tokenizer, tmp_path / "start")


def test_a_scaled_adapter_lies_between_the_weights_before_and_after(start, byte_tokenizer, english, tmp_path):
    blocks = mixture.blocks([("en", line) for line in english], byte_tokenizer, 16)
    settings = training.Settings(block_length=16, batch_size=2, lora_rank=2, learning_rate=1e-2, rows_learning_rate=1e-2,
                                 milestones=pretraining.MILESTONES)
    training.pretrain(tmp_path / "run", start, blocks, settings)
    before, after, half = (model.state_dict() for model in (
        folders.load(start, torch.float32), folders.merged(tmp_path / "run"), folders.merged(tmp_path / "run", 0.5)))
    linear, rows = "model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight"
    assert (after[linear] - before[linear]).abs().max() > 1e-4
    torch.testing.assert_close(half[linear], (before[linear] + after[linear]) / 2)
    torch.testing.assert_close(half[rows], after[rows])
    quarter = folders.merged(training.milestone(tmp_path / "run", 0.25)).state_dict()[linear]
    assert 0 < (quarter - before[linear]).abs().max() < (after[linear] - before[linear]).abs().max()
    written = pretraining.continuations(start, tmp_path / "run", ["The quick", "Open"], 3)
    assert written.groupby("prompt")["share"].apply(list).tolist() == [[0.0, 0.25, 0.5, 1.0]] * 2


def test_the_base_writes_what_is_replayed_once_and_the_same_for_a_seed(start, tmp_path, monkeypatch):
    mixtures = [({"fa": 0.9, "generated": 0.1}, 2000), ({"fa": 1.0}, 9000)]
    first = list(pretraining.own_text(start, mixtures, 0, tmp_path)["generated"])
    assert sum(len(text.encode("utf8")) for text in first) >= 200 and all(map(str.strip, first))
    with monkeypatch.context() as patch:
        patch.setattr(pretraining.measure, "sample", lambda *_, **__: pytest.fail("sampled again"))
        assert list(pretraining.own_text(start, mixtures, 0, tmp_path)["generated"]) == first
    again, other = (list(pretraining.own_text(start, mixtures, seed, tmp_path / place)["generated"]) for seed, place in
                    ((0, "a"), (1, "b")))
    assert again == first != other
    assert pretraining.own_text(start, mixtures[1:], 0, tmp_path) == {}


def test_a_run_is_scored_once_a_scale_and_counts_as_the_stage_has_it():
    assert pretraining.scored_at("main", [0.5], 0.75) == [0.5, 0.75, 1.0] and pretraining.scored_at("lora", [0.5], 0.75) == [0.5, 1.0]
    assert pretraining.scored_at("main", [0.5], None) == [0.5, 1.0]
    assert pretraining.scored_at("full", [0.5], 0.75) == pretraining.scored_at("unextended", [0.5], 0.75) == [1.0]
    rows = pandas.DataFrame([("base", 1.0), ("main", 0.75), ("main", 1.0), ("lora", 0.5), ("lora", 1.0), ("full", 1.0)],
                            columns=["arm", "scale"])
    assert pretraining.counted(rows, 0.75).tolist() == [True, True, False, False, True, True]
    assert rows["arm"].map(pretraining.in_parts).tolist() == [False, True, True, True, True, False]


def test_scaled_adapters_are_held_against_the_base_and_the_whole(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    rows = [{"arm": "main", "scale": scale, "seed": seed, "language": code, "split": "outside", "item": item, "bytes": 10.0,
             "bits": 20 + sign * scale * (item + 1)} for scale in (0.5, 1.0) for seed in (0, 1, 2) for item in range(12)
            for code, sign in (("fa", -1), ("en", 1))]
    base = pandas.DataFrame(rows).query("scale == 1.0 and seed == 0").drop(columns=["scale", "arm", "seed"]).assign(bits=20.0)
    record = records.Record("03_pretraining", {"profile": "smoke", "seed": 0}, {})
    pretraining.note_scales(record, pandas.DataFrame(rows), base)
    found = pandas.DataFrame(record.content["metrics"]).set_index(["scale", "language", "against"])["value"]
    assert found[1.0, "en", "base"] == pytest.approx(0.65) and found[0.5, "en", "base"] == pytest.approx(0.325)
    assert found[0.5, "fa", "as trained"] == pytest.approx(0.325) and len(found) == 6
    # English loses 0.65 and 0.325, more than may be; then half of it; then a scale is given.
    assert pretraining.chosen(record, "fa", None) == 0.5
    for row in record.content["metrics"]:
        row["value"] *= 0.06 if row["language"] == "en" else 1
    assert pretraining.chosen(record, "fa", None) == 0.5 and pretraining.chosen(record, "fa", 1.0) == 1.0
    for row in record.content["metrics"]:
        row["value"] *= 0.5 if row["language"] == "en" else 1
    assert pretraining.chosen(record, "fa", None) == 1.0
    facts = pandas.DataFrame(record.content["facts"])
    assert facts["value"].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert facts["reason"].str.startswith(("the most gain of 2 scales", "English loses more", "given")).all()


def test_beginnings_are_the_first_words_of_long_enough_texts():
    texts = pandas.DataFrame({"language": ["fa", "fa", "zh", "en"], "text": ["یک دو سه چهار پنج شش هفت\nب", "یک دو", "今天天气很好我们出去玩吧", "a b"]})
    assert pretraining.beginnings(texts, "fa") == ["یک دو سه چهار پنج"]
    assert pretraining.beginnings(texts, "zh") == ["今天天气很好我们出去"]
    assert pretraining.beginnings(pandas.concat([texts] * 3), "fa") == ["یک دو سه چهار پنج"], "each once"


def test_any_model_is_scored_on_the_tests_of_a_profile(byte_tokenizer, tiny_model, english, persian, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    monkeypatch.setattr(corpus, "language", lambda profile: "fa")
    folder = folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path / "model")
    texts = [("fa", "test", "own", persian), ("en", "outside", "outside", english)]
    documents = pandas.DataFrame([{"id": f"{code}{at}", "source": "s", "group": "g", "language": code, "split": split, "text": line,
                                   "register": register} for code, split, register, lines in texts for at, line in enumerate(lines)])
    items = pandas.DataFrame([{"id": str(at), "task": "word_order", "language": "en", "split": "test", "question": "",
                               "choices": [line, line[::-1]], "answer": 0} for at, line in enumerate(english[:4])])
    pairs = pandas.DataFrame([{"id": str(at), "split": "test", "english": en, "target": fa}
                              for at, (en, fa) in enumerate(zip(english[:5], persian[:5]))])
    corpus.write("smoke", {"documents": documents, "items": items, "pairs": pairs})
    command.main([str(folder), "--profile", "smoke", "--csv", str(tmp_path / "scores.csv")])
    found = pandas.read_csv(tmp_path / "scores.csv").set_index(["measure", "language"])
    assert list(found.index) == [("text: own", "fa"), ("text: outside", "en"), ("word_order", "en"), ("word_order, margin", "en"),
                                 ("retrieval, all layers", "en-fa")]
    assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all() and found["n"].tolist() == [20, 20, 4, 4, 5]
    assert "bits/byte" in capsys.readouterr().out
    assert command.main(["nowhere", "--profile", "smoke"]) == 1
    assert "'nowhere' is not known: give one of" in capsys.readouterr().err


def test_an_arm_with_shorter_tokens_takes_as_many_steps_for_its_bytes():
    blocks = {("main", 0): [0] * 90, ("lora", 0): [0] * 10, ("unextended", 0): [0] * 32, ("lora", 1): [0] * 11}
    assert pretraining.batches(blocks, 8, 4) == {("main", 0): 8, ("lora", 0): 4, ("unextended", 0): 13, ("lora", 1): 4}
    assert pretraining.batches({("main", 0): [0]}, 8, 4) == {("main", 0): 8}
