"""Exhibits of the corpus."""
from lib.exhibits.base import noted, table

CHAPTER = "01_corpus"


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
