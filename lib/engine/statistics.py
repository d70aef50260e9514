"""Estimates with intervals and paired tests: no number leaves a chapter without them."""
from typing import NamedTuple

import numpy
from scipy import stats
from statsmodels.stats.multitest import multipletests

CONFIDENCE = 0.95
RESAMPLES = 2000


class Estimate(NamedTuple):
    """A value, the number of items it rests on, and its 95 % interval, all in one unit."""

    value: float
    n: int
    low: float
    high: float


class Difference(NamedTuple):
    """b − a over the same items: effect, n, 95 % interval and two-sided p value."""

    value: float
    n: int
    low: float
    high: float
    p: float


def wilson(successes: int, n: int) -> Estimate:
    """Share of `n` trials with Wilson's score interval (Wilson 1927). Raises ValueError when n is 0."""
    if n == 0:
        raise ValueError("A share of 0 items has no value: the evaluation set is empty, check its filter or its split.")
    interval = stats.binomtest(int(successes), n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes / n, n, interval.low, interval.high)


def ratio(numerators, denominators, seed: int = 0) -> Estimate:
    """Σ numerators / Σ denominators, e.g. bits over bytes, with a percentile bootstrap over documents."""
    above, below = numpy.asarray(numerators, float), numpy.asarray(denominators, float)
    if len(above) == 0 or below.sum() == 0:
        raise ValueError(f"A ratio over {len(above)} items has no value: the evaluation set is empty.")
    return of_sums(lambda sums: sums[0] / sums[1], [above, below], seed)


def of_sums(function, columns, seed: int = 0) -> Estimate:
    """A score of the items' summed statistics (chrF, F1, a ratio) with a percentile bootstrap over the items.

    `columns` is an array [statistics, items]; `function` maps sums [statistics, draws] to scores [draws].
    """
    columns = numpy.asarray(columns, float)
    low, high = _quantiles(function(_resample(*columns, seed=seed)))
    return Estimate(float(function(columns.sum(1, keepdims=True))[0]), columns.shape[1], low, high)


def mean(values, seed: int = 0) -> Estimate:
    """Mean of `values` with a percentile bootstrap interval.

    Shares that are all alike (every F1 is 0) leave a bootstrap no width: Wilson's interval stands in.
    """
    values = numpy.asarray(values, float)
    if len(values) and _shares(values) and (values == values[0]).all():
        return wilson(round(values.sum()), len(values))._replace(value=float(values[0]))
    return ratio(values, numpy.ones_like(values), seed)


def difference(a, b, weights=None, seed: int = 0) -> Difference:
    """Paired bootstrap of Σb/Σw − Σa/Σw over the same items (Koehn 2004); `weights` default to one each.

    Of unweighted values between 0 and 1, such as right and wrong answers, half a pair of each kind joins the draws, as
    in the interval of Agresti and Min (2005): answers that are all alike would get an interval without width. Raises
    ValueError unless `a`, `b` and `weights` have the same length. p is two-sided, at least 1/(resamples + 1).
    """
    unweighted = weights is None
    weights = numpy.ones(len(a)) if unweighted else numpy.asarray(weights, float)
    if not len(a) == len(b) == len(weights) or len(a) == 0:
        raise ValueError(f"A paired test needs the same items on both sides, got {len(a)} and {len(b)} "
                         f"with {len(weights)} weights.")
    if unweighted and _shares(a) and _shares(b):
        return _difference_of_shares(numpy.asarray(a, float), numpy.asarray(b, float), seed)
    return difference_of_sums(lambda sums: sums[0] / sums[1], [a, weights], [b, weights], seed)


def difference_of_sums(function, a, b, seed: int = 0) -> Difference:
    """Paired bootstrap of a score of summed statistics, b − a; arguments as in `of_sums`, the same items in a and b."""
    a, b = numpy.asarray(a, float), numpy.asarray(b, float)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"A paired test needs the same items on both sides, got {a.shape[-1]} and {b.shape[-1]}.")
    sums = _resample(*a, *b, seed=seed)
    effects = function(sums[len(a):]) - function(sums[:len(a)])
    value = function(b.sum(1, keepdims=True))[0] - function(a.sum(1, keepdims=True))[0]
    return _difference(value, a.shape[1], effects)


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
    return multipletests(p_values, method="holm")[1].tolist() if p_values else []


def _shares(values) -> bool:
    """Whether all values lie between 0 and 1."""
    values = numpy.asarray(values, float)
    return bool(((values >= 0) & (values <= 1)).all())


def _difference_of_shares(a, b, seed: int) -> Difference:
    """The paired bootstrap of b − a with half a pair of each kind (better, worse, alike twice) among the items."""
    n = len(a)
    chances = numpy.concatenate([numpy.ones(n), [0.5, 0.5, 1]]) / (n + 2)
    counts = numpy.random.default_rng(seed).multinomial(n + 2, chances, RESAMPLES)
    drawn, gap = counts[:, :n] @ (b - a), counts[:, n] - counts[:, n + 1]
    # Either way round, so that b − a is the mirror image of a − b.
    return _difference((b - a).mean(), n, numpy.concatenate([drawn + gap, drawn - gap]) / (n + 2))


def _difference(value, n: int, effects) -> Difference:
    """The difference with its interval and two-sided p from the bootstrap's effects."""
    # Equal sides may differ in their last bits; such a gap is no gap.
    effects[abs(effects) < 1e-12] = 0
    tail = min((effects <= 0).mean(), (effects >= 0).mean()) * RESAMPLES
    return Difference(float(value), n, *_quantiles(effects), float(min(1.0, 2 * (tail + 1) / (RESAMPLES + 1))))


def _quantiles(draws) -> tuple[float, float]:
    """The ends of the percentile interval."""
    low, high = numpy.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _resample(*columns, seed: int):
    """Sums of each column over RESAMPLES draws of the rows with replacement; array [columns, RESAMPLES]."""
    return numpy.stack(columns) @ _counts(len(columns[0]), seed).T


def _counts(n: int, seed: int):
    """How often each of n items is drawn in RESAMPLES draws with replacement; array [RESAMPLES, n]."""
    return numpy.random.default_rng(seed).multinomial(n, numpy.full(n, 1 / n), RESAMPLES)
