"""Exhibits of the curriculum and of stability."""
import pandas

from lib.engine import records
from lib.exhibits.base import Lacking, figure, measured, need, noted, reported, table
from lib.exhibits.differences import corrected
from lib.exhibits.panels import PALETTE, WIDE, axes, errorbars, legend, level, points
from lib.exhibits.units import cells, interval, listed, p_value, span, wide

CHAPTER = "09_curriculum"
OTHERS = "non-English"
POOLED = f"language in ['{OTHERS}', 'en']"
LOSSY = 0.01  # share of unknown tokens above which a tokenizer does not keep the text
CURVES = {"loss": "loss (nats/token)", "grad_norm": "gradient norm", "learning_rate": "learning rate"}


@table("P3-T1", CHAPTER, "Sources by stage: PolyLM's and this companion's")
def sources_by_stage(profile: str):
    """A row a source: its share of each stage's tokens, PolyLM's first, then ours in the curriculum."""
    ours = _tokens(profile)
    ours["source"] = ours["source"] + (ours["language"] == "pairs").map({True: ", pairs", False: ""})
    paper = reported("P3-T1").query("quantity == 'share'").rename(columns={"item": "source"})
    paper["stage"] = "stage " + paper["system"].str[-1] + " %"
    theirs = paper.pivot(index="source", columns="stage", values="value").loc[paper["source"].unique()].reset_index()
    frame = pandas.concat([theirs.assign(of="PolyLM"), _shares(ours, "source").assign(of="here").reset_index()])
    web = theirs[theirs["source"].isin(["mC4", "CC-100"])].sum(numeric_only=True)
    return frame[["of", *theirs]], (
        f"PolyLM's web text shrinks from {web.iloc[0]:.0f} to {web.iloc[1]:.0f} % for better sources; here the sources stay "
        f"and the languages change, {frame[frame['of'] == 'here']['source'].iloc[0]} gives most "
        f"({ours['value'].sum():,.0f} tokens in all).")


@table("P3-T2", CHAPTER, "Languages by tokens: PolyLM's and this companion's")
def languages_by_tokens(profile: str):
    """A row a language: PolyLM's tokens and share, ours over all stages and in each of them; pairs are a row."""
    ours = _tokens(profile)
    tokens = ours.groupby("language")["value"].sum().sort_values(ascending=False)
    paper = reported("P3-T2").pivot(index="language", columns="quantity", values="value")
    order = dict.fromkeys([*tokens.index, *paper["tokens"].sort_values(ascending=False).index])
    frame = pandas.DataFrame({"tokens here": tokens, "here %": (100 * tokens / tokens.sum()).round(2)})
    frame = frame.join(_shares(ours, "language")).reindex(list(order))
    frame = frame.assign(**{"PolyLM B tokens": paper["tokens"], "PolyLM %": paper["share"]})
    both = frame.dropna(subset=["here %", "PolyLM %"]).drop("en")
    ends = both[["here %", "PolyLM %"]].agg(["min", "max"])
    spread = (f", with {ends['here %']['min']:.1f} to {ends['here %']['max']:.1f} % against {ends['PolyLM %']['min']:.2f} to "
              f"{ends['PolyLM %']['max']:.2f} %") if len(both) else ""
    return frame.rename_axis("language").reset_index(), (
        f"English is {frame.loc['en', 'here %']:.0f} % here and {frame.loc['en', 'PolyLM %']:.0f} % in the paper; "
        f"{len(both)} of its other languages are here too{spread}.")


def _tokens(profile: str) -> pandas.DataFrame:
    """Tokens by stage, language and source in the first arm that follows the curriculum (else the first arm)."""
    facts = need(noted(profile, CHAPTER, "stream_tokens"), "english")
    arm = next((name for name in facts["arm"] if name.startswith("curriculum")), facts["arm"].iloc[0])
    return facts[facts["arm"] == arm].astype({"stage": int, "value": float})


def _shares(tokens: pandas.DataFrame, by: str) -> pandas.DataFrame:
    """A row a value of `by`, the largest first, with its share of every stage's tokens in percent."""
    counts = tokens.pivot_table("value", by, "stage", aggfunc="sum", fill_value=0)
    counts = counts.loc[counts.sum(axis=1).sort_values(ascending=False).index]
    return (100 * counts / counts.sum()).round(2).rename(columns="stage {} %".format)


@table("C09-T1", CHAPTER, "Bits per byte by language: gains, and what the order and the pairs change")
def curriculum_gains(profile: str):
    """A row a language: the start, change of every arm, and both effects; p by Holm over the languages of an effect."""
    return _changes(profile, "bits_per_byte"), _effects_reading(profile, "bits_per_byte", "bits/byte (less is better")


@table("C09-T3", CHAPTER, "Retrieval of translations by language: gains, and what the order and the pairs change")
def curriculum_retrieval(profile: str):
    """A row a language paired with English, in percent, mean over layers and directions; columns as in C09-T1."""
    return _changes(profile, "retrieval"), _effects_reading(profile, "retrieval", "points (more is better")


def _changes(profile: str, name: str) -> pandas.DataFrame:
    """A row a language: n, value of the start, gain of every arm, and effects with p; English and the mean come last."""
    start, gains, effects = (measured(profile, CHAPTER, f"{name}{what}") for what in ("", "_gain", "_effect"))
    start = need(start[start["arm"] == "start"], "pairs")
    effects = corrected(effects, POOLED, ("effect",))
    found = pandas.concat([start.assign(heading="start", cell=cells(start)),
                           gains.assign(heading="Δ " + gains["arm"].astype(str), cell=cells(gains)),
                           effects.assign(heading="effect of " + effects["effect"].astype(str),
                                          cell=cells(effects, effects["holm"].fillna(effects["p"])))])
    found = found.sort_values("language", key=lambda codes: codes.map({OTHERS: 1, "en": 2}).fillna(0), kind="stable")
    found["n"] = found["language"].map(start.set_index("language")["n"])
    return wide(found, ["language", "n"], "heading", "cell")


def _effects_reading(profile: str, name: str, unit: str) -> str:
    found = measured(profile, CHAPTER, f"{name}_effect")
    if found.empty:
        return "No two arms differ in the order or the pairs alone, so nothing is compared (demonstration scale)."
    whole = found.query(POOLED).replace({"language": {"en": "English", OTHERS: "the other languages"}})
    seeds = len(records.load(profile, CHAPTER)["parameters"]["seeds"])
    return (f"Changes on the same tokens: {listed(whole, '{effect}, {language}', '; ')} {unit}; n = {span(found['n'])} "
            f"texts, paired, {seeds} seed{'s' * (seeds > 1)}; demonstration scale).")


@figure("P3-F3", CHAPTER, "Non-English share against tokens, planned and realised")
def schedule(profile: str):
    """One colour an order of the text; lines are planned, points realised in a window, PolyLM's two levels dotted."""
    frame = _orders(need(records.rows(profile, CHAPTER, "schedule"), "english"))
    paper = reported("P3-F3").query("quantity == 'non-English share' and value.notna()")
    drawing, panel = axes()
    for (arm, line), color, marker in zip(frame.groupby("arm", sort=False), PALETTE, "osD^"):
        starts, planned = line["tokens"].shift(fill_value=0), 100 * line["planned"]
        panel.plot([0, *line["tokens"]], [planned.iloc[0], *planned], color=color, drawstyle="steps-pre")
        panel.plot((starts + line["tokens"]) / 2, 100 * line["realised"], marker, color=color, alpha=0.7, label=arm)
    for row in paper.itertuples():
        level(panel, row.value)
        panel.annotate(f"PolyLM {row.item}", (0.01, row.value), (0, 2), xycoords=("axes fraction", "data"),
                       textcoords="offset points", color="0.4", fontsize=6)
    for at in records.load(profile, CHAPTER)["parameters"]["boundaries"]:
        panel.axvline(at * frame["tokens"].max(), color="0.7", linestyle="--", linewidth=0.9)
    panel.set(xlabel="tokens seen", ylabel="non-English share (%)", ylim=(0, 100), xlim=(0, None))
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.legend(loc="upper left")
    gap = 100 * (frame["planned"] - frame["realised"]).abs().max()
    ends = frame[frame["arm"] == max(frame["arm"], key=lambda arm: arm.startswith("curriculum"))]
    first, last = 100 * ends["realised"].iloc[[0, -1]]
    return drawing, frame, (f"In {ends['arm'].iloc[0]} the realised share goes from {first:.0f} to {last:.0f} %, at "
                            f"most {gap:.1f} points from the plan in windows of {frame['window'].iloc[0]} blocks; "
                            f"PolyLM goes from {paper['value'].min():.0f} to {paper['value'].max():.0f} %.")


def _orders(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of arms that differ in the order of the text; one with pairs stands only where its twin without does not."""
    arms = frame["arm"]
    return frame[~arms.str.endswith("-pairs") | ~arms.str.removesuffix("-pairs").isin(arms)]


@figure("C09-F1", CHAPTER, "What a language gains against its share of the text")
def gain_by_share(profile: str):
    """A point a language and order of the text: fewer bits per byte than before, with the paired 95 % interval.

    Points of one share stand side by side, beginning at their share.
    """
    facts = need(noted(profile, CHAPTER, "stream_tokens"), "english").astype({"value": float})
    tokens = facts.groupby(["arm", "language"])["value"].sum()
    share = (100 * tokens / tokens.groupby("arm").transform("sum")).rename("share")
    found = measured(profile, CHAPTER, "bits_per_byte_gain").join(share, on=["arm", "language"], how="inner")
    frame = _orders(found)[["arm", "language", "n", "value", "low", "high", "share", "unit"]]
    frame = frame.sort_values(["share", "language"], kind="stable")
    frame["place"] = frame["share"] * 1.025 ** frame.groupby(frame["share"].round(3)).cumcount()
    drawing, panel = axes(width=WIDE, height=2.8)
    gains = frame.assign(value=-frame["value"], low=-frame["high"], high=-frame["low"])
    for (arm, part), color, marker in zip(gains.groupby("arm", sort=False), PALETTE, "osD^"):
        errorbars(panel, part["place"], part, fmt=marker, color=color, alpha=0.8, label=arm)
    for row in gains[gains["arm"] == gains["arm"].iloc[0]].itertuples():
        panel.annotate(row.language, (row.place, row.low), (0, -8), textcoords="offset points", ha="center", fontsize=6)
    level(panel, 0)
    panel.set(xlabel="share of the tokens (%, log scale)", xscale="log", ylabel="gain (bits/byte)")
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100) if 0.7 < tick / frame["share"].min() and
             tick < 1.5 * frame["share"].max()]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    panel.legend()
    return drawing, frame.drop(columns="unit"), _gain_reading(gains)


def _gain_reading(gains: pandas.DataFrame) -> str:
    first = gains[(gains["arm"] == gains["arm"].iloc[0]) & (gains["language"] != "en")]
    best, better = first.loc[first["value"].idxmax()], first[first["low"] > 0]
    rank = first["share"].corr(first["value"], method="spearman") if len(first) > 2 else float("nan")
    along = f"; share and gain have a rank correlation of {rank:.2f}" if rank == rank else ""
    return (f"{len(better)} of {len(first)} languages gain with their whole interval, {best['language']} most: "
            f"{interval(best, 2)} bits/byte from {best['share']:.1f} % of the tokens{along} (arm {best['arm']}, "
            f"n = {span(first['n'])} texts; demonstration scale).")


@figure("P3-F1b", CHAPTER, "Compression of tokenizers by language, against the base's")
def tokenizer_compression(profile: str):
    """Bytes a token over the base's (= 1) on the same items; hollow where more than 1 % of the tokens are unknown."""
    keys = ["tokenizer", "language"]
    found = measured(profile, CHAPTER, "compression")
    unknown = measured(profile, CHAPTER, "unknown").set_index(keys)["value"].rename("unknown")
    found = found.join(unknown, on=keys)
    found["best"] = found.groupby("language")["value"].transform("max")
    ordered = found.sort_values(["best", "language"], kind="stable")
    drawing, panel = axes(height=max(1.8, 0.9 + 0.22 * found["language"].nunique()))
    points(panel, ordered, "language", "tokenizer", among=found, across=True, hollow=ordered["unknown"] > LOSSY)
    level(panel, 1, across=True)
    panel.set(xlabel="bytes a token, base = 1 (hollow: unknown tokens)", ylabel="language")
    legend(drawing, loc="outside upper center", ncols=2)
    frame = found[[*keys, "value", "low", "high", "n", "unknown"]]
    return drawing, frame, _compression_reading(found)


def _compression_reading(found: pandas.DataFrame) -> str:
    parts = []
    for name, part in found.groupby("tokenizer", sort=False):
        best, lossy = part.loc[part["value"].idxmax()], (part["unknown"] > LOSSY).sum()
        loss = f", and has over 1 % unknown tokens in {lossy} of {len(part)} languages" if lossy else ""
        parts.append(f"{name} most in {best['language']} ({interval(best)} times the base{loss})")
    return f"Shorter texts: {'; '.join(parts)} (n = {span(found['n'])} items a language)."


@table("C09-T2", CHAPTER, "Spikes of a toy trained from scratch: rates, remedies and number formats")
def stability(profile: str):
    """One row a run, seeds pooled: what stood out, what was done, where it ends, and the difference from the first."""
    facts = noted(profile, CHAPTER).query("fact.str.startswith('stability_') and unit == 'steps'").astype({"value": int})
    runs = facts[facts["fact"] == "stability_steps"]
    frame = runs.drop_duplicates("run").set_index("run")[["rate", "precision", "on_spike"]]
    frame = frame.rename(columns={"on_spike": "on a spike"}).assign(seeds=runs.groupby("run").size())
    counts = facts.assign(fact=facts["fact"].str.removeprefix("stability_"))
    counts = counts.pivot_table("value", "run", "fact", aggfunc="sum")
    frame[["steps", "spikes"]] = counts[["steps", "spikes"]].reindex(frame.index)
    done = {"skipped": counts["skip"], "lowered": counts["lower"]}
    frame["done"] = [", ".join(f"{word} {many[name]}×" for word, many in done.items() if many[name]) or "–"
                     for name in frame.index]
    bits, changes = measured(profile, CHAPTER, "stability_bits_per_byte"), measured(profile, CHAPTER, "stability_difference")
    frame["bits/byte"] = pandas.Series(cells(bits), bits["run"]).reindex(frame.index)
    first = corrected(changes[changes["against"] == frame.index[0]])
    frame["Δ bits/byte"] = pandas.Series(cells(first), first["run"]).reindex(frame.index)
    frame["p (Holm)"] = first.set_index("run")["holm"].map(p_value).reindex(frame.index)
    return frame.rename_axis(columns=None).reset_index(drop=True), _stability_reading(frame, bits, changes)


def _stability_reading(frame: pandas.DataFrame, bits: pandas.DataFrame, changes: pandas.DataFrame) -> str:
    """The worst run and what the remedies make of it, then the formats."""
    ends = {row.run: f"{row.value:.2f}" for row in bits.itertuples()}
    plain, lost = frame[(frame["precision"] == "fp32") & (frame["on a spike"] == "none")], "no finite number of"
    parts = [f"{frame.loc[name, 'spikes']:.0f} of {frame.loc[name, 'steps']:.0f} steps spike in {name}, which ends at "
             f"{ends.get(name, lost)}" for name in dict.fromkeys(plain.index[[0, -1]])]
    parts += [f"with {remedy} at {ends.get(name, lost)}" for name, remedy in frame["on a spike"].items() if remedy != "none"]
    formats = changes[changes["run"].isin(frame.index[frame["precision"] != "fp32"])]
    parts += [listed(formats, "{run} − {against} =", "; ")] * bool(len(formats))
    return (f"{'; '.join(parts)} bits/byte (n = {span(bits['n'])} texts; a toy trained from scratch, demonstration "
            "scale).")


@figure("P3-F2", CHAPTER, "Loss, gradient norm and learning rate of runs that hold and that spike")
def spikes(profile: str):
    """A line a fp32 run of the first seed; circles mark its spikes, the first one on the learning rate too."""
    frame = _curves(profile).query("precision == 'fp32'")
    # The remedies, and the first rate and the last: those that hold and that spike.
    lines = frame.loc[(frame["on_spike"] != "none") | frame["rate"].isin(frame["rate"].unique()[[0, -1]])]
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
    legend(drawing, loc="outside upper center", ncols=2)
    return drawing, lines, _curves_reading(lines)


def _curves(profile: str) -> pandas.DataFrame:
    """One row a step of the first seed's runs, and whether it was a spike."""
    rows = records.rows(profile, CHAPTER, "stability")
    rows = rows[rows["seed"] == rows["seed"].iloc[0]].explode(["step", *CURVES], ignore_index=True)
    met = records.rows(profile, CHAPTER, "spikes").reindex(columns=["run", "seed", "step"])
    marked = set(met.itertuples(index=False, name=None))
    rows["spike"] = [key in marked for key in rows[[*met]].itertuples(index=False, name=None)]
    return rows.astype({curve: float for curve in CURVES})


def _curves_reading(lines: pandas.DataFrame) -> str:
    parts = []
    for name, line in lines.groupby("run", sort=False):
        steps = line.loc[line["spike"], "step"]
        first = f" (the first is {steps.min():.0f})" if len(steps) else ""
        parts.append(f"{name}: {len(steps)} of {len(line)} steps stand out{first}, loss at most "
                     f"{line['loss'].max():.1f}, at last {line['loss'].tail(10).mean():.2f}")
    return f"{'; '.join(parts)} nats/token (circles mark such steps; at last: mean of ten)."


@figure("P3-F2b", CHAPTER, "What the number format changes: the loss beside that of fp32")
def formats(profile: str):
    """Loss minus that of fp32 at the same step, rate and seed, mean of the last ten steps; a line a format and seed."""
    frame = records.rows(profile, CHAPTER, "stability").query("on_spike == 'none'")
    frame = frame[frame["rate"] == frame["rate"].iloc[-1]]  # formats are the last of the plan
    frame = frame.explode(["step", "loss"]).astype({"loss": float})
    losses = frame.pivot(index=["seed", "step"], columns="precision", values="loss")
    gaps = losses.drop(columns="fp32").sub(losses["fp32"], axis=0)
    if gaps.columns.empty:
        raise Lacking("no number format but fp32 was run")
    drawing, panel = axes()
    for number, precision in enumerate(gaps):
        for seed, line in gaps[precision].groupby("seed"):
            smooth = line.rolling(10, min_periods=1).mean().droplevel("seed")
            panel.plot(smooth.index, smooth, color=PALETTE[number + 1], linewidth=0.9,
                       label=precision if seed == gaps.index[0][0] else None)
    level(panel, 0)
    panel.set(xlabel="step", ylabel="loss − loss of fp32 (nats/token)")
    panel.legend()
    parts = [f"{abs(gaps[precision]).mean():.4f} ({precision})" for precision in gaps]
    return drawing, gaps.reset_index(), (f"Mean distance of a step's loss from that of fp32, in nats over {len(gaps)} "
                                         f"steps: {' and '.join(parts)}.")
