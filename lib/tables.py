"""Every table of the companion, made from records alone.

A table is a function of the profile that returns (frame, reading): the rows, and one computed sentence that says what
to see in them. `@table` registers it under its ID, so that its chapter shows it and 14_paper collects it.
"""
from typing import Callable, NamedTuple

import pandas

from lib import paths, records


class Exhibit(NamedTuple):
    """One table or figure: its ID, the chapter that makes its numbers, a title, and the function that builds it."""

    id: str
    chapter: str
    title: str
    build: Callable


TABLES: dict[str, Exhibit] = {}


def table(id: str, chapter: str, title: str):
    """Registers `function(profile) -> (DataFrame, reading)` as a table."""
    def register(function):
        TABLES[id] = Exhibit(id, chapter, title, function)
        return function
    return register


def show(id: str, profile: str) -> pandas.DataFrame:
    """Prints the table's title and reading, and returns its frame for display."""
    frame, reading = TABLES[id].build(profile)
    print(f"Table {id}. {TABLES[id].title}\n{reading}")
    return frame


def save(id: str, profile: str):
    """Writes the table as CSV, Markdown and LaTeX (booktabs) under `figures/<profile>/tables/`; returns its reading."""
    frame, reading = TABLES[id].build(profile)
    stem = paths.figures(profile) / "tables" / f"{id}_{TABLES[id].build.__name__}"
    stem.parent.mkdir(exist_ok=True)
    frame.to_csv(stem.with_suffix(".csv"), index=False)
    stem.with_suffix(".md").write_text(f"**{id}. {TABLES[id].title}** {reading}\n\n{frame.to_markdown(index=False)}\n", "utf8")
    frame.style.hide(axis="index").to_latex(stem.with_suffix(".tex"), hrules=True, caption=f"{TABLES[id].title}. {reading}")
    return reading


def interval(row, digits: int = 2) -> str:
    """`1.42 [1.38, 1.46]`: an estimate as it is printed in a table."""
    return f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


SCORES = {"retrieval_accuracy_mean": "retrieval acc@1", "bits_per_byte": "bits/byte", "chrf": "chrF++"}


@table("C04-T1", "04_alignment", "Bilingual pretraining with and without translation pairs")
def alignment(profile: str):
    """One row an arm: mean over the seeds of each score, with the mean of the seeds' 95 % intervals."""
    found = records.metrics(profile, "04_alignment")
    scores = found[found["metric"].isin(SCORES)].copy()
    scores["score"] = scores["metric"].map(SCORES) + " " + scores["language"].fillna(scores["task"]).fillna("")
    mean = scores.groupby(["arm", "score"], sort=False)[["value", "low", "high"]].mean()
    frame = mean.apply(interval, axis=1).unstack("score").loc[list(dict.fromkeys(scores["arm"])), scores["score"].unique()]
    facts = records.facts(profile, "04_alignment").query("fact == 'tokens'")
    frame.insert(0, "tokens", facts.groupby("arm")["value"].mean())
    frame["tokens"] = frame["tokens"].fillna(0).astype(int)
    return frame.rename_axis(columns=None).reset_index(), _alignment_reading(found)


def _alignment_reading(found: pandas.DataFrame) -> str:
    gain = found[found["metric"] == "retrieval_accuracy_mean_difference"]
    if gain.empty:
        return "Only one arm was trained, so nothing is compared (demonstration scale)."
    row = gain.iloc[0]
    return (f"With pairs, retrieval averaged over layers changes by {100 * row['value']:+.1f} points "
            f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] against the same tokens without "
            f"(n = {row['n']} held-out pairs, paired bootstrap p = {row['p']:.3f}; demonstration scale).")


@table("C05-T1", "05_sft", "Instruction examples by source and language")
def instruction_examples(profile: str):
    """Rows derived from the training split, left out because a held-out row shows them, and trained on."""
    facts = records.facts(profile, "05_sft")
    counts = facts[facts["fact"].isin(["examples_found", "examples_held_out", "examples_kept"])]
    frame = counts.pivot_table("value", ["source", "language"], "fact", sort=False).astype(int)
    frame.columns = [name.removeprefix("examples_").replace("_", " ") for name in frame.columns]
    by_language = frame["kept"].groupby("language").sum()
    share = ", ".join(f"{count} {language}" for language, count in by_language.items())
    truncated = facts.loc[facts["fact"] == "answers_truncated", "value"].sum()
    return frame.reset_index(), (f"{frame['kept'].sum()} examples ({share}) of {frame['found'].sum()} derived ones; "
                                 f"{int(truncated)} answers were cut at the length limit.")


@table("C05-T2", "05_sft", "Answers before and after instruction tuning")
def generations(profile: str):
    """Held-out prompts with the reference and the greedy answer of the start and of the tuned model."""
    frame = records.rows(profile, "05_sft", "generations")
    changed = (frame["before"] != frame["after"]).sum()
    return frame, f"{changed} of {len(frame)} greedy answers to held-out prompts changed with instruction tuning."
