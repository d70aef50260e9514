"""Exhibits of MultiAlpaca."""
import pandas

from lib.exhibits.base import figure, measured, noted, reported, table
from lib.exhibits.panels import MARKERS, PALETTE, WIDE, axes, errorbars
from lib.exhibits.units import interval

CHAPTER = "10_multialpaca"
FILES = ("alpaca-seed-tasks", "multialpaca")
PRINTED, OURS = "paper's %", "% of the paper's total"
HATCHES = ["", "//", "..", "xx", "\\\\", "--", "++", "oo"]


@table("P3-T4", CHAPTER, "Dataset card: tasks generated here, tasks released, and the paper's own counts", FILES)
def dataset_card(profile: str):
    """A row a language and set; median lengths in characters, of inputs only where there is one; blanks are unknown."""
    facts = noted(profile, CHAPTER, "tasks", "empty_inputs", "duplicates", "median_length")
    origins = noted(profile, CHAPTER, "seeds").set_index("language")["origin"]
    theirs = reported("P3-T4").query("table == 'Table 7'").pivot(index="language", columns="quantity", values="printed")
    rows = [{"set": kind, "language": code, "made from": origins.get(code) if kind == "generated" else None,
             **_counted(found)} for (kind, code), found in facts.groupby(["set", "language"], sort=False)]
    released = [row for row in rows if row["set"] == "released" and row["language"] in theirs.index]
    for row in released:
        row[OURS] = f"{100 * row['tasks'] / int(theirs.loc['sum', 'tasks']):.2f}"
    others = theirs.drop(index=["sum", *(row["language"] for row in rows if row["set"] == "released")], errors="ignore")
    more = [{"set": "paper only", "language": code} for code in others.index] + [{"set": "paper only", "language": "all"}]
    for row in released + more:
        paper = theirs.loc["sum" if row["language"] == "all" else row["language"]]
        row |= {"paper's tasks": int(paper["tasks"]), PRINTED: paper["share"]}
    columns = ["set", "language", "made from", "tasks", "paper's tasks", PRINTED, OURS, "empty inputs", "empty %",
               "duplicates", "instruction", "input", "output"]
    frame = pandas.DataFrame([*rows, *more], columns=columns, dtype=object)
    frame.attrs["printed"] = [name for name in columns if name != "duplicates" and frame[name].notna().any()]
    return frame.fillna(""), _card_reading(frame)


def _counted(found: pandas.DataFrame) -> dict:
    """Counts and median lengths of a set in one language."""
    value = found.set_index(found["part"].where(found["fact"] == "median_length", found["fact"]))["value"]
    empty = f"{100 * value['empty_inputs'] / value['tasks']:.1f}" if value["tasks"] else None
    return {"tasks": int(value["tasks"]), "duplicates": int(value["duplicates"]), "empty inputs": int(value["empty_inputs"]),
            "empty %": empty, **value.reindex(["instruction", "input", "output"]).to_dict()}


def _card_reading(frame: pandas.DataFrame) -> str:
    made, files = frame[frame["set"] == "generated"], frame[frame["set"] == "released"]
    same = (files["tasks"] == files["paper's tasks"]).sum()
    odd = [f"{row['language']} is printed {row[PRINTED]} % and makes {row[OURS]} %" for row in files.to_dict("records")
           if row[PRINTED] != row[OURS]]
    told = (f"{same} of {len(files)} released files hold as many tasks as the paper's Table 7 says"
            f"{'; ' + ', '.join(odd) if odd else ''}" if len(files) else "The released files could not be had")
    here = ", ".join(f"{row['language']} {row['tasks']}" for row in made.to_dict("records"))
    near = ", ".join(made.loc[made["made from"] == "released tasks", "language"])
    kin = f" ({near} from seeds that are released tasks)" if near else ""
    return f"{told}; kept of what was generated here: {here or 'nothing'}{kin} (demonstration scale)."


def _end(profile: str, kind: str, end: str, of: str) -> str:
    """`94 [94, 95] % (ja, n = 10191 tasks)`: the `max` or `min` over a set's languages of what survives; else empty."""
    found = measured(profile, CHAPTER, "survival_overall")
    found = found[found["set"] == kind]
    row = found.loc[found["value"] == found["value"].agg(end)].head(1).to_dict("records")
    return "".join(f"{interval(one, 0)} % ({one['language']}, n = {one['n']} {of})" for one in row)


@figure("P3-F5", CHAPTER, "Tasks that survive the checks as the pool grows, and why the others do not", FILES)
def survival(profile: str):
    """Left: share that survives in each round against tasks before checking, a line a language; right: reasons."""
    facts, made = noted(profile, CHAPTER), noted(profile, CHAPTER, "generated")
    frame = measured(profile, CHAPTER, "survival")[["language", "round", "n", "value", "low", "high", "unit"]]
    frame["before"] = [made.query("language == @code and round <= @number")["value"].sum()
                       for code, number in zip(frame["language"], frame["round"])]
    drawing, (left, right) = axes(1, 2, WIDE, 2.6)
    for place, (code, line) in enumerate(frame.groupby("language", sort=False)):
        errorbars(left, line["before"], line, fmt=f"{MARKERS[place % 8]}-", color=PALETTE[place % len(PALETTE)],
                  label=f"{code} ({made.loc[made['language'] == code, 'value'].sum():.0f})")
    left.set(xlabel="tasks before checking, all rounds so far", ylabel="tasks that survive (%)", ylim=(-3, 103))
    left.xaxis.get_major_locator().set_params(integer=True)
    reasons = _reasons(facts)
    if len(reasons):
        _bars(right, reasons)
    if len(frame):
        left.legend(title="language (tasks)", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    drawn = frame.drop(columns="unit")
    return drawing, pandas.concat([drawn, reasons]) if len(drawn) else reasons, _survival_reading(profile, reasons)


def _reasons(facts: pandas.DataFrame) -> pandas.DataFrame:
    """Rejected tasks by set, language and reason, as a share of the tasks before checking."""
    keys = ["set", "language"]
    frame = facts[facts["fact"] == "rejected"].groupby([*keys, "reason"], sort=False)["value"].sum().rename("rejected")
    made = facts[facts["fact"].isin(["generated", "surveyed"])].groupby(keys)["value"].sum().rename("made")
    frame = frame.reset_index().join(made, on=keys)
    return frame.assign(share=frame["rejected"] / frame["made"].fillna(0).clip(lower=1)).drop(columns="made")


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


def _survival_reading(profile: str, reasons: pandas.DataFrame) -> str:
    made, known = _end(profile, "generated", "max", "replies"), _end(profile, "released", "min", "tasks")
    if not made:
        return "No task was generated, so no share stands here; the paper draws its shares without printing them."
    counts = reasons[reasons["set"] == "generated"].groupby("reason")["rejected"].sum()
    common = f", most often rejected as {counts.idxmax()}" if counts.sum() else ""
    return (f"Of the tasks generated here at most {made} survive{common}"
            f"{f'; of the released ones at least {known} do' if known else ''} (demonstration scale).")
