"""Exhibits of base strength: stages, bases, translated input, methods and languages of task rows."""
import pandas

from lib.engine import records
from lib.exhibits.base import Lacking, figure, measured, need, noted, table
from lib.exhibits.differences import corrected, differences
from lib.exhibits.panels import COLUMN, WIDE, axes, legend, level, points, slant, tiles
from lib.exhibits.units import LEAST, behind, interval, span

CHAPTER = "07_base_strength"
ABSENT = "neither test files nor items of the corpus are at hand"
FILES = ("llama-persian-tests", "parsinlu", "xquad")
# Which answers a row of C07-F1 counts.
KINDS = {"accuracy": "all", "accuracy_unflagged": "without flagged", "margin": "all, margin of the right option",
         "generated_accuracy": "in words, read as a choice",
         "probe_accuracy": "probe of frozen states", "probe_transfer": "probe fitted on the other language",
         "invalid": "in words, invalid answers", "rouge_l": "in words, ROUGE-L", "chrf": "in words, chrF++"}
# What a metric of C07-F2 sets against each other.
CHOICES = {"accuracy_difference": "{stage} − {against}", "accuracy_gain_by_base": "{base} − {against}",
           "arm_difference": "{method} − {against}", "transfer_difference": "tuned on {trained_on} − on {against}"}


def _tested(profile: str, *names: str) -> pandas.DataFrame:
    """Metrics of these names; Lacking when the chapter had no tests, or nothing of this kind to score."""
    if not noted(profile, CHAPTER, "available")["value"].iloc[0]:
        raise Lacking(ABSENT)
    return need(measured(profile, CHAPTER, *names))


@figure("C07-F1", CHAPTER, "Accuracy on the tests after each stage, by base", FILES)
def stage_tests(profile: str):
    """A panel a setting: all tasks together after each stage and the same task tuning, bases side by side, chance dotted.

    The CSV has every task, the items without a flag, and answers in words.
    """
    found = _tested(profile, *KINDS)
    found["answers"] = found["metric"].map(KINDS)
    words = found["answers"].str.startswith("in words")
    found = found[~words | (found["method"] == "lora") & (found["trained_on"] == "both")]
    chance = noted(profile, CHAPTER, "accuracy_chance").groupby(["setting", "task"])["value"].first()
    found = found.join(chance.rename("chance"), on=["setting", "task"])
    found.loc[~found["metric"].isin(["accuracy", "accuracy_unflagged"]), "chance"] = None  # a margin or a text has none
    whole = found.query("metric == 'accuracy' and task == 'all'")
    drawing, panels = tiles(whole.groupby("setting", sort=False), 9, 2.3, sharey=True)
    for panel, setting, part in panels:
        points(panel, part, "stage", "base", among=whole)
        level(panel, 100 * part["chance"].iloc[0])
        slant(panel, 20)
        panel.set(ylim=(0, 103), title=f"{setting}, n = {span(part['n'])}")
    drawing.axes[0].set_ylabel("accuracy (%)")
    legend(drawing, ncols=4)
    best, asked_by = whole.loc[whole["value"].idxmax()], records.load(profile, CHAPTER)["parameters"]["asked_by"]
    frame = found[["answers", "base", "stage", "setting", "task", "language", "n", "value", "low", "high", "unit", "chance"]]
    return drawing, frame, (
        f"{(whole['low'] > whole['chance']).sum()} of {len(whole)} accuracies over all tasks lie above chance (dotted) with "
        f"their whole 95 % interval, the highest is {interval(best, 0)} % ({best['base']} {best['stage']}, {best['setting']}; "
        f"n = {span(whole['n'])} items{behind(whole)}; likelihood of the options' {asked_by}s; demonstration scale).")


@table("P1-T6", CHAPTER, "Translated input against the language's own, the same items", FILES)
def translated_input(profile: str):
    """One row a base, stage and task: accuracy of translate-test minus that of the own language, in points."""
    keys = ("base", "stage", "task")
    return differences(_tested(profile, "translate_test_difference"), dict(zip(keys, keys)),
                       "All tasks, translating the question first:", "task == 'all'",
                       column="translated − own")


@figure("C07-F2", CHAPTER, "What stages, base, method and language of the task rows change on the tests", FILES)
def choices(profile: str):
    """A row a choice, a panel a language of the tests: change of accuracy over all tasks, paired; bases side by side.

    Stages against the one before and the first. The CSV has every task, and p by Holm over all of its rows.
    """
    found = _tested(profile, *CHOICES)
    found = corrected(found.sort_values("metric", key=lambda names: names.map(list(CHOICES).index), kind="stable"))
    found["base"] = found["base"].fillna(records.load(profile, CHAPTER)["parameters"]["bases"][0])
    found["choice"] = [CHOICES[row["metric"]].format(**row) for row in found.to_dict("records")]
    whole = found[found["task"] == "all"][::-1]
    languages = found["language"].unique()
    drawing, panels = axes(1, len(languages), WIDE if len(languages) > 1 else COLUMN, 0.9 + 0.22 * whole["choice"].nunique(),
                           squeeze=False, sharex=True, sharey=True)
    for panel, language in zip(panels[0], languages):
        part = whole[whole["language"] == language]
        points(panel, part, "choice", "base", among=whole, across=True)
        level(panel, 0, across=True)
        panel.set(xlabel="change of accuracy (points)", title=f"tests in {language}, n = {span(part['n'])}")
    legend(drawing, loc="outside upper center", ncols=2)
    tested = found[found["n"] >= LEAST]
    largest = whole.loc[whole["value"].abs().idxmax()]
    frame = found[["choice", "base", "language", "task", "n", "value", "low", "high", "p", "holm"]]
    return drawing, frame, (
        f"{(tested['holm'] < 0.05).sum()} of {len(tested)} changes on {LEAST} items or more have p < 0.05 after Holm's "
        f"correction; the largest over all tasks is {interval(largest)} points ({largest['choice']}, {largest['base']}, tests "
        f"in {largest['language']}; n = {span(found['n'])} items{behind(found)}, paired; demonstration scale).")
