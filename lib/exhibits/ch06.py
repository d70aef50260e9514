"""Exhibits of the evaluation of all stages, and of the benchmark files."""
import math

import pandas

from lib.engine import params, records, statistics
from lib.exhibits.base import WIDE, Lacking, axes, figure, interval, need, p_value, span, table

STAGE_SCORES = {"accuracy": ("%", 100, 1), "chrf": ("chrF++", 1, 1), "bits_per_byte": ("bits/byte", 1, 3)}


@table("P1-T5", "06_evaluation", "Scores of every stage in both languages")
def stages(profile: str):
    """One row a score; columns are the stages, `estimate [low, high]`."""
    scores = _stage_scores(profile, STAGE_SCORES)
    rows = []
    for (score, unit, n), found in scores.groupby(["score", "unit", "n"], sort=False):
        digits = STAGE_SCORES[found["metric"].iloc[0]][2]
        cells = {row["stage"]: interval(row, digits) for _, row in found.iterrows()}
        rows.append({"score": score, "unit": unit, "n": n, "chance": found["chance"].iloc[0], **cells})
    return pandas.DataFrame(rows).fillna(""), _stages_reading(profile, scores)


def _stages_reading(profile: str, scores: pandas.DataFrame) -> str:
    accuracy = scores[scores["metric"] == "accuracy"]
    if accuracy.empty:
        return f"No choice item was asked. {params.lack('tests')}"
    mean = accuracy.groupby("stage", sort=False)["value"].mean()
    changes = _changes(profile, "accuracy")
    changes = changes[changes["against"] == mean.index[0]]
    solid = sum(p < 0.05 for p in statistics.holm(changes["p"]))
    return (f"Mean accuracy over {accuracy['score'].nunique()} tasks: "
            f"{', '.join(f'{stage} {value:.1f} %' for stage, value in mean.items())}; {solid} of {len(changes)} differences "
            f"from {mean.index[0]} have p < 0.05 after Holm's correction (n = {span(accuracy['n'])} items a task; "
            "demonstration scale).")


@table("P1-T7", "06_evaluation", "What the stages cost English")
def forgetting(profile: str):
    """English scores of each stage against the first, with the paired difference; p corrected by Holm in this table."""
    scores = need(_stage_scores(profile, ["accuracy", "bits_per_byte"]).query("language == 'en'"), "english")
    first, values = scores["stage"].iloc[0], scores.set_index(["score", "stage"])["value"]
    changes = pandas.concat([_changes(profile, metric) for metric in ("accuracy", "bits_per_byte")])
    changes = changes[(changes["language"] == "en") & (changes["against"] == first)]
    frame = _differences(changes)
    for name, stage in (("before", changes["against"]), ("after", changes["stage"])):
        numbers = [f"{values[score, at]:.{digits}f}" for score, at, digits in zip(changes["score"], stage, changes["digits"])]
        frame.insert(frame.columns.get_loc("Δ"), name, numbers)
    bits = changes[changes["metric"] == "bits_per_byte_difference"]
    ends = "; ".join(f"{row['stage']} {interval(row, 3)}" for _, row in bits.iterrows())
    return frame, (f"English bits per byte against {first} (n = {span(bits['n'])} texts, more is worse): {ends}; "
                   "demonstration scale.")


@table("C06-T1", "06_evaluation", "Paired tests of neighbouring stages")
def neighbours(profile: str):
    """Difference of each score between a stage and the one before it; p corrected by Holm over the whole table."""
    order = records.load(profile, "06_evaluation")["parameters"]["stages"]
    pairs = list(zip(order[1:], order))
    changes = pandas.concat([_changes(profile, metric) for metric in STAGE_SCORES])
    changes = changes[[pair in pairs for pair in zip(changes["stage"], changes["against"])]]
    frame = _differences(changes)
    solid = pandas.Series(statistics.holm(changes["p"])).lt(0.05).to_numpy()
    named = changes[solid].groupby(["against", "stage"], sort=False)["score"].agg(", ".join)
    found = "; ".join(f"{before} → {after} {scores}" for (before, after), scores in named.items())
    return frame, (f"{solid.sum()} of {len(changes)} steps have p < 0.05 after Holm's correction"
                   f"{': ' + found if found else ''} (n = {span(changes['n'])}; demonstration scale).")


@table("C06-T2", "06_evaluation", "Translations of held-out sentences by every stage")
def translations(profile: str, shown: int = 3):
    """The first sentences of each direction with their reference; one column a stage."""
    rows = need(records.rows(profile, "06_evaluation", "translations"), "pairs")
    keys = ["direction", "prompt", "source", "reference"]
    frame = rows.pivot_table("hypothesis", keys, "stage", aggfunc="first", sort=False)
    frame = frame[rows["stage"].unique()].groupby(["direction", "prompt"], sort=False).head(shown)
    share = rows.groupby("stage", sort=False)["invalid"].agg(["sum", "size"])
    counts = ", ".join(f"{stage} {row['sum']} of {row['size']}" for stage, row in share.iterrows())
    return frame.rename_axis(columns=None).reset_index(), (
        f"Invalid answers (empty, a copy, or in the wrong script; they count as they are in chrF++): {counts}.")


def _stage_scores(profile: str, names) -> pandas.DataFrame:
    """Estimates of chapter 06 in the units of print, with columns score (its name), digits and chance (`25 %` or blank)."""
    found = records.metrics(profile, "06_evaluation")
    found = _printed(found[found["metric"].isin(list(names))])
    facts = records.facts(profile, "06_evaluation").query("fact == 'chance'")
    chance = {_score_name(row): f"{100 * row['value']:.0f} %" for row in facts.to_dict("records")}
    return found.assign(chance=[chance.get(name, "") for name in found["score"]])


def _changes(profile: str, name: str) -> pandas.DataFrame:
    """Paired differences of a score of chapter 06, in the units of print."""
    found = records.metrics(profile, "06_evaluation")
    return _printed(found[found["metric"] == f"{name}_difference"])


def _differences(changes: pandas.DataFrame) -> pandas.DataFrame:
    """Paired differences as a table's rows, p corrected by Holm (1979) over all of them."""
    if changes.empty:
        raise Lacking("one stage alone was scored, so nothing is compared")
    adjusted = statistics.holm(changes["p"])
    return pandas.DataFrame([{
        "score": row["score"], "unit": row["unit"], "n": row["n"], "from": row["against"], "to": row["stage"],
        "Δ": interval(row, row["digits"]), "p": p_value(row["p"]), "p (Holm)": p_value(p)}
        for (_, row), p in zip(changes.iterrows(), adjusted)])


def _printed(found: pandas.DataFrame) -> pandas.DataFrame:
    """Shares as per cent, and each row's score name, unit and digits."""
    units = [STAGE_SCORES[name.removesuffix("_difference")] for name in found["metric"]]
    scale = [unit[1] for unit in units]
    columns = {column: found[column] * scale for column in ("value", "low", "high")}
    digits = pandas.Series([unit[2] for unit in units], found.index, dtype=int)
    return found.assign(**columns, unit=[unit[0] for unit in units], digits=digits,
                        score=[_score_name(row) for row in found.to_dict("records")])


def _score_name(row: dict) -> str:
    """`hafez_mcq fa`, `chrf en-fa (chat)`, `bits_per_byte en`: what a row of chapter 06 measures."""
    parts = [row.get("metric", "accuracy").removesuffix("_difference"), row.get("task"), row.get("language")]
    named = " ".join(part for part in parts if isinstance(part, str) and part != "accuracy")
    return f"{named} (chat)" if row.get("prompt") == "chat" else named


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


@table("P1-T1", "07_base_strength", "The tests: rows, labels as written, and faults", ("llama-persian-tests", "parsinlu"))
def test_files(profile: str):
    """Rows, labels as written, majority, precision at 50 %, mean words, repeated inputs and flagged rows of a file."""
    facts = records.facts(profile, "07_base_strength")
    if not facts["fact"].eq("released_rows").any():
        return pandas.DataFrame(), "There were no tests in this run."
    facts = facts[facts["fact"].str.startswith("released_")]
    frame = pandas.DataFrame([_row(rows) for _, rows in facts.groupby("file", sort=False)])
    widest = frame.loc[frame["half-width at 50 % (points)"].idxmax()]
    return frame, (f"{len(frame)} files hold {frame['n'].sum()} rows, of which {frame['flagged'].sum()} are flagged; "
                   f"on the smallest ({widest['n']} rows) an accuracy of 50 % is known to ±"
                   f"{widest['half-width at 50 % (points)']:.1f} points only.")


def _row(facts: pandas.DataFrame) -> dict:
    """One file's facts as a row of the table."""
    def value(name):
        return facts.loc[facts["fact"] == f"released_{name}", "value"]
    n, labels = int(value("rows").iloc[0]), facts[facts["fact"] == "released_label"]
    half = statistics.wilson(n // 2, n)
    flags = [f"{row.flag} {row.value:.0f}" for row in facts[facts["fact"] == "released_flag"].itertuples()]
    flags += ["labels spelled in several ways"] if value("spellings").iloc[0] else []
    return {"file": facts["file"].iloc[0], "n": n,
            "labels as written": " / ".join(f"{row.label} {row.value:.0f}" for row in labels.itertuples()) or None,
            "majority (%)": 100 * value("majority").sum() / n if len(labels) else None,
            "half-width at 50 % (points)": 50 * (half.high - half.low),
            "words in": " / ".join(f"{words:.1f}" for words in value("words_in")),
            "words out": value("words_out").iloc[0] if labels.empty else None,
            "duplicates": int(value("duplicates").iloc[0]), "flagged": int(value("flagged").iloc[0]),
            "flags": ", ".join(flags) or None}
