"""Exhibits of the multilingual benchmark: scores beside the paper's, instructions compared, how choices are scored."""
import pandas

from lib.exhibits.base import figure, measured, need, noted, reported, table
from lib.exhibits.differences import differences
from lib.exhibits.panels import WIDE, axes, legend, level, points
from lib.exhibits.units import cells, interval, listed, printed, span, wide

CHAPTER = "11_multilingual_benchmark"
FILES, SETS = ("xcopa", "xquad"), ("alpaca-seed-tasks", "multialpaca")
NAMES = {"accuracy": "accuracy %", "margin": "margin, bits/byte", "f1": "F1×100", "exact_match": "exact match %",
         "answer_bits_per_byte": "bits/byte of the right answer", "chrf": "chrF++", "bleu": "BLEU", "F1": "F1×100",
         "ROUGE": "ROUGE×100"}
SHOWN = ["accuracy", "f1", "exact_match", "answer_bits_per_byte", "chrf", "bleu"]
AVERAGES = ["from English", "into English", "average"]
POOLED, MEAN = f"language in {AVERAGES}", "language == 'average'"
FAMILY = ("metric", "model", "benchmark", "against", "asked")
SYSTEMS = ["BLOOM-7.1B", "LLaMA-13B", "PolyLM-13B", "BLOOMZ-MT-7.1B", "LLaMA-Alpaca-13B", "PolyLM-MultiAlpaca-13B"]
LABELS = {"accuracy": "accuracy (%)", "f1": "F1 × 100", "chrf": "chrF++"}


def _scores(profile: str, *names: str) -> pandas.DataFrame:
    """The chapter's metrics of these names in units of print, with columns model and measure; choices as the paper asks,
    without a demonstration."""
    found = printed(measured(profile, CHAPTER, *names))
    found = found[(found["task"] != "choice") | (found["asked"] == "zero-shot")]
    model = [base if kind == "none" or pandas.isna(kind) else f"{base} + {kind}"
             for base, kind in zip(found["base"], found["instructions"])]
    return found.assign(model=model, measure=found["metric"].str.removesuffix("_difference").map(NAMES))


def _chances(profile: str) -> pandas.Series:
    """Accuracy in % by guessing, by benchmark."""
    return 100 * noted(profile, CHAPTER, "chance").set_index("benchmark")["value"].astype(float)


@table("P3-T5", CHAPTER, "Every task and language: ours, and beside or below it what PolyLM reports", FILES)
def by_language(profile: str):
    """One row a task, measure and language; a column a model of ours, then the paper's systems."""
    ours, theirs = need(_scores(profile, *SHOWN), "multiway"), _theirs()
    keys = ["task", "measure", "language"]
    mine = ours.assign(task=ours["benchmark"], cell=cells(ours))
    theirs = theirs.rename(columns={"system": "model", "printed": "cell"})
    frame = wide(pandas.concat([mine, theirs]), keys, "model", "cell")
    sizes = mine.groupby(keys)["n"].max()
    frame.insert(3, "n", [f"{sizes[key]:.0f}" if key in sizes else "" for key in zip(*(frame[key] for key in keys))])
    frame, ours = frame[[*keys, "n", *mine["model"].unique(), *SYSTEMS]], ours[ours["metric"] == "accuracy"]
    means, single = ours.query(MEAN), ours[~ours["language"].isin(AVERAGES)]
    # The paper's last models stand beside ours; all of its systems, and the tasks that are its alone, are in the CSV.
    beside = [name for name in (SYSTEMS[2], SYSTEMS[-1]) if frame[name].head(len(sizes)).ne("").any()]
    frame.attrs |= {"printed": [*frame.columns[:-len(SYSTEMS)][:10], *beside], "rows": len(sizes)}
    if means.empty:
        return frame, f"No language was asked to choose; {len(sizes)} scores of ours are in words (demonstration scale)."
    above = (single["low"] > single["benchmark"].map(_chances(profile))).sum()
    best = means[means["value"].round(6) == means["value"].max().round(6)]
    return frame, (
        f"{above} of {len(single)} accuracies (a model in a language) lie above chance with their whole interval; the highest "
        f"mean over the languages is {listed(best, '{model} on {benchmark}', ' and ')} % (n = {span(means['n'])} items, "
        "the same in each; demonstration scale).")


@table("P3-T6", CHAPTER, "English-only against multilingual instructions of equal size", FILES + SETS)
def instructions(profile: str):
    """One row a task, measure and language, ours with its paired difference; then the paper's own table."""
    found = _scores(profile, *(f"{name}_difference" for name in (*LABELS, "margin", "answer_bits_per_byte")))
    found = need(found[found["contrast"] == "languages"], "multiway")
    frame, reading = differences(found, {"benchmark": "task", "measure": "measure", "language": "language"},
                                 "Multilingual minus English-only instructions, mean over the languages:", MEAN, POOLED, FAMILY)
    scores = _scores(profile, *SHOWN, "margin")
    scores = scores[scores["base"].isin(found["base"]) & scores["instructions"].isin(["en", "multilingual"])]
    keys = ["task", "measure", "language"]
    scores = wide(scores.assign(task=scores["benchmark"]), keys, "instructions").set_index(keys)
    frame = frame.assign(**{"from": "here"}).join(scores, on=keys)
    frame = pandas.concat([frame.astype(object), pandas.DataFrame(_paper_instructions(), dtype=object)]).fillna("")
    paper = reported("P3-T6").query("table == 'text' and system == 'PolyLM-MultiAlpaca-13B − PolyLM-Alpaca-13B'")
    said = ", ".join(f"{row.printed} {row.unit} on {row.item}" for row in paper.itertuples())
    columns = ["from", *keys, "n", "en", "multilingual", "difference", "p", "p (Holm)"]
    return frame[columns], f"{reading.removesuffix('.')}; the paper's text speaks of {said} at 13 billion parameters."


def _theirs() -> pandas.DataFrame:
    """The paper's scores of its systems: task, measure, language, system, printed."""
    found = reported("P3-T5")
    found = found[found["system"].isin(SYSTEMS) & (found["printed"] != "")]
    task = [f"MTG {row.item}" if row.group == "MTG" else row.item for row in found.itertuples()]
    language = [f"average, {row.group}" if row.language == "average" and row.group != "MTG" else row.language
                for row in found.itertuples()]
    return found[["system", "printed"]].assign(task=task, measure=found["quantity"].replace(NAMES), language=language)


def _paper_instructions() -> list[dict]:
    """The paper's comparison of instruction sets, and the difference that its numbers give."""
    found = reported("P3-T6")
    wide = found.pivot_table(index=["item", "quantity", "language"], columns="system", values="value", sort=False)
    return [{"from": "PolyLM", "task": task, "measure": NAMES.get(quantity, quantity), "language": language,
             "en": f"{row['PolyLM-Alpaca-13B']:.1f}", "multilingual": f"{row['PolyLM-MultiAlpaca-13B']:.1f}",
             "difference": f"{row['PolyLM-MultiAlpaca-13B'] - row['PolyLM-Alpaca-13B']:.1f}"}
            for (task, quantity, language), row in wide.iterrows()]


@figure("P3-F4", CHAPTER, "Scores by language: ours with intervals, the paper's as hollow markers", FILES)
def scores_by_language(profile: str):
    """A panel a benchmark; in each language a point a model with its interval, chance dotted, the paper's hollow."""
    found = _scores(profile, *LABELS)
    found, chance = need(found[~found["language"].isin(AVERAGES)]), _chances(profile)
    groups = list(found.groupby(["benchmark", "metric"], sort=False))
    widths = [rows["language"].nunique() + 1 for _, rows in groups]
    drawing, panels = axes(1, len(groups), WIDE, 2.9, squeeze=False, width_ratios=widths)
    for panel, ((benchmark, metric), rows) in zip(panels.flat, groups):
        points(panel, rows, "language", "model", among=found)
        if metric == "accuracy":
            level(panel, chance[benchmark])
            _mark_theirs(panel, benchmark, list(rows["language"].unique()))
        panel.tick_params("x", rotation=45 if "-" in rows["language"].iloc[0] else 0)
        panel.set(ylabel=LABELS[metric], title=f"{benchmark}, n = {span(rows['n'])}")
    legend(drawing, ncols=3)
    frame = found[["benchmark", "metric", "model", "language", "n", "value", "low", "high"]]
    return drawing, frame, _reading(found, chance)


def _mark_theirs(panel, benchmark: str, languages: list[str]):
    """The paper's foundation and tuned models in the languages that both have, hollow."""
    found = reported("P3-T5")
    found = found[(found["item"] == benchmark) & found["language"].isin(languages) & found["value"].notna()]
    for system, marker in (("BLOOM-7.1B", "x"), ("PolyLM-13B", "o"), ("PolyLM-MultiAlpaca-13B", "s")):
        rows = found[found["system"] == system]
        if len(rows):
            hollow = {"color": "0.35"} if marker == "x" else {"facecolors": "none", "edgecolors": "0.35"}
            panel.scatter([languages.index(code) for code in rows["language"]], rows["value"], marker=marker, s=22,
                          linewidths=0.8, label=f"{system} (paper)", **hollow)


def _reading(found, chance) -> str:
    choices = found[found["metric"] == "accuracy"]
    if choices.empty:
        return f"Translations only (n = {span(found['n'])} sentences); benchmark files were not at hand."
    above = (choices["low"] > choices["benchmark"].map(chance)).sum()
    best = choices[choices["value"].round(6) == choices["value"].max().round(6)]
    where = ", ".join(best["model"] + " in " + best["language"])
    return (f"{above} of {len(choices)} accuracies lie above chance (dotted) with their whole 95 % interval; the highest "
            f"is {interval(best.iloc[0])} % ({where}; n = {span(choices['n'])} items; "
            "demonstration scale).")
