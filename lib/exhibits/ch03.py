"""Exhibits of continued pretraining."""
import pandas

from lib.engine import records, statistics
from lib.exhibits.base import PALETTE, axes, figure, interval, need, p_value, span, table


@table("C03-T1", "03_pretraining", "Continued pretraining: what each arm reaches and costs")
def pretraining_arms(profile: str):
    """Untrained models first, then one row an arm: bits per byte pooled over its seeds, and its cost (mean over seeds)."""
    found, facts = records.metrics(profile, "03_pretraining"), records.facts(profile, "03_pretraining")
    pooled = found[found["metric"] == "bits_per_byte_pooled"]
    frame = pooled.assign(cell=pooled.apply(interval, axis=1, digits=3)).pivot(index="arm", columns="language", values="cell")
    frame = frame.loc[pooled["arm"].unique(), pooled["language"].unique()].add_suffix(" bits/byte")
    cost = facts.pivot_table("value", "arm", "fact", aggfunc="mean").astype(float).reindex(frame.index)
    frame["seeds"] = facts.query("fact == 'tokens'").groupby("arm").size()
    for column, fact, unit in (("tokens", "tokens", 1), ("kB", "bytes", 1000), ("seconds", "seconds", 1),
                               ("tokens/s", "tokens_per_second", 1), ("peak GB", "peak_memory", 1e9),
                               ("trained M", "trainable", 1e6)):
        frame[column] = cost[fact] / unit
    printed = frame.select_dtypes("number").map(_short)
    return frame.assign(**printed).rename_axis(columns=None).reset_index(), _pretraining_reading(profile, pooled)


def _short(value: float) -> str:
    """Three figures, or thousands with commas; a dash where there is nothing."""
    return "–" if pandas.isna(value) else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _pretraining_reading(profile: str, pooled: pandas.DataFrame) -> str:
    language = next(code for code in pooled["language"] if code != "en")
    value = pooled.set_index(["arm", "language"])["value"]
    change = records.metrics(profile, "03_pretraining").query("arm == 'main' and against == 'base'").set_index("language")
    parts = [f"{code} {interval(change.loc[code], 3)} (n = {change.loc[code, 'n']} texts)"
             for code in (language, "en") if code in change.index]
    share = value["main", language] / value["base", language] - 1
    return (f"Against the unextended base the main arm changes bits per byte by {parts[0]}, that is {share:+.0%}"
            f"{''.join(f', and {part}' for part in parts[1:])}; demonstration scale.")


@table("P1-T3", "03_pretraining", "Parameters that each method trains")
def trainable_parameters(profile: str):
    """One row an arm of its own method, in millions; tied heads count under embed_tokens."""
    facts = records.facts(profile, "03_pretraining")
    counts = facts[facts["unit"] == "parameters"].drop_duplicates(["arm", "fact"])
    wide = counts.pivot(index="arm", columns="fact", values="value")
    wide = wide.loc[facts["arm"].unique()].drop_duplicates().astype(float)
    parts = {"LoRA": "lora", "embed_tokens": "embed_tokens", "lm_head": "lm_head", "other layers": "transformer"}
    frame = pandas.DataFrame({name: wide[f"trainable_{part}"] / 1e6 for name, part in parts.items()})
    frame = frame.assign(trained=wide["trainable"] / 1e6, model=wide["total"] / 1e6).round(2)
    frame["share %"] = (100 * wide["trainable"] / wide["total"]).round(2)
    main = frame.iloc[0]
    return frame.reset_index(), (f"The arm {frame.index[0]} trains {main['trained']:.2f} M of {main['model']:.1f} M parameters "
                                 f"({main['share %']:.1f} %): adapters and the new rows of the tied or untied matrices only.")


@table("C03-T2", "03_pretraining", "Paired differences of bits per byte between arms")
def pretraining_differences(profile: str):
    """arm − against over the same texts, each text averaged over the arm's seeds; p corrected by Holm in this table."""
    found = records.metrics(profile, "03_pretraining").query("metric == 'bits_per_byte_difference'")
    corrected = statistics.holm(found["p"])
    frame = found[["arm", "against", "language", "n"]].copy()
    frame["Δ bits/byte"] = found.apply(interval, axis=1, digits=3)
    frame["p (Holm)"] = [p_value(p) for p in corrected]
    return frame, (f"{sum(p < 0.05 for p in corrected)} of {len(frame)} differences have p < 0.05 after Holm's correction "
                   f"(paired bootstrap over {span(found['n'])} texts, resolution {2 / (statistics.RESAMPLES + 1):.3f}; "
                   "negative is better; demonstration scale).")


@figure("P1-F2", "03_pretraining", "Training loss against text seen")
def pretraining_loss(profile: str):
    """One line an arm, mean over seeds, in bits per byte so that vocabularies compare; a running mean of five points."""
    rows = records.rows(profile, "03_pretraining", "loss")
    curves = rows.groupby(["arm", "seed"])["bits_per_byte"]
    rows["smooth"] = curves.transform(lambda part: part.rolling(5, min_periods=1).mean())
    frame = rows.groupby(["arm", "step"], sort=False)[["bytes", "bits_per_byte", "smooth"]].mean().reset_index()
    drawing, panel = axes()
    for arm, line in frame.groupby("arm", sort=False):
        panel.plot(line["bytes"] / 1000, line["smooth"], label=arm)
    panel.set(xlabel="text seen (kB, log scale)", xscale="log", ylabel="training loss (bits/byte)")
    panel.legend()
    ends = [f"{arm} {line['smooth'].iloc[0]:.2f} → {line['smooth'].iloc[-1]:.2f}"
            for arm, line in frame.groupby("arm", sort=False)]
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
