"""Exhibits of the curriculum and of stability."""
import math

import pandas

from lib.engine import records
from lib.exhibits.base import figure, measured, need, noted, reported, table
from lib.exhibits.differences import corrected
from lib.exhibits.panels import PALETTE, WIDE, axes, errorbars, legend, level, points
from lib.exhibits.units import behind, listed, span

CHAPTER = "09_curriculum"
OTHERS = "non-English"
POOLED = f"language in ['{OTHERS}', 'en']"
MEASURES = {"bits_per_byte": "change of bits/byte (left is better)",
            "retrieval": "change of retrieval (points, right is better)"}
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
    mine = frame[frame["of"] == "here"].iloc[0]
    shares = [f"{share:.0f}" for share in mine.filter(like="stage").iloc[[0, -1]]]
    return frame[["of", *frame.columns.drop("of")]], (
        f"PolyLM's web text shrinks from {web.iloc[0]:.0f} to {web.iloc[1]:.0f} % for better sources; here a source's share "
        f"moves with its languages: {mine['source']}, which gives most, goes from {shares[0]} to {shares[1]} % "
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
    both = frame.dropna(subset=["here %", "PolyLM %"]).drop("en", errors="ignore")
    ends = both[["here %", "PolyLM %"]].agg(["min", "max"])
    mine = " to ".join(dict.fromkeys(f"{share:.1f}" for share in ends["here %"]))
    theirs = " to ".join(f"{share:.2f}" for share in ends["PolyLM %"])
    spread = f", with {mine} % of the text against {theirs} %" if len(both) else ""
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
    ends = frame[frame["arm"] == max(frame["arm"], key=lambda arm: arm.startswith("curriculum"))]
    first, last = 100 * ends["realised"].iloc[[0, -1]]
    gap = 100 * (ends["planned"] - ends["realised"]).abs().max()
    return drawing, frame, (f"In {ends['arm'].iloc[0]} the realised share goes from {first:.0f} to {last:.0f} %, at "
                            f"most {gap:.1f} points from the plan in windows of {frame['window'].iloc[0]} blocks; "
                            f"PolyLM goes from {paper['value'].min():.0f} to {paper['value'].max():.0f} %.")


def _orders(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of arms that differ in the order of the text; one with pairs stands only where its twin without does not."""
    arms = frame["arm"]
    return frame[~arms.str.endswith("-pairs") | ~arms.str.removesuffix("-pairs").isin(arms)]


@figure("C09-F1", CHAPTER, "What the order of the text and translation pairs change, by language")
def effects_by_language(profile: str):
    """A row a language, the mean and English last: what the curriculum and the pairs change on as many tokens, paired.

    A panel a measure. The CSV has the start and every arm's gain as well; p by Holm over the languages of an effect.
    """
    whats = {name: corrected(measured(profile, CHAPTER, *(f"{measure}_{name}".rstrip("_") for measure in MEASURES)),
                             POOLED, ("metric", "effect")) for name in ("", "gain", "effect")}
    found = need(whats["effect"], "" if len(whats["gain"]) else "english")
    found = found.sort_values("language", key=lambda codes: codes.map({OTHERS: 1, "en": 2}).fillna(0), kind="stable")[::-1]
    measures = [measure for measure in MEASURES if f"{measure}_effect" in set(found["metric"])]
    drawing, panels = axes(1, len(measures), WIDE, 0.9 + 0.2 * found["language"].nunique(), squeeze=False, sharey=True)
    for panel, measure in zip(panels[0], measures):
        part = found[found["metric"] == f"{measure}_effect"]
        points(panel, pandas.concat([found.drop_duplicates("language").assign(effect=""), part]), "language", "effect",
               among=found[::-1], across=True)
        level(panel, 0, across=True)
        panel.set(xlabel=MEASURES[measure], title=f"n = {span(part['n'])} a language")
    legend(drawing, loc="outside upper center", ncols=2)
    whats[""] = whats[""][whats[""]["arm"] == "start"]
    frame = pandas.concat(rows.assign(what=name or "start") for name, rows in whats.items())
    whole = found[(found["metric"] == "bits_per_byte_effect") & (found["language"] == OTHERS)]
    return drawing, frame[["metric", "what", "arm", "effect", "language", "n", "value", "low", "high", "unit", "p", "holm"]], (
        f"On as many tokens, mean over the languages that are not English: {listed(whole, '{effect}')} bits/byte (less is "
        f"better; n = {span(found['n'])} texts a language{behind(whole)}, paired; demonstration scale).")


@figure("P3-F2", CHAPTER, "Runs that hold and that spike, what meets a spike, and number formats")
def spikes(profile: str):
    """Loss, gradient norm and learning rate of the first seed's fp32 runs, and where every run ends, seeds pooled.

    Circles mark steps whose loss stands out; a loss above that of an even guess is off the scale.
    """
    frame, runs = _curves(profile), noted(profile, CHAPTER, "stability_steps")
    guess = math.log(records.load(profile, CHAPTER)["parameters"]["toy_vocabulary"])
    # Diverged: no better than an even guess at last, or left without a finite weight.
    last = frame.groupby(["run", "seed"], sort=False)["loss"].apply(lambda curve: curve.tail(10).mean()).groupby("run").mean()
    scored = set(measured(profile, CHAPTER, "stability_bits_per_byte")["run"])
    lost = [run for run in frame["run"].unique() if not last[run] < guess or run not in scored]
    # The remedies, and the first rate and the last: those that hold and that spike.
    lines = frame[(frame["precision"] == "fp32") & (frame["seed"] == frame["seed"].iloc[0])]
    lines = lines[(lines["on_spike"] != "none") | lines["rate"].isin(lines["rate"].unique()[[0, -1]])]
    drawing, panels = axes(2, 2, WIDE, 4.2)
    for number, (name, line) in enumerate(lines.groupby("run", sort=False)):
        colour, met = PALETTE[number % len(PALETTE)], line[line["spike"]]
        for panel, curve in zip(panels.flat, CURVES):
            panel.plot(line["step"], line[curve].where(line[curve] > 0), color=colour, label=name, linewidth=0.9)
            met = met.head(1) if curve == "learning_rate" else met
            panel.plot(met["step"], met[curve], "o", color=colour, markersize=3.5, markerfacecolor="none")
    for panel, label in zip(panels.flat, CURVES.values()):
        panel.set(ylabel=label, yscale="log", xlabel="step")
    panels[0, 0].set_ylim(top=3 * guess)
    level(panels[0, 0], guess)
    panels[0, 0].annotate("even guess", (0.99, guess), (0, 2), xycoords=panels[0, 0].get_yaxis_transform(),
                          textcoords="offset points", ha="right", fontsize=6, color="0.4")
    panels[0, 0].yaxis.set_major_formatter("{x:g}")
    panels[0, 0].yaxis.set_minor_formatter("{x:g}")
    legend(drawing, loc="outside upper center", ncols=4)
    ends = _ends(panels[1, 1], profile, list(runs["run"].unique()), lost)
    return drawing, pandas.concat([lines, ends]), _stability_reading(profile, frame, ends, lost)


def _ends(panel, profile: str, runs: list[str], lost: list[str]) -> pandas.DataFrame:
    """Bits per byte of held-out text at the end of every run, with intervals; those that diverged are told, not drawn."""
    ends = measured(profile, CHAPTER, "stability_bits_per_byte")
    held = ends[~ends["run"].isin(lost)]
    errorbars(panel, [runs.index(run) for run in held["run"]], held, across=True, color=PALETTE[6], markersize=3)
    panel.set(xlabel="held-out text at the end (bits/byte)", ylim=(len(runs) - 0.5, -0.5))
    panel.set_yticks(range(len(runs)), runs)
    for run in lost:
        panel.annotate("diverged", (0.98, runs.index(run)), xycoords=panel.get_yaxis_transform(), ha="right", va="center",
                       fontsize=7, color="0.4")
    return ends[["run", "n", "value", "low", "high", "unit"]]


def _curves(profile: str) -> pandas.DataFrame:
    """One row a step of every run, and whether its loss stood out.

    A gradient norm that stands out while the loss does not is no spike: it does so in runs that hold too.
    """
    rows = records.rows(profile, CHAPTER, "stability").explode(["step", *CURVES], ignore_index=True)
    met = records.rows(profile, CHAPTER, "spikes").reindex(columns=["run", "seed", "step", "spike"])
    met = met[met["spike"].astype(str).str.contains("loss")]
    marked = set(met[["run", "seed", "step"]].itertuples(index=False, name=None))
    rows["spike"] = [key in marked for key in rows[["run", "seed", "step"]].itertuples(index=False, name=None)]
    return rows.astype({curve: float for curve in CURVES})


def _stability_reading(profile: str, frame: pandas.DataFrame, ends: pandas.DataFrame, lost: list[str]) -> str:
    """How many fp32 runs diverge and where losses stand out, then what the formats change."""
    whole = frame[frame["precision"] == "fp32"]
    marks = whole.groupby(whole["run"].isin(lost))["spike"].agg(["sum", "size"])
    where = {True: "those that diverge", False: "those that hold"}
    parts = [f"{whole.loc[whole['run'].isin(lost), 'run'].nunique()} of {whole['run'].nunique()} runs in fp32 diverge",
             ", ".join(f"{row['sum']} of {row['size']:,} losses stand out in {where[kind]}" for kind, row in marks.iterrows())]
    changes = measured(profile, CHAPTER, "stability_difference")
    formats = set(frame.loc[frame["precision"] != "fp32", "run"])
    changes = changes[changes["run"].isin(formats) & ~changes["against"].isin(formats)]
    parts += [f"against fp32 {listed(changes, 'at rate {run}')} bits/byte"] * bool(len(changes))
    return f"{'; '.join(parts)} (n = {span(ends['n'])} texts{behind(changes)}; a toy from scratch, demonstration scale)."
