"""Exhibits of bilingual pretraining."""
from matplotlib.ticker import MaxNLocator

from lib.exhibits.base import figure, measured, need
from lib.exhibits.panels import WIDE, axes, legend, level
from lib.exhibits.units import interval, p_value

CHAPTER = "04_alignment"
FROM = ("pairs from mean", "pairs from translations")  # what pairs do from either start of new rows


@figure("C04-F1", CHAPTER, "Retrieval of translations by layer")
def retrieval_by_layer(profile: str):
    """Accuracy@1 of each arm at every layer, mean over seeds, with Wilson's bands and the line of chance."""
    found = need(measured(profile, CHAPTER, "retrieval_accuracy"), "pairs")
    frame = found.groupby(["task", "arm", "layer"], sort=False)[["value", "low", "high", "n"]].mean().reset_index()
    drawing, panels = axes(1, frame["task"].nunique(), WIDE, 2.4, sharey=True, squeeze=False)
    for panel, (task, part) in zip(panels[0], frame.groupby("task", sort=False)):
        for arm, line in part.groupby("arm", sort=False):
            panel.plot(line["layer"], 100 * line["value"], label=arm)
            panel.fill_between(line["layer"], 100 * line["low"], 100 * line["high"], alpha=0.15, linewidth=0)
        level(panel, 100 / part["n"].iloc[0], "chance\n1/n")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set(xlabel="layer (0: embeddings)", title=task.replace("english", "English"), ylim=(0, None))
    panels[0][0].set_ylabel("accuracy@1 (%)")
    legend(drawing, loc="outside upper center", ncols=frame["arm"].nunique())
    return drawing, frame, _retrieval_reading(profile, frame[frame["layer"] == frame["layer"].max() // 2])


def _retrieval_reading(profile: str, middle) -> str:
    """What the pairs change, the mean over the layers and in translations; and what each arm finds in the middle layer."""
    changes, translated = (measured(profile, CHAPTER, f"{name}_difference").query("arm == 'pairs' and against == 'no-pairs'")
                           for name in ("retrieval_accuracy_mean", "chrf"))
    crossed = measured(profile, CHAPTER, "factorial_retrieval_effect")
    crossed = crossed[crossed["effect"].isin(FROM) & (crossed["size"] == crossed["size"].max())]
    each = "".join(f"; {row['effect']} at {row['size'] / 1000:.0f} kB {interval(row)} points" for row in
                   crossed.to_dict("records"))
    shares, n = 100 * middle.groupby("arm", sort=False)["value"].mean(), middle["n"].iloc[0]
    told, trained = "In", ""
    if len(changes):
        trained = "".join(f"trainings {count:.0f}; " for count in changes["trainings"].dropna().head(1))
        told = (f"Against as many tokens without, pairs change retrieval, mean over the layers, by {interval(changes.iloc[0])} "
                f"points (p {p_value(changes.iloc[0]['p'])}){_translated(translated)}; in")
    found = ", ".join(f"{arm} finds {share:.1f} %" for arm, share in shares.items())
    return (f"{told} the middle layer ({middle['layer'].iloc[0]:.0f}; both directions) {found} of {n:.0f} held-out pairs, "
            f"chance {100 / n:.1f} %{each} ({trained}demonstration scale).")


def _translated(changes) -> str:
    """What pairs change in greedy translations of each direction, to go on a sentence with; empty without any."""
    told = ", ".join(f"{row['task']} {interval(row)}" for row in changes.to_dict("records"))
    return f" and chrF++ of translations ({changes['n'].iloc[0]:.0f} a direction) by {told}" if told else ""
