"""Tables of the tokenizer chapter."""
import pandas

from lib import records
from lib.tables.base import interval, table


@table("P1-T4", "02_tokenizer", "Tokenizers: the base, continued BPE, and pieces appended")
def tokenizers(profile: str):
    """One row a tokenizer: fertility in both languages, bytes a token, shares in percent; dashes where nothing is new."""
    found = records.metrics(profile, "02_tokenizer").query("arm in @TOKENIZERS").copy()
    found["printed"] = [f"{100 * row['value']:.1f}" if row["unit"] == "share" else interval(row)
                        for row in found.to_dict("records")]
    units = found[found["metric"] == "fertility"].set_index("language")["unit"].str.removeprefix("tokens/").to_dict()
    found["column"] = [MEASURES[metric].format(language=language, unit=units.get(language))
                       for metric, language in zip(found["metric"], found["language"])]
    frame = found.set_index(["arm", "size", "column"])["printed"].unstack("column").reindex(columns=found["column"].unique())
    facts = records.facts(profile, "02_tokenizer").query("fact in ['new_pieces', 'zwnj_tokens']")
    facts = facts.astype({"size": int}).set_index(["arm", "size", "fact"])["value"].astype(int).unstack("fact")
    frame.insert(0, "new pieces", facts["new_pieces"])
    frame.insert(len(frame.columns), "tokens a ZWNJ", facts["zwnj_tokens"])
    frame = frame.reindex([row for arm in TOKENIZERS for row in frame.index if row[0] == arm]).fillna("–").reset_index()
    return frame.drop(columns="size").rename(columns={"arm": "tokenizer"}), _tokenizers_reading(found)


TOKENIZERS = ("base", "continued BPE", "appended BPE", "appended SentencePiece")
MEASURES = {"fertility": "tokens/{unit} {language}", "bytes_per_token": "bytes/token {language}",
            "words_kept_whole": "{unit}s whole % {language}", "compression": "times shorter {language}",
            "round_trip": "exact round trip % {language}", "zwnj_kept": "ZWNJ kept % {language}",
            "ids_unchanged": "ids unchanged % {language}", "reachable": "reachable %", "used": "used %"}
SHARES = {"used": "pieces ever used", "ids_unchanged": "English texts with the same ids"}


def _tokenizers_reading(found: pandas.DataFrame) -> str:
    sizes = found.astype({"size": int}).groupby("arm")["size"].max()
    rows = found[(found["language"] != "en") | (found["metric"] == "ids_unchanged")].to_dict("records")
    value = {(row["metric"], row["arm"], row["size"]): row for row in rows}
    before, size = value["fertility", "base", 0], sizes.get(TOKENIZERS[1], 0)
    after, shared = value["fertility", TOKENIZERS[1] if size else "base", size], sizes.get(TOKENIZERS[-1], size)
    parts = []
    for name, title in SHARES.items():
        shares = [f"{arm} {value[name, arm, shared]['value']:.0%}" for arm in TOKENIZERS[1:] if (name, arm, shared) in value]
        parts += [f"{title}: {', '.join(shares)}"] * bool(shares)
    compared = f" At size {shared}, {'; '.join(parts)}." if parts else ""
    return (f"{size} pieces of continued BPE take {before['value']:.2f} {before['unit'].replace('/', ' a ')} to "
            f"{after['value']:.2f} (n = {after['n']} documents).{compared}")


@table("C02-T2", "02_tokenizer", "One sentence, token by token")
def sentence_cuts(profile: str):
    """One row a tokenizer at the chapter's size: number of tokens, and the tokens of one held-out sentence."""
    frame = records.rows(profile, "02_tokenizer", "cut")
    first, last = frame.iloc[0], frame.iloc[min(1, len(frame) - 1)]
    return frame, (f"{first['tokens']} tokens by the {first['tokenizer']}, {last['tokens']} by {last['tokenizer']}; "
                   "<bytes> is a part of a character, <ZWNJ> the zero-width non-joiner (one sentence, an illustration).")


@table("C02-T1", "02_tokenizer", "Bits per byte right after extension, by the start of the new rows")
def row_starts(profile: str):
    """One row a start; empty in profiles that do not measure it."""
    found = records.metrics(profile, "02_tokenizer").query("metric == 'bits_per_byte'")
    frame = pandas.DataFrame({"start": found["arm"] if len(found) else [], "n": found["n"] if len(found) else [],
                              "bits/byte": [interval(row) for row in found.to_dict("records")]})
    if found.empty:
        return frame, "Not measured in this profile (start_bits_documents is 0)."
    best = found.loc[found["value"].idxmin()]
    return frame, (f"Before any training the lowest is {best['arm']}: {interval(best)} bits/byte on {best['n']} held-out "
                   "documents.")
