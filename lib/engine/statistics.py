"""Estimates with intervals and paired tests: no number leaves a chapter without them."""
import functools
from typing import NamedTuple

import numpy
import scipy  # its parts are imported where they are used first

CONFIDENCE = 0.95
RESAMPLES = 2000
LEAST = 10  # items below which a bootstrap interval is too narrow: such a number is marked, or left out
NORMAL = 1.96  # standard errors from the middle of a normal 95 % interval to its ends
POWER = NORMAL + 0.84  # standard errors between no effect and one found with 80 % power


class Estimate(NamedTuple):
    """A value, the numbers of items and of trainings (seeds) that it rests on, and its 95 % interval, all in one unit."""

    value: float
    n: int
    low: float
    high: float
    trainings: int = 1


class Difference(NamedTuple):
    """b − a over the same items: effect, n, 95 % interval, two-sided p value, and trainings.

    `least` is the effect that the design would have found in 80 of 100 repetitions, in the effect's unit.
    """

    value: float
    n: int
    low: float
    high: float
    p: float
    trainings: int = 1
    least: float | None = None


def wilson(successes: int, n: int) -> Estimate:
    """Share of `n` trials with Wilson's score interval (Wilson 1927). Raises ValueError when n is 0."""
    if n == 0:
        raise ValueError("A share of 0 items has no value: the evaluation set is empty, check its filter or its split.")
    interval = scipy.stats.binomtest(int(successes), n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes / n, n, interval.low, interval.high)


def ratio(numerators, denominators, seed: int = 0) -> Estimate:
    """Σ numerators / Σ denominators, e.g. bits over bytes, with a percentile bootstrap over documents."""
    above, below = numpy.asarray(numerators, float), numpy.asarray(denominators, float)
    if above.size == 0 or below.sum() == 0:
        raise ValueError(f"A ratio over {above.size} items has no value: the evaluation set is empty.")
    return of_sums(lambda sums: sums[0] / sums[1], [above, below], seed)


def of_sums(function, columns, seed: int = 0) -> Estimate:
    """A score of the items' summed statistics (chrF, F1, a ratio) with a percentile bootstrap over the items.

    `columns` is an array [statistics, items], or [statistics, trainings, items] to count the trainings' luck in (`_with_luck`);
    `function` maps sums [statistics, draws] to scores [draws].
    """
    columns = _crossed(columns)
    low, high = _quantiles(_draws(function, columns, seed))
    value = function(columns.sum((1, 2))[:, None])[0]
    return Estimate(float(value), columns.shape[2], low, high, columns.shape[1])


def mean(values, seed: int = 0) -> Estimate:
    """Mean of `values` [items] or [trainings, items] with a percentile bootstrap interval.

    Shares that are all alike (every F1 is 0) leave a bootstrap no width: Wilson's interval stands in.
    """
    values = numpy.atleast_2d(numpy.asarray(values, float))
    if values.size and _shares(values) and (values == values.flat[0]).all():
        alike = wilson(round(values[0].sum()), values.shape[1])
        return alike._replace(value=float(values.flat[0]), trainings=len(values))
    return ratio(values, numpy.ones_like(values), seed)


def difference(a, b, seed: int = 0) -> Difference:
    """Paired bootstrap of the mean of b − a, arrays [items] or [trainings, items] of the same items (Koehn 2004).

    Of values between 0 and 1, such as right and wrong answers, half a pair of each kind joins the draws, as in the interval
    of Agresti and Min (2005): answers that are all alike would get an interval without width. Raises ValueError unless
    `a` and `b` have the same shape. p is two-sided, at least 1/(resamples + 1).
    """
    a, b = numpy.asarray(a, float), numpy.asarray(b, float)
    if a.shape == b.shape and a.size and _shares(a) and _shares(b):
        return _difference_of_shares(numpy.atleast_2d(b - a), seed)
    return difference_of_sums(lambda sums: sums[0] / sums[1], [a, numpy.ones(a.shape)], [b, numpy.ones(b.shape)], seed)


def difference_of_sums(function, a, b, seed: int = 0) -> Difference:
    """Paired bootstrap of a score of summed statistics, b − a; arguments as in `of_sums`, the same items in a and b."""
    a, b = _crossed(a), _crossed(b)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"A paired test needs the same items on both sides, got {a.shape[-1]} and {b.shape[-1]}.")
    effects = _draws(lambda sums: function(sums[len(a):]) - function(sums[:len(a)]), numpy.concatenate([a, b]), seed)
    value = function(b.sum((1, 2))[:, None])[0] - function(a.sum((1, 2))[:, None])[0]
    return _difference(value, a.shape[2], effects, a.shape[1])


def of_counts(function, n: int, seed: int = 0) -> Estimate:
    """A score that no sums give (a rank correlation, an AUC) with a percentile bootstrap over its `n` items.

    `function` maps how often each item counts, array [draws, items], to scores [draws].
    """
    low, high = _quantiles(function(_counts(n, seed)))
    return Estimate(float(function(numpy.ones((1, n)))[0]), n, low, high)


def difference_of_counts(before, after, n: int, seed: int = 0) -> Difference:
    """Paired bootstrap of two such scores over the same items, `after` − `before`."""
    draws, whole = _counts(n, seed), numpy.ones((1, n))
    return _difference((after(whole) - before(whole))[0], n, after(draws) - before(draws))


def holm(p_values) -> list[float]:
    """Holm's (1979) adjusted p values, in the order given: small ones stay small among many tests only."""
    p_values = list(p_values)
    from statsmodels.stats.multitest import multipletests  # half a second
    return multipletests(p_values, method="holm")[1].tolist() if p_values else []


def _shares(values) -> bool:
    """Whether all values lie between 0 and 1."""
    return bool(((values >= 0) & (values <= 1)).all())


def _difference_of_shares(change, seed: int) -> Difference:
    """The paired bootstrap of a change [trainings, items] with half a pair of each kind (better, worse, alike twice)."""
    trainings, n = change.shape
    chances = numpy.concatenate([numpy.ones(n), [0.5, 0.5, 1]]) / (n + 2)
    counts = numpy.random.default_rng(seed).multinomial(n + 2, chances, RESAMPLES)
    drawn, gap = change.mean(0) @ counts[:, :n].T, counts[:, n] - counts[:, n + 1]
    # Either way round, so that b − a is the mirror image of a − b.
    effects = numpy.concatenate([_with_luck(drawn + way * gap, change.sum(1), seed) for way in (1, -1)]) / (n + 2)
    return _difference(change.mean(), n, effects.clip(-1, 1), trainings)


def _difference(value, n: int, effects, trainings: int = 1) -> Difference:
    """The difference with what the bootstrap's effects say: interval, two-sided p, and the least effect to be seen."""
    # Equal sides may differ in their last bits; such a gap is no gap.
    effects[abs(effects) < 1e-12] = 0
    tail = min((effects <= 0).mean(), (effects >= 0).mean()) * RESAMPLES
    p = float(min(1.0, 2 * (tail + 1) / (RESAMPLES + 1)))
    low, high = _quantiles(effects)
    # By the interval, since Student's t of three trainings has no standard deviation.
    return Difference(float(value), n, low, high, p, trainings, POWER / NORMAL * (high - low) / 2)


def _quantiles(draws) -> tuple[float, float]:
    """The ends of the percentile interval."""
    low, high = numpy.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _crossed(columns):
    """The statistics as an array [statistics, trainings, items]."""
    columns = numpy.stack([numpy.asarray(column, float) for column in columns])
    return columns if columns.ndim == 3 else columns[:, None]


def _draws(function, columns, seed: int):
    """Draws of the score from the statistics [statistics, trainings, items]: items with replacement, the same of every
    training, and the trainings' luck (`_with_luck`)."""
    drawn = function(columns.sum(1) @ _counts(columns.shape[2], seed).T)
    return _with_luck(drawn, function(columns.sum(2)), seed)


def _with_luck(drawn, scores, seed: int):
    """Draws of the mean over all trainings with what so few may be off, from the score of each training.

    That is Student's t of their standard error (Student 1908), either way round. Drawn with replacement, as items are, three
    trainings would give an interval that holds the truth in 76 of 100 cases instead of 95.
    """
    trainings = len(scores)
    if trainings == 1:
        return drawn
    luck = _students_t(trainings - 1, seed) * scores.std(ddof=1) / trainings ** 0.5
    return numpy.concatenate([drawn + luck, drawn - luck])


@functools.lru_cache(maxsize=8)
def _counts(n: int, seed: int):
    """How often each of n items is drawn in RESAMPLES draws with replacement; array [RESAMPLES, n], not to be changed."""
    return numpy.random.default_rng(seed).multinomial(n, numpy.full(n, 1 / n), RESAMPLES).astype(float)


@functools.lru_cache(maxsize=8)
def _students_t(freedom: int, seed: int):
    """RESAMPLES evenly spaced quantiles of Student's t in a random order: drawn freely, its far tails would be a tenth off."""
    levels = (numpy.arange(RESAMPLES) + 0.5) / RESAMPLES
    return numpy.random.default_rng([seed, 1]).permutation(scipy.stats.t.ppf(levels, freedom))
