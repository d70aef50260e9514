"""Exhibits of the curriculum and of stability."""
import pandas

from lib.engine import records, statistics
from lib.exhibits.base import PALETTE, WIDE, Lacking, axes, figure, interval, need, p_value, reported, span, table

CHAPTER = "09_curriculum"
OTHERS = "non-English"
ITEMS = "multi-way items"
LOSSY = 0.01  # share of unknown tokens above which a tokenizer does not keep the text
CURVES = {"loss": "loss (nats/token)", "grad_norm": "gradient norm", "learning_rate": "learning rate"}


@table("P3-T1", CHAPTER, "Sources by stage: PolyLM's and this companion's")
def sources_by_stage(profile: str):
    """A row a source: its share of each stage's tokens, PolyLM's first, then ours in the curriculum."""
    ours = _read(profile)
    ours["source"] = ours["source"] + (ours["language"] == "pairs").map({True: ", pairs", False: ""})
    rows = [{"of": "here", **row} for row in _shares(ours, "source")]
    paper = reported("P3-T1").query("quantity == 'share'")
    paper = paper.assign(stage=paper["system"].str[-1].astype(int)).rename(columns={"item": "source"})
    wide = paper.pivot(index="source", columns="stage", values="value").reindex(paper["source"].unique())
    theirs = [{"of": "PolyLM", "source": name, **{f"stage {stage} %": value for stage, value in row.items()}}
              for name, row in wide.iterrows()]
    frame = pandas.DataFrame([*theirs, *rows])
    first = frame[frame["of"] == "here"].iloc[0]
    return frame, (f"PolyLM's web text shrinks from {wide.loc[['mC4', 'CC-100'], 1].sum():.0f} to "
                   f"{wide.loc[['mC4', 'CC-100'], 2].sum():.0f} % for better sources; here the sources stay and the "
                   f"languages change, {first['source']} gives most ({ours['value'].sum():,.0f} tokens in all).")


@table("P3-T2", CHAPTER, "Languages by tokens: PolyLM's and this companion's")
def languages_by_tokens(profile: str):
    """A row a language: PolyLM's tokens and share, ours over all stages and in each of them; pairs are a row."""
    ours = _read(profile)
    wide = pandas.DataFrame(_shares(ours, "language")).set_index("language")
    tokens = ours.groupby("language")["value"].sum()
    paper = reported("P3-T2").pivot(index="language", columns="quantity", values="value")
    order = list(dict.fromkeys([*tokens.sort_values(ascending=False).index, *paper["tokens"].sort_values(
        ascending=False).index]))
    frame = pandas.DataFrame({"tokens here": tokens, "here %": (100 * tokens / tokens.sum()).round(2)}).join(wide)
    frame = frame.reindex(order).assign(**{"PolyLM B tokens": paper["tokens"], "PolyLM %": paper["share"]})
    both = frame.dropna(subset=["here %", "PolyLM %"]).drop("en")
    spread = (f", with {both['here %'].min():.1f} to {both['here %'].max():.1f} % against {both['PolyLM %'].min():.2f} to "
              f"{both['PolyLM %'].max():.2f} %") if len(both) else ""
    reading = (f"English is {frame.loc['en', 'here %']:.0f} % here and {frame.loc['en', 'PolyLM %']:.0f} % in the "
               f"paper; {len(both)} of its other languages are here too{spread}.")
    return frame.rename_axis("language").reset_index(), reading


@table("C09-T1", CHAPTER, "Bits per byte by language: gains, and what the order and the pairs change")
def curriculum_gains(profile: str):
    """A row a language: the start, change of every arm, and both effects; p by Holm over the languages of an effect."""
    return _changes(profile, "bits_per_byte", 3, 1), _effects_reading(profile, "bits_per_byte", 3, 1, "bits/byte",
                                                                      "less is better")


@table("C09-T3", CHAPTER, "Retrieval of translations by language: gains, and what the order and the pairs change")
def curriculum_retrieval(profile: str):
    """A row a language paired with English, in percent, mean over layers and directions; columns as in C09-T1."""
    frame = _changes(profile, "retrieval", 1, 100)
    return frame, _effects_reading(profile, "retrieval", 1, 100, "points", "more is better")


def _read(profile: str) -> pandas.DataFrame:
    """Tokens by stage, language and source in the first arm that follows the curriculum (else the first arm)."""
    facts = need(records.facts(profile, CHAPTER).query("fact == 'stream_tokens'"), "english")
    arm = next((name for name in facts["arm"].unique() if name.startswith("curriculum")), facts["arm"].iloc[0])
    facts = facts[facts["arm"] == arm]
    return facts.assign(stage=facts["stage"].astype(int), value=facts["value"].astype(float))


def _shares(tokens: pandas.DataFrame, by: str) -> list[dict]:
    """Rows of `by` with its share of every stage's tokens in percent, the largest first."""
    wide = tokens.pivot_table("value", by, "stage", aggfunc="sum", fill_value=0)
    wide = wide.loc[wide.sum(axis=1).sort_values(ascending=False).index]
    share = (100 * wide / wide.sum()).round(2)
    return [{by: name, **{f"stage {stage} %": value for stage, value in row.items()}} for name, row in share.iterrows()]


def _changes(profile: str, name: str, digits: int, scale: float) -> pandas.DataFrame:
    """A row a language: n, value of the start, gain of every arm, and effects with p."""
    found = records.metrics(profile, CHAPTER)
    found = need(found[found["metric"].isin([name, f"{name}_gain", f"{name}_effect"])].copy(), "pairs")
    found[["value", "low", "high"]] *= scale
    corrected = _corrected(found[found["metric"] == f"{name}_effect"])
    rows = {}
    for row in found.to_dict("records"):
        cells = rows.setdefault(row["language"], {"language": row["language"], "n": row["n"]})
        if row["metric"] == name and row["arm"] == "start":
            cells["start"] = interval(row, digits)
        elif row["metric"] == f"{name}_gain":
            cells[f"Δ {row['arm']}"] = interval(row, digits)
        elif row["metric"] == f"{name}_effect":
            cells[f"effect of {row['effect']}"] = (f"{interval(row, digits)}, "
                                                   f"p {p_value(corrected[row['effect'], row['language']])}")
    frame = pandas.DataFrame(rows.values()).fillna("")
    last = [code for code in (OTHERS, "en") if code in set(frame["language"])]
    order = [code for code in frame["language"] if code not in last] + last
    return frame.set_index("language").loc[order].reset_index()


def _corrected(effects: pandas.DataFrame) -> dict:
    """p of each effect and language, by Holm over the single languages; the two summaries stay as they are."""
    found = {}
    for effect, rows in effects.groupby("effect", sort=False) if len(effects) else ():
        single = rows[~rows["language"].isin([OTHERS, "en"])]
        found |= {(effect, code): p for code, p in zip(single["language"], statistics.holm(single["p"]))}
        found |= {(effect, row["language"]): row["p"] for row in rows.to_dict("records")
                  if row["language"] in (OTHERS, "en")}
    return found


def _effects_reading(profile: str, name: str, digits: int, scale: float, unit: str, better: str) -> str:
    found = records.metrics(profile, CHAPTER)
    found = found[found["metric"] == f"{name}_effect"].copy()
    if found.empty:
        return "No two arms differ in the order or the pairs alone, so nothing is compared (demonstration scale)."
    found[["value", "low", "high"]] *= scale
    parts = [f"the {row['effect']} {'change' if row['effect'] == 'pairs' else 'changes'} "
             f"{'English' if row['language'] == 'en' else 'the other languages'} by {interval(row, digits)}"
             for row in found.to_dict("records") if row["language"] in (OTHERS, "en")]
    seeds = len(records.load(profile, CHAPTER)["parameters"]["seeds"])
    return (f"On the same tokens {', '.join(parts)} {unit} ({better}; n = {span(found['n'])} texts, paired, {seeds} "
            f"seed{'s' if seeds > 1 else ''}; demonstration scale).")


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
    drawing, panel = axes(height=max(1.8, 0.9 + 0.19 * len(order)))
    for number, (name, part) in enumerate(frame.groupby("tokenizer", sort=False)):
        color = PALETTE[number % len(PALETTE)]
        for row in part.to_dict("records"):
            panel.errorbar(row["value"], order.index(row["language"]) + 0.15 * number, fmt="osD^"[number % 4],
                           capsize=2, xerr=[[row["value"] - row["low"]], [row["high"] - row["value"]]], color=color,
                           markerfacecolor="white" if row["unknown"] > LOSSY else color)
        panel.plot([], [], "osD^"[number % 4], color=color, label=name)
    panel.axvline(1, color="0.6", linewidth=0.8)
    panel.set_yticks(range(len(order)), order)
    panel.set_ylim(-0.4, len(order) - 0.4)
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
    return frame.rename_axis(columns=None).reset_index(drop=True), _stability_reading(frame, bits, changes)


def _metric(profile: str, name: str) -> pandas.DataFrame:
    found = records.metrics(profile, CHAPTER).query(f"metric == 'stability_{name}'")
    return found.set_index("run")


def _done(counts) -> str:
    """`skipped 12×, lowered 2×`, or a dash."""
    parts = [(counts["stability_skip"], "skipped"), (counts["stability_lower"], "lowered")]
    return ", ".join(f"{word} {count:.0f}×" for count, word in parts if count) or "–"


def _stability_reading(frame: pandas.DataFrame, bits: pandas.DataFrame, changes: pandas.DataFrame) -> str:
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
    return drawing, lines, _curves_reading(lines)


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


def _curves_reading(lines: pandas.DataFrame) -> str:
    parts = []
    for name, line in lines.groupby("run", sort=False):
        steps = line.loc[line["spike"], "step"]
        first = f" (the first is {steps.min():.0f})" if len(steps) else ""
        parts.append(f"{name}: {len(steps)} of {len(line)} steps stand out{first}, loss at most "
                     f"{line['loss'].max():.1f}, at last {line['loss'].tail(10).mean():.2f}")
    return f"{'; '.join(parts)} nats/token (circles mark such steps; at last: mean of ten)."
