"""Figures of the curriculum chapter's section on stability."""
import pandas

from lib import records
from lib.plots.base import PALETTE, axes, figure
from lib.tables.base import Lacking

CHAPTER = "09_curriculum"
CURVES = {"loss": "loss (nats/token)", "grad_norm": "gradient norm", "learning_rate": "learning rate"}


@figure("P3-F2", CHAPTER, "Loss, gradient norm and learning rate of runs that hold and that spike")
def spikes(profile: str):
    """A line a fp32 run of the first seed; circles mark its spikes, the first one on the learning rate too."""
    frame = _curves(profile).query("precision == 'fp32'")
    lines = frame.loc[(frame["on_spike"] != "none") | frame["rate"].isin(_rates(frame))]
    drawing, panels = axes(3, 1, height=4.6, sharex=True)
    for number, (name, line) in enumerate(lines.groupby("run", sort=False)):
        colour, met = PALETTE[number % len(PALETTE)], line[line["spike"]]
        for panel, curve in zip(panels, CURVES):
            panel.plot(line["step"], line[curve].where(line[curve] > 0), color=colour, label=name, linewidth=0.9)
            met = met.head(1) if curve == "learning_rate" else met
            panel.plot(met["step"], met[curve], "o", color=colour, markersize=3.5, markerfacecolor="none")
    for panel, label in zip(panels, CURVES.values()):
        panel.set(ylabel=label, yscale="log")
    panels[-1].set_xlabel("step")
    drawing.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return drawing, lines, _reading(lines)


@figure("P3-F2b", CHAPTER, "What the number format changes: the loss beside that of fp32")
def formats(profile: str):
    """Loss minus that of fp32 at the same step, rate and seed, mean of the last ten steps; a line a format and seed."""
    frame = records.rows(profile, CHAPTER, "stability").query("on_spike == 'none'")
    frame = frame[frame["rate"] == frame["rate"].iloc[-1]]  # formats are the last of the plan
    frame = frame.explode(["step", "loss"])[["precision", "seed", "step", "loss"]]
    wide = frame.astype({"loss": float}).pivot(index=["seed", "step"], columns="precision", values="loss")
    gaps = wide.drop(columns="fp32").sub(wide["fp32"], axis=0)
    if gaps.columns.empty:
        raise Lacking("no number format but fp32 was run")
    drawing, panel = axes()
    for number, precision in enumerate(gaps):
        for seed, line in gaps[precision].groupby("seed"):
            smooth = line.rolling(10, min_periods=1).mean().droplevel("seed")
            panel.plot(smooth.index, smooth, color=PALETTE[number + 1], linewidth=0.9,
                       label=precision if seed == gaps.index[0][0] else None)
    panel.axhline(0, color="0.4", linestyle=":", linewidth=0.9)
    panel.set(xlabel="step", ylabel="loss − loss of fp32 (nats/token)")
    panel.legend()
    parts = [f"{abs(gaps[precision]).mean():.4f} ({precision})" for precision in gaps]
    return drawing, gaps.reset_index(), (f"Mean distance of a step's loss from that of fp32, in nats over {len(gaps)} "
                                         f"steps: {' and '.join(parts)}.")


def _curves(profile: str) -> pandas.DataFrame:
    """One row a step of the first seed's runs, and whether it was a spike."""
    rows = records.rows(profile, CHAPTER, "stability")
    rows = rows[rows["seed"] == rows["seed"].iloc[0]].explode(["step", *CURVES], ignore_index=True)
    met = records.rows(profile, CHAPTER, "spikes")
    marked = set() if met.empty else set(met[["run", "seed", "step"]].itertuples(index=False, name=None))
    rows["spike"] = [key in marked for key in rows[["run", "seed", "step"]].itertuples(index=False, name=None)]
    return rows.astype({curve: float for curve in CURVES})


def _rates(frame: pandas.DataFrame) -> list[float]:
    """The first rate and the last: those that hold and that spike."""
    rates = frame["rate"].unique()
    return [rates[0], rates[-1]]


def _reading(lines: pandas.DataFrame) -> str:
    parts = []
    for name, line in lines.groupby("run", sort=False):
        steps = line.loc[line["spike"], "step"]
        first = f" (the first is {steps.min():.0f})" if len(steps) else ""
        parts.append(f"{name}: {len(steps)} of {len(line)} steps stand out{first}, loss at most "
                     f"{line['loss'].max():.1f}, at last {line['loss'].tail(10).mean():.2f}")
    return f"{'; '.join(parts)} nats/token (circles mark such steps; at last: mean of ten)."
