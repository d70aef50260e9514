"""Exhibits of base strength: stages, translated input, methods and languages of task rows."""
import pandas

from lib.exhibits.base import Lacking, measured, need, noted, table
from lib.exhibits.differences import differences

CHAPTER = "07_base_strength"
ABSENT = "neither test files nor items of the corpus are at hand"
FILES = ("llama-persian-tests", "parsinlu", "xquad")
ALL = "task == 'all'"
# Which answers a row of P1-T5b counts.
KINDS = {"accuracy": "all", "accuracy_unflagged": "without flagged", "generated_accuracy": "in words, read as a choice",
         "invalid": "in words, invalid answers", "rouge_l": "in words, ROUGE-L", "chrf": "in words, chrF++"}


def _tested(profile: str, *names: str) -> pandas.DataFrame:
    """Metrics of these names; Lacking when the chapter had no tests, or nothing of this kind to score."""
    if not noted(profile, CHAPTER, "available")["value"].iloc[0]:
        raise Lacking(ABSENT)
    found = measured(profile, CHAPTER, *names)
    return need(found) if names else found


def _chances(profile: str) -> pandas.Series:
    """Share of right answers by guessing, by (setting, task)."""
    return noted(profile, CHAPTER, "accuracy_chance").groupby(["setting", "task"])["value"].first()


@table("P1-T6", CHAPTER, "Translated input against the language's own, the same items", FILES)
def translated_input(profile: str):
    """One row a base, stage and task: accuracy of translate-test minus that of the own language, in points."""
    return _differences(_tested(profile, "translate_test_difference"), ("base", "stage", "task"),
                        "translating the question first changes accuracy by", column="translated − own")


def _differences(found: pandas.DataFrame, keys: tuple, lead: str, column: str = "Δ points"):
    return differences(found, dict(zip(keys, keys)), f"All tasks, {lead}", ALL, column=column)
