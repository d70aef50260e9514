"""Intervals and paired tests against known values, and their errors."""
import numpy
import pytest

from lib.engine import statistics


def test_wilson_known_values():
    """Newcombe 1998 (Statistics in Medicine 17, table I): 81 of 263 and 0 of 20."""
    assert statistics.wilson(81, 263)[:4] == pytest.approx((81 / 263, 263, 0.2553, 0.3662), abs=5e-5)
    assert statistics.wilson(0, 20)[:4] == pytest.approx((0, 20, 0, 0.1611), abs=5e-5)


def test_ratio_is_of_sums_not_a_mean_of_ratios():
    estimate = statistics.ratio([1, 30], [1, 10])
    assert estimate.value == pytest.approx(31 / 11) and estimate.n == 2
    assert estimate.low == pytest.approx(1) and estimate.high == pytest.approx(3)


def test_bootstrap_covers_the_true_mean():
    generator = numpy.random.default_rng(0)
    estimates = [statistics.mean(generator.exponential(1, 80), seed) for seed in range(100)]
    covered = sum(estimate.low <= 1 <= estimate.high for estimate in estimates)
    assert 0.88 <= covered / 100 <= 0.98


def test_mean_agrees_with_the_normal_interval():
    values = numpy.random.default_rng(1).normal(5, 2, 500)
    estimate, half = statistics.mean(values), 1.96 * values.std() / 500 ** 0.5
    assert estimate[2:4] == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_same_seed_same_interval():
    values = list(range(30))
    assert statistics.mean(values) == statistics.mean(values) != statistics.mean(values, seed=1)


def test_paired_test_sees_what_unpaired_intervals_hide():
    before = numpy.random.default_rng(2).normal(0, 10, 100)
    change = statistics.difference(before, before + numpy.linspace(0.5, 1.5, 100))
    assert change.value == pytest.approx(1) and change.low > 0.9 and change.p < 0.01
    assert statistics.mean(before).high > statistics.mean(before + 1).low


def test_paired_test_of_equal_sides():
    assert statistics.difference([1.1, 7.0, 2.2], [1.1, 7.0, 2.2]) == (0, 3, 0, 0, 1, 1, 0)


def test_answers_that_are_all_alike_still_leave_doubt():
    """Of 24 pairs without a change, a change in one of ten would often show none: the interval must hold such shares."""
    change = statistics.difference([1, 0] * 12, [1, 0] * 12)
    assert change.value == 0 and change.p == 1 and -0.11 < change.low < -0.05 and 0.05 < change.high < 0.11
    many = statistics.difference([1, 0] * 500, [1, 0] * 500)
    assert -0.005 < many.low < 0 < many.high < 0.005
    nothing = statistics.mean([0.0] * 12)
    assert (nothing.value, nothing.low) == (0, 0) and nothing.high == pytest.approx(statistics.wilson(0, 12).high)


def test_paired_shares_keep_their_coverage():
    """The interval of a known difference of paired answers holds it in about 95 of 100 samples, small ones too."""
    generator, held = numpy.random.default_rng(4), 0
    for seed in range(200):
        before = generator.random(30) < 0.4
        after = numpy.where(generator.random(30) < 0.2, generator.random(30) < 0.7, before)
        change = statistics.difference(before, after, seed=seed)
        held += change.low <= 0.2 * (0.7 - 0.4) <= change.high
    assert held / 200 >= 0.92


def test_paired_test_is_antisymmetric():
    a, b = [1, 0, 1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 0, 1, 1, 0]
    forth, back = statistics.difference(a, b), statistics.difference(b, a)
    assert (forth.value, forth.low, forth.high, forth.p) == pytest.approx((-back.value, -back.high, -back.low, back.p))


def test_paired_test_keeps_its_level():
    """Of comparisons without an effect, about one in twenty comes out below 0.05."""
    generator = numpy.random.default_rng(3)
    found = [statistics.difference(*generator.normal(size=(2, 60)), seed=seed).p < 0.05 for seed in range(100)]
    assert sum(found) / 100 <= 0.1


def test_three_trainings_and_their_items_keep_their_coverage():
    """Of an effect of trainings with luck of their own, on items with theirs, the interval holds the truth nearly always; one
    over items alone, or one that draws three trainings again, does not."""
    generator, held, alone = numpy.random.default_rng(5), 0, 0
    for seed in range(100):
        change = generator.normal(size=(3, 1)) + generator.normal(size=(1, 50)) + generator.normal(size=(3, 50))
        found = statistics.difference(numpy.zeros((3, 50)), change, seed)
        narrow = statistics.difference(numpy.zeros(50), change.mean(0), seed)
        held += found.low <= 0 <= found.high
        alone += narrow.low <= 0 <= narrow.high
    assert held >= 92 and alone <= 60


@pytest.mark.parametrize("call", [lambda: statistics.wilson(0, 0), lambda: statistics.ratio([], []),
                                  lambda: statistics.ratio([1.0], [0.0]), lambda: statistics.mean([])])
def test_no_items_no_value(call):
    with pytest.raises(ValueError, match="evaluation set is empty"):
        call()


@pytest.mark.parametrize("a, b", [([1, 2], [1]), ([], []), ([7, 8, 9], [7, 8])])
def test_paired_test_refuses_other_items(a, b):
    with pytest.raises(ValueError, match="same items"):
        statistics.difference(a, b)


def test_holm_known_values():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.8]) == [1, 1] and statistics.holm([]) == []
