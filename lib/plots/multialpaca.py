"""Figures of the chapter on MultiAlpaca."""
import pandas

from lib import params, records
from lib.plots.base import PALETTE, WIDE, axes, figure
from lib.tables.base import reported
from lib.tables.multialpaca import FILES, shares

CHAPTER = "10_multialpaca"
HATCHES = ["", "//", "..", "xx", "\\\\", "--", "++", "oo"]


@figure("P3-F5", CHAPTER, "Tasks that survive the checks as the pool grows, and why the others do not", FILES)
def survival(profile: str):
    """Left: share that survives in each round against tasks before checking, a line a language; right: reasons."""
    metrics, facts = records.metrics(profile, CHAPTER), records.facts(profile, CHAPTER)
    rounds = metrics[metrics["metric"] == "survival"] if len(metrics) else metrics
    drawing, (left, right) = axes(1, 2, WIDE, 2.6)
    lines = [_line(left, place, code, found, facts)
             for place, (code, found) in enumerate(rounds.groupby("language", sort=False) if len(rounds) else ())]
    frame = pandas.concat(lines) if lines else pandas.DataFrame()
    left.set(xlabel="tasks before checking, all rounds so far", ylabel="tasks that survive (%)", ylim=(-3, 103))
    reasons = _reasons(facts)
    if len(reasons):
        _bars(right, reasons)
    if lines:
        left.legend(title="language (tasks)", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return drawing, pandas.concat([frame, reasons]), _reading(metrics, facts, lines)


def _line(panel, place: int, language: str, found: pandas.DataFrame, facts: pandas.DataFrame) -> pandas.DataFrame:
    """One language's shares with intervals over replies (n); returns what is drawn."""
    made = facts[(facts["fact"] == "generated") & (facts["language"] == language)].set_index("round")["value"]
    frame = found[["language", "round", "n", "value", "low", "high"]].copy()
    frame["before"] = [made[made.index <= number].sum() for number in frame["round"]]
    spread = [100 * (frame["value"] - frame["low"]), 100 * (frame["high"] - frame["value"])]
    panel.errorbar(frame["before"], 100 * frame["value"], spread, marker="os^Dv<>p"[place % 8], capsize=2,
                   color=PALETTE[place % len(PALETTE)], label=f"{language} ({made.sum():.0f})")
    return frame


def _reasons(facts: pandas.DataFrame) -> pandas.DataFrame:
    """Rejected tasks by set, language and reason, as a share of the tasks before checking."""
    if "reason" not in facts:
        return pandas.DataFrame(columns=["set", "language", "reason", "rejected", "share"])
    found = facts[facts["fact"] == "rejected"]
    frame = found.groupby(["set", "language", "reason"], sort=False)["value"].sum().rename("rejected").reset_index()
    made = facts[facts["fact"].isin(["generated", "surveyed"])].groupby(["set", "language"])["value"].sum()
    frame["share"] = [rejected / max(made.get((kind, language), 0), 1)
                      for kind, language, rejected in frame[["set", "language", "rejected"]].itertuples(index=False)]
    return frame


def _bars(panel, frame: pandas.DataFrame):
    """Stacked bars of the reasons that occur, generated sets above released ones."""
    wide = frame.pivot_table(index=["set", "language"], columns="reason", values="share", sort=False)
    names, base = [f"{language}, {kind}" for kind, language in wide.index], 0
    for place, reason in enumerate(reason for reason in wide if wide[reason].sum() > 0):
        panel.barh(names, 100 * wide[reason], left=base, label=reason, color=PALETTE[place % len(PALETTE)],
                   hatch=HATCHES[place % len(HATCHES)], edgecolor="white", linewidth=0.4)
        base = base + 100 * wide[reason]
    panel.set(xlabel="rejected (% of tasks before checking)", xlim=(0, 100))
    panel.invert_yaxis()
    if frame["rejected"].sum():
        panel.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.4, 1))


def _reading(metrics: pandas.DataFrame, facts: pandas.DataFrame, lines: list) -> str:
    if not lines:
        return "No task was generated, so no share stands here; the paper draws its shares without printing them."
    sets = {kind: found for kind, found in metrics.groupby("set")}
    made = shares(sets["generated"], "survival_overall", "({n} replies)")
    reasons = facts[(facts["fact"] == "rejected") & (facts["set"] == "generated")].groupby("reason")["value"].sum()
    common = f", most often rejected as {reasons.idxmax()}" if reasons.sum() else ""
    known = "; of the released tasks the same checks keep " + shares(
        sets["released"], "survival_overall", "of {n:,}") if "released" in sets else ""
    return (f"Tasks generated here that survive: {made}{common}{known}; kept of those asked for: "
            f"{shares(sets['generated'], 'yield', '({n} prompts)')}, where the paper's counts make "
            f"{100 * _paper_yield():.0f} % if its prompts are counted per language. Demonstration scale.")


def _paper_yield() -> float:
    """Tasks that the paper counts, of those its settings ask for in all languages."""
    paper, counts = params.load("paper", CHAPTER), reported("P3-T4")
    total = counts.query("table == 'Table 7' and language == 'sum' and quantity == 'tasks'")["value"].sum()
    prompts = paper["first_prompts"] + (paper["rounds"] - 1) * paper["prompts"]
    return total / (len(paper["languages"]) * prompts * paper["asked"])
