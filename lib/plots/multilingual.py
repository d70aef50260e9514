"""Figure of the multilingual benchmark."""
from lib.plots.base import PALETTE, WIDE, axes, figure
from lib.tables.base import need, reported, span
from lib.tables.multilingual import AVERAGES, CHAPTER, FILES, chances, measured, zero_shot

LABELS = {"accuracy": "accuracy (%)", "f1": "F1 × 100", "chrf": "chrF++"}


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
            _theirs(panel, benchmark, list(rows["language"].unique()))
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


def _theirs(panel, benchmark: str, languages: list[str]):
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
