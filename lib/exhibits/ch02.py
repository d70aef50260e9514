"""Exhibits of the tokenizer."""
import pandas

from lib.engine import records
from lib.exhibits.base import Lacking, figure, measured, need, noted, table
from lib.exhibits.panels import WIDE, axes, drawable, errorbars, level, pieces
from lib.exhibits.units import interval, wide

CHAPTER = "02_tokenizer"
TOKENIZERS = ("base", "continued BPE", "appended BPE", "appended SentencePiece")
MEASURES = {"fertility": "tokens/{unit} {language}", "bytes_per_token": "bytes/token {language}",
            "words_kept_whole": "{unit}s whole % {language}", "compression": "times shorter {language}",
            "round_trip": "exact round trip % {language}", "zwnj_kept": "ZWNJ kept % {language}",
            "ids_unchanged": "ids unchanged % {language}", "reachable": "reachable %", "used": "used %"}
SHARES = {"used": "pieces ever used", "ids_unchanged": "English texts with the same ids"}


@table("P1-T4", CHAPTER, "Tokenizers: the base, continued BPE, and pieces appended")
def tokenizers(profile: str):
    """One row a tokenizer: fertility in both languages, bytes a token, shares in percent; dashes where nothing is new."""
    found = measured(profile, CHAPTER, *MEASURES).query("arm in @TOKENIZERS").astype({"size": int})
    units = found[found["metric"] == "fertility"].set_index("language")["unit"].str.removeprefix("tokens/").to_dict()
    found["cell"] = [f"{100 * row['value']:.1f}" if row["unit"] == "share" else interval(row)
                     for row in found.to_dict("records")]
    found["column"] = [MEASURES[metric].format(language=language, unit=units.get(language))
                       for metric, language in zip(found["metric"], found["language"])]
    frame = wide(found, ["arm", "size"], "column", "cell").replace("", "–").set_index(["arm", "size"])
    facts = noted(profile, CHAPTER, "new_pieces", "zwnj_tokens").astype({"size": int, "value": int})
    facts = facts.pivot(index=["arm", "size"], columns="fact", values="value")
    frame.insert(0, "new pieces", facts["new_pieces"])
    frame["tokens a ZWNJ"] = facts["zwnj_tokens"]
    frame = frame.reset_index().sort_values("arm", key=lambda arms: arms.map(TOKENIZERS.index), kind="stable")
    frame = frame.drop(columns="size").rename(columns={"arm": "tokenizer"})
    frame.attrs["printed"] = [name for name in frame if not name.startswith("bytes/token")]
    return frame, _tokenizers_reading(found)


def _tokenizers_reading(found: pandas.DataFrame) -> str:
    words = found[(found["metric"] == "fertility") & (found["language"] != "en")]
    before, after = words[words["arm"] == "base"].iloc[0], words[words["arm"].isin(TOKENIZERS[:2])].iloc[-1]
    sizes = found.groupby("arm")["size"].max()
    shared = sizes.get(TOKENIZERS[-1], after["size"])
    parts = []
    for name, title in SHARES.items():
        rows = found[(found["metric"] == name) & (found["size"] == shared) & (found["arm"] != "base")]
        rows = rows.set_index("arm")["value"]
        shares = [f"{arm} {rows[arm]:.0%}" for arm in TOKENIZERS if arm in rows]
        parts += [f"{title}: {', '.join(shares)}"] * bool(shares)
    compared = f"; where {shared} are asked for, {'; '.join(parts)}" if parts else ""
    return (f"{after['size']} pieces of continued BPE take {before['value']:.2f} {before['unit'].replace('/', ' a ')} to "
            f"{after['value']:.2f} (n = {after['n']} documents){compared}.")


@figure("P1-F3", CHAPTER, "A sentence's tokens, and fertility against added pieces")
def fertility(profile: str):
    """Tokens a word (or character) of the learned language over new pieces, the three ways, with intervals; above it one
    sentence as the base and the extended tokenizer cut it."""
    found = measured(profile, CHAPTER, "fertility").query("language != 'en'")
    pieces = noted(profile, CHAPTER, "new_pieces").set_index(["arm", "size"])["value"]
    frame = found[["arm", "size", "value", "low", "high", "n", "language", "unit"]].copy()
    if set(frame["arm"]) == {"base"}:
        raise Lacking("the text gave no new piece")
    frame["pieces"] = [int(pieces[arm, size]) for arm, size in zip(frame["arm"], frame["size"])]
    base, unit = frame[frame["arm"] == "base"], frame["unit"].iloc[0].replace("/", " a ")
    cut = cuts(profile)
    drawing, panel = _below_a_sentence(cut)
    for marker, arm in zip("os^", [arm for arm in frame["arm"].unique() if arm != "base"]):
        part = pandas.concat([base, frame[frame["arm"] == arm]]).sort_values("pieces")
        # An appended way that was measured once is a point, not a line from the base through sizes nobody measured.
        part = part if len(part) > 2 else part[part["arm"] == arm]
        errorbars(panel, part["pieces"], part, fmt=marker + "-" * (len(part) > 1), label=arm)
    # A word is one token at least; a character need not be.
    panel.set(xlabel="new pieces", ylabel=f"{unit} ({frame['language'].iloc[0]})",
              ylim=(int(frame["low"].min() >= 1), None))
    panel.legend()
    last = frame[frame["arm"] == "continued BPE"].sort_values("pieces")
    return drawing, frame.drop(columns="unit"), (
        f"Continued BPE goes from {base['value'].iloc[0]:.2f} {unit} to {last['value'].iloc[0]:.2f} with "
        f"{last['pieces'].iloc[0]} pieces and {last['value'].iloc[-1]:.2f} with {last['pieces'].iloc[-1]} "
        f"(n = {base['n'].iloc[0]} documents)"
        + f"; the sentence above goes from {' to '.join(str(len(row)) for row in cut.values())}" * bool(cut) + ".")


def cuts(profile: str) -> dict[str, list[str]]:
    """The recorded sentence's pieces under the base and extended; empty without these, or without letters to draw them."""
    rows = records.rows(profile, CHAPTER, "cut").to_dict("records")
    found = {row["tokenizer"]: row["pieces"].split(" · ") for row in rows if row["tokenizer"] in TOKENIZERS[:2]}
    return found if len(found) == 2 and drawable("".join(map("".join, found.values()))) else {}


def _below_a_sentence(cut: dict[str, list[str]]):
    """A figure with the pieces of each tokenizer on top, and its axes below; axes alone where there are none."""
    if not cut:
        return axes()
    heights = [*(0.1 + 0.27 * -(-len(row) // 40) for row in cut.values()), 2.4]  # inches; about 40 pieces fill a line
    drawing, panels = axes(len(heights), width=WIDE, height=sum(heights) + 0.5, height_ratios=heights)
    for panel, (name, row) in zip(panels, cut.items()):
        parts = sum(piece == "<bytes>" for piece in row)
        panel.set_title(f"{name}: {len(row)} tokens" + f", {parts} of them parts of a letter (·)" * (parts > 0), loc="left")
        pieces(panel, row)
    return drawing, panels[-1]


@figure("P3-F1", CHAPTER, "Compression of the extended tokenizer against the base's")
def compression(profile: str):
    """Bytes a token over the base's (= 1) on the same items in every language, with intervals over items."""
    found = need(measured(profile, CHAPTER, "compression").query("arm == 'multiway'"), "pairs").sort_values("value")
    drawing, panel = axes(height=max(1.6, 0.7 + 0.17 * len(found)))
    errorbars(panel, found["language"], found, across=True)
    level(panel, 1, across=True)
    panel.set(xlabel="bytes a token, base = 1", ylabel="language")
    gain = [f"{row.language} {row.value:.2f}×" for row in found[found["low"] > 1][::-1].itertuples()]
    return drawing, found[["language", "value", "low", "high", "n"]], (
        f"Texts of {len(gain)} of {len(found)} languages get shorter: {', '.join(gain)} (n = {found['n'].max()} items each, "
        "the same in every language).")
