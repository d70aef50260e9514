"""Tables of the pretraining chapter."""
import pandas

from lib import records, statistics
from lib.tables.base import interval, p_value, span, table


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
    wide = facts[facts["unit"] == "parameters"].drop_duplicates(["arm", "fact"]).pivot(index="arm", columns="fact", values="value")
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
