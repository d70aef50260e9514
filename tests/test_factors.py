"""The model of a grid finds the factors that were put in, says how sure it is, and refuses grids that are too small."""
import numpy
import pandas
import pytest

from lib import exhibits
from lib.engine import records
from lib.study import factors

LANGUAGES = {"zh": 4.8, "id": 1.1, "tr": 1.2, "et": 0.13, "sw": 0.0096, "hi": 0.2}


ITEMS = 8


def gains(seed=0, ranks=(8, 32, 128), bits=(16, 8, 4), noise=0.003, benchmark="XCOPA", slopes=0.0):
    """Gains that rise by 0.02 a doubling of rank, fall by 0.05 in 4 bits, and by 0.03 a tenfold share of the web.

    An item is the same in every run and language; `slopes` is how far items differ in what rank does to them.
    """
    generator, rows = numpy.random.default_rng(seed), []
    slope = generator.normal(0, slopes, ITEMS)
    own = {language: generator.normal(0, noise) for language in LANGUAGES}
    for rank in ranks:
        for width in bits:
            luck = generator.normal(0, noise)
            for language, share in LANGUAGES.items():
                gain = 0.02 * numpy.log2(rank / 8) - 0.05 * (width == 4) - 0.03 * numpy.log10(share)
                gain += luck + own[language] + generator.normal(0, noise)
                rows += [{"base": "small", "instructions": "multialpaca", "rank": rank, "bits": width, "seed": 0,
                          "benchmark": benchmark, "unit": "share", "language": language, "share": share, "item": item,
                          "gain": gain + slope[item] * numpy.log2(rank / 8)} for item in range(ITEMS)]
    return pandas.DataFrame(rows)


def test_factors_that_were_put_in_are_found():
    terms, tests = factors.fit(gains())
    truth = {factors.RANK: 0.02, "4 bits, not 16": -0.05, "8 bits, not 16": 0.0, factors.SHARE: -0.03,
             f"{factors.RANK} × {factors.SHARE}": 0.0}
    for term, value in truth.items():
        assert terms[term].low <= value <= terms[term].high, term
    assert max(tests[name] for name in ("rank", "bits", "language")) < 0.05
    assert terms[factors.RANK].n == ITEMS


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    inside = [estimate.low <= value <= estimate.high for seed in range(40)
              for terms, _ in [factors.fit(gains(seed, noise=0.01))] for term, value in
              ((factors.RANK, 0.02), ("4 bits, not 16", -0.05), (factors.SHARE, -0.03))
              for estimate in [terms[term]]]
    assert 0.88 <= numpy.mean(inside) <= 1.0


def test_the_order_of_the_runs_changes_nothing():
    """Runs that come seed by seed, as a chapter makes them, and sorted by rank."""
    rows = pandas.concat([gains(seed, slopes=0.05, bits=(16, 4)).assign(seed=seed) for seed in range(2)], ignore_index=True)
    first, other = (factors.fit(frame)[0] for frame in (rows, rows.sort_values(["rank", "bits", "seed"], ignore_index=True)))
    for term, found in first.items():
        assert found == pytest.approx(other[term], rel=1e-3), term


def test_items_are_a_sample_too():
    """Where rank does more to some items than to others, the interval of rank holds the truth of all items."""
    inside = []
    for seed in range(40):
        terms, _ = factors.fit(gains(seed, slopes=0.05))
        inside.append(terms[factors.RANK].low <= 0.02 <= terms[factors.RANK].high)
    assert 0.88 <= numpy.mean(inside) <= 1.0


def test_few_languages_widen_the_interval_of_their_share():
    few = gains()[lambda rows: rows["language"].isin(["zh", "et", "sw"])]
    (many, _), (less, _) = factors.fit(gains()), factors.fit(few)
    assert less[factors.SHARE].high - less[factors.SHARE].low > 2 * (many[factors.SHARE].high - many[factors.SHARE].low)


def test_a_factor_that_does_not_vary_has_no_term():
    terms, _ = factors.fit(gains(ranks=(8, 16, 32, 64, 96, 128), bits=(16,)))
    assert not [term for term in terms if "bits" in term]


@pytest.mark.parametrize("rows, sentence", [
    (gains(ranks=(8, 16), bits=(16, 4)), "4 runs in 6 languages are too few"),
    (gains()[lambda rows: rows["language"].isin(["zh", "tr"])], "9 runs in 2 languages are too few")])
def test_grids_that_are_too_small_are_refused(rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        factors.fit(rows)


def test_the_table_names_the_factors_that_matter(output):
    record = records.Record("12_rank_and_precision", {"profile": "smoke"}, {})
    english = gains().assign(language="en", share=43.4)
    factors.note(record, pandas.concat([gains(), english, gains(benchmark="tests", ranks=(8,), bits=(16,))]))
    record.write()
    frame, reading = exhibits.TABLES["C12-T1"].build("smoke")
    assert "bits in XCOPA" in reading and "rank in XCOPA" in reading and f"n = {ITEMS}" in reading
    assert set(frame["task"]) == {"XCOPA"} and frame.loc[frame["term"] == factors.RANK, "unit"].item() == "points"
    facts = records.facts("smoke", "12_rank_and_precision")
    assert "1 runs" in facts.loc[facts["fact"] == "not_modelled", "value"].item()


def test_gains_that_the_model_explains_entirely_have_intervals_too():
    rows = [{"rank": rank, "bits": bits, "seed": 0, "language": language, "share": share, "item": item,
             "gain": numpy.log2(rank)}
            for rank in (8, 16, 32, 64) for bits in (16, 4) for language, share in LANGUAGES.items() for item in range(2)]
    terms, tests = factors.fit(pandas.DataFrame(rows))
    with pytest.raises(ValueError, match="gains 1 in every language: there is nothing to model"):
        factors.fit(pandas.DataFrame(rows).assign(gain=1.0))
    ends = [end for term in terms.values() for end in (term.low, term.value, term.high, term.p)]
    assert numpy.isfinite([*ends, *tests.values()]).all()
