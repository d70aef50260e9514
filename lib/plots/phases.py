"""Figures of the chapter on phases and transfer."""
from matplotlib.ticker import LogLocator, NullLocator

from lib import records
from lib.plots.base import PALETTE, WIDE, axes, figure
from lib.tables.base import reported, span

CHAPTER = "08_phases_and_transfer"
COLOURS = dict(zip(("fp32", "bf16", "int8", "nf4"), PALETTE))


@figure("P2-F1", CHAPTER, "Perplexity and bits per byte by phase")
def perplexity_by_phase(profile: str):
    """Two panels, a line a language with its intervals; states from left to right, the unextended base in bits only."""
    found = records.metrics(profile, CHAPTER).query("metric in ['perplexity', 'bits_per_byte'] and phase.notna()")
    frame = found[["metric", "phase", "stage", "language", "n", "value", "low", "high"]].copy()
    frame["state"] = [_state(row) for row in frame.to_dict("records")]
    order = list(dict.fromkeys(frame["state"]))
    drawing, panels = axes(1, 2, WIDE, 2.7)
    for panel, (metric, label) in zip(panels, {"perplexity": "perplexity per token (log)",
                                               "bits_per_byte": "bits per byte"}.items()):
        part = frame[(frame["metric"] == metric) & ((frame["stage"] != "base") | (metric == "bits_per_byte"))]
        for place, (marker, (language, line)) in enumerate(zip("os^", part.groupby("language", sort=False))):
            panel.errorbar([order.index(state) + 0.12 * place for state in line["state"]], line["value"],
                           [line["value"] - line["low"], line["high"] - line["value"]], marker=marker, capsize=2,
                           label=f"{language}, n = {line['n'].iloc[0]} texts")
        panel.set_xticks(range(len(order)), order, rotation=35, ha="right", rotation_mode="anchor")
        panel.set(ylabel=label, xlim=(-0.4, len(order) - 0.6))
    panels[0].set_yscale("log")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[0].yaxis.set_minor_locator(NullLocator())
    panels[0].yaxis.set_major_formatter("{x:,.0f}")
    drawing.legend(*panels[1].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    ends = frame[(frame["metric"] == "bits_per_byte") & frame["state"].isin([order[1], order[-1]])]
    parts = [f"{language} {line['value'].iloc[0]:.2f} → {line['value'].iloc[-1]:.2f}"
             for language, line in ends.groupby("language", sort=False)]
    return drawing, frame, (f"From {order[1]} to {order[-1]}, bits per byte: {', '.join(parts)} (n = {span(ends['n'])} "
                            "texts; demonstration scale).")


def _state(row: dict) -> str:
    if row["phase"] == 0:
        return row["stage"]
    return f"{row['phase']} {row['stage']}"


@figure("P2-F2", CHAPTER, "Accuracy against size on disk by number format", ("parsinlu",))
def accuracy_by_size(profile: str):
    """Ours with Wilson intervals in the left panel, the paper's own points in the right one."""
    metrics, facts = records.metrics(profile, CHAPTER), records.facts(profile, CHAPTER)
    sizes = facts.query("fact == 'size'").set_index("precision")["value"] / 1e9
    ours = metrics.query("metric == 'accuracy' and precision.notna()") if "precision" in metrics else metrics[:0]
    frame = ours[["precision", "n", "value", "low", "high"]].assign(size=[sizes[kind] for kind in ours["precision"]],
                                                                      of="ours")
    theirs = _theirs()
    drawing, panels = axes(1, 2, WIDE, 2.4)
    for panel, part, title in ((panels[0], frame, f"ours, n = {span(frame['n'])} questions" if len(frame) else "ours"),
                               (panels[1], theirs, "PersianMind, as reported (Belebele)")):
        for row in part.to_dict("records"):
            color = COLOURS[row["precision"].lower()]
            ends = [row.get("low", row["value"]), row.get("high", row["value"])]
            spread = [[100 * abs(row["value"] - end)] for end in ends]
            panel.errorbar(row["size"], 100 * row["value"], spread, fmt="o", capsize=2, color=color)
            panel.annotate(row["precision"], (row["size"], 100 * row["value"]), (5, 4), textcoords="offset points",
                           color=color, fontsize=7)
        panel.set(xlabel="size on disk (GB)", title=title)
        panel.margins(x=0.2)
    panels[0].set_ylabel("accuracy (%)")
    return drawing, frame, _sizes_reading(frame, theirs)


def _sizes_reading(ours, theirs) -> str:
    least = theirs.loc[theirs["size"].idxmin()]
    paper = (f"in the paper {least['precision']} takes {least['size'] / theirs['size'].max():.0%} of its largest and "
             f"answers {100 * least['value']:.1f} %. Demonstration scale.")
    if ours.empty:
        return f"No accuracy of ours was measured; {paper}"
    small = ours.loc[ours["size"].idxmin()]
    return (f"{small['precision']} takes {small['size'] / ours['size'].max():.0%} of the largest format's space and "
            f"answers {100 * small['value']:.0f} % [{100 * small['low']:.0f}, {100 * small['high']:.0f}] of "
            f"{small['n']} questions; {paper}")


def _theirs():
    """PersianMind's formats: size in GB and accuracy as a share."""
    found = reported().query("exhibit == 'P2-T1' and quantity in ['size', 'accuracy'] and unit in ['GB', '%']")
    wide = found.assign(value=found["value"].astype(float)).pivot(index="system", columns="quantity", values="value")
    wide = wide.dropna().rename_axis(columns=None).reset_index()
    return wide.rename(columns={"system": "precision"}).assign(value=wide["accuracy"] / 100, of="paper")
