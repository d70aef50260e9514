"""The ledger of the papers' claims: each with the tests that `claims.yaml` names and a verdict computed from records.

A test is one metric with its 95 % interval, a bound, and a margin m, the least effect that matters. An interval all on
the claimed side *supports* it, one all on the other side *refutes* it, and one inside ± m of the bound shows *no effect
above m*, on whichever side it lies; that supports a claim of little or nothing. Any other is *undecided at this scale*, as
are fewer than LEAST items, whose bootstrap intervals are too narrow, and models that were trained fewer than TRAININGS
times, since the luck of a seed is then not told from an effect. A claim asserts all its tests.

Where a run was given more trainings after a first look at fewer (`first_looks`), two looks may each have found what is not
there: intervals are then of 97 % (Pocock 1977, two looks at 5 % in all).

A claim about a treatment may name a manipulation check: a test of what the treatment itself must move. Where that is not
supported, nothing was given whose effects could be seen, and the claim stays undecided.
"""
import functools
from pathlib import Path

import pandas
import yaml
from scipy import stats

from lib.engine import records
from lib.exhibits.units import LEAST, in_print, interval

SUPPORTED, REFUTED, NONE = "supported", "refuted", "no effect above its margin"
UNDECIDED, ABSENT = "undecided at this scale", "no record yet"
VERDICTS = (SUPPORTED, REFUTED, NONE, UNDECIDED, ABSENT)
EXPECTED = ("above", "below", "within", "not above", "not below")
TRAININGS = 3
TWO_LOOKS = 0.0294  # level of each of two looks that err in 5 % of cases together (Pocock 1977)
OTHERS = ("en", "pairs")  # values of a label `language` that are not the learned language alone
TARGET = "target"  # in `labels`: the learned language, whichever that is
MEASURED = ["value", "low", "high", "n", "unit", "least"]


@functools.cache
def entries() -> list[dict]:
    """The claims of `claims.yaml`: id, paper, claim, tests (label, chapter, metric, labels, expect, bound, margin, why,
    trained), check (as a test; None without)."""
    content = _content()

    def whole(test):
        return {"bound": 0, "trained": True, **test, **content["margins"][test["margin"]]}

    return [{**claim, "tests": [whole(test) for test in claim["tests"]],
             "check": whole(claim["check"]) if "check" in claim else None} for claim in content["claims"]]


def decides(row) -> bool:
    """Whether a claim's verdict hangs on this test of it, a row of the ledger; one without a record may hold it up."""
    return row["test_verdict"] in (row["verdict"], ABSENT)


def ledger(profile: str) -> pandas.DataFrame:
    """One row a test: id, paper, claim, verdict (the claim's), label, test verdict, value, low, high, n, trainings, unit,
    and `least`, the effect that the test could have seen; trainings are blank where nothing trained is compared.

    Further columns trace it: chapter, metric, labels, expect, bound, margin, why that margin, and a remark on what it
    lacks to be decided.
    """
    frame = pandas.DataFrame([{**claim, **_checked(profile, claim["check"], _tested(profile, test))}
                              for claim in entries() for test in claim["tests"]]).drop(columns=["tests", "check"])
    frame = frame.reindex(columns=[*frame.columns, *(name for name in [*MEASURED, "trainings"] if name not in frame)])
    frame["trainings"] = frame["trainings"].astype("Int64")
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


def towards(number, test: dict):
    """How far a number lies beyond the bound in the direction that the test claims, in margins."""
    return (-1 if test["expect"] in ("below", "not above") else 1) * (number - test["bound"]) / test["margin"]


def claimed(expect: str) -> tuple[float, float]:
    """The ends, in margins `towards` the claim, between which a test wants the whole interval."""
    return (-1 if expect == "within" or expect.startswith("not") else 0), 1 if expect == "within" else float("inf")


def judge(low: float, high: float, n: int, test: dict, trainings: int | None = None) -> str:
    """The verdict on an interval over n items by the test's keys expect, bound and margin.

    `trainings` is how often what is compared was trained, None where nothing was. Raises ValueError when `expect` is
    another word.
    """
    expect = test["expect"]
    if expect not in EXPECTED:
        raise ValueError(f"A test expects {expect!r}: choose one of {', '.join(EXPECTED)}.")
    if n < LEAST or trainings is not None and trainings < TRAININGS:
        return UNDECIDED
    low, high = sorted(towards(end, test) for end in (low, high))
    start, end = claimed(expect)
    if start == 0 and -1 < low and high < 1:
        return NONE
    return SUPPORTED if start < low and high < end else REFUTED if high < start or low > end else UNDECIDED


def _tested(profile: str, test: dict) -> dict:
    row = {**test, "labels": _listed(test["labels"])}
    try:
        found = select(profile, test)
    except (FileNotFoundError, LookupError) as error:
        reason = "not compared in this run" if isinstance(error, LookupError) else f"{test['chapter']} has no record"
        return {**row, "test_verdict": ABSENT, "remark": reason}
    # Records made before trainings were counted have intervals over items alone, which say nothing about training.
    trainings = int(found["trainings"]) if pandas.notna(found["trainings"]) else 0
    trainings = trainings if test["trained"] else None
    # Trainings that were added after a look at fewer.
    second = (trainings or 0) > _content()["first_looks"].get(profile, {}).get(test["chapter"], float("inf"))
    found, told = _widened(found, trainings) if second else (found, "")
    verdict = judge(found["low"], found["high"], found["n"], test, trainings)
    return {**row, "labels": _listed(found[list(test["labels"])]), **found[MEASURED], "trainings": trainings or None,
            "test_verdict": verdict,
            "remark": ", ".join(filter(None, [_lacks(found, test, trainings) if verdict == UNDECIDED else "", told]))}


def _widened(found: pandas.Series, trainings: int) -> tuple[pandas.Series, str]:
    """A metric with its interval at the level of two looks, by Student's t of its trainings, and a remark that says so."""
    high, low = (stats.t.ppf(1 - level / 2, trainings - 1) for level in (TWO_LOOKS, 0.05))
    ends = {end: found["value"] + (found[end] - found["value"]) * high / low for end in ("low", "high")}
    return pandas.Series({**found, **ends}), "a second look, 97 % interval"


def _checked(profile: str, check: dict | None, row: dict) -> dict:
    """The row of a test that has a record, undecided unless the claim's treatment moved what it must."""
    if check is None or row["test_verdict"] == ABSENT:
        return row
    found = _tested(profile, check)
    if found["test_verdict"] == SUPPORTED:
        return row
    remark = f"not measured whether the treatment took ({check['label']})"
    if found["test_verdict"] != ABSENT:
        remark = f"the treatment did not take: {check['label']} {interval(found)} {in_print(found['unit'])[2]}"
    return {**row, "test_verdict": UNDECIDED, "remark": remark}


def _lacks(found: pandas.Series, test: dict, trainings: int | None) -> str:
    """What an undecided test would need: items, trainings, or the half-width that decides at the value seen."""
    alone = "its interval is over test items alone, not over trainings"
    few = [f"only {count:.0f} {name}{'s' * int(count != 1)}" if count else alone
           for name, count, least in (("item", found["n"], LEAST), ("training", trainings, TRAININGS))
           if count is not None and count < least]
    factor, digits, unit = in_print(found["unit"])
    value, ends = towards(found["value"], test), claimed(test["expect"])
    enough = max(abs(value), 1 - abs(value)) if ends[0] == 0 else min(abs(value - end) for end in ends)
    width = max(found["value"] - found["low"], found["high"] - found["value"])
    seen, needed = (f"{factor * size:.{digits}f}" for size in (width, enough * test["margin"]))
    return ", ".join(few) or f"half-width {seen} {unit}, {needed} decides at this value"


def _joint(verdicts: list[str]) -> str:
    """The claim's verdict from those of its tests; a test without an effect leaves it without, when all others are
    decided, and one without a record leaves a claim undecided that no other test refutes."""
    if {*verdicts} == {ABSENT}:
        return ABSENT
    made = {UNDECIDED if verdict == ABSENT else verdict for verdict in verdicts}
    return next(verdict for verdict in (REFUTED, UNDECIDED, NONE, SUPPORTED) if verdict in made)


@functools.cache
def _content() -> dict:
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf8"))


def _equal(frame: pandas.DataFrame, name: str, wanted) -> pandas.Series:
    if name not in frame:
        return pandas.Series(False, frame.index)
    return frame[name].notna() & ~frame[name].isin(OTHERS) if wanted == TARGET else frame[name] == wanted


def _listed(labels) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels.items())
