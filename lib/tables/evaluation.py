"""Tables of the evaluation chapter."""
import pandas

from lib import params, records, statistics
from lib.tables.base import Lacking, interval, need, p_value, span, table

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
    solid = (frame["p (Holm)"].astype(float) < 0.05).to_numpy()
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
    return found.assign(chance=found["score"].map(chance).fillna(""))


def _changes(profile: str, name: str) -> pandas.DataFrame:
    """Paired differences of a score of chapter 06, in the units of print."""
    found = records.metrics(profile, "06_evaluation")
    found = found if "against" in found else found.assign(against=None)
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
