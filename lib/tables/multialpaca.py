"""Tables of the chapter on MultiAlpaca."""
import pandas

from lib import records
from lib.tables.base import interval, reported, table

CHAPTER = "10_multialpaca"
LONGEST = 160  # characters shown of each part of a task
FILES = ("alpaca-seed-tasks", "multialpaca")
PRINTED, OURS = "paper's %", "% of the paper's total"


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
