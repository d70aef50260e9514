"""Sentence embeddings: agreement of rankings, separation of labelled pairs, and the outside encoder's pooling."""
import numpy
import pytest

from lib import exhibits
from lib.engine import records, statistics
from lib.evaluate import similarity


@pytest.fixture(scope="module")
def vectors():
    return numpy.random.default_rng(0).normal(size=(30, 8))


def test_a_similarity_agrees_with_itself_and_not_with_another(vectors):
    own, other = similarity.cosines(vectors, vectors), similarity.cosines(vectors[::-1], vectors[::-1])
    same = statistics.of_counts(similarity.agreement(own, own), 30)
    assert same.value == pytest.approx(1) and same.n == 30 and same.low == pytest.approx(1)
    apart = statistics.of_counts(similarity.agreement(other, own), 30)
    assert apart.low < 0 < apart.high


def test_agreement_is_spearmans_rank_correlation(vectors):
    from scipy import stats
    noisy = vectors + numpy.random.default_rng(1).normal(size=vectors.shape)
    own, other = similarity.cosines(vectors, vectors), similarity.cosines(noisy, noisy)
    pairs = numpy.triu_indices(30, 1)
    found = statistics.of_counts(similarity.agreement(other, own), 30)
    assert found.value == pytest.approx(stats.spearmanr(other[pairs], own[pairs]).statistic)
    assert found.low < found.value < found.high
    change = statistics.difference_of_counts(similarity.agreement(other, own), similarity.agreement(own, own), 30)
    assert change.value == pytest.approx(1 - found.value) and change.p < 0.05


def test_separation_is_the_area_under_the_roc_curve():
    scores, labels = [0.1, 0.4, 0.35, 0.8, 0.4], [0, 0, 1, 1, 1]
    found = statistics.of_counts(similarity.separation(scores, labels), 5)
    assert found.value == pytest.approx((1 + 0 + 1 + 1 + 1 + 0.5) / 6) and 0 <= found.low <= found.high <= 1
    perfect = similarity.separation([0, 0, 1, 1], [0, 0, 1, 1])
    assert perfect(numpy.array([[1, 1, 1, 1], [4, 0, 0, 0]])).tolist() == [1, 0.5]


def test_the_layer_is_that_where_translations_meet(vectors):
    noise = numpy.random.default_rng(2).normal(size=vectors.shape)
    english, target = numpy.stack([vectors, vectors]), numpy.stack([noise, vectors + 0.01 * noise])
    assert similarity.choose_layer(english, target) == 1


def test_the_outside_encoder_pools_the_tokens_of_a_text_and_not_its_padding(byte_tokenizer, tiny_model):
    import copy
    model = tiny_model(byte_tokenizer).get_decoder()
    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.padding_side = "right"
    texts = ["Open the file.", "The answer to the question is yes or no."]
    together = similarity._pooled(model, tokenizer, texts)
    alone = numpy.concatenate([similarity._pooled(model, tokenizer, [text]) for text in texts], axis=1)
    assert together.shape == (1, 2, 32) and numpy.allclose(together, alone, atol=1e-5)


def test_both_sides_of_a_paraphrase_are_read(monkeypatch):
    import pandas

    from lib.evaluate import benchmarks
    rows = [{"id": str(n), "text": benchmarks.PAIR["fa"].format(f"پرسش {n}", f"سؤال {n}"), "answer": n % 2, "flags": []}
            for n in range(10)]
    monkeypatch.setattr(benchmarks, "parsinlu", lambda task: pandas.DataFrame(rows))
    found = similarity.paraphrases(4, 200, seed=0)
    assert found["same"].value_counts().to_dict() == {0: 2, 1: 2}
    assert found["first"].str.match(r"پرسش \d$").all() and found["second"].str.match(r"سؤال \d$").all()


def test_encoders_stand_beside_each_other_in_the_table(vectors, output):
    import pandas
    same = pandas.DataFrame({"first": ["a"] * 30, "second": ["b"] * 30, "same": [0, 1] * 15})
    noise = numpy.random.default_rng(3).normal(size=vectors.shape)
    good = {"layer": 2, "english": vectors, "target": vectors + 0.1 * noise, "first": vectors, "second": noise}
    record = records.Record("08_phases_and_transfer", {"profile": "test"}, {})
    encoded = {"base": {**good, "target": noise}, "phase 1": good, "outside": {**good, "layer": 0}}
    similarity.note(record, encoded, "fa", same)
    frame, reading = exhibits.TABLES["P2-T6"].build("test")
    frame = frame.set_index("encoder")
    assert frame.loc["phase 1", "retrieval from english %"].startswith("100.0")
    assert frame.loc["outside", "ρ×100 en"] == ""
    assert frame["layer"].tolist() == [2, 2, 0] and "phase 1 100.0 %" in reading and "chance 3.3 %" in reading
    changes = pandas.DataFrame(record.content["metrics"]).query("metric == 'spearman_difference'")
    changes = changes[changes["encoder"] == "phase 1"]
    assert changes.set_index("language").loc["fa", "value"] > 0.5 and set(changes["language"]) == {"fa", "en", "fa-en"}
