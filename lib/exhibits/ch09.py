"""Exhibits of the curriculum and of stability."""
import pandas

from lib.engine import records
from lib.exhibits.base import figure, need, noted, reported, table
from lib.exhibits.panels import PALETTE, axes, level

CHAPTER = "09_curriculum"
OTHERS = "non-English"
POOLED = f"language in ['{OTHERS}', 'en']"
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
