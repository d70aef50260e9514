"""Counting: seeds in the interval, items paired by their ids, and what a design could have seen."""
import numpy
import pandas
import pytest
from sacrebleu.metrics import CHRF
from scipy import stats

from lib.engine import records, statistics
from lib.study import contrast

REFERENCES = ["the cat sat on the mat", "a dog ran away", "it is late", "we are here"]


def bits(arm="lora", shifts=(0.0,), items=40, spread=0.1):
    """Bits of the same texts under a training a seed, each shifted by so many bits per byte."""
    level = numpy.random.default_rng(0).normal(1.5, spread, items)
    return pandas.concat([pandas.DataFrame({"arm": arm, "seed": seed, "language": "fa", "bytes": 100.0,
                                            "item": [f"t{item}" for item in range(items)], "bits": 100 * (level + shift)})
                          for seed, shift in enumerate(shifts)], ignore_index=True)


def told(hypotheses, seed=0):
    return pandas.DataFrame({"seed": seed, "item": range(4), "hypothesis": hypotheses, "reference": REFERENCES})


def record():
    return records.Record("03_pretraining", {"profile": "test"}, {})


def test_seeds_that_differ_widen_the_interval():
    base = bits("base")
    steady = contrast.difference(base, bits(shifts=(-0.02, -0.02, -0.02)), contrast.BITS)
    unsteady = contrast.difference(base, bits(shifts=(-0.14, 0.10, -0.02)), contrast.BITS)
    assert steady.value == pytest.approx(unsteady.value) == pytest.approx(-0.02)
    assert steady.high < 0 < unsteady.high and unsteady.high - unsteady.low > 0.1
    assert steady.trainings == unsteady.trainings == 3 and steady.n == unsteady.n == 40
    alone, among = (contrast.estimate(bits(shifts=shifts), contrast.BITS) for shifts in ((0,), (-0.5, 0, 0.5)))
    assert among.high - among.low > 2 * (alone.high - alone.low)


def test_an_interval_of_trainings_holds_the_truth_more_often_than_one_of_items():
    """Trainings and items that vary alike: of items alone, a 95 % interval holds the truth in half of the cases."""
    draws, held = numpy.random.default_rng(1), {True: 0, False: 0}
    for _ in range(150):
        values = draws.normal(0, 1, (5, 1)) + draws.normal(0, 1, (1, 30)) + draws.normal(0, 1, (5, 30))
        for pooled in held:
            found = statistics.mean(values.mean(0) if pooled else values)
            held[pooled] += found.low <= 0 <= found.high
    assert held[True] / 150 < 0.7 and held[False] / 150 > 0.8


def test_sides_are_paired_by_item_and_not_by_place():
    before, after = bits("base"), bits(shifts=(-0.1, -0.2, 0))
    shuffled = after.sample(frac=1, random_state=3)
    assert contrast.difference(before, shuffled, contrast.BITS) == contrast.difference(before, after, contrast.BITS)
    one, other = (pandas.DataFrame({"item": list("abcdef"), "correct": right})
                  for right in ([0, 0, 1, 1, 0, 1], [1, 1, 1, 1, 0, 1]))
    same = contrast.difference(one, other, contrast.CORRECT)
    assert same == contrast.difference(one, other[::-1], contrast.CORRECT) and same.value == pytest.approx(2 / 6)


@pytest.mark.parametrize("score", [contrast.BITS, contrast.mean("bits")])
def test_other_items_or_seeds_are_refused(score):
    before, after = bits("base", (0, 0)), bits(shifts=(0, 0))
    with pytest.raises(ValueError, match="differ in their items, t3 is on one side only"):
        contrast.difference(before, after[after["item"] != "t3"], score)
    with pytest.raises(ValueError, match="differ in their items"):
        contrast.difference(before, after.replace({"item": {"t3": "t99"}}), score)
    with pytest.raises(ValueError, match="differ in their seeds, 1 is on one side only"):
        contrast.difference(before, after.replace({"seed": {1: 2}}), score)
    with pytest.raises(ValueError, match="t39 has no score with some of the seeds .0, 1."):
        contrast.estimate(after[:-1], score)
    with pytest.raises(ValueError, match="evaluation set is empty"):
        contrast.estimate(after[:0], score)


def test_an_untrained_side_stands_beside_every_seed():
    change = contrast.difference(bits("base"), bits(shifts=(0.1, 0.2)), contrast.BITS)
    back = contrast.difference(bits(shifts=(0.1, 0.2)), bits("base"), contrast.BITS)
    assert change.value == pytest.approx(0.15) == pytest.approx(-back.value) and change.trainings == back.trainings == 2


def test_answers_of_one_run_keep_their_intervals_and_many_get_those_of_items():
    rows = pandas.DataFrame({"item": range(24), "correct": [1, 0] * 12})
    assert contrast.estimate(rows, contrast.CORRECT) == statistics.wilson(12, 24)
    alike = contrast.difference(rows, rows, contrast.CORRECT)
    assert alike == statistics.difference(rows["correct"], rows["correct"]) and alike.low < -0.05
    twice = pandas.concat([rows.assign(seed=0), rows.assign(seed=1)])
    both = contrast.estimate(twice, contrast.CORRECT)
    assert (both.value, both.n, both.trainings) == (0.5, 24, 2) and both.high - both.low > 0.3
    assert contrast.difference(rows, twice, contrast.CORRECT).low == pytest.approx(alike.low)
    never = contrast.estimate(twice.assign(correct=0), contrast.CORRECT)
    assert never[1:4] == (24, *statistics.wilson(0, 24)[2:4])


@pytest.mark.parametrize("side", [0, 1])
def test_an_accuracy_stays_between_none_and_all_however_few_trainings(side):
    rows = pandas.DataFrame({"seed": [0] * 20 + [1] * 20, "item": [*range(20)] * 2, "correct": [1 - side] * 4 + [side] * 36})
    found = contrast.estimate(rows, contrast.CORRECT)
    assert 0 <= found.low <= found.value <= found.high <= 1 and found.trainings == 2


def test_a_corpus_score_counts_items_once_however_many_seeds():
    rows = pandas.concat([told(["the cat sat", "a dog ran", "late", "here"], seed) for seed in range(3)])
    found = contrast.estimate(rows, contrast.CHRF_PLUS)
    score = CHRF(word_order=2).corpus_score(["the cat sat", "a dog ran", "late", "here"], [REFERENCES]).score
    assert found.value == pytest.approx(score) and (found.n, found.trainings) == (4, 3)
    change = contrast.difference(rows, told(REFERENCES), contrast.CHRF_PLUS)
    assert change.value == pytest.approx(100 - score) and change.n == 4
    assert contrast.difference(rows, rows[::-1], contrast.CHRF_PLUS)[2:5] == (0, 0, 1)
    perfect = contrast.estimate(told(REFERENCES), contrast.BLEU_INTL)
    assert perfect.value == pytest.approx(100)


def test_languages_weigh_alike_even_where_they_have_other_items():
    rows = pandas.DataFrame({"language": ["id"] * 6 + ["zh"] * 2, "item": [*range(6), 7, 8], "bytes": 10.0,
                             "correct": [1] * 6 + [0] * 2, "bits": [10.0] * 6 + [30.0] * 2})
    assert contrast.estimate(rows, contrast.mean("correct", "language")).value == pytest.approx(0.5)
    found = contrast.estimate(rows, contrast.ratio("bits", "bytes", "bits/byte", "language"))
    assert (found.value, found.high, found.n) == (2, 2, 8)
    with pytest.raises(ValueError, match="differ in their items"):
        contrast.difference(rows, rows.assign(language="id"), contrast.mean("correct", "language"))


def test_the_least_effect_is_what_the_draws_could_have_told():
    few, many = (contrast.difference(bits("base", items=items), bits(shifts=(0.1, -0.1, 0.0), items=items), contrast.BITS)
                 for items in (10, 400))
    half = stats.t.ppf(0.975, 2) * numpy.std([0.1, -0.1, 0.0], ddof=1) / 3 ** 0.5
    assert few.least == pytest.approx(2.8 / 1.96 * half, rel=0.1)
    assert many.least == pytest.approx(few.least, rel=0.05)
    change = statistics.difference(numpy.zeros(100), numpy.random.default_rng(0).normal(0, 1, 100))
    assert change.least == pytest.approx(0.28, rel=0.1)


def test_groups_are_noted_and_compared_by_their_labels(output):
    made, rows = record(), pandas.concat([bits("base"), bits(shifts=(0.1, 0.1, 0.1))])
    rows = pandas.concat([rows[::-1], rows.assign(language="en", bits=100.0)])
    contrast.note(made, "bits_per_byte", rows, contrast.BITS, ["arm", "language"], stage="pretrained")
    contrast.between(made, "bits_per_byte_difference", rows, contrast.BITS, ["language"], "arm", "base", "lora")
    made.write()
    found = records.metrics("test").set_index("metric")
    assert set(found.loc["bits_per_byte", "trainings"]) == {1, 3} and set(found["stage"].dropna()) == {"pretrained"}
    change = found.loc["bits_per_byte_difference"].set_index("language")
    assert change.loc["fa", "value"] == pytest.approx(0.1) and change.loc["en", "value"] == 0
    assert set(change["arm"]) == {"lora"} and set(change["against"]) == {"base"} and (change["least"] >= 0).all()
    with pytest.raises(ValueError, match="{'language': 'en'} has nothing to be held against"):
        contrast.compare(made, "x", bits("base"), rows, contrast.BITS, ["language"])


def test_a_corpus_score_is_noted_with_its_signature(output):
    made = record()
    contrast.note(made, "chrf", told(REFERENCES), contrast.CHRF_PLUS, [], task="en-fa")
    assert "nw:2" in made.content["metrics"][0]["signature"] and made.content["metrics"][0]["unit"] == "chrF++"


def test_a_score_that_is_no_number_is_refused_by_name(output):
    made, rows = record(), bits()
    rows.loc[3, "bits"] = numpy.nan
    with pytest.raises(ValueError, match="bits_per_byte with {'arm': 'lora'} is not a number"):
        contrast.note(made, "bits_per_byte", rows, contrast.BITS, ["arm"])


def test_comparisons_are_neighbours_and_the_first():
    assert contrast.comparisons(["base", "pretrained", "aligned"]) == [
        ("base", "pretrained"), ("pretrained", "aligned"), ("base", "aligned")]
