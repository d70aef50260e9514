"""Which factor of a grid matters: a mixed-effects model of the gains, instead of eyeballing cells.

The gain of a run in a language is modelled by the LoRA rank (in doublings), the bits (against the most), the language's
share of the web (tenfolds) and what they do together, with a random intercept for every run (its seed's luck is shared
by all languages) and for every language (its items are shared by all runs). Fitted by statsmodels' MixedLM, REML; the
intervals are Student's, with the degrees of freedom of what a term varies over (Pinheiro and Bates 2000, section 2.4.2):
with few runs or languages the normal ones would be too narrow.
"""
import warnings

import numpy
import pandas
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

from lib.engine.statistics import CONFIDENCE, POWER, Difference

LEAST = 6  # runs: below, nothing is left to tell the runs' own variance from
RANK, BITS, SHARE = "rank, doubled", "{} bits, not {}", "share of the web, tenfold"
MEANS = "mean"  # the intercept: lowest rank, most bits, a language of mean share


def fit(scores: pandas.DataFrame) -> tuple[dict[str, Difference], dict[str, float]]:
    """Terms of the model → estimate, and factors → p of all their terms together (Wald's F).

    `scores` is a row a run and language: rank, bits, seed, language, share (%), gain. Terms of a factor that does not
    vary are left out. The n of an estimate is that of the rows, its trainings are the runs. Raises ValueError below LEAST
    runs or two languages, or when all gains are the same.
    """
    run = scores[["rank", "bits", "seed"]].astype(str).agg("/".join, axis=1)
    if run.nunique() < LEAST or scores["language"].nunique() < 2:
        raise ValueError(f"{run.nunique()} runs in {scores['language'].nunique()} languages are too few for a model: "
                         f"it takes {LEAST} runs and 2 languages.")
    if scores["gain"].nunique() == 1:
        raise ValueError(f"Every run gains {scores['gain'].iloc[0]:.3g} in every language: there is nothing to model.")
    columns = design(scores)
    # One group with two crossed sets of random intercepts: MixedLM's way of saying that neither is within the other.
    random = [pandas.get_dummies(values, dtype=float) for values in (run, scores["language"])]
    components = VCSpec(["run", "language"], [[list(each)] for each in random], [[each.to_numpy()] for each in random])
    model = MixedLM(scores["gain"].to_numpy(float), columns, numpy.ones(len(scores)), exog_vc=components)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance of 0, which small grids often have, is warned of
        found = model.fit(reml=True)
    freedom = _freedom(columns, run.nunique(), scores["language"].nunique())
    return _terms(found, columns, freedom, len(scores), run.nunique()), _tests(found, columns, freedom)


def note(record, scores: pandas.DataFrame):
    """The model of each benchmark's gains, English apart: metrics `factor` by term, and each factor's p as a fact.

    `scores` also has base, instructions, benchmark and unit; only the first base and set count. A benchmark with too few
    runs or languages has no model, and why is noted.
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


def _terms(found, columns: pandas.DataFrame, freedom: dict[str, int], n: int, runs: int) -> dict[str, Difference]:
    terms = {}
    # Where the model explains every gain, rounding leaves variances around 0, some of them below.
    variances = numpy.diag(numpy.asarray(found.cov_params()))[:len(found.fe_params)]
    errors = numpy.sqrt(variances.clip(numpy.finfo(float).tiny))
    for name, value, error in zip(columns, found.fe_params, errors):
        spread = stats.t.ppf((1 + CONFIDENCE) / 2, freedom[name]) * error
        p = 2 * stats.t.sf(abs(value / error), freedom[name])
        terms[name] = Difference(float(value), n, float(value - spread), float(value + spread), float(p), runs,
                                 float(POWER * error))
    return terms


def _tests(found, columns: pandas.DataFrame, freedom: dict[str, int]) -> dict[str, float]:
    """p of each factor: that all its terms are 0 (Wald's F with the fewest degrees of freedom of its terms)."""
    tests, covariance = {}, numpy.asarray(found.cov_params())
    for name in dict.fromkeys(map(factor, columns)):
        rows = [at for at, term in enumerate(columns) if factor(term) == name]
        values, inner = numpy.asarray(found.fe_params)[rows], covariance[numpy.ix_(rows, rows)]
        statistic = max(0.0, values @ numpy.linalg.pinv(inner) @ values / len(rows))
        tests[name] = float(stats.f.sf(statistic, len(rows), min(freedom[columns.columns[at]] for at in rows)))
    return tests


def _freedom(columns: pandas.DataFrame, runs: int, languages: int) -> dict[str, int]:
    """Degrees of freedom of each term: of a run's terms those of the runs, of a language's those of the languages."""
    ofs = {name: "both" if "×" in name else "language" if factor(name) in ("language", MEANS) else "run"
           for name in columns}
    count = {level: list(ofs.values()).count(level) for level in ("both", "language", "run")}
    left = {"run": runs - 1 - count["run"], "language": languages - count["language"],
            "both": len(columns) - columns.shape[1]}
    return {name: max(1, left[level]) for name, level in ofs.items()}
