"""Figures of the corpus chapter."""
from lib import records
from lib.plots.base import PALETTE, WIDE, axes, figure


@figure("C01-F1", "01_corpus", "Composition of the corpus and length of its texts")
def composition(profile: str):
    """Left: characters by source and language. Right: share of texts by length in characters."""
    facts = records.facts(profile, "01_corpus").query("fact == 'characters'").astype({"value": float})
    size = (facts.pivot_table(index="source", columns="language", values="value") / 1e6).fillna(0)
    size = size.loc[size.sum(axis=1).sort_values().index]
    lengths = records.rows(profile, "01_corpus", "lengths").groupby(["language", "low", "high"], as_index=False)["texts"].sum()
    drawing, (left, right) = axes(1, 2, width=WIDE, height=2.4)
    for place, code in enumerate(size):
        rows = [row + 0.38 * (0.5 - place) for row in range(len(size))]
        left.barh(rows, size[code], height=0.36, color=PALETTE[place], label=code)
        part = lengths[lengths["language"] == code]
        right.stairs(100 * part["texts"] / part["texts"].sum(), [*part["low"], part["high"].iloc[-1]], color=PALETTE[place])
    left.set(xlabel="characters, million", yticks=range(len(size)), yticklabels=size.index, ylim=(-0.6, len(size) - 0.4))
    drawing.legend(*left.get_legend_handles_labels(), title="language", loc="outside upper right", ncols=len(size.columns))
    right.set(xscale="log", xlabel="length of a text, characters", ylabel="share of texts, %", ylim=(0, None))
    share = size.sum(axis=1) / size.to_numpy().sum()
    return drawing, size.reset_index(), (f"{share.idxmax()} is the largest source with {share.max():.0%} of "
                                         f"{size.to_numpy().sum():.1f} million characters in {len(size)} sources.")
