"""Exhibits of bilingual pretraining."""
import pandas

from lib.engine import records
from lib.exhibits.base import WIDE, axes, figure, interval, need, p_value, table

SCORES = {"retrieval_accuracy_mean": "retrieval acc@1", "bits_per_byte": "bits/byte", "chrf": "chrF++"}


@table("C04-T1", "04_alignment", "Bilingual pretraining with and without translation pairs")
def alignment(profile: str):
    """One row an arm: mean over the seeds of each score, with the mean of the seeds' 95 % intervals."""
    found = records.metrics(profile, "04_alignment")
    scores = found[found["metric"].isin(SCORES)].copy()
    scores["score"] = scores["metric"].map(SCORES) + " " + scores["language"].fillna(scores["task"]).fillna("")
    mean = scores.groupby(["arm", "score"], sort=False)[["value", "low", "high"]].mean()
    frame = mean.apply(interval, axis=1).unstack("score").loc[scores["arm"].unique(), scores["score"].unique()]
    facts = records.facts(profile, "04_alignment").query("fact == 'tokens'")
    frame.insert(0, "tokens", facts.groupby("arm")["value"].mean())
    frame["tokens"] = frame["tokens"].fillna(0).astype(int)
    return frame.rename_axis(columns=None).reset_index(), _alignment_reading(found)


def _alignment_reading(found: pandas.DataFrame) -> str:
    gain = found[found["metric"] == "retrieval_accuracy_mean_difference"]
    gain = gain[(gain["arm"] == "pairs") & (gain["against"] == "no-pairs")]
    if gain.empty:
        return "No retrieval of two arms is compared (demonstration scale)."
    row = gain.iloc[0]
    return (f"With pairs, retrieval averaged over layers changes by {100 * row['value']:+.1f} points "
            f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] against the same tokens without "
            f"(n = {row['n']} held-out pairs, paired bootstrap, p {p_value(row['p'])}; demonstration scale).")


@table("C04-T2", "04_alignment", "Translations by each arm")
def alignment_translations(profile: str):
    """The first two held-out sentences of each direction, with the translation of every arm's first seed."""
    rows = need(records.rows(profile, "04_alignment", "translations"), "pairs")
    first = rows.drop_duplicates(["arm", "direction", "item"])
    frame = first.pivot(index=["direction", "source", "reference"], columns="arm", values="hypothesis")
    frame = frame[list(dict.fromkeys(rows["arm"]))].groupby("direction").head(2).rename_axis(columns=None).reset_index()
    shares = rows.groupby("arm", sort=False)["invalid"].mean()
    invalid = ", ".join(f"{arm} {100 * share:.0f} %" for arm, share in shares.items())
    return frame, (f"Greedy; empty, copied or wrong-script answers: {invalid} of {len(first) // rows['arm'].nunique()} "
                   "an arm and seed.")


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
                            f"layer {best['layer']:.0f}, {best['task'].replace('english', 'English')}; "
                            f"chance is {100 / best['n']:.1f} %.")
