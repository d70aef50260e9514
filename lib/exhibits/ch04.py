"""Exhibits of bilingual pretraining."""
from lib.engine import records
from lib.exhibits.base import figure, measured, need, noted, table
from lib.exhibits.panels import WIDE, axes, legend, level
from lib.exhibits.units import interval, p_value, wide

CHAPTER = "04_alignment"
SCORES = {"retrieval_accuracy_mean": "retrieval acc@1 %", "bits_per_byte": "bits/byte", "chrf": "chrF++"}


@table("C04-T1", CHAPTER, "Bilingual pretraining with and without translation pairs")
def alignment(profile: str):
    """One row an arm: mean over the seeds of each score, with the mean of the seeds' 95 % intervals."""
    scores = measured(profile, CHAPTER, *SCORES)
    of = scores["language"].fillna(scores["task"]).fillna("")
    scores["score"] = (scores["metric"].map(SCORES) + " " + of).str.strip()
    mean = scores.groupby(["arm", "score", "unit"], sort=False)[["value", "low", "high"]].mean().reset_index()
    frame = wide(mean, ["arm"], "score")
    tokens = noted(profile, CHAPTER, "tokens").groupby("arm")["value"].mean()
    frame.insert(1, "tokens", frame["arm"].map(tokens).fillna(0).astype(int))
    gain = measured(profile, CHAPTER, "retrieval_accuracy_mean_difference").query("arm == 'pairs' and against == 'no-pairs'")
    if gain.empty:
        return frame, "No retrieval of two arms is compared (demonstration scale)."
    row = gain.iloc[0]
    return frame, (f"With pairs, retrieval averaged over layers changes by {interval(row)} points against the same tokens "
                   f"without (n = {row['n']} held-out pairs, paired bootstrap, p {p_value(row['p'])}; demonstration scale).")


@table("C04-T2", CHAPTER, "Translations by each arm")
def alignment_translations(profile: str):
    """The first two held-out sentences of each direction, with the translation of every arm's first seed."""
    rows = need(records.rows(profile, CHAPTER, "translations"), "pairs")
    first = rows.drop_duplicates(["arm", "direction", "item"])
    frame = first.pivot(index=["direction", "source", "reference"], columns="arm", values="hypothesis")
    frame = frame[rows["arm"].unique()].groupby("direction").head(2).rename_axis(columns=None).reset_index()
    shares = rows.groupby("arm", sort=False)["invalid"].mean()
    invalid = ", ".join(f"{arm} {100 * share:.0f} %" for arm, share in shares.items())
    return frame, (f"Greedy; empty, copied or wrong-script answers: {invalid} of {len(first) // rows['arm'].nunique()} "
                   "an arm and seed.")


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
        panel.set(xlabel="layer (0: embeddings)", title=task.replace("english", "English"), ylim=(0, None))
    panels[0][0].set_ylabel("accuracy@1 (%)")
    legend(drawing, loc="outside upper center", ncols=frame["arm"].nunique())
    best = frame.loc[frame["value"].idxmax()]
    return drawing, frame, (f"Best: {100 * best['value']:.1f} % of {best['n']:.0f} held-out pairs, arm {best['arm']}, "
                            f"layer {best['layer']:.0f}, {best['task'].replace('english', 'English')}; "
                            f"chance is {100 / best['n']:.1f} %.")
