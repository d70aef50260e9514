"""Figures of the alignment chapter."""
from lib import records
from lib.plots.base import WIDE, axes, figure
from lib.tables.base import need


@figure("C04-F1", "04_alignment", "Retrieval of translations by layer")
def retrieval_by_layer(profile: str):
    """Accuracy@1 of each arm at every layer, mean over seeds, with Wilson's bands and the line of chance."""
    found = need(records.metrics(profile, "04_alignment").query("metric == 'retrieval_accuracy'"), "pairs")
    frame = found.groupby(["task", "arm", "layer"], sort=False)[["value", "low", "high", "n"]].mean().reset_index()
    drawing, panels = axes(1, frame["task"].nunique(), WIDE, 2.4, sharey=True, squeeze=False)
    for panel, (task, part) in zip(panels[0], frame.groupby("task", sort=False)):
        for arm, line in part.groupby("arm", sort=False):
            panel.plot(line["layer"], 100 * line["value"], label=arm)
            panel.fill_between(line["layer"], 100 * line["low"], 100 * line["high"], alpha=0.15, linewidth=0)
        panel.axhline(100 / part["n"].iloc[0], color="0.4", linestyle=":", linewidth=0.9)
        panel.annotate("chance\n1/n", (1, 100 / part["n"].iloc[0]), (2, 0), xycoords=("axes fraction", "data"),
                       textcoords="offset points", va="center", color="0.4", fontsize=6)
        panel.set(xlabel="layer (0: embeddings)", title=task.replace("english", "English"), ylim=(0, None))
    panels[0][0].set_ylabel("accuracy@1 (%)")
    drawing.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=frame["arm"].nunique())
    best = frame.loc[frame["value"].idxmax()]
    return drawing, frame, (f"Best: {100 * best['value']:.1f} % of {best['n']:.0f} held-out pairs, arm {best['arm']}, "
                            f"layer {best['layer']:.0f}, {best['task'].replace('english', 'English')}; chance is {100 / best['n']:.1f} %.")
