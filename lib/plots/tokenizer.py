"""Figures of the tokenizer chapter."""
import pandas

from lib import records
from lib.plots.base import axes, figure
from lib.tables.base import Lacking, need


@figure("P1-F3", "02_tokenizer", "Fertility against added pieces")
def fertility(profile: str):
    """Tokens a word (or character) of the learned language over new pieces, the three ways, with intervals."""
    found = records.metrics(profile, "02_tokenizer").query("metric == 'fertility' and language != 'en'")
    pieces = records.facts(profile, "02_tokenizer").query("fact == 'new_pieces'").set_index(["arm", "size"])["value"]
    frame = found[["arm", "size", "value", "low", "high", "n", "language", "unit"]].copy()
    if set(frame["arm"]) == {"base"}:
        raise Lacking("the text gave no new piece")
    frame["pieces"] = [int(pieces[arm, size]) for arm, size in zip(frame["arm"], frame["size"])]
    base, unit = frame[frame["arm"] == "base"], frame["unit"].iloc[0].replace("/", " a ")
    drawing, panel = axes()
    for marker, arm in zip("os^", [arm for arm in frame["arm"].unique() if arm != "base"]):
        part = pandas.concat([base, frame[frame["arm"] == arm]]).sort_values("pieces")
        # An appended way that was measured once is a point, not a line from the base through sizes nobody measured.
        part = part if len(part) > 2 else part[part["arm"] == arm]
        panel.errorbar(part["pieces"], part["value"], [part["value"] - part["low"], part["high"] - part["value"]],
                       marker=marker, capsize=2, linestyle="-" if len(part) > 1 else "none", label=arm)
    # A word is one token at least; a character need not be.
    panel.set(xlabel="new pieces", ylabel=f"{unit} ({frame['language'].iloc[0]})",
              ylim=(int(frame["low"].min() >= 1), None))
    panel.legend()
    last = frame[frame["arm"] == "continued BPE"].sort_values("pieces")
    return drawing, frame.drop(columns="unit"), (
        f"Continued BPE goes from {base['value'].iloc[0]:.2f} {unit} to {last['value'].iloc[0]:.2f} with "
        f"{last['pieces'].iloc[0]} pieces and {last['value'].iloc[-1]:.2f} with {last['pieces'].iloc[-1]} "
        f"(n = {base['n'].iloc[0]} documents).")


@figure("P3-F1", "02_tokenizer", "Compression of the extended tokenizer against the base's")
def compression(profile: str):
    """Bytes a token over the base's (= 1) on the same items in every language, with intervals over items."""
    found = records.metrics(profile, "02_tokenizer").query("arm == 'multiway' and metric == 'compression'")
    found = need(found, "pairs")
    frame = found[["language", "value", "low", "high", "n"]].sort_values("value")
    drawing, panel = axes(height=max(1.6, 0.7 + 0.17 * len(frame)))
    panel.errorbar(frame["value"], frame["language"], xerr=[frame["value"] - frame["low"], frame["high"] - frame["value"]],
                   fmt="o", capsize=2)
    panel.axvline(1, color="0.6", linewidth=0.8)
    panel.set(xlabel="bytes a token, base = 1", ylabel="language")
    gain = frame[frame["low"] > 1][::-1]
    return drawing, frame, (f"{len(gain)} of {len(frame)} languages get shorter: "
                            + ", ".join(f"{row['language']} {row['value']:.2f}×" for row in gain.to_dict("records"))
                            + f" (n = {frame['n'].max()} items each).")
