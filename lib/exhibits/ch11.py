"""Exhibits of the multilingual benchmark: scores beside the paper's, instructions compared, how choices are scored."""
import pandas

from lib.engine import records, statistics
from lib.exhibits.base import PALETTE, WIDE, axes, figure, interval, need, p_value, reported, span, table

CHAPTER = "11_multilingual_benchmark"
FILES, SETS = ("xcopa", "xquad"), ("alpaca-seed-tasks", "multialpaca")
NAMES = {"accuracy": "accuracy %", "f1": "F1×100", "exact_match": "exact match %", "chrf": "chrF++", "bleu": "BLEU",
         "F1": "F1×100", "ROUGE": "ROUGE×100"}
SHOWN = ["accuracy", "f1", "exact_match", "chrf", "bleu"]
AVERAGES = ("from English", "into English", "average")
SYSTEMS = ["BLOOM-7.1B", "LLaMA-13B", "PolyLM-13B", "BLOOMZ-MT-7.1B", "LLaMA-Alpaca-13B", "PolyLM-MultiAlpaca-13B"]
LABELS = {"accuracy": "accuracy (%)", "f1": "F1 × 100", "chrf": "chrF++"}


def measured(profile: str, *names: str) -> pandas.DataFrame:
    """The chapter's metrics of these names, shares in %, with a column model."""
    found = records.metrics(profile, CHAPTER)
    needed = ["metric", "n", "value", "low", "high", "p", "unit", "base", "instructions", "task", "benchmark", "asked",
              "language", "contrast", "against"]
    found = found.reindex(columns=list(dict.fromkeys([*found.columns, *needed])))
    found = found[found["metric"].isin(names)].copy()
    scale = found["unit"].map({"share": 100.0}).astype(float).fillna(1.0)
    for name in ("value", "low", "high"):
        found[name] = found[name].astype(float) * scale
    return found.assign(model=[_model(row.base, row.instructions) for row in found.itertuples()])


def zero_shot(found: pandas.DataFrame) -> pandas.DataFrame:
    """Rows as the paper asks: choices without a demonstration."""
    return found[(found["task"] != "choice") | (found["asked"] == "zero-shot")]


def chances(profile: str) -> pandas.Series:
    """Accuracy in % by guessing, by benchmark."""
    facts = records.facts(profile, CHAPTER)
    facts = facts.reindex(columns=["fact", "benchmark", "value"]).query("fact == 'chance'")
    return 100 * facts.set_index("benchmark")["value"].astype(float)


@table("P3-T5", CHAPTER, "Every task and language: ours, and beside or below it what PolyLM reports", FILES)
def by_language(profile: str):
    """One row a task, measure and language; a column a model of ours, then the paper's systems."""
    ours = need(zero_shot(measured(profile, *SHOWN)), "multiway")
    ours = ours.assign(cell=[interval(row, 1) for row in ours.to_dict("records")])
    theirs = _theirs()
    keys = ["task", "measure", "language"]
    mine = ours.assign(task=ours["benchmark"], measure=ours["metric"].map(NAMES))
    order = list(dict.fromkeys(zip(*(pandas.concat([mine[keys], theirs[keys]])[key] for key in keys))))
    wide = pandas.concat([mine.pivot_table(index=keys, columns="model", values="cell", aggfunc="first", sort=False),
                          theirs.pivot_table(index=keys, columns="system", values="printed", aggfunc="first")], axis=1)
    sizes = mine.groupby(keys)["n"].max()
    wide.insert(0, "n", [f"{sizes[key]:.0f}" if key in sizes.index else "" for key in wide.index])
    columns = ["n", *mine["model"].unique(), *SYSTEMS]
    frame = wide.reindex(columns=columns).loc[order].fillna("").rename_axis(columns=None).reset_index()
    return frame, _language_reading(profile, ours)


def _language_reading(profile: str, ours: pandas.DataFrame) -> str:
    means = ours[(ours["metric"] == "accuracy") & (ours["language"] == "average")]
    if means.empty:
        return "No language was asked to choose. The paper's systems are named with their size. Demonstration scale."
    chance = chances(profile)
    single = ours[(ours["metric"] == "accuracy") & ~ours["language"].isin(AVERAGES)]
    above = sum(row.low > chance[row.benchmark] for row in single.itertuples())
    named = [f"{row['benchmark']} {row['model']} {interval(row, 1)} %" for row in means.to_dict("records")]
    return (f"Mean accuracy over the languages: {'; '.join(named)} (n = {span(means['n'])} items, the same in each "
            f"language); {above} of {len(single)} accuracies of a language lie above chance with their whole interval. "
            "The paper's systems are named with their size. Demonstration scale.")


@table("P3-T6", CHAPTER, "English-only against multilingual instructions of equal size", FILES + SETS)
def instructions(profile: str):
    """One row a task, measure and language, ours with its paired difference; then the paper's own table."""
    found = zero_shot(measured(profile, *(f"{name}_difference" for name in SHOWN)))
    found = need(found[found["contrast"] == "languages"], "multiway")
    scores = zero_shot(measured(profile, *SHOWN))
    cells = {(row["benchmark"], row["metric"], row["language"], row["instructions"]): interval(row, 1)
             for row in scores[scores["base"].isin(found["base"])].to_dict("records")}
    rows = [{"from": "here", "task": row["benchmark"], "measure": NAMES[row["metric"].removesuffix("_difference")],
             "language": row["language"], "n": row["n"],
             **{kind: cells[row["benchmark"], row["metric"].removesuffix("_difference"), row["language"], kind]
                for kind in ("en", "multilingual")},
             "difference": interval(row, 1), "p": p_value(row["p"]), "p (Holm)": p_value(row["holm"])}
            for row in _corrected(found).to_dict("records")]
    frame = pandas.DataFrame([*rows, *_paper_instructions()], dtype=object).fillna("")
    return frame, _instructions_reading(found)


def _instructions_reading(found: pandas.DataFrame) -> str:
    paper = reported("P3-T6", "PolyLM-MultiAlpaca-13B − PolyLM-Alpaca-13B").query("table == 'text'")
    said = ", ".join(f"{row.printed} {row.unit} on {row.item}" for row in paper.itertuples())
    means = found[found["language"] == "average"]
    ends = "; ".join(f"{row['benchmark']} {NAMES[row['metric'].removesuffix('_difference')]} {interval(row, 1)}"
                     for row in means.to_dict("records"))
    return (f"Multilingual minus English-only instructions, mean over the languages: {ends} (n = {span(means['n'])} "
            f"items, paired); the paper reports {said} at 13 billion parameters. Demonstration scale.")


@table("C11-T1", CHAPTER, "How a choice is scored: by length, and behind a demonstration", FILES)
def scoring_of_choices(profile: str):
    """One row a way, model and language: the change of accuracy in points, the same items."""
    found = measured(profile, "normalisation_difference", "shots_difference")
    need(found)
    ways = {"normalisation_difference": "log-likelihood a character − summed",
            "shots_difference": "one-shot − zero-shot"}
    frame = _shown(found.assign(way=found["metric"].map(ways)), ["way", "model", "benchmark", "language"])
    means = found[found["language"] == "average"]
    ends = [f"{ways[row['metric']]}, {row['model']}, {row['benchmark']} {interval(row, 1)}"
            for row in means.to_dict("records")]
    return frame, (f"Points of accuracy, mean over the languages: {'; '.join(ends) or 'one language only'} "
                   f"(n = {span(found['n'])} items, paired; demonstration scale).")


@table("C11-T2", CHAPTER, "Two sets of instructions of equal size", SETS)
def instruction_sets(profile: str):
    """One row a set and language, mean over the seeds: rows, bytes, and the tokens that the base cuts these to."""
    facts = records.facts(profile, CHAPTER)
    facts = facts[facts["fact"].str.startswith("instruction_")] if len(facts) else facts
    need(facts)
    sizes = facts.assign(value=facts["value"].astype(float), fact=facts["fact"].str.removeprefix("instruction_"))
    frame = sizes.pivot_table(index=["instructions", "language"], columns="fact", values="value", sort=False)
    frame = frame[["rows", "bytes", "tokens"]].rename_axis(columns=None)
    whole = frame.groupby(level=0, sort=False).sum().round().astype(int)
    total = [f"{kind} {row.rows} rows, {row.bytes:,} bytes, {row.tokens:,} tokens" for kind, row in whole.iterrows()]
    return frame.round().astype(int).reset_index(), f"A set, mean over the seeds: {'; '.join(total)}."


@table("C11-T3", CHAPTER, "Instructions against none, and a further base against the first", FILES + SETS)
def contrasts(profile: str):
    """One row a contrast, task, measure and language: the paired difference, p by Holm over the languages."""
    found = zero_shot(measured(profile, *(f"{name}_difference" for name in SHOWN)))
    found = found[found["contrast"].isin(["instructions", "base"])]
    need(found)
    against = [_model(row.against, "none") if row.contrast == "base" else f"{row.base}" for row in found.itertuples()]
    measure = found["metric"].str.removesuffix("_difference").map(NAMES)
    found = found.assign(measure=measure, against=against)
    frame = _shown(found, ["model", "against", "benchmark", "measure", "language"])
    means = found[(found["language"] == "average") & found["metric"].isin(["accuracy_difference", "chrf_difference"])]
    ends = [f"{row['model']} against {row['against']}, {row['benchmark']} {row['measure']} {interval(row, 1)}"
            for row in means.to_dict("records")]
    return frame, (f"Mean over the languages: {'; '.join(ends) or 'one language only'} (n = {span(found['n'])} items, "
                   "paired; bases answer in words behind a demonstration, tuned models without; demonstration scale).")


def _shown(found: pandas.DataFrame, keys: list[str]) -> pandas.DataFrame:
    """Differences as they are printed, with p and, over the languages of a group, Holm's p."""
    found = _corrected(found)
    return found[[*keys, "n"]].assign(difference=[interval(row, 1) for row in found.to_dict("records")],
                                      p=found["p"].map(p_value),
                                      **{"p (Holm)": found["holm"].map(p_value)}).reset_index(drop=True)


def _corrected(found: pandas.DataFrame) -> pandas.DataFrame:
    """With a column holm: p corrected over the languages of a metric, model and benchmark; averages have none."""
    found = found.reset_index(drop=True).assign(holm=float("nan"))
    single = found[~found["language"].isin(AVERAGES)]
    for _, rows in single.groupby(["metric", "model", "benchmark", "against", "asked"], dropna=False):
        found.loc[rows.index, "holm"] = statistics.holm(rows["p"])
    return found


def _theirs() -> pandas.DataFrame:
    """The paper's scores of its systems: task, measure, language, system, printed."""
    found = reported("P3-T5")
    found = found[found["system"].isin(SYSTEMS) & (found["printed"] != "")]
    task = [f"MTG {row.item}" if row.group == "MTG" else row.item for row in found.itertuples()]
    language = [f"average, {row.group}" if row.language == "average" and row.group != "MTG" else row.language
                for row in found.itertuples()]
    measure = found["quantity"].map(lambda name: NAMES.get(name, name))
    found = found.assign(task=task, measure=measure, language=language)
    return found[["task", "measure", "language", "system", "printed"]]


def _paper_instructions() -> list[dict]:
    """The paper's comparison of instruction sets, and the difference that its numbers give."""
    found = reported("P3-T6")
    wide = found.pivot_table(index=["item", "quantity", "language"], columns="system", values="value", sort=False)
    return [{"from": "PolyLM", "task": task, "measure": NAMES.get(quantity, quantity), "language": language,
             "en": f"{row['PolyLM-Alpaca-13B']:.1f}", "multilingual": f"{row['PolyLM-MultiAlpaca-13B']:.1f}",
             "difference": f"{row['PolyLM-MultiAlpaca-13B'] - row['PolyLM-Alpaca-13B']:.1f}"}
            for (task, quantity, language), row in wide.iterrows()]


def _model(base, kind) -> str:
    return f"{base}" if kind in ("none", None) or pandas.isna(kind) else f"{base} + {kind}"


@figure("P3-F4", CHAPTER, "Scores by language: ours with intervals, the paper's as hollow markers", FILES)
def scores_by_language(profile: str):
    """A panel a benchmark; in each language a point a model with its interval, chance dotted, the paper's hollow."""
    found = zero_shot(measured(profile, *LABELS))
    found = need(found[~found["language"].isin(AVERAGES)])
    groups = list(found.groupby(["benchmark", "metric"], sort=False))
    widths = [rows["language"].nunique() + 1 for _, rows in groups]
    drawing, panels = axes(1, len(groups), WIDE, 2.9, squeeze=False, width_ratios=widths)
    chance, models = chances(profile), list(found["model"].unique())
    for panel, ((benchmark, metric), rows) in zip(panels.flat, groups):
        _points(panel, rows, models)
        if metric == "accuracy":
            panel.axhline(chance[benchmark], color="0.4", linestyle=":", linewidth=0.9)
            _mark_theirs(panel, benchmark, list(rows["language"].unique()))
        panel.set(ylabel=LABELS[metric], title=f"{benchmark}, n = {span(rows['n'])}")
        panel.margins(x=0.08)
    handles = dict(pair[::-1] for panel in panels.flat for pair in zip(*panel.get_legend_handles_labels()))
    names = [*models, *(name for name in handles if name not in models)]
    drawing.legend([handles[name] for name in names], names, loc="outside lower center", ncols=3)
    frame = found[["benchmark", "metric", "model", "language", "n", "value", "low", "high"]]
    return drawing, frame, _reading(found, chance)


def _points(panel, rows, models: list[str]):
    """The models side by side within each language."""
    languages = list(rows["language"].unique())
    for model, line in rows.groupby("model", sort=False):
        place = models.index(model)
        at = [languages.index(code) + (place - (len(models) - 1) / 2) * 0.16 for code in line["language"]]
        spread = [(line["value"] - line["low"]).clip(lower=0), (line["high"] - line["value"]).clip(lower=0)]
        panel.errorbar(at, line["value"], spread, fmt="os^Dv"[place % 5], color=PALETTE[place % len(PALETTE)],
                       capsize=1.5, markersize=3, linewidth=0.9, label=model)
    panel.set_xticks(range(len(languages)), languages, rotation=45 if "-" in languages[0] else 0)


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
    above = sum(row.low > chance[row.benchmark] for row in choices.itertuples())
    best = choices.loc[choices["value"].idxmax()]
    return (f"{above} of {len(choices)} accuracies lie above chance (dotted) with their whole 95 % interval; the highest "
            f"is {best['model']} in {best['language']} with {best['value']:.0f} % (n = {span(choices['n'])} items; "
            "demonstration scale).")
