"""Figures of the pretraining chapter."""
from lib import records
from lib.plots.base import PALETTE, axes, figure
from lib.tables.base import need


@figure("P1-F2", "03_pretraining", "Training loss against text seen")
def pretraining_loss(profile: str):
    """One line an arm, mean over seeds, in bits per byte so that vocabularies compare; a running mean of five points."""
    rows = records.rows(profile, "03_pretraining", "loss")
    rows["smooth"] = rows.groupby(["arm", "seed"])["bits_per_byte"].transform(lambda part: part.rolling(5, min_periods=1).mean())
    frame = rows.groupby(["arm", "step"], sort=False)[["bytes", "bits_per_byte", "smooth"]].mean().reset_index()
    drawing, panel = axes()
    for arm, line in frame.groupby("arm", sort=False):
        panel.plot(line["bytes"] / 1000, line["smooth"], label=arm)
    panel.set(xlabel="text seen (kB, log scale)", xscale="log", ylabel="training loss (bits/byte)")
    panel.legend()
    ends = [f"{arm} {line['smooth'].iloc[0]:.2f} → {line['smooth'].iloc[-1]:.2f}" for arm, line in frame.groupby("arm", sort=False)]
    return drawing, frame, f"First to last point: {', '.join(ends)} bits/byte of the training mixture."


@figure("C03-F1", "03_pretraining", "Gain in the new language against what English loses")
def gain_and_loss(profile: str):
    """A point an arm, against the unextended base, with the 95 % intervals of both paired differences."""
    found = records.metrics(profile, "03_pretraining").query("against == 'base'")
    need(found.query("language == 'en'"), "english")
    language = next(code for code in found["language"] if code != "en")
    wide = found.pivot(index="arm", columns="language", values=["value", "low", "high", "n"]).loc[found["arm"].unique()]
    drawing, panel = axes(height=3)
    for number, (arm, row) in enumerate(wide.iterrows()):
        gain, cost = -row["value", language], row["value", "en"]
        panel.errorbar(cost, gain, xerr=[[cost - row["low", "en"]], [row["high", "en"] - cost]],
                       yerr=[[gain + row["high", language]], [-row["low", language] - gain]], fmt="osD^vP*X"[number % 8],
                       capsize=2, color=PALETTE[number % len(PALETTE)], label=arm)
    drawing.legend(loc="outside lower center", ncols=3, handletextpad=0.3, columnspacing=1)
    panel.axvline(0, color="0.4", linestyle=":", linewidth=0.9)
    panel.axhline(0, color="0.4", linestyle=":", linewidth=0.9)
    panel.set(xlabel="English, change (bits/byte; right is worse)", ylabel=f"{language}, gain (bits/byte)")
    best = (-wide["value", language]).idxmax()
    frame = wide.set_axis([f"{code}_{name}" for name, code in wide.columns], axis=1).reset_index()
    return drawing, frame, (f"The largest gain is {-wide.loc[best, ('value', language)]:.2f} bits/byte ({best}), with English "
                            f"at {wide.loc[best, ('value', 'en')]:+.3f} (n = {wide.loc[best, ('n', language)]:.0f} and "
                            f"{wide.loc[best, ('n', 'en')]:.0f} texts).")
