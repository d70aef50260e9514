"""Exhibits of the tokenizer."""
import pandas

from lib.engine import records
from lib.exhibits.base import Lacking, axes, figure, interval, need, table

TOKENIZERS = ("base", "continued BPE", "appended BPE", "appended SentencePiece")
MEASURES = {"fertility": "tokens/{unit} {language}", "bytes_per_token": "bytes/token {language}",
            "words_kept_whole": "{unit}s whole % {language}", "compression": "times shorter {language}",
            "round_trip": "exact round trip % {language}", "zwnj_kept": "ZWNJ kept % {language}",
            "ids_unchanged": "ids unchanged % {language}", "reachable": "reachable %", "used": "used %"}
SHARES = {"used": "pieces ever used", "ids_unchanged": "English texts with the same ids"}


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


@figure("P1-F3", "02_tokenizer", "Fertility against added pieces")
def fertility(profile: str):
    """Tokens a word (or character) of the learned language over new pieces, the three ways, with intervals."""
    found = records.metrics(profile, "02_tokenizer").query("metric == 'fertility' and language != 'en'")
    pieces = records.facts(profile, "02_tokenizer").query("fact == 'new_pieces'").set_index(["arm", "size"])["value"]
    frame = found[["arm", "size", "value", "low", "high", "n", "language", "unit"]].copy()
    if set(frame["arm"]) == {"base"}:
        raise Lacking("the text gave no new piece")
    frame["pieces"] = [int(pieces[arm, size]) for arm, size in zip(frame["arm"], frame["size"])]
    base, unit = frame[frame["arm"] == "base"], frame["unit"].iloc[0].replace("/", " a ")
    drawing, panel = axes()
    for marker, arm in zip("os^", [arm for arm in frame["arm"].unique() if arm != "base"]):
        part = pandas.concat([base, frame[frame["arm"] == arm]]).sort_values("pieces")
        # An appended way that was measured once is a point, not a line from the base through sizes nobody measured.
        part = part if len(part) > 2 else part[part["arm"] == arm]
        panel.errorbar(part["pieces"], part["value"], [part["value"] - part["low"], part["high"] - part["value"]],
                       marker=marker, capsize=2, linestyle="-" if len(part) > 1 else "none", label=arm)
    # A word is one token at least; a character need not be.
    panel.set(xlabel="new pieces", ylabel=f"{unit} ({frame['language'].iloc[0]})",
              ylim=(int(frame["low"].min() >= 1), None))
    panel.legend()
    last = frame[frame["arm"] == "continued BPE"].sort_values("pieces")
    return drawing, frame.drop(columns="unit"), (
        f"Continued BPE goes from {base['value'].iloc[0]:.2f} {unit} to {last['value'].iloc[0]:.2f} with "
        f"{last['pieces'].iloc[0]} pieces and {last['value'].iloc[-1]:.2f} with {last['pieces'].iloc[-1]} "
        f"(n = {base['n'].iloc[0]} documents).")


@figure("P3-F1", "02_tokenizer", "Compression of the extended tokenizer against the base's")
def compression(profile: str):
    """Bytes a token over the base's (= 1) on the same items in every language, with intervals over items."""
    found = records.metrics(profile, "02_tokenizer").query("arm == 'multiway' and metric == 'compression'")
    found = need(found, "pairs")
    frame = found[["language", "value", "low", "high", "n"]].sort_values("value")
    drawing, panel = axes(height=max(1.6, 0.7 + 0.17 * len(frame)))
    panel.errorbar(frame["value"], frame["language"], xerr=[frame["value"] - frame["low"], frame["high"] - frame["value"]],
                   fmt="o", capsize=2)
    panel.axvline(1, color="0.6", linewidth=0.8)
    panel.set(xlabel="bytes a token, base = 1", ylabel="language")
    gain = frame[frame["low"] > 1][::-1]
    return drawing, frame, (f"{len(gain)} of {len(frame)} languages get shorter: "
                            + ", ".join(f"{row['language']} {row['value']:.2f}×" for row in gain.to_dict("records"))
                            + f" (n = {frame['n'].max()} items each).")
