"""Exhibits of base strength: stages, translated input, methods and languages of task rows."""
import pandas
from cycler import cycler

from lib.engine import records
from lib.exhibits.base import Lacking, figure, measured, need, noted, table
from lib.exhibits.differences import differences
from lib.exhibits.panels import PALETTE, axes, curves, legend, points, slant, tiles
from lib.exhibits.units import span, wide

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


@table("C07-T1", CHAPTER, "Task rows to tune on, by source: drawn, holding a test text, and kept", FILES)
def task_rows(profile: str):
    """One row a source and task."""
    _tested(profile)
    frame = need(records.rows(profile, CHAPTER, "examples"))
    tested = set(noted(profile, CHAPTER, "released_majority")["task"])
    lacking = ", ".join(sorted(tested - set(frame.query("language == 'en'")["task"]))) or "none of the tests' tasks"
    return frame[["language", "source", "task", "found", "leaked", "kept"]], (
        f"{frame['leaked'].sum()} of {frame['found'].sum()} rows drawn held a test text or a near twin and were left out; "
        f"tasks of the tests that English has no rows for: {lacking}.")


@table("P1-T4b", CHAPTER, "Tokens a word of the test questions, by base and stage", FILES)
def test_fertility(profile: str):
    """One row a base and stage; P1-T4 compares ways to extend one tokenizer, on the corpus."""
    found = _tested(profile, "fertility")
    frame = wide(found.assign(heading="tokens/word " + found["language"]), ["base", "stage"], "heading")
    sizes = noted(profile, CHAPTER, "vocabulary").set_index(["base", "stage"])["value"]
    frame.insert(2, "vocabulary", [int(sizes[key]) for key in zip(frame["base"], frame["stage"])])
    target = found[found["language"] != "en"]
    ends = [f"{base} {part.iloc[0]:.2f} → {part.iloc[-1]:.2f}"
            for base, part in target.groupby("base", sort=False)["value"]]
    return frame, f"Persian tokens a word, base → last stage: {'; '.join(ends)} (n = {span(target['n'])} test questions)."


@table("P1-T5b", CHAPTER, "The tests after each stage and the same task tuning, accuracy in %", FILES)
def stage_tests(profile: str):
    """One row a base, setting and task, then those without items that have a flag, then answers in words."""
    found = _tested(profile, *KINDS)
    found["items"] = found["metric"].map(KINDS)
    words = found["items"].str.startswith("in words")
    found = found[~words | (found["method"] == "lora") & (found["trained_on"] == "both")]
    found = found.sort_values("metric", key=lambda metric: metric.map(list(KINDS).index), kind="stable")
    # A stage is called base too, and a frame has no two columns of one name.
    frame = wide(found.assign(model=found["base"]), ["model", "setting", "task", "items", "n"], "stage")
    chance = _chances(profile)
    frame.insert(5, "chance %", ["" if items.startswith("in words") else f"{100 * chance[setting, task]:.0f}"
                                 for setting, task, items in zip(frame["setting"], frame["task"], frame["items"])])
    totals = found.query("metric == 'accuracy' and task == 'all'")
    first = totals["base"].iloc[0]
    parts = [f"{setting}: " + ", ".join(f"{row.stage} {100 * row.value:.0f}" for row in part.itertuples())
             for setting, part in totals[totals["base"] == first].groupby("setting", sort=False)]
    return frame, (f"All tasks, {first}, % after each stage: {'; '.join(parts)} (n = {span(totals['n'])} items a setting; "
                   "likelihood of the options' letters; demonstration scale).")


@table("P1-T6", CHAPTER, "Translated input against the language's own, the same items", FILES)
def translated_input(profile: str):
    """One row a base, stage and task: accuracy of translate-test minus that of the own language, in points."""
    return _differences(_tested(profile, "translate_test_difference"), ("base", "stage", "task"),
                        "translating the question first changes accuracy by", column="translated − own")


@table("P1-T7b", CHAPTER, "English tests after each stage, against the base tuned alike", FILES)
def english_forgetting(profile: str):
    """One row a base, stage and task: English accuracy minus that of the first stage, in points."""
    first = records.load(profile, CHAPTER)["parameters"]["stages"][0]
    found = _tested(profile, "accuracy_difference")
    found = found[(found["language"] == "en") & (found["against"] == first)]
    return _differences(found, ("base", "stage", "against", "task"), "English changes by")


@table("C07-T2", CHAPTER, "Each stage against the one before, and the second base against the first", FILES)
def steps(profile: str):
    """One row a step, language and task, in points; the last rows compare bases at the last stage."""
    order = records.load(profile, CHAPTER)["parameters"]["stages"]
    found = _tested(profile, "accuracy_difference", "accuracy_gain_by_base")
    bases = found["metric"] == "accuracy_gain_by_base"
    found["stage"] = found["stage"].mask(bases, order[-1])
    near = [pair in set(zip(order, order[1:])) for pair in zip(found["against"], found["stage"])]
    return _differences(pandas.concat([found[~bases & pandas.Series(near, found.index)], found[bases]]),
                        ("base", "stage", "against", "language", "task"), "the steps change accuracy by")


@table("C07-T3", CHAPTER, "What to train: methods against LoRA on the same task rows", FILES)
def methods(profile: str):
    """One row a method, language and task, in points, from the first base's last stage."""
    return _differences(_tested(profile, "arm_difference"), ("method", "against", "language", "task"), "against LoRA:")


@table("C07-T4", CHAPTER, "What crosses over: task rows in one language, tests in both", FILES)
def transfer(profile: str):
    """One row a language of the task rows, of the tests, and a task: accuracy minus that without tuning, in points."""
    return _differences(_tested(profile, "transfer_difference"), ("trained_on", "against", "language", "task"),
                        "against no task tuning:")


def _differences(found: pandas.DataFrame, keys: tuple, lead: str, column: str = "Δ points"):
    return differences(found, dict(zip(keys, keys)), f"All tasks, {lead}", ALL, column=column)


@figure("P1-F1b", CHAPTER, "Accuracy on the tests after each stage, by setting", FILES)
def test_accuracy(profile: str):
    """A panel a setting; per task a point a stage with its interval, bases by marker, and the level of chance."""
    found, chance = _tested(profile, "accuracy"), _chances(profile)
    found["chance"] = [chance[key] for key in zip(found["setting"], found["task"])]
    drawing, panels = tiles(found.groupby("setting", sort=False), 9, 2.4, sharey=True)
    for panel, setting, part in panels:
        points(panel, part.assign(task=part["task"].str.replace("_", " ")), "task", "base", "stage", among=found)
        for place, value in enumerate(part.groupby("task", sort=False)["chance"].first()):
            panel.plot([place - 0.45, place + 0.45], [100 * value] * 2, color="0.4", linestyle=":", linewidth=0.9)
        slant(panel, 20)
        panel.set(ylim=(0, 100), title=f"{setting}, n = {span(part[part['task'] != 'all']['n'])} a task")
    drawing.axes[0].set_ylabel("accuracy (%)")
    legend(drawing, ncols=4)
    above = (found["low"] > found["chance"]).sum()
    frame = found[["base", "stage", "setting", "task", "language", "n", "value", "low", "high", "chance"]]
    return drawing, frame, (f"{above} of {len(frame)} scores lie above chance with their whole 95 % interval (n = "
                            f"{span(frame['n'])} items; dotted: chance; demonstration scale).")


@figure("P1-F2b", CHAPTER, "Loss of task tuning from each stage", FILES)
def tuning_loss(profile: str):
    """One line a base and stage (LoRA, both languages), mean over seeds, running mean of three points."""
    rows = need(records.rows(profile, CHAPTER, "loss")).query("method == 'lora' and trained_on == 'both'")
    frame = rows.groupby(["base", "stage", "step"], sort=False)[["tokens", "loss"]].mean().reset_index()
    lines = frame.groupby(["base", "stage"])["loss"]
    frame["smooth"] = lines.transform(lambda part: part.rolling(3, min_periods=1).mean())
    drawing, panel = axes()
    batch = records.load(profile, CHAPTER)["parameters"]["batch_size"]
    panel.set_prop_cycle(cycler(linestyle=["-", "--", ":", "-."]) * cycler(color=PALETTE[:frame["stage"].nunique()]))
    ends = curves(panel, frame.assign(name=frame["base"] + " " + frame["stage"], rows=frame["step"] * batch), "name", "rows",
                  "smooth")
    panel.set(xlabel="task rows seen", ylabel="loss on the answer (nats/token)", ylim=(0, None))
    return drawing, frame, f"First to last point: {ends} nats a token; vocabularies differ between bases."
