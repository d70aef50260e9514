"""Alignment: what goes into the arms, which items are drawn, and how a model's scores come into the record."""
import pandas
import pytest

from lib import alignment, models, records

SIZES = {"pairs": 4, "longest": 60, "translations": 2, "documents": 2, "characters": 40}


@pytest.fixture
def corpus(english, persian):
    split = ["train", "test"] * 10
    pairs = pandas.DataFrame({"split": split, "english": [f"{line[:30]} {n}" for n, line in enumerate(english)],
                              "target": [f"{line[:30]} {n}" for n, line in enumerate(persian)]})
    documents = pandas.DataFrame({"split": split * 2, "language": ["en"] * 20 + ["fa"] * 20, "text": english + persian})
    return documents, pairs


def test_streams_hold_each_training_pair_in_both_directions_and_no_test_text(corpus):
    documents, pairs = corpus
    streams = alignment.streams(documents, pairs, "fa")
    assert len(streams["pairs"]) == 2 * (pairs["split"] == "train").sum()
    assert {text.split(":")[0] for text in streams["pairs"]} == {"English", "فارسی"}
    shown = "\n".join(streams["pairs"])
    assert not any(text in shown.splitlines() for text in pairs.loc[pairs["split"] == "test", "target"])
    assert len(streams["fa"]) == len(streams["en"]) == 10


def test_arms_differ_in_pairs_only_and_use_the_same_replay():
    with_pairs, without = alignment.shares("pairs", "fa", 0.4, 0.1), alignment.shares("no-pairs", "fa", 0.4, 0.1)
    assert with_pairs == {"pairs": 0.4, "en": 0.1, "fa": pytest.approx(0.5)}
    assert without == {"en": 0.1, "fa": pytest.approx(0.9)}
    with pytest.raises(ValueError, match="choose pairs or no-pairs"):
        alignment.shares("bitext", "fa", 0.4, 0.1)


def test_held_out_items_are_test_rows_without_repeats_and_the_same_for_the_same_seed(corpus):
    items, again = (alignment.held_out(*corpus, "fa", SIZES, seed=1) for _ in range(2))
    assert len(items.pairs) == 4 and set(items.pairs["split"]) == {"test"} and items.pairs["target"].is_unique
    assert items.pairs.equals(again.pairs) and items.texts == again.texts
    assert items.asked("fa-en") == (items.pairs["target"].tolist()[:2], items.pairs["english"].tolist()[:2])
    with pytest.raises(ValueError, match="raise longest_pair"):
        alignment.held_out(*corpus, "fa", {**SIZES, "longest": 5}, seed=1)


def test_scores_reach_the_record_and_equal_arms_do_not_differ(corpus, byte_tokenizer, tiny_model, output):
    folder = models.save(tiny_model(byte_tokenizer), byte_tokenizer, output / "model")
    items = alignment.held_out(*corpus, "fa", SIZES, seed=1)
    scores = alignment.score(folder, items, max_new_tokens=4)
    record = records.Record("04_alignment", {"profile": "test"}, {})
    alignment.note(record, scores, items, arm="pairs", seed=0)
    alignment.compare(record, [scores], [scores, scores], items, arm="pairs", against="start")
    found = pandas.DataFrame(record.content["metrics"])
    layered = found[found["metric"] == "retrieval_accuracy"]
    assert set(layered["layer"]) == {0, 1, 2} and layered["task"].nunique() == 2 and set(layered["n"]) == {4}
    assert set(found.loc[found["metric"] == "bits_per_byte", "language"]) == {"en", "fa"}
    assert found.loc[found["metric"] == "chrf", "signature"].str.contains("nw:2").all()
    differences = found[found["metric"].str.endswith("_difference")]
    assert len(differences) == 5 and (differences["value"] == 0).all() and (differences["p"] == 1).all()
