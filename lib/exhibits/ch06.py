"""Exhibits of the evaluation of all stages, and of the benchmark files."""
import pandas

from lib.engine import params, statistics
from lib.exhibits.base import figure, measured, need, noted, renewed, table
from lib.exhibits.differences import corrected, differences
from lib.exhibits.panels import level, points, slant, tiles
from lib.exhibits.units import behind, cells, interval, printed, span, wide

CHAPTER, TESTS = "06_evaluation", "07_base_strength"
SCORES = ("accuracy", "margin", "chrf", "bits_per_byte")
KEYS = {"score": "score", "unit": "unit", "stage": "stage", "against": "against"}


@table("P1-T5", CHAPTER, "Scores of every stage in both languages")
def stages(profile: str):
    """One row a score; columns are the stages, `estimate [low, high]`, and its `signal`: see `_signal`. A margin is how many
    bits a byte the right option is likelier than the others, by what the question adds to each."""
    scores = _scores(profile, *SCORES)
    chance = {_name(row): 100 * row["value"] for row in noted(profile, CHAPTER, "chance").to_dict("records")}
    scores["chance"] = [f"{chance[name]:.0f} %" if name in chance else "" for name in scores["score"]]
    signal = {name: _signal(rows, 0 if name.startswith("margin") else chance.get(name)) for name, rows in pandas.concat(
        [scores[scores["stage"] == scores["stage"].iloc[0]], _changes(profile, *SCORES)]).groupby("score")}
    scores["signal"] = [f"{signal[name]:.1f}" for name in scores["score"]]
    frame = wide(scores, ["score", "unit", "n", "chance", "signal"], "stage")
    accuracy, weak = scores[scores["metric"] == "accuracy"], [name for name, value in signal.items() if value < 2]
    if accuracy.empty:
        return frame, f"No choice item was asked. {params.lack('tests')}"
    mean = accuracy.groupby("stage", sort=False)["value"].mean()
    changes = corrected(_changes(profile, "accuracy").query("against == @mean.index[0]"))
    small, shown = (changes["holm"] < 0.05).sum(), sum(
        f"margin {name}" in signal and f"margin {name}" not in weak for name in weak)
    return frame, (f"Mean accuracy over {accuracy['score'].nunique()} tasks: "
                   f"{', '.join(f'{stage} {value:.1f} %' for stage, value in mean.items())}; {small} "
                   f"of {len(changes)} differences from {mean.index[0]} {'has' if small == 1 else 'have'} p < 0.05 after "
                   f"Holm's correction; {len(weak)} of {len(signal)} scores show no signal (nothing of two standard errors), "
                   f"and the margin of {shown} of these tasks does (n = {span(accuracy['n'])} items a task{behind(accuracy)}; "
                   "demonstration scale).")


def _signal(rows: pandas.DataFrame, chance: float | None) -> float:
    """How many standard errors the largest thing is that a score shows: a change between two stages, or, of choices, the
    first stage above chance. What says nothing at this size is noise (signal and noise, arXiv 2508.13144)."""
    change, errors = rows["against"].notna(), (rows["high"] - rows["low"]) / (2 * 1.96)
    shown = rows["value"].abs().where(change, rows["value"] - chance if chance is not None else 0)
    return float((shown / errors.clip(lower=1e-9)).max())


@table("P1-T7", CHAPTER, "What the stages cost English")
def forgetting(profile: str):
    """English scores of each stage against the first, with the paired difference; p corrected by Holm in this table."""
    scores = need(_scores(profile, "accuracy", "bits_per_byte").query("language == 'en'"), "english")
    changes = _changes(profile, "accuracy", "bits_per_byte")
    changes = changes[(changes["language"] == "en") & (changes["against"] == scores["stage"].iloc[0])]
    frame, reading = differences(changes, KEYS, "English bits per byte against the first stage (more is worse):",
                                 "unit == 'bits/byte'", column="Δ")
    value = dict(zip(zip(scores["score"], scores["stage"]), (cell.split()[0] for cell in cells(scores))))
    for name, stage in (("before", "against"), ("after", "stage")):
        frame.insert(frame.columns.get_loc("Δ"), name, [value[key] for key in zip(frame["score"], frame[stage])])
    return frame, reading


@table("C06-T3", CHAPTER, "Bits per byte by kind of text")
def registers(profile: str):
    """One row a language and register, `estimate [low, high]` a stage; `outside` is text unlike the training text.

    Raises Lacking for a record from before texts had a register.
    """
    found = renewed(measured(profile, CHAPTER, "bits_per_byte_register"), profile, CHAPTER)
    frame = wide(found.sort_values(["language", "register"], kind="stable"), ["language", "register", "n"], "stage")
    first, last = found["stage"].iloc[0], found["stage"].iloc[-1]
    outside = found[found["register"] == "outside"].set_index(["language", "stage"])
    told = "; ".join(f"{code} {interval(outside.loc[code, first])} → {interval(outside.loc[code, last])} bits/byte, "
                     f"n = {outside.loc[code, last]['n']:.0f}" if code in outside.index else f"{code} none at hand"
                     for code in found["language"].unique())
    return frame, (f"Text from outside, {first} → {last}: {told} "
                   f"(trainings a stage {span(found['trainings'])}; demonstration scale).")


def _scores(profile: str, *names: str) -> pandas.DataFrame:
    """Metrics of chapter 06 in units of print, with the name of their score."""
    found = printed(measured(profile, CHAPTER, *names))
    return found.assign(score=[_name(row) for row in found.to_dict("records")])


def _changes(profile: str, *names: str) -> pandas.DataFrame:
    """Paired differences of these scores, one score after the other."""
    return pandas.concat([_scores(profile, f"{name}_difference") for name in names])


def _name(row: dict) -> str:
    """`hafez_mcq fa`, `chrf en-fa (chat)`, `bits_per_byte en`: what a row of chapter 06 measures."""
    parts = [row.get("metric", "accuracy").removesuffix("_difference"), row["task"], row["language"]]
    named = " ".join(part for part in parts if isinstance(part, str) and part != "accuracy")
    return f"{named} (chat)" if row["prompt"] == "chat" else named


@figure("P1-F1", CHAPTER, "Accuracy of every stage by task")
def stage_accuracy(profile: str):
    """One panel a task and language; points with Wilson intervals by stage, and the chance level."""
    labels = ["task", "language", "prompt"]
    found = need(measured(profile, CHAPTER, "accuracy"), "tests")
    chance = noted(profile, CHAPTER, "chance").set_index(["stage", *labels])["value"]
    found["chance"] = [chance[tuple(row)] for row in found[["stage", *labels]].to_numpy()]
    drawing, panels = tiles(found.groupby(labels, sort=False), 4, 1.9, sharey=True)
    for panel, (task, language, prompt), part in panels:
        points(panel, part, "stage", "metric")
        level(panel, 100 * part["chance"].iloc[0])
        slant(panel)
        panel.set(title=f"{task} {language}{' (chat)' * (prompt == 'chat')}, n = {part['n'].iloc[0]}", ylim=(0, 103))
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel("accuracy (%)")
    above, best = (found["low"] > found["chance"]).sum(), found.loc[found["value"].idxmax()]
    return drawing, found[["stage", *labels, "n", "value", "low", "high", "chance"]], (
        f"{above} of {len(found)} scores lie above chance (dotted) with their whole 95 % interval; highest: "
        f"{best['task']} {best['language']} {best['stage']}, {interval(best, 0)} % "
        f"(n = {span(found['n'])} items{behind(found)}; demonstration scale).")


@table("P1-T1", TESTS, "The tests: rows, labels as written, and faults", ("llama-persian-tests", "parsinlu"))
def test_files(profile: str):
    """Rows, labels as written, majority, precision at 50 %, mean words, repeated inputs and flagged rows of a file."""
    facts = noted(profile, TESTS)
    facts = facts[facts["fact"].str.startswith("released_")]
    if not facts["fact"].eq("released_rows").any():
        return pandas.DataFrame(), "There were no tests in this run."
    frame = pandas.DataFrame([_file(name, rows) for name, rows in facts.groupby("file", sort=False)])
    widest = frame.loc[frame["half-width at 50 % (points)"].idxmax()]
    return frame, (f"{len(frame)} files hold {frame['n'].sum()} rows, of which {frame['flagged'].sum()} are flagged; "
                   f"on the smallest ({widest['n']} rows) an accuracy of 50 % is known to ±"
                   f"{widest['half-width at 50 % (points)']:.1f} points only.")


def _file(name: str, facts: pandas.DataFrame) -> dict:
    """One file's facts as a row of the table."""
    value = facts.groupby("fact")["value"].agg(list).rename(index=lambda fact: fact.removeprefix("released_"))
    n, labels = int(value["rows"][0]), facts[facts["fact"] == "released_label"]
    half = statistics.wilson(n // 2, n)
    flags = [f"{row.flag} {row.value:.0f}" for row in facts[facts["fact"] == "released_flag"].itertuples()]
    flags += ["labels spelled in several ways"] if value["spellings"][0] else []
    return {"file": name, "n": n,
            "labels as written": " / ".join(f"{row.label} {row.value:.0f}" for row in labels.itertuples()) or None,
            "majority (%)": 100 * sum(value.get("majority", ())) / n if len(labels) else None,
            "half-width at 50 % (points)": 50 * (half.high - half.low),
            "words in": " / ".join(f"{words:.1f}" for words in value["words_in"]),
            "words out": value["words_out"][0] if labels.empty else None,
            "duplicates": int(value["duplicates"][0]), "flagged": int(value["flagged"][0]),
            "flags": ", ".join(flags) or None}
