"""Test items derived from the corpus: multiple choice with one right answer, its place balanced over the options.

An item is on the side of the split of the text that it comes from. None is a published benchmark, or needs a judgement
beyond what the sources say. Minimal pairs (`minimal`) have no question and are never trained on.
"""
from collections import defaultdict
from collections.abc import Callable

import pandas

from lib.data import corpus, likeness, minimal, text
from lib.data.sources import Content

# Question and answers of bitext_verify in each language that can ask it: same meaning?
VERIFY = {"en": ("Do these two sentences mean the same?", ["yes", "no"]),
          "fa": ("آیا این دو جمله یک معنا دارند؟", ["بله", "خیر"])}
OPTIONS = 4
NEIGHBOURS = 40


def derive(content: Content, frames: dict[str, pandas.DataFrame], settings: corpus.Settings) -> pandas.DataFrame:
    """All items: id, task, language, split, question, choices, answer (index of the right choice)."""
    # A phrase too short for the corpus is in no frame, so its split is free; every other keeps the one it has.
    splits = corpus.assign((row["group"] for row in content.symbols), settings)
    for frame in frames.values():
        splits |= dict(zip(frame["group"], frame["split"]))
    several = (couplets(content, splits, settings) + symbols(content, splits, settings)
               + sections(content, frames["documents"], settings))
    pairs = minimal.derive(frames["documents"], content, settings)
    found = ([item for item in several if len(item["wrong"]) == OPTIONS - 1] + verify(frames["pairs"], settings)
             + [_item(task, code, split, "", right, [wrong]) for task, code, split, right, wrong in pairs])
    return _placed(pandas.DataFrame(found, columns=["id", "task", "language", "split", "question", "right", "wrong"]))


def _item(task: str, language: str, split: str, question: str, right: str, wrong: list[str]) -> dict:
    return {"id": corpus.digest(task, language, question, right), "task": task, "language": language, "split": split,
            "question": question, "right": right, "wrong": wrong}


def _placed(items: pandas.DataFrame) -> pandas.DataFrame:
    """Puts the right answer among the wrong, at places 0, 1, 2 … in turn by id, so each place is equally frequent."""
    items = items.drop_duplicates("id").sort_values(["task", "language", "split", "id"], ignore_index=True)
    turn = items.groupby(["task", "language", "split"]).cumcount()
    rows = []
    for row, place in zip(items.to_dict("records"), turn):
        right, wrong = row.pop("right"), row.pop("wrong")
        if row["task"] == "bitext_verify":
            answer, choices = wrong.index(right), wrong
        else:
            answer = place % (len(wrong) + 1)
            choices = [*wrong[:answer], right, *wrong[answer:]]
        rows.append({**row, "choices": choices, "answer": answer})
    return pandas.DataFrame(rows, columns=["id", "task", "language", "split", "question", "choices", "answer"])


def couplets(content: Content, splits: dict[str, str], settings: corpus.Settings) -> list[dict]:
    """hafez_mcq: which second hemistich follows the first? The others rhyme with it and come from other ghazals."""
    rows = [{"group": row["group"], "split": splits[row["group"]], **{part: text.normalise(row[part], "fa")
             for part in ("first", "second")}} for row in content.couplets if row["group"] in splits]
    training = [row[part] for row in rows if row["split"] == "train" for part in ("first", "second")]
    held = [row[part] for row in rows if row["split"] != "train" for part in ("first", "second")]
    leaked = likeness.twins(held, training, settings.twin_threshold)
    rows = [row for row in rows if row["split"] == "train" or not {row["first"], row["second"]} & leaked]
    pools = {length: _pools(rows, lambda row: (row["split"], _ending(row, length))) for length in (3, 2, 1)}
    return [_item("hafez_mcq", "fa", row["split"], row["first"], row["second"], _rhyming(row, pools)) for row in rows]


def _rhyming(row: dict, pools: dict) -> list[str]:
    """Hemistichs of other ghazals that share the longest ending with the row's, at most three."""
    found = []
    for length, pool in pools.items():
        others = pool[row["split"], _ending(row, length)]
        found += [other["second"] for other in _shuffled(others, row["first"])
                  if other["group"] != row["group"] and other["second"] not in (row["second"], *found)]
    return found[:OPTIONS - 1]


def _ending(row: dict, length: int) -> str:
    return row["second"].replace(" ", "")[-length:]


def _pools(rows: list[dict], key: Callable) -> dict:
    pools = defaultdict(list)
    for row in rows:
        pools[key(row)].append(row)
    return pools


def _shuffled(rows: list[dict], salt: str) -> list[dict]:
    """At most NEIGHBOURS rows from a place that the salt decides, in an order that never changes."""
    start = int(corpus.digest(salt), 16) % max(1, len(rows))
    return (rows[start:] + rows[:start])[:NEIGHBOURS]


def symbols(content: Content, splits: dict[str, str], settings: corpus.Settings) -> list[dict]:
    """emoji_mcq: which emoji does the phrase name? The same items in each language."""
    found, rows = [], [row for row in content.symbols if row["group"] in splits]
    pools = _pools(rows, lambda row: splits[row["group"]])
    for row in rows:
        split = splits[row["group"]]
        others = [other["symbol"] for other in _shuffled(pools[split], row["group"]) if other["group"] != row["group"]]
        for code in dict.fromkeys(("en", settings.language)):
            phrase = text.normalise(row[code], code)
            found.append(_item("emoji_mcq", code, split, phrase, row["symbol"], others[:OPTIONS - 1]))
    return found


def sections(content: Content, documents: pandas.DataFrame, settings: corpus.Settings) -> list[dict]:
    """heading_mcq: which title does the passage stand under? Only passages that the filters kept."""
    rows = [{**row, "passage": text.normalise(row["passage"], row["language"]),
             "heading": text.normalise(row["heading"], row["language"])} for row in content.sections]
    documents = documents[documents["text"].isin({row["passage"] for row in rows})]
    kept = dict(zip(zip(documents["language"], documents["text"]), documents["split"]))
    scripts = {"en": "Latin", settings.language: settings.script}
    rows = [{**row, "split": kept[row["language"], row["passage"]]} for row in rows
            if len(row["passage"]) >= 80 and (row["language"], row["passage"]) in kept
            and text.script_share(row["heading"], scripts[row["language"]]) >= settings.script_share]
    pools, found = _pools(rows, lambda row: (row["language"], row["split"], row["source"])), []
    for row in rows:
        others = _shuffled(pools[row["language"], row["split"], row["source"]], row["passage"])
        titles = dict.fromkeys(other["heading"] for other in others if other["heading"] != row["heading"])
        found.append(_item("heading_mcq", row["language"], row["split"], row["passage"], row["heading"],
                           list(titles)[:OPTIONS - 1]))
    return found


def verify(pairs: pandas.DataFrame, settings: corpus.Settings) -> list[dict]:
    """bitext_verify: do two sentences mean the same? Half do; the others get the target of the pair most like theirs."""
    found, asked = [], [code for code in dict.fromkeys((settings.language, "en")) if code in VERIFY]
    for split, part in pairs.groupby("split"):
        if len(part) < 2:
            continue  # a lone pair has no other whose target it could get
        rows = [{**row, "key": text.key(row["english"]), "words": set(text.words(text.key(row["target"])))}
                for row in part.to_dict("records")]
        rows.sort(key=lambda row: len(row["english"]))
        order = sorted(range(len(rows)), key=lambda place: rows[place]["id"])
        negative = set(order[::2])
        for place, row in enumerate(rows):
            target = _likest(rows, place) if place in negative else row["target"]
            for code in asked:
                question, answers = VERIFY[code]
                found.append(_item("bitext_verify", code, split, f"{question}\n{row['english']}\n{target}",
                                   answers[place in negative], answers))
    return found


def _likest(rows: list[dict], place: int) -> str:
    """Target of the pair of about the same length, but with other English, that shares most words and is not a near copy."""
    near = [row for row in rows[max(0, place - NEIGHBOURS // 2):place + NEIGHBOURS // 2] if row["key"] != rows[place]["key"]]
    scored = [(likeness.jaccard(rows[place]["words"], row["words"]), row["id"], row["target"])
              for row in near or [rows[place - 1]]]
    return max([entry for entry in scored if entry[0] < 0.6] or scored)[2]
