"""Tables of the curriculum chapter."""
import pandas

from lib import records, statistics
from lib.tables.base import interval, need, p_value, reported, span, table

CHAPTER = "09_curriculum"
OTHERS = "non-English"
ITEMS = "multi-way items"


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
