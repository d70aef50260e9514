"""Exhibits of the corpus."""
from lib.engine import records
from lib.exhibits.base import figure, need, noted, table
from lib.exhibits.panels import PALETTE, WIDE, axes

CHAPTER = "01_corpus"
FILTERS = ("empty", "placeholder", "length", "exact duplicate", "script", "near duplicate", "repeated reply",
           "twin in training")
TESTS = "gives a test away"  # counted where there are tests from outside, or a user's own
# Reading: rows of a user's files that could not be used, and what was written otherwise than it stood there.
LEFT_OUT = ("no text", "no pair")
REWRITINGS = ("presentation forms", "Arabic letters", "tatweel", "invisible characters", "ZWNJ runs")


@table("C01-T1", CHAPTER, "What each source gives after cleaning")
def sources(profile: str):
    """One row a source and language: documents, characters, words, ZWNJ, and what kind of text it is under which licence."""
    columns = ["documents", "characters", "words", "zwnj", "register", "note", "version", "licence"]
    frame = noted(profile, CHAPTER, *columns).pivot_table("value", ["language", "source"], "fact", aggfunc="first")
    frame = frame.reindex(columns=columns).reset_index().rename_axis(columns=None)
    counts = frame[["zwnj", "words"]].astype(float)
    frame["zwnj"] = (1000 * counts["zwnj"] / counts["words"]).round()
    frame = frame.rename(columns={"zwnj": "ZWNJ per 1,000 words"}).dropna(axis=1, how="all").astype(object).fillna("")
    total = frame.groupby("language")[["documents", "characters"]].sum()
    return frame, "; ".join(f"{code}: {row['characters'] / 1e6:.2f} M characters in {row['documents']} documents"
                            for code, row in total.iterrows()) + ", after duplicates were dropped."


@table("C01-T2", CHAPTER, "Rows that each filter removed")
def filters(profile: str):
    """One row an artefact and language: rows read, removed by each filter, kept; rewritten ones are not removed."""
    found = noted(profile, CHAPTER, "rows").astype({"value": int}).query("artefact not in ['units', 'items']")
    frame = found.pivot_table(index=["artefact", "language"], columns="filter", values="value", aggfunc="sum", fill_value=0)
    filters = [*FILTERS, *{TESTS} & set(frame)]
    frame = frame.reindex(columns=["read", *filters, "kept", "rewritten"], fill_value=0).reset_index()
    removed = frame[filters].sum(axis=1)
    agree = "read = removed + kept in every row" if (frame["read"] == removed + frame["kept"]).all() else "THE COUNTS DISAGREE"
    facts = noted(profile, CHAPTER, "twins", "held_out_texts").set_index("fact")["value"]
    return frame, (f"{removed.sum()} of {frame['read'].sum()} rows go; {agree}. In {frame['rewritten'].sum()} rows that were "
                   f"read, … replaces what a program fills in. {facts['twins']} of {facts['held_out_texts']} "
                   "held-out texts have a near twin in training.")


@table("C01-T3", CHAPTER, "Test items derived from the corpus")
def derived_items(profile: str):
    """One row a task and language, a user's own too: items by split, choices, and what a constant answer would score.

    Where the questions of a task differ in their choices, the number is one over chance.
    """
    found = need(noted(profile, CHAPTER, "items", "choices", "most_frequent_answer"), "tests").astype({"value": float})
    counts = found.pivot_table("value", ["task", "language"], ["fact", "split"])
    frame = counts["items"].reindex(columns=["train", "validation", "test"]).fillna(0).astype(int)
    frame["choices"] = counts["choices"].max(axis=1).round(2).convert_dtypes()
    frame["chance %"] = (100 / frame["choices"]).round(1)
    most = counts["most_frequent_answer"].reindex(columns=["test"]).fillna(0)["test"]
    frame["majority % (test)"] = (100 * most / frame["test"].clip(lower=1)).round(1)
    return frame.reset_index(), (f"{frame['test'].sum()} test items; the most frequent answer is right in at most "
                                 f"{frame['majority % (test)'].max():.0f} % of a task.")


@table("C01-T4", CHAPTER, "What could not be read, and what normalisation rewrote")
def rewritten(profile: str):
    """One row a language and source: texts read, rows of a user's files left out, texts rewritten in each way.

    Raises FileNotFoundError for a record from before these were counted.
    """
    found = noted(profile, CHAPTER, "rows").astype({"value": int}).query("artefact == 'units'")
    if found.empty:
        raise FileNotFoundError("Chapter 01 has to run again: what normalisation rewrote has no record.")
    frame = found.groupby(["language", "source", "filter"])["value"].sum().unstack(fill_value=0)
    frame = frame.reindex(columns=["read", *LEFT_OUT, *REWRITINGS, "rewritten"], fill_value=0)
    total, most = frame.sum(), frame[list(REWRITINGS)].sum().idxmax()
    return frame.reset_index(), (
        f"{total['rewritten']} of {total['read']} texts are rewritten ({total['rewritten'] / total['read']:.1%}), most "
        f"often for {most} ({total[most]}); rows of the user's files left out: {total[list(LEFT_OUT)].sum()}.")


@figure("C01-F1", CHAPTER, "Composition of the corpus and length of its texts")
def composition(profile: str):
    """Left: characters by source and language. Right: share of texts by length in characters."""
    facts = noted(profile, CHAPTER, "characters").astype({"value": float})
    size = (facts.pivot_table("value", "source", "language") / 1e6).fillna(0)
    size = size.loc[size.sum(axis=1).sort_values().index]
    lengths = records.rows(profile, CHAPTER, "lengths").groupby(["language", "low", "high"], as_index=False)["texts"].sum()
    drawing, (left, right) = axes(1, 2, width=WIDE, height=max(2.4, 0.7 + 0.17 * len(size)))
    size.plot.barh(ax=left, width=0.8, color=PALETTE, legend=False)
    for code, color in zip(size, PALETTE):
        part = lengths[lengths["language"] == code]
        right.stairs(100 * part["texts"] / part["texts"].sum(), [*part["low"], part["high"].iloc[-1]], color=color, label=code)
    left.set(xlabel="characters (million)", ylabel="source")
    right.legend(*left.get_legend_handles_labels(), title="language")
    right.set(xscale="log", xlabel="length of a text (characters, log scale)", ylabel="share of texts (%)", ylim=(0, None))
    share = size.sum(axis=1) / size.to_numpy().sum()
    return drawing, size.reset_index(), (f"{share.idxmax()} is the largest source with {share.max():.0%} of "
                                         f"{size.to_numpy().sum():.1f} million characters in {len(size)} sources.")
