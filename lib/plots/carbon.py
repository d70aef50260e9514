"""Figures of the carbon chapter."""
from lib import records
from lib.plots.base import PALETTE, axes, figure


@figure("C13-F1", "13_carbon", "Energy of every chapter")
def energy(profile: str):
    """Bars of Wh a chapter, training apart from the rest, with the chapter's minutes."""
    facts = records.facts(profile, "13_carbon")
    names = {"kwh": "total", "training_kwh": "training", "seconds": "seconds"}
    frame = facts[facts["fact"].isin(names)].pivot(index="step", columns="fact", values="value").astype(float)
    frame = frame.rename(columns=names).reindex(columns=names.values()).fillna({"training": 0}).reset_index()
    frame[["total", "training"]] *= 1000
    # A training kept from an earlier run may have taken longer than its chapter did this time.
    inside = frame["training"].clip(upper=frame["total"])
    drawing, panel = axes(height=0.8 + 0.24 * len(frame))
    panel.barh(frame["step"], frame["total"], color=PALETTE[5], label="rest of the chapter")
    panel.barh(frame["step"], inside, color=PALETTE[0], label="training")
    for place, row in frame.iterrows():
        panel.annotate(f"{row['seconds'] / 60:.1f} min", (row["total"], place), xytext=(3, 0),
                       textcoords="offset points", va="center", fontsize=7)
    panel.set(xlabel="energy (Wh)", xlim=(0, 1.25 * frame["total"].max()))
    panel.invert_yaxis()
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    share = inside.sum() / frame["total"].sum()
    return drawing, frame, (f"Training takes {share:.0%} of {frame['total'].sum():.2f} Wh over {len(frame)} chapters "
                            "(one metering of one run, so without interval).")
