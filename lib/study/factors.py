"""Which factor of a grid matters: a mixed-effects model of the gains, instead of eyeballing cells.

The gain of a run in a language is modelled by the LoRA rank (in doublings), the bits (against the most), the language's
share of the web (tenfolds) and what they do together, with a random intercept for every run (its seed's luck is shared
by all languages) and for every language. Fitted by statsmodels' MixedLM, REML, on the means over items. Items are a sample
too, shared by all runs and, where they are translations, by all languages: what each term varies by when an item is left
out (the jackknife, Tukey 1958) is added to its variance. The intervals are Student's, with the degrees of freedom of what a
term varies over (Pinheiro and Bates 2000, section 2.4.2): with few runs or languages the normal ones would be too narrow.
"""
import warnings

import numpy
import pandas
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

from lib.data import levels
from lib.engine.statistics import CONFIDENCE, POWER, Difference

LEAST = 6  # runs: below, nothing is left to tell the runs' own variance from
TINY = 1e-12  # gains closer than that are the same
CELL = ["rank", "bits", "seed", "language", "share"]
RANK, BITS, SHARE = "rank, doubled", "{} bits, not {}", "share of the web, tenfold"
MEANS = "mean"  # the intercept: lowest rank, most bits, a language of mean share


def fit(scores: pandas.DataFrame) -> tuple[dict[str, Difference], dict[str, float]]:
    """Terms of the model → estimate, and factors → p of all their terms together (Wald's F).

    `scores` is a row a run, language and item: rank, bits, seed, language, share (%), item, gain. Terms of a factor that
    does not vary are left out. The n of an estimate is that of the items, its trainings are the runs. Raises ValueError
    below LEAST runs or levels.FEWEST languages, or when all gains are the same.
    """
    by_item, scores = scores, scores.groupby(CELL, sort=False, as_index=False)["gain"].mean()
    run = scores[["rank", "bits", "seed"]].astype(str).agg("/".join, axis=1)
    if run.nunique() < LEAST or scores["language"].nunique() < levels.FEWEST:
        raise ValueError(f"{run.nunique()} runs in {scores['language'].nunique()} languages are too few for a model: "
                         f"it takes {LEAST} runs and {levels.FEWEST} languages.")
    if numpy.ptp(scores["gain"]) < TINY:
        raise ValueError(f"Every run gains {scores['gain'].iloc[0]:.3g} in every language: there is nothing to model.")
    columns = design(scores)
    # One group with two crossed sets of random intercepts: MixedLM's way of saying that neither is within the other.
    random = [pandas.get_dummies(values, dtype=float) for values in (run, scores["language"])]
    components = VCSpec(["run", "language"], [[list(each)] for each in random], [[each.to_numpy()] for each in random])
    model = MixedLM(scores["gain"].to_numpy(float), columns, numpy.ones(len(scores)), exog_vc=components)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance of 0, which small grids often have, is warned of
        found = model.fit(reml=True)
    items = by_item["item"].nunique()
    freedom = {term: max(1, min(count, items - 1)) for term, count in _freedom(
        columns, run.nunique(), scores["language"].nunique()).items()}
    covariance = numpy.asarray(found.cov_params())[:columns.shape[1], :columns.shape[1]] + _over_items(by_item, columns)
    values = pandas.Series(numpy.asarray(found.fe_params), list(columns))
    return _terms(values, covariance, freedom, items, run.nunique()), _tests(values, covariance, freedom)


def note(record, scores: pandas.DataFrame):
    """The model of each benchmark's gains, English apart: metrics `factor` by term, and each factor's p as a fact.

    `scores`, as in `fit`, also has base, instructions, benchmark and unit; only the first base and set count. A benchmark
    with too few runs or languages has no model, and why is noted.
    """
    known = scores[(scores["language"] != "en") & scores["share"].notna()]
    for benchmark, rows in known.groupby("benchmark", sort=False):
        first = rows[(rows["base"] == rows["base"].iloc[0]) & (rows["instructions"] == rows["instructions"].iloc[0])]
        labels = {"benchmark": benchmark}
        try:
            terms, tests = fit(first)
        except ValueError as error:
            record.fact("not_modelled", str(error), **labels)
            continue
        for term, estimate in terms.items():
            record.metric("factor", estimate, first["unit"].iloc[0], term=term, factor=factor(term), **labels)
        for name, p in tests.items():
            record.fact("factor_p", p, factor=name, **labels)


def design(scores: pandas.DataFrame) -> pandas.DataFrame:
    """The fixed effects' columns: the mean, each factor that varies, and their products with the language's share."""
    columns = {MEANS: numpy.ones(len(scores))}
    most = scores["bits"].max()
    if scores["rank"].nunique() > 1:
        columns[RANK] = numpy.log2(scores["rank"].astype(float) / scores["rank"].min())
    for width in sorted(set(scores["bits"]) - {most}, reverse=True):
        columns[BITS.format(width, most)] = (scores["bits"] == width).astype(float)
    share = numpy.log10(scores["share"].astype(float))
    if share.nunique() > 1:
        centred = share - share.groupby(scores["language"]).first().mean()
        products = {f"{name} × {SHARE}": column * centred for name, column in columns.items() if name != MEANS}
        columns |= {SHARE: centred, **products}
    return pandas.DataFrame(columns)


def factor(term: str) -> str:
    """The factor that a term belongs to: rank, bits, language or mean; a product belongs to its first part."""
    if term == MEANS:
        return MEANS
    return "language" if term == SHARE else "rank" if term.startswith(RANK) else "bits"


def _over_items(scores: pandas.DataFrame, columns: pandas.DataFrame) -> numpy.ndarray:
    """Covariance of the terms over items by the jackknife: least squares on the means without one item, item by item."""
    wide = scores.pivot_table("gain", CELL, "item", sort=False)
    wide = wide.reindex(scores.groupby(CELL, sort=False).size().index)  # the order of `columns`, which the pivot changes
    counts, sums = wide.notna().sum(axis=1), wide.sum(axis=1)
    if counts.min() < 2:
        return numpy.zeros((columns.shape[1],) * 2)
    # A language that does not have the item keeps its mean.
    without = (sums.to_numpy()[:, None] - wide.fillna(0)) / (counts.to_numpy()[:, None] - wide.notna())
    terms = numpy.linalg.pinv(columns.to_numpy()) @ without.to_numpy()
    return (terms.shape[1] - 1) * numpy.cov(terms, bias=True).reshape((columns.shape[1],) * 2)


def _terms(values: pandas.Series, covariance, freedom: dict[str, int], n: int, runs: int) -> dict[str, Difference]:
    terms = {}
    # Where the model explains every gain, rounding leaves variances around 0, some of them below.
    errors = numpy.sqrt(numpy.diag(covariance).clip(numpy.finfo(float).tiny))
    for (name, value), error in zip(values.items(), errors):
        spread = stats.t.ppf((1 + CONFIDENCE) / 2, freedom[name]) * error
        p = 2 * stats.t.sf(abs(value / error), freedom[name])
        terms[name] = Difference(float(value), n, float(value - spread), float(value + spread), float(p), runs,
                                 float(POWER * error))
    return terms


def _tests(values: pandas.Series, covariance, freedom: dict[str, int]) -> dict[str, float]:
    """p of each factor: that all its terms are 0 (Wald's F with the fewest degrees of freedom of its terms)."""
    tests = {}
    for name in dict.fromkeys(map(factor, values.index)):
        rows = [at for at, term in enumerate(values.index) if factor(term) == name]
        own, inner = values.to_numpy()[rows], covariance[numpy.ix_(rows, rows)]
        statistic = max(0.0, own @ numpy.linalg.pinv(inner) @ own / len(rows))
        tests[name] = float(stats.f.sf(statistic, len(rows), min(freedom[values.index[at]] for at in rows)))
    return tests


def _freedom(columns: pandas.DataFrame, runs: int, languages: int) -> dict[str, int]:
    """Degrees of freedom of each term: of a run's terms those of the runs, of a language's those of the languages."""
    ofs = {name: "both" if "×" in name else "language" if factor(name) in ("language", MEANS) else "run"
           for name in columns}
    count = {level: list(ofs.values()).count(level) for level in ("both", "language", "run")}
    left = {"run": runs - 1 - count["run"], "language": languages - count["language"],
            "both": len(columns) - columns.shape[1]}
    return {name: max(1, left[level]) for name, level in ofs.items()}
