"""Tables of the curriculum chapter's section on stability."""
import pandas

from lib import records, statistics
from lib.tables.base import interval, p_value, span, table

CHAPTER = "09_curriculum"


@table("C09-T2", CHAPTER, "Spikes of a toy trained from scratch: rates, remedies and number formats")
def stability(profile: str):
    """One row a run, seeds pooled: what stood out, what was done, where it ends, and the difference from the first."""
    facts = records.facts(profile, CHAPTER).query("fact.str.startswith('stability_') and unit == 'steps'")
    runs = facts[facts["fact"] == "stability_steps"].drop_duplicates("run").set_index("run")
    counts = facts.pivot_table("value", "run", "fact", aggfunc=lambda values: sum(map(int, values)))
    frame = runs[["rate", "precision", "on_spike"]].rename(columns={"on_spike": "on a spike"})
    frame["seeds"] = facts[facts["fact"] == "stability_steps"].groupby("run").size()
    for fact in ("steps", "spikes"):
        frame[fact] = counts[f"stability_{fact}"].reindex(frame.index)
    frame["done"] = [_done(counts.loc[name]) for name in frame.index]
    bits, changes = _metric(profile, "bits_per_byte"), _metric(profile, "difference")
    frame["bits/byte"] = bits.apply(interval, axis=1, digits=3).reindex(frame.index)
    first = changes[changes["against"] == frame.index[0]].assign(holm=lambda part: statistics.holm(part["p"]))
    frame["Δ bits/byte"] = first.apply(interval, axis=1, digits=3).reindex(frame.index)
    frame["p (Holm)"] = first["holm"].map(p_value).reindex(frame.index)
    return frame.rename_axis(columns=None).reset_index(drop=True), _reading(frame, bits, changes)


def _metric(profile: str, name: str) -> pandas.DataFrame:
    found = records.metrics(profile, CHAPTER).query(f"metric == 'stability_{name}'")
    return found.set_index("run")


def _done(counts) -> str:
    """`skipped 12×, lowered 2×`, or a dash."""
    parts = [(counts["stability_skip"], "skipped"), (counts["stability_lower"], "lowered")]
    return ", ".join(f"{word} {count:.0f}×" for count, word in parts if count) or "–"


def _reading(frame: pandas.DataFrame, bits: pandas.DataFrame, changes: pandas.DataFrame) -> str:
    """The worst run and what the remedies make of it, then the formats."""
    plain = frame[(frame["precision"] == "fp32") & (frame["on a spike"] == "none")]
    worst, treated = plain.index[-1], frame[frame["on a spike"] != "none"]
    parts = [f"{frame.loc[name, 'spikes']:.0f} of {frame.loc[name, 'steps']:.0f} steps spike in {name}, which ends at "
             f"{_value(bits, name)}" for name in dict.fromkeys((plain.index[0], worst))]
    parts += [f"with {row['on a spike']} at {_value(bits, name)}" for name, row in treated.iterrows()]
    formats = changes[changes.index.isin(frame.index[frame["precision"] != "fp32"])]
    parts += [f"{name} − {row['against']} = {interval(row, 3)}" for name, row in formats.iterrows()]
    return (f"{'; '.join(parts)} bits/byte (n = {span(bits['n'])} texts; a toy trained from scratch, demonstration "
            "scale).")


def _value(bits: pandas.DataFrame, name: str) -> str:
    return f"{bits.loc[name, 'value']:.2f}" if name in bits.index else "no finite number of"
