"""Figures of the curriculum chapter."""
from lib import records
from lib.plots.base import PALETTE, WIDE, axes, figure
from lib.tables.base import interval, need, reported, span

CHAPTER = "09_curriculum"
LOSSY = 0.01  # share of unknown tokens above which a tokenizer does not keep the text


@figure("P3-F3", CHAPTER, "Non-English share against tokens, planned and realised")
def schedule(profile: str):
    """One colour an order of the text; lines are planned, points realised in a window, PolyLM's two levels dotted."""
    frame = need(records.rows(profile, CHAPTER, "schedule"), "english")
    frame = frame[~frame["arm"].str.endswith("-pairs") | ~frame["arm"].str.removesuffix("-pairs").isin(frame["arm"])]
    parameters = records.load(profile, CHAPTER)["parameters"]
    paper = reported("P3-F3").query("quantity == 'non-English share' and value.notna()")
    drawing, panel = axes()
    for (arm, line), color, marker in zip(frame.groupby("arm", sort=False), PALETTE, "osD^"):
        starts, planned = line["tokens"].shift(fill_value=0), 100 * line["planned"]
        panel.plot([0, *line["tokens"]], [planned.iloc[0], *planned], color=color, drawstyle="steps-pre")
        panel.plot((starts + line["tokens"]) / 2, 100 * line["realised"], marker, color=color, alpha=0.7, label=arm)
    for row in paper.to_dict("records"):
        panel.axhline(row["value"], color="0.4", linestyle=":", linewidth=0.9)
        panel.annotate(f"PolyLM {row['item']}", (0.01, row["value"]), (0, 2), xycoords=("axes fraction", "data"),
                       textcoords="offset points", color="0.4", fontsize=6)
    for at in parameters["boundaries"]:
        panel.axvline(at * frame["tokens"].max(), color="0.7", linestyle="--", linewidth=0.9)
    panel.set(xlabel="tokens seen", ylabel="non-English share (%)", ylim=(0, 100), xlim=(0, None))
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.legend(loc="upper left")
    gap = 100 * (frame["planned"] - frame["realised"]).abs().max()
    ends = frame[frame["arm"] == max(frame["arm"], key=lambda arm: arm.startswith("curriculum"))]
    first, last = 100 * ends["realised"].iloc[0], 100 * ends["realised"].iloc[-1]
    return drawing, frame, (f"In {ends['arm'].iloc[0]} the realised share goes from {first:.0f} to {last:.0f} %, at "
                            f"most {gap:.1f} points from the plan in windows of {frame['window'].iloc[0]} blocks; "
                            f"PolyLM goes from {paper['value'].min():.0f} to {paper['value'].max():.0f} %.")


@figure("C09-F1", CHAPTER, "What a language gains against its share of the text")
def gain_by_share(profile: str):
    """A point a language and order of the text: fewer bits per byte than before, with the paired 95 % interval.

    Points of one share stand side by side, beginning at their share.
    """
    facts = need(records.facts(profile, CHAPTER).query("fact == 'stream_tokens'"), "english")
    tokens = facts.astype({"value": float}).groupby(["arm", "language"])["value"].sum()
    share = 100 * tokens / tokens.groupby("arm").transform("sum")
    found = records.metrics(profile, CHAPTER).query("metric == 'bits_per_byte_gain'")
    found = found[[(row["arm"], row["language"]) in share.index for row in found.to_dict("records")]]
    frame = found[["arm", "language", "n", "value", "low", "high"]].copy()
    frame["share"] = [share[arm, code] for arm, code in zip(frame["arm"], frame["language"])]
    frame = frame[~frame["arm"].str.endswith("-pairs") | ~frame["arm"].str.removesuffix("-pairs").isin(frame["arm"])]
    frame = frame.sort_values(["share", "language"], kind="stable")
    frame["place"] = frame["share"] * 1.025 ** frame.groupby(frame["share"].round(3)).cumcount()
    drawing, panel = axes(width=WIDE, height=2.8)
    for (arm, part), color, marker in zip(frame.groupby("arm", sort=False), PALETTE, "osD^"):
        panel.errorbar(part["place"], -part["value"], [part["high"] - part["value"], part["value"] - part["low"]],
                       fmt=marker, color=color, capsize=2, alpha=0.8, label=arm)
    for row in frame[frame["arm"] == frame["arm"].iloc[0]].to_dict("records"):
        panel.annotate(row["language"], (row["place"], -row["high"]), (0, -8), textcoords="offset points", ha="center",
                       fontsize=6)
    panel.axhline(0, color="0.4", linestyle=":", linewidth=0.9)
    panel.set(xlabel="share of the tokens (%, log scale)", xscale="log", ylabel="gain (bits/byte)")
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100) if 0.7 < tick / frame["share"].min() and
             tick < 1.5 * frame["share"].max()]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    panel.legend()
    return drawing, frame, _gain_reading(frame)


def _gain_reading(frame) -> str:
    first = frame[(frame["arm"] == frame["arm"].iloc[0]) & (frame["language"] != "en")]
    best, better = first.loc[first["value"].idxmin()], first[first["high"] < 0]
    rank = first["share"].corr(-first["value"], method="spearman") if len(first) > 2 else float("nan")
    along = f"; share and gain have a rank correlation of {rank:.2f}" if rank == rank else ""
    return (f"{len(better)} of {len(first)} languages gain with their whole interval, {best['language']} most: "
            f"{-best['value']:.2f} [{-best['high']:.2f}, {-best['low']:.2f}] bits/byte from {best['share']:.1f} % of "
            f"the tokens{along} (arm {best['arm']}, n = {span(first['n'])} texts; demonstration scale).")


@figure("P3-F1b", CHAPTER, "Compression of tokenizers by language, against the base's")
def tokenizer_compression(profile: str):
    """Bytes a token over the base's (= 1) on the same items; hollow where more than 1 % of the tokens are unknown."""
    found = records.metrics(profile, CHAPTER)
    keys = ["tokenizer", "language"]
    frame = found[found["metric"] == "compression"][[*keys, "value", "low", "high", "n"]]
    unknown = found[found["metric"] == "unknown"].set_index(keys)["value"]
    frame = frame.assign(unknown=[unknown[tuple(row)] for row in frame[keys].to_numpy()])
    order = list(frame.groupby("language")["value"].max().sort_values().index)
    drawing, panel = axes(height=0.9 + 0.19 * len(order))
    for number, (name, part) in enumerate(frame.groupby("tokenizer", sort=False)):
        color = PALETTE[number % len(PALETTE)]
        for row in part.to_dict("records"):
            panel.errorbar(row["value"], order.index(row["language"]) + 0.15 * number, fmt="osD^"[number % 4],
                           capsize=2, xerr=[[row["value"] - row["low"]], [row["high"] - row["value"]]], color=color,
                           markerfacecolor="white" if row["unknown"] > LOSSY else color)
        panel.plot([], [], "osD^"[number % 4], color=color, label=name)
    panel.axvline(1, color="0.6", linewidth=0.8)
    panel.set_yticks(range(len(order)), order)
    panel.set(xlabel="bytes a token, base = 1 (hollow: unknown tokens)", ylabel="language")
    drawing.legend(loc="outside upper center", ncols=2)
    return drawing, frame, _compression_reading(frame)


def _compression_reading(frame) -> str:
    parts = []
    for name, part in frame.groupby("tokenizer", sort=False):
        best, lossy = part.loc[part["value"].idxmax()], (part["unknown"] > LOSSY).sum()
        loss = f", and has over 1 % unknown tokens in {lossy} of {len(part)} languages" if lossy else ""
        parts.append(f"{name} most in {best['language']} ({interval(best)} times the base{loss})")
    return f"Shorter texts: {'; '.join(parts)} (n = {span(frame['n'])} items a language)."
