"""The ledger of the papers' claims: each with the tests that `claims.yaml` names and a verdict computed from records.

A test is one metric with its interval and a bound. It is *supported* when the whole 95 % interval lies on the claimed
side of the bound (for `within`: inside ± the bound), *not supported* when all of it lies on the other side, else
*undecided at this scale*, as it is on fewer than LEAST items, whose bootstrap intervals are too narrow, and of models that
were trained fewer than TRAININGS times, since the luck of a seed is then not told from an effect. A claim asserts all its
tests: one that is not supported refutes it.
"""
import functools
from pathlib import Path

import pandas
import yaml

from lib.engine import records

SUPPORTED, REFUTED, UNDECIDED, ABSENT = "supported", "not supported", "undecided at this scale", "no record yet"
VERDICTS = (SUPPORTED, REFUTED, UNDECIDED, ABSENT)
EXPECTED = ("above", "below", "within")
LEAST, TRAININGS = 10, 3  # items, whose bootstrap intervals are too narrow below that; trainings
ENGLISH = "en"
TARGET = "target"  # in `labels`: whichever language is not English
MEASURED = ["value", "low", "high", "n", "unit", "least"]


@functools.cache
def entries() -> list[dict]:
    """The claims of `claims.yaml`: id, paper, claim, tests (label, chapter, metric, labels, expect, bound,
    seeds, trained)."""
    return yaml.safe_load((Path(__file__).with_suffix(".yaml")).read_text(encoding="utf8"))


def ledger(profile: str, strict: bool = False) -> pandas.DataFrame:
    """One row a test: id, paper, claim, verdict (the claim's), label, test verdict, value, low, high, n, seeds, unit, and
    `least`, the effect that the test could have seen; seeds are blank where nothing trained is compared.

    Further columns trace it: chapter, metric, labels, expect, bound, and a remark where there is no record. With
    `strict` a chapter that has a record must hold every metric named here: LookupError otherwise.
    """
    frame = pandas.DataFrame([{**claim, **_tested(profile, test, strict)}
                              for claim in entries() for test in claim["tests"]]).drop(columns="tests")
    frame = frame.reindex(columns=[*frame.columns, *(name for name in [*MEASURED, "seeds"] if name not in frame)])
    frame["seeds"] = frame["seeds"].astype("Int64")  # whole numbers, blank where nothing was trained
    joint = {claim: _joint(list(tests)) for claim, tests in frame.groupby("id")["test_verdict"]}
    frame.insert(3, "verdict", frame["id"].map(joint))
    return frame


def select(profile: str, test: dict) -> pandas.Series:
    """The one metric that a test names.

    Raises FileNotFoundError when the chapter has no record, LookupError unless exactly one of its metrics fits.
    """
    parameters, found = records.load(profile, test["chapter"])["parameters"], records.metrics(profile, test["chapter"])
    fits = found[found["metric"] == test["metric"]] if len(found) else found
    for name, wanted in test["labels"].items():
        fits = fits[_equal(fits, name, parameters[wanted[1:]] if str(wanted).startswith("=") else wanted)]
    if len(fits) != 1:
        raise LookupError(f"{len(fits)} metrics of {test['chapter']} are {test['metric']} with "
                          f"{_listed(test['labels'])}, and a test needs one: correct its "
                          "labels in lib/exhibits/claims.yaml, or run the chapter with the arms that it compares.")
    return fits.iloc[0]


def judge(low: float, high: float, n: int, expect: str, bound: float, trainings: int | None = None) -> str:
    """The verdict on an interval over n items; for `within` the bound is the margin on both sides of 0.

    `trainings` is how often what is compared was trained, None where nothing was. Raises ValueError when `expect` is
    another word.
    """
    if expect not in EXPECTED:
        raise ValueError(f"A test expects {expect!r}: choose one of {', '.join(EXPECTED)}.")
    if n < LEAST or trainings is not None and trainings < TRAININGS:
        return UNDECIDED
    if expect == "within":
        inside, outside = -bound < low and high < bound, low > bound or high < -bound
    else:
        above, below = low > bound, high < bound
        inside, outside = (above, below) if expect == "above" else (below, above)
    return SUPPORTED if inside else REFUTED if outside else UNDECIDED


def _tested(profile: str, test: dict, strict: bool) -> dict:
    row = {**test, "labels": _listed(test["labels"])}
    try:
        found = select(profile, test)
    except (FileNotFoundError, LookupError) as error:
        if strict and isinstance(error, LookupError):
            raise
        reason = "not compared in this run" if isinstance(error, LookupError) else f"{test['chapter']} has no record"
        return {**row, "test_verdict": ABSENT, "remark": reason}
    seeds = _seeds(profile, test, found) if test.get("trained", True) else None
    few = [f"only {count} {name}{'s' * int(count != 1)}" for name, count, least in
           (("item", found["n"], LEAST), ("training", seeds, TRAININGS)) if count is not None and count < least]
    return {**row, "labels": _listed(found[list(test["labels"])]), **found[MEASURED], "remark": ", ".join(few),
            "test_verdict": judge(found["low"], found["high"], found["n"], test["expect"], test["bound"], seeds),
            "seeds": seeds}


def _joint(verdicts: list[str]) -> str:
    """The claim's verdict from those of its tests that have a record."""
    made = [verdict for verdict in verdicts if verdict != ABSENT]
    if not made:
        return ABSENT
    return REFUTED if REFUTED in made else SUPPORTED if set(made) == {SUPPORTED} else UNDECIDED


def _equal(frame: pandas.DataFrame, name: str, wanted) -> pandas.Series:
    if name not in frame:
        return pandas.Series(False, frame.index)
    return frame[name].notna() & (frame[name] != ENGLISH) if wanted == TARGET else frame[name] == wanted


def _seeds(profile: str, test: dict, found: pandas.Series) -> int:
    """Trainings that the metric rests on: what it says itself; in records that do not, the test's own number, the seeds
    noted for its arm, or those in the chapter's parameters."""
    if pandas.notna(found["trainings"]):
        return int(found["trainings"])
    if "seeds" in test:
        return test["seeds"]
    metrics = records.metrics(profile, test["chapter"])
    if {"arm", "seed"} <= set(metrics) and "arm" in test["labels"]:
        counted = metrics.loc[metrics["arm"] == found["arm"], "seed"].nunique()
        if counted:
            return counted
    return len(records.load(profile, test["chapter"])["parameters"].get("seeds", [0]))


def _listed(labels) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels.items())
