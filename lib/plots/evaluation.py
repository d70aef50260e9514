"""Figures of the evaluation chapter."""
import math

from lib import records
from lib.plots.base import WIDE, axes, figure
from lib.tables.base import need, span


@figure("P1-F1", "06_evaluation", "Accuracy of every stage by task")
def stage_accuracy(profile: str):
    """One panel a task and language; points with Wilson intervals by stage, and the chance level."""
    labels = ["task", "language", "prompt"]
    found = need(records.metrics(profile, "06_evaluation").query("metric == 'accuracy'"), "tests")
    chance = records.facts(profile, "06_evaluation").query("fact == 'chance'").set_index(["stage", *labels])["value"]
    frame = found[["stage", *labels, "n", "value", "low", "high"]].copy()
    frame["chance"] = [chance[tuple(row)] for row in frame[["stage", *labels]].to_numpy()]
    groups = list(frame.groupby(labels, sort=False))
    lines = math.ceil(len(groups) / 4)
    columns = math.ceil(len(groups) / lines)
    drawing, panels = axes(lines, columns, WIDE, 1.9 * lines + 0.2, sharey=True, squeeze=False)
    for panel, ((task, language, prompt), part) in zip(panels.flat, groups):
        _points(panel, part, f"{task} {language}" + (" (chat)" if prompt == "chat" else ""))
    for panel in panels.flat[len(groups):]:
        panel.set_visible(False)
    for row in panels:
        row[0].set_ylabel("accuracy (%)")
    return drawing, frame, _accuracy_reading(frame)


def _points(panel, part, title: str):
    """Accuracy of the stages from left to right, in one panel."""
    value, low, high = (100 * part[column] for column in ("value", "low", "high"))
    panel.errorbar(range(len(part)), value, [value - low, high - value], fmt="o", capsize=2)
    panel.axhline(100 * part["chance"].iloc[0], color="0.4", linestyle=":", linewidth=0.9)
    panel.annotate("chance", (0.5, 100 * part["chance"].iloc[0]), (0, 2), textcoords="offset points", ha="center",
                   color="0.4", fontsize=6)
    panel.set_xticks(range(len(part)), part["stage"], rotation=30, ha="right", rotation_mode="anchor")
    panel.set(title=f"{title}, n = {part['n'].iloc[0]}", ylim=(0, 100), xlim=(-0.5, len(part) - 0.5))


def _accuracy_reading(frame) -> str:
    above, best = frame[frame["low"] > frame["chance"]], frame.loc[frame["value"].idxmax()]
    return (f"{len(above)} of {len(frame)} scores lie above chance with their whole 95 % interval; highest: {best['task']} "
            f"{best['language']} {best['stage']}, {100 * best['value']:.0f} % [{100 * best['low']:.0f}, "
            f"{100 * best['high']:.0f}] (n = {span(frame['n'])} items; demonstration scale).")
