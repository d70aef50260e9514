"""Exhibits of base strength: stages, translated input, methods and languages of task rows."""
import functools

import pandas

from lib.engine import records, statistics
from lib.exhibits.base import PALETTE, WIDE, Lacking, axes, figure, interval, need, p_value, span, table

CHAPTER = "07_base_strength"
ABSENT = "neither test files nor items of the corpus are at hand"
IDLE = "the profile's parameters name nothing to compare"
FILES = ("llama-persian-tests", "parsinlu", "xquad")
LEAST = 10  # items: the bootstrap's intervals of fewer are too narrow to count
SPOKEN = {"generated_accuracy": "in words, read as a choice", "invalid": "in words, invalid answers",
          "rouge_l": "in words, ROUGE-L", "chrf": "in words, chrF++"}


def measured(profile: str, metric: str) -> pandas.DataFrame:
    """The chapter's metrics of a name; empty when it has none."""
    found = records.metrics(profile, CHAPTER)
    return found[found["metric"] == metric] if len(found) else pandas.DataFrame(columns=["metric"])


def chances(profile: str) -> pandas.Series:
    """Share of right answers by guessing, by (setting, task)."""
    facts = records.facts(profile, CHAPTER).query("fact == 'accuracy_chance'")
    return facts.groupby(["setting", "task"])["value"].first()


def _or_why_not(build):
    """A table that says so when the chapter had no benchmark files, or nothing of its kind to compare."""
    @functools.wraps(build)
    def built(profile: str):
        ready = records.facts(profile, CHAPTER).query("fact == 'available'")["value"].iloc[0]
        if not ready:
            raise Lacking(ABSENT)
        found = build(profile)
        if not found:
            raise Lacking(IDLE)
        return found
    return built


@table("C07-T1", CHAPTER, "Task rows to tune on, by source: drawn, holding a test text, and kept", FILES)
@_or_why_not
def task_rows(profile: str):
    """One row a source and task."""
    frame = records.rows(profile, CHAPTER, "examples")
    leaked, found = frame["leaked"].sum(), frame["found"].sum()
    tested = set(records.facts(profile, CHAPTER).query("fact == 'released_majority'")["task"])
    lacking = ", ".join(sorted(tested - set(frame.query("language == 'en'")["task"]))) or "none of the tests' tasks"
    return frame[["language", "source", "task", "found", "leaked", "kept"]], (
        f"{leaked} of {found} rows drawn held a test text or a near twin and were left out; tasks of the tests that English "
        f"has no rows for: {lacking}.")


@table("P1-T4b", CHAPTER, "Tokens a word of the test questions, by base and stage", FILES)
@_or_why_not
def test_fertility(profile: str):
    """One row a base and stage; P1-T4 compares ways to extend one tokenizer, on the corpus."""
    found = measured(profile, "fertility")
    sizes = records.facts(profile, CHAPTER).query("fact == 'vocabulary'").set_index(["base", "stage"])["value"]
    found = found.assign(cell=[interval(row) for row in found.to_dict("records")])
    frame = found.pivot(index=["base", "stage"], columns="language", values="cell")
    frame = frame.add_prefix("tokens/word ").loc[list(dict.fromkeys(zip(found["base"], found["stage"])))]
    frame.insert(0, "vocabulary", [int(sizes[key]) for key in frame.index])
    target = found[found["language"] != "en"]
    values = {base: part["value"] for base, part in target.groupby("base", sort=False)}
    ends = [f"{base} {part.iloc[0]:.2f} → {part.iloc[-1]:.2f}" for base, part in values.items()]
    return frame.rename_axis(columns=None).reset_index(), (
        f"Persian tokens a word, base → last stage: {'; '.join(ends)} (n = {span(target['n'])} test questions).")


@table("P1-T5b", CHAPTER, "The tests after each stage and the same task tuning, accuracy in %", FILES)
@_or_why_not
def stage_tests(profile: str):
    """One row a base, setting and task, then those without items that have a flag, then answers in words."""
    found = measured(profile, "accuracy").assign(items="all")
    sound = measured(profile, "accuracy_unflagged").assign(items="without flagged")
    words = pandas.concat([measured(profile, name).assign(items=title) for name, title in SPOKEN.items()])
    words = words.query("method == 'lora' and trained_on == 'both'") if len(words) else words
    frame = _wide(pandas.concat([found, sound, words]), ["base", "setting", "task", "items"], "stage")
    chance = chances(profile)
    shown = [(key, not items.startswith("in words")) for *key, items in frame[["setting", "task", "items"]].to_numpy()]
    frame.insert(5, "chance %", [f"{100 * chance[tuple(key)]:.0f}" if choice else "" for key, choice in shown])
    totals, first = found[found["task"] == "all"], found["base"].iloc[0]
    parts = [f"{setting}: " + ", ".join(f"{row['stage']} {100 * row['value']:.0f}" for _, row in part.iterrows())
             for setting, part in totals[totals["base"] == first].groupby("setting", sort=False)]
    return frame, (f"All tasks, {first}, % after each stage: {'; '.join(parts)} (n = {span(totals['n'])} items a setting; "
                   "likelihood of the options' letters; demonstration scale).")


@table("P1-T6", CHAPTER, "Translated input against the language's own, the same items", FILES)
@_or_why_not
def translated_input(profile: str):
    """One row a base, stage and task: accuracy of translate-test minus that of the own language, in points."""
    return _paired(profile, "translate_test_difference", ["base", "stage", "task"], "translated − own",
                   "translating the question first changes accuracy by")


@table("P1-T7b", CHAPTER, "English tests after each stage, against the base tuned alike", FILES)
@_or_why_not
def english_forgetting(profile: str):
    """One row a base, stage and task: English accuracy minus that of the first stage, in points."""
    found = measured(profile, "accuracy_difference")
    first = records.load(profile, CHAPTER)["parameters"]["stages"][0]
    found = found[(found["language"] == "en") & (found["against"] == first)] if len(found) else found
    return _differences(found, ["base", "stage", "against", "task"], "Δ points", "English changes by")


@table("C07-T2", CHAPTER, "Each stage against the one before, and the second base against the first", FILES)
@_or_why_not
def steps(profile: str):
    """One row a step, language and task, in points; the last rows compare bases at the last stage."""
    order = records.load(profile, CHAPTER)["parameters"]["stages"]
    found = measured(profile, "accuracy_difference")
    near = [pair in set(zip(order, order[1:])) for pair in zip(found.get("against", []), found.get("stage", []))]
    found = pandas.concat([found[near], measured(profile, "accuracy_gain_by_base").assign(stage=order[-1])])
    keys = ["base", "stage", "against", "language", "task"]
    return _differences(found, keys, "Δ points", "the steps change accuracy by")


@table("C07-T3", CHAPTER, "What to train: methods against LoRA on the same task rows", FILES)
@_or_why_not
def methods(profile: str):
    """One row a method, language and task, in points, from the first base's last stage."""
    return _paired(profile, "arm_difference", ["method", "against", "language", "task"], "Δ points", "against LoRA:")


@table("C07-T4", CHAPTER, "What crosses over: task rows in one language, tests in both", FILES)
@_or_why_not
def transfer(profile: str):
    """One row a language of the task rows, of the tests, and a task: accuracy minus that without tuning, in points."""
    return _paired(profile, "transfer_difference", ["trained_on", "against", "language", "task"], "Δ points",
                   "against no task tuning:")


def _paired(profile: str, metric: str, keys: list[str], column: str, phrase: str):
    return _differences(measured(profile, metric), keys, column, phrase)


def _differences(found: pandas.DataFrame, keys: list[str], column: str, phrase: str):
    """Paired differences in points, p corrected by Holm (1979) over the table, and the reading of the pooled ones."""
    if found.empty:
        return None
    found = found.assign(**{name: 100 * found[name] for name in ("value", "low", "high")})
    adjusted = statistics.holm(found["p"])
    frame = found[[*keys, "n"]].assign(**{column: [interval(row, 1) for _, row in found.iterrows()],
                                          "p": found["p"].map(p_value),
                                          "p (Holm)": [p_value(p) for p in adjusted]})
    whole = found[found["task"] == "all"]
    named = [" ".join(str(row[key]) for key in keys if key not in ("task", "against")) +
             (f" − {row['against']}" if "against" in keys else "") for _, row in whole.iterrows()]
    ends = "; ".join(f"{name} {interval(row, 1)}" for name, (_, row) in zip(named, whole.iterrows()))
    counted = [p for p, n in zip(adjusted, found["n"]) if n >= LEAST]
    return frame.reset_index(drop=True), (
        f"All tasks, {phrase} {ends} points; of {len(counted)} differences on {LEAST} items or more, "
        f"{sum(p < 0.05 for p in counted)} have p < 0.05 after Holm's correction (n = {span(found['n'])} items; "
        "demonstration scale).")


def _wide(found: pandas.DataFrame, keys: list[str], column: str) -> pandas.DataFrame:
    """Estimates side by side, shares in %, one row a key, `n` in front."""
    scale = found["unit"].map(lambda unit: 100 if unit == "share" else 1)
    found = found.assign(**{name: scale * found[name] for name in ("value", "low", "high")})
    found["cell"] = [interval(row, 1) for _, row in found.iterrows()]
    frame = found.pivot(index=[*keys, "n"], columns=column, values="cell").fillna("")
    order = list(dict.fromkeys(found[[*keys, "n"]].itertuples(index=False, name=None)))
    # A stage is called base too, and a frame has no two columns of one name.
    frame = frame.loc[order, found[column].unique()].rename_axis(columns=None)
    return frame.rename_axis(index={"base": "model"}).reset_index()


@figure("P1-F1b", CHAPTER, "Accuracy on the tests after each stage, by setting", FILES)
def test_accuracy(profile: str):
    """A panel a setting; per task a point a stage with its interval, bases by marker, and the level of chance."""
    found = need(measured(profile, "accuracy"))
    chance = chances(profile)
    frame = found[["base", "stage", "setting", "task", "language", "n", "value", "low", "high"]].copy()
    frame["chance"] = [chance[key] for key in zip(frame["setting"], frame["task"])]
    settings = list(frame["setting"].unique())
    drawing, panels = axes(1, len(settings), WIDE, 2.6, sharey=True, squeeze=False)
    for panel, setting in zip(panels.flat, settings):
        part = frame[frame["setting"] == setting]
        _points(panel, part)
        panel.set_title(f"{setting}, n = {span(part[part['task'] != 'all']['n'])} a task")
    panels[0, 0].set_ylabel("accuracy (%)")
    handles, names = panels[0, 0].get_legend_handles_labels()
    drawing.legend(handles, names, loc="outside lower center", ncols=4)
    above = (frame["low"] > frame["chance"]).sum()
    return drawing, frame, (f"{above} of {len(frame)} scores lie above chance with their whole 95 % interval (n = "
                            f"{span(frame['n'])} items; dotted: chance; demonstration scale).")


def _points(panel, part):
    """Stages side by side within each task, in one panel."""
    tasks, series = list(part["task"].unique()), list(dict.fromkeys(zip(part["base"], part["stage"])))
    bases = list(part["base"].unique())
    stages = list(part["stage"].unique())
    for number, (base, stage) in enumerate(series):
        rows = part[(part["base"] == base) & (part["stage"] == stage)].set_index("task").loc[tasks]
        value, low, high = (100 * rows[column].to_numpy() for column in ("value", "low", "high"))
        at = [place + (number - (len(series) - 1) / 2) * 0.7 / len(series) for place in range(len(tasks))]
        name = stage if len(bases) == 1 else f"{base} {stage}"
        panel.errorbar(at, value, [(value - low).clip(0), (high - value).clip(0)], fmt="os^D"[bases.index(base) % 4],
                       capsize=1.5, color=PALETTE[stages.index(stage)], label=name, markersize=3, linewidth=0.9)
    for place, task in enumerate(tasks):
        level = 100 * part.loc[part["task"] == task, "chance"].iloc[0]
        panel.plot([place - 0.45, place + 0.45], [level, level], color="0.4", linestyle=":", linewidth=0.9)
    panel.set_xticks(range(len(tasks)), [task.replace("_", " ") for task in tasks], rotation=20, ha="right",
                     rotation_mode="anchor")
    panel.set(ylim=(0, 100))


@figure("P1-F2b", CHAPTER, "Loss of task tuning from each stage", FILES)
def tuning_loss(profile: str):
    """One line a base and stage (LoRA, both languages), mean over seeds, running mean of three points."""
    rows = need(records.rows(profile, CHAPTER, "loss"))
    rows = rows[(rows["method"] == "lora") & (rows["trained_on"] == "both")]
    frame = rows.groupby(["base", "stage", "step"], sort=False)[["tokens", "loss"]].mean().reset_index()
    lines = frame.groupby(["base", "stage"])["loss"]
    frame["smooth"] = lines.transform(lambda part: part.rolling(3, min_periods=1).mean())
    drawing, panel = axes()
    batch = records.load(profile, CHAPTER)["parameters"]["batch_size"]
    stages, bases = list(frame["stage"].unique()), list(frame["base"].unique())
    for (base, stage), line in frame.groupby(["base", "stage"], sort=False):
        panel.plot(line["step"] * batch, line["smooth"], color=PALETTE[stages.index(stage)],
                   linestyle=["-", "--", ":", "-."][bases.index(base) % 4], label=f"{base} {stage}")
    panel.set(xlabel="task rows seen", ylabel="loss on the answer (nats/token)", ylim=(0, None))
    panel.legend()
    ends = [f"{base} {stage} {line['smooth'].iloc[0]:.2f} → {line['smooth'].iloc[-1]:.2f}"
            for (base, stage), line in frame.groupby(["base", "stage"], sort=False)]
    return drawing, frame, f"First to last point: {', '.join(ends)} nats a token; vocabularies differ between bases."
