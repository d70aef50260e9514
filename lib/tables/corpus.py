"""Tables of the corpus chapter."""
from lib import records
from lib.tables.base import need, table


@table("C01-T1", "01_corpus", "What each source gives after cleaning")
def sources(profile: str):
    """One row a source and language: documents, characters, words, version, licence."""
    found = records.facts(profile, "01_corpus").query("fact in ['documents', 'characters', 'words', 'version', 'licence']")
    frame = found.pivot_table(index=["language", "source"], columns="fact", values="value", aggfunc="first").reset_index()
    frame = frame.reindex(columns=["language", "source", "documents", "characters", "words", "version", "licence"]).astype(object).fillna("")
    total = frame.groupby("language")[["documents", "characters"]].sum()
    return frame, "; ".join(f"{code}: {row['characters'] / 1e6:.2f} M characters in {row['documents']} documents"
                            for code, row in total.iterrows()) + ", after duplicates were dropped."


FILTERS = ("empty", "placeholder", "length", "exact duplicate", "script", "near duplicate", "repeated reply", "twin in training")


@table("C01-T2", "01_corpus", "Rows that each filter removed")
def filters(profile: str):
    """One row an artefact and language: rows read, removed by each filter, kept; rewritten ones are not removed."""
    found = records.facts(profile, "01_corpus").query("fact == 'rows'").astype({"value": int})
    frame = found.pivot_table(index=["artefact", "language"], columns="filter", values="value", aggfunc="sum", fill_value=0)
    frame = frame.reindex(columns=["read", *FILTERS, "kept", "rewritten"], fill_value=0).reset_index()
    removed = frame[list(FILTERS)].sum(axis=1)
    agree = "read = removed + kept in every row" if (frame["read"] == removed + frame["kept"]).all() else "THE COUNTS DISAGREE"
    facts = records.facts(profile, "01_corpus").set_index("fact")["value"]
    return frame, (f"{removed.sum()} of {frame['read'].sum()} rows go; {agree}. In {frame['rewritten'].sum()} rows that were "
                   f"read, … replaces what a program fills in. {facts['twins']} of {facts['held_out_texts']} "
                   "held-out texts have a near twin in training.")


@table("C01-T3", "01_corpus", "Test items derived from the corpus")
def derived_items(profile: str):
    """One row a task and language: items by split, choices, and what a constant answer would score on test."""
    found = records.facts(profile, "01_corpus").query("fact in ['items', 'choices', 'most_frequent_answer']")
    found = need(found, "tests")
    counts = found.astype({"value": int}).pivot_table(index=["task", "language"], columns=["fact", "split"], values="value")
    frame = counts["items"].reindex(columns=["train", "validation", "test"]).fillna(0).astype(int)
    frame["choices"] = counts["choices"].max(axis=1).astype(int)
    frame["chance %"] = (100 / frame["choices"]).round(1)
    most = counts["most_frequent_answer"].reindex(columns=["test"]).fillna(0)["test"]
    frame["majority % (test)"] = (100 * most / frame["test"].clip(lower=1)).round(1)
    return frame.reset_index(), (f"{frame['test'].sum()} test items; the most frequent answer is right in at most "
                                 f"{frame['majority % (test)'].max():.0f} % of a task.")
