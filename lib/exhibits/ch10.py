"""Exhibits of MultiAlpaca."""
import pandas

from lib.engine import params, records
from lib.exhibits.base import PALETTE, WIDE, axes, figure, interval, reported, table

CHAPTER = "10_multialpaca"
LONGEST = 160  # characters shown of each part of a task
FILES = ("alpaca-seed-tasks", "multialpaca")
PRINTED, OURS = "paper's %", "% of the paper's total"
HATCHES = ["", "//", "..", "xx", "\\\\", "--", "++", "oo"]


@table("P3-T4", CHAPTER, "Dataset card: tasks generated here, tasks released, and the paper's own counts", FILES)
def dataset_card(profile: str):
    """A row a language and set; median lengths in characters, of inputs only where there is one; blanks are unknown."""
    noted = records.facts(profile, CHAPTER)
    facts = noted.query("fact in ['tasks', 'empty_inputs', 'duplicates', 'median_length']")
    theirs = reported("P3-T4").query("table == 'Table 7'").pivot(index="language", columns="quantity", values="printed")
    sets = facts.groupby(["set", "language"], sort=False) if len(facts) else ()
    origins = noted[noted["fact"] == "seeds"].set_index("language")["origin"] if "origin" in noted else {}
    rows = [_counted(key, found, theirs) for key, found in sets]
    rows = [{**row, "made from": origins.get(row["language"])} if row["set"] == "generated" else row for row in rows]
    shown = {row["language"] for row in rows if row["set"] == "released"}
    others = theirs.drop(index=["sum", *shown])
    rows += [{"set": "paper only", "language": language, "paper's tasks": int(row["tasks"]), PRINTED: row["share"]}
             for language, row in [*others.iterrows(), ("all", theirs.loc["sum"])]]
    columns = ["set", "language", "made from", "tasks", "paper's tasks", PRINTED, OURS, "empty inputs", "empty %",
               "duplicates", "instruction", "input", "output"]
    frame = pandas.DataFrame(rows, columns=columns, dtype=object)
    return frame.fillna(""), _card_reading(frame)


def _counted(key, found: pandas.DataFrame, theirs: pandas.DataFrame) -> dict:
    kind, language = key
    values = {row.get("part") if row["fact"] == "median_length" else row["fact"]: row["value"]
              for row in found.to_dict("records")}
    total = int(theirs.loc["sum", "tasks"])
    row = {"set": kind, "language": language, "tasks": int(values["tasks"]), "duplicates": int(values["duplicates"]),
           "empty inputs": int(values["empty_inputs"]),
           **{part: values[part] for part in ("instruction", "input", "output") if pandas.notna(values.get(part))}}
    if values["tasks"]:
        row["empty %"] = f"{100 * values['empty_inputs'] / values['tasks']:.1f}"
    if kind == "released" and language in theirs.index:
        row |= {"paper's tasks": int(theirs.loc[language, "tasks"]), PRINTED: theirs.loc[language, "share"],
                OURS: f"{100 * values['tasks'] / total:.2f}"}
    return row


def _card_reading(frame: pandas.DataFrame) -> str:
    made, files = frame[frame["set"] == "generated"], frame[frame["set"] == "released"]
    parts = ", ".join(f"{row['language']} {row['tasks']:,} ({row['empty %']} % without input)"
                      for row in files.to_dict("records"))
    same = (files["tasks"] == files["paper's tasks"]).sum()
    odd = [f"{row['language']} is printed {row[PRINTED]} % and makes {row[OURS]} %" for row in files.to_dict("records")
           if row[PRINTED] != row[OURS]]
    told = (f"The released files hold {parts}; {same} of {len(files)} counts are those of the paper's Table 7"
            f"{'; ' + ', '.join(odd) if odd else ''}" if len(files) else "The released files could not be had")
    here = ", ".join(f"{row['language']} {row['tasks']}" for row in made.to_dict("records"))
    near = ", ".join(made.loc[made["made from"] == "released tasks", "language"])
    kin = f" ({near} from seeds that are released tasks: no independent sets)" if near else ""
    return f"{told}; kept of what was generated here: {here or 'nothing'}{kin}. Demonstration scale."


@table("C10-T1", CHAPTER, "What became of the teacher's replies and tasks, by language and round", FILES)
def rejections(profile: str):
    """A row a language and round: replies, those without a task or failed, tasks, kept, rejected by reason.

    `yield %` are kept ones of those asked for; a task counts under the first check that it fails.
    """
    facts = records.facts(profile, CHAPTER)
    rounds = facts.groupby(["language", "round"], sort=False) if "round" in facts else ()
    rows = [{"language": language, "round": int(number), **_round(found)} for (language, number), found in rounds]
    return pandas.DataFrame(rows), _rejections_reading(profile)


def _round(found: pandas.DataFrame) -> dict:
    value = found.set_index("fact")["value"]
    replies = found[found["fact"] == "replies"].set_index("outcome")["value"]
    reasons = found[found["fact"] == "rejected"].set_index("reason")["value"]
    return {"replies": int(replies.sum()), "no task in it": int(replies["unparsed"]), "failed": int(replies["error"]),
            "tasks": int(value["generated"]), "kept": int(value["kept"]),
            "yield %": f"{100 * value['kept'] / value['asked']:.0f}", **reasons.astype(int).to_dict(),
            "inputs blanked": int(value["blanked"])}


def _rejections_reading(profile: str) -> str:
    found = records.metrics(profile, CHAPTER)
    if found.empty:
        return "No teacher was asked, so nothing stands here."
    found = found[found["set"] == "generated"]
    written = records.facts(profile, CHAPTER).query("fact == 'generated'").groupby("language")["value"].sum()
    parsed = shares(found, "parsed", "of {n} replies")
    made = shares(found, "survival_overall", "of {tasks} tasks in {n} replies", written)
    teacher = records.load(profile, CHAPTER)["parameters"]["teacher"]
    return (f"Replies of the teacher {teacher} with a task in them: {parsed or 'none'}; tasks that survive all checks: "
            f"{made or 'none'}; kept of those asked for: {shares(found, 'yield', 'of {n} prompts') or 'none'}. "
            "Demonstration scale.")


def shares(metrics: pandas.DataFrame, name: str, of: str, tasks=None) -> str:
    """A metric's percentages with intervals, a language each; `of` says what each rests on, {n} or {tasks}."""
    found = metrics[metrics["metric"] == name].to_dict("records")
    return ", ".join(f"{row['language']} {interval({part: 100 * row[part] for part in ('value', 'low', 'high')}, 0)} % "
                     + of.format(n=row["n"], tasks=int(tasks[row["language"]]) if tasks is not None else 0)
                     for row in found)


@table("C10-T2", CHAPTER, "Tasks kept and rejected, as they were written", FILES)
def task_examples(profile: str):
    """A few tasks of each language, kept ones first, cut where they are long; `like` is the pooled instruction."""
    found = records.rows(profile, CHAPTER, "examples")
    if found.empty:
        return found, "No task was generated."
    frame = found.fillna("").assign(verdict=found["reason"].where(found["reason"] != "", "kept"))
    frame = frame.rename(columns={"near": "like"})[["language", "round", "verdict", "instruction", "input", "output",
                                                    "like"]]
    for column in ("instruction", "input", "output", "like"):
        frame[column] = [_short(cell) for cell in frame[column]]
    reasons = frame.loc[frame["verdict"] != "kept", "verdict"].value_counts()
    return frame, (f"{(frame['verdict'] == 'kept').sum()} kept and {reasons.sum()} rejected tasks of "
                   f"{frame['language'].nunique()} languages; reasons shown: {', '.join(reasons.index) or 'none'}.")


def _short(string: str) -> str:
    return string if len(string) <= LONGEST else f"{string[:LONGEST].rstrip()} …"


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
