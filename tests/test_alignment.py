"""Alignment: what goes into the arms, and how the scores of their models come into the record."""
import pandas
import pytest

from lib import exhibits
from lib.engine import records
from lib.model import folders
from lib.study import ch04_bilingual as bilingual


@pytest.fixture
def corpus(english, persian):
    split = ["train", "test"] * 10
    pairs = pandas.DataFrame({"id": range(20), "split": split,
                              "english": [f"{line[:30]} {n}" for n, line in enumerate(english)],
                              "target": [f"{line[:30]} {n}" for n, line in enumerate(persian)]})
    documents = pandas.DataFrame({"split": split * 2, "language": ["en"] * 20 + ["fa"] * 20, "text": english + persian})
    return documents, pairs


def test_streams_hold_each_training_pair_in_both_directions_and_no_test_text(corpus):
    documents, pairs = corpus
    streams = bilingual.streams(documents, pairs, "fa")
    assert len(streams["pairs"]) == 2 * (pairs["split"] == "train").sum()
    assert {text.split(":")[0] for text in streams["pairs"]} == {"English", "فارسی"}
    shown = "\n".join(streams["pairs"])
    assert not any(f": {text}\n" in shown for text in pairs.loc[pairs["split"] == "test", "target"])
    assert len(streams["fa"]) == len(streams["en"]) == 10


def test_a_text_alone_has_one_stream_and_scores_without_sentences(corpus, byte_tokenizer, tiny_model, output):
    documents, pairs = corpus
    mine = documents[documents["language"] == "fa"]
    assert list(bilingual.streams(mine, pairs[:0], "fa")) == ["fa"]
    frames = bilingual.score(tiny_model(byte_tokenizer), byte_tokenizer, pairs[:0], 2, mine.head(3),
                             "fa", 4)
    frames = [pandas.concat([frame.assign(arm=arm, seed=0) for arm in ("start", "no-pairs")]) for frame in frames]
    record = records.Record("04_alignment", {"profile": "test"}, {})
    bilingual.note(record, *frames, [("start", "no-pairs")])
    assert {row["metric"] for row in record.content["metrics"]} == {"bits_per_byte", "bits_per_byte_difference"}
    with pytest.raises(exhibits.Lacking, match="pair_files"):
        exhibits.FIGURES["C04-F1"].build("test")


def test_arms_differ_in_pairs_only_and_use_the_same_replay():
    with_pairs, without = bilingual.shares("pairs", "fa", 0.4, 0.1), bilingual.shares("no-pairs", "fa", 0.4, 0.1)
    assert with_pairs == {"pairs": 0.4, "en": 0.1, "fa": pytest.approx(0.5)}
    assert without == {"en": 0.1, "fa": pytest.approx(0.9)}
    with pytest.raises(ValueError, match="lower one of them"):
        bilingual.shares("pairs", "fa", 0.8, 0.3)


def test_scores_reach_the_record_and_equal_arms_do_not_differ(corpus, byte_tokenizer, tiny_model, output):
    documents, pairs = corpus
    texts = documents.groupby("language", sort=False).head(3)
    model = tiny_model(byte_tokenizer)
    scores = bilingual.score(model, byte_tokenizer, pairs.head(4), 2, texts, "fa", max_new_tokens=4)
    runs = [("start", 0), ("pairs", 0), ("pairs", 1)]
    frames = [pandas.concat([frame.assign(arm=arm, seed=seed) for arm, seed in runs]) for frame in scores]
    record = records.Record("04_alignment", {"profile": "test"}, {})
    bilingual.note(record, *frames, [("start", "pairs")])
    found = pandas.DataFrame(record.content["metrics"])
    layered = found[found["metric"] == "retrieval_accuracy"]
    assert set(layered["layer"]) == {0, 1, 2} and layered["task"].nunique() == 2 and set(layered["n"]) == {4}
    assert set(found.loc[found["metric"] == "bits_per_byte", "language"]) == {"en", "fa"}
    assert found.loc[found["metric"] == "chrf", "signature"].str.contains("nw:2").all()
    differences = found[found["metric"].str.endswith("_difference")]
    assert len(differences) == 5 and differences["value"].abs().max() < 1e-9 and (differences["p"] == 1).all()


def test_start_and_pairs_are_crossed_at_equal_tokens_and_their_effects_add_up(corpus, byte_tokenizer, tiny_model, output, tmp_path):
    documents, pairs = corpus
    start = folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path / "start")
    streams = bilingual.streams(documents, pairs, "fa")
    runs = list(bilingual.factorial(streams, {"extended": start, "mean-start": tmp_path}, "fa", [1500], [0, 1], 0.5, 0.1, 16))
    assert len(runs) == 8 and len({len(blocks) for labels, _, blocks in runs if labels["seed"] == 0}) == 1
    assert {(labels["arm"], place) for labels, place, _ in runs} == {
        ("mean", tmp_path), ("mean-pairs", tmp_path), ("translations", start), ("translations-pairs", start)}
    # Pairs make 4 of 20 more right from mean rows, and 1 more from rows that know their translations.
    right = {"mean": 5, "mean-pairs": 9, "translations": 12, "translations-pairs": 13}
    hits = pandas.DataFrame([{"size": 1500, "arm": arm, "seed": seed, "language": "fa", "item": item, "correct": item < right[arm],
                              "bits": 20.0, "bytes": 10} for arm in bilingual.CELLS for seed in (0, 1, 2) for item in range(20)])
    record = records.Record("04_alignment", {"profile": "test"}, {})
    bilingual.note_factorial(record, hits, hits)
    found = pandas.DataFrame(record.content["metrics"]).query("metric == 'factorial_retrieval_effect'").set_index("effect")["value"]
    assert found.to_dict() == pytest.approx({"start": 0.275, "pairs": 0.125, "pairs from mean": 0.2, "pairs from translations": 0.05,
                                             "interaction": -0.075})
