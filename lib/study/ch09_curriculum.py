"""PolyLM's curriculum: the same text in two orders, with and without translation pairs, scored in every language."""
import dataclasses
import re
from collections import Counter
from typing import NamedTuple

import datasets
import pandas

from lib.data import corpus, likeness, mixture, prompts, schedule, sources, text
from lib.engine import paths, records
from lib.evaluate import measure, testsets
from lib.model import folders
from lib.study import contrast

PAIRS, OTHERS = "pairs", "non-English"
ITEMS = "multi-way items"
LANGUAGES = contrast.unions("language", {OTHERS: lambda codes: codes != "en"})
HUB = re.compile(r"([\w.-]+/[\w.-]+@[\w.-]+)(?::(.+))?")
BYTES = 8  # of text drawn for a token wanted: more than any tokenizer makes of one


class Arm(NamedTuple):
    """Whether an arm follows the curriculum (else its mean shares throughout), whether it reads pairs, and whether it
    follows the curriculum from its end: what a change of shares does, whichever way it goes."""

    curriculum: bool
    pairs: bool
    mirrored: bool = False


ARMS = {"constant": Arm(False, False), "curriculum": Arm(True, False), "constant-pairs": Arm(False, True),
        "curriculum-pairs": Arm(True, True), "reversed": Arm(True, False, True)}
# What is compared: the arms of a side, in the order of those that they are held against.
EFFECTS = {"curriculum": (("constant", "curriculum"), ("constant-pairs", "curriculum-pairs")),
           "reversed": (("constant", "reversed"),),
           "pairs": (("constant", "constant-pairs"), ("curriculum", "curriculum-pairs"))}


def own(profile: str, corpora: dict[str, list[str]], column: str, limit: int) -> pandas.DataFrame:
    """A user's corpora as documents (language, source, split, text), cleaned and split as chapter 01 does.

    `corpora` maps a language code to files, or data sets of the hub (`org/name@revision:pattern`). Raises SourceError
    for what cannot be read or leaves too little.
    """
    shared = corpus.configure(records.load(profile, corpus.CHAPTER)["parameters"])
    found = [pandas.DataFrame(columns=["language", "source", "split", "text"])]
    for code, places in corpora.items():
        if not isinstance(code, str) or not isinstance(places, list) or not places:
            raise sources.SourceError(f"corpora has {code!r}: {places!r}, and needs a language code with a list of "
                                      "files or data sets; quote a code that YAML takes for yes or no.")
        content = corpus.merge(_read(place, code, column, limit) for place in places)
        settings = dataclasses.replace(shared, language=code, script=script(code, content.units))
        frames, ledger = corpus.clean(content, [], settings)
        frames = corpus.split(frames, settings, ledger)
        found.append(corpus.passages(frames["documents"], settings)[["language", "source", "split", "text"]])
        print(f"{code}: {len(frames['documents'])} texts of {len(content.units)} read, {len(found[-1])} documents.")
    return pandas.concat(found, ignore_index=True)


def script(code: str, units: list[dict]) -> str:
    """The script of a language; that of most letters in its units where the code is not in the table of languages."""
    return text.script(code) if code in text.LANGUAGES else text.writing(unit[code] for unit in units[:1000])


def texts(documents, multiway, owned) -> pandas.DataFrame:
    """Training texts (stream, source, text, bytes) of all languages, and of `pairs`: an item is a document each way."""
    train = [frame[frame["split"] == "train"] for frame in (documents, owned)]
    items = multiway[multiway["split"] == "train"]
    found = [frame.rename(columns={"language": "stream"})[["stream", "source", "text"]] for frame in train]
    found += [pandas.DataFrame({"stream": code, "source": ITEMS, "text": items[code]}) for code in corpus.foreign(multiway)]
    pairs = [prompts.pair_document(english, other, direction) for code in corpus.foreign(multiway)
             for english, other in zip(items["en"], items[code]) for direction in prompts.directions(code)]
    found = pandas.concat([*found, pandas.DataFrame({"stream": PAIRS, "source": ITEMS, "text": pairs})],
                          ignore_index=True)
    return found.assign(bytes=[len(string.encode()) for string in found["text"]])


def divide(material: pandas.DataFrame, heat: float, given: dict[str, float]) -> dict[str, float]:
    """Shares of the languages in the non-English part: `given` ones, else by temperature from their bytes of text."""
    if given:
        return {code: share / sum(given.values()) for code, share in given.items()}
    sizes = material.groupby("stream")["bytes"].sum()
    return schedule.temperature(sizes.drop(["en", PAIRS], errors="ignore").to_dict(), heat)


def plans(arms: list[str], curriculum: schedule.Schedule, pair_share: float, blocks: int) -> dict[str, tuple]:
    """Arm → (Schedule, plan). All orders read the same blocks: an even one has the shares that its
    curriculum comes to.

    With pairs, `pair_share` of what is not English is translation pairs.
    """
    found = {}
    for name in arms:
        wanted = _with_pairs(curriculum, pair_share) if ARMS[name].pairs else curriculum
        order = schedule.plan(wanted, blocks)
        if not ARMS[name].curriculum:
            wanted = schedule.constant({stream: count / blocks for stream, count in Counter(order).items()})
            order = schedule.plan(wanted, blocks)
        found[name] = (schedule.mirrored(wanted), order[::-1]) if ARMS[name].mirrored else (wanted, order)
    return found


def pack(material: pandas.DataFrame, orders: list[list[str]], words, length: int, seed: int) -> dict:
    """Blocks of every stream, as many as the plan that reads most of it; a block's `stream` is `stream/source`.

    The sources of a stream have their shares of its bytes all along; those too small for two blocks are left out.
    """
    counts = pandas.DataFrame([Counter(order) for order in orders]).fillna(0).astype(int)
    most = counts.max().to_dict()
    inner = {name: schedule.plan(schedule.constant(_sources(material, name, length)), count)
             for name, count in most.items()}
    wanted = Counter(f"{name}/{source}" for name, order in inner.items() for source in order)
    parts = {f"{stream}/{source}": part for (stream, source), part in material.groupby(["stream", "source"], sort=False)}
    quotas = {name: min(count * length * BYTES, int(parts[name]["bytes"].sum())) for name, count in wanted.items()}
    total, strings = sum(quotas.values()), {name: corpus.column(part["text"]) for name, part in parts.items()}
    drawn = mixture.documents(strings, {name: quota / total for name, quota in quotas.items()}, total, seed)
    packed = mixture.blocks(drawn, words, length)
    places = pandas.Series(range(len(packed))).groupby(packed["stream"][:]).apply(list)
    return {name: schedule.arrange({source: packed.select(places.get(f"{name}/{source}", []))
                                    for source in dict.fromkeys(order)}, order) for name, order in inner.items()}


def unseen(multiway, owned, longest: int, seed: int) -> tuple[pandas.DataFrame, int]:
    """Multi-way test items of at most `longest` English characters in a random order, and how many were dropped.

    Those are dropped that have a near twin in training in any language. When that leaves none of some it is told.
    """
    test = multiway[multiway["split"] == "test"]
    count, test = len(test), test[test["en"].str.len() <= longest]
    train, bad = multiway[multiway["split"] == "train"], pandas.Series(False, index=test.index)
    for code in corpus.foreign(multiway):
        mine = owned.loc[(owned["language"] == code) & (owned["split"] == "train"), "text"]
        lines = [line for string in mine for line in text.lines(string)]
        found = likeness.twins(test[code].tolist(), [*train[code], *lines], corpus.Settings.twin_threshold)
        bad |= test[code].isin(found)
    if count and bad.all():
        print(f"None of {count} multi-way test items has at most {longest} characters and is unlike all training items: "
              "raise longest_item, or name more sources and languages in chapter 01.")
    return test[~bad].sample(frac=1, random_state=seed), int(bad.sum())


def held_out(documents, items, owned, count: int, together: int, text_bytes: int, excerpt: int, seed: int):
    """Held-out texts as a frame (language, item, text): `count` documents of `together` items, in every language.

    The items are the same; English is told by documents of its own, as is every language that no item has.
    """
    chosen = items.head(count * together)
    number = pandas.Series(range(len(chosen)), index=chosen.index) // together
    found = [{"language": code, "item": f"{ITEMS}/{place}", "text": "\n".join(part[code])}
             for code in corpus.foreign(items) for place, part in chosen.groupby(number)]
    told = corpus.foreign(items) if len(items) else []
    alone = {code: frame for frame in (owned, documents) for code in frame.loc[frame["split"] == "test", "language"]
             if code not in told}
    for code, frame in alone.items():
        found += [{"language": code, "item": f"{code}/{place}", "text": string} for place, string
                  in enumerate(testsets.held_out(frame, code, text_bytes, excerpt, seed, testsets.tested(frame, code))["text"])]
    return pandas.DataFrame(found)


def score(folder, texts: pandas.DataFrame, items: pandas.DataFrame, **labels):
    """Bits and bytes of every held-out text, and retrieval of every item's translation in each language; two frames.

    `correct` and `answers` count over layers and directions. Of fewer than two items the second frame is empty.
    """
    model, words = folders.load(folder), folders.tokenizer(folder)
    bits = measure.read(model, words, texts).assign(**labels)
    if len(items) < 2:
        return bits, pandas.DataFrame()
    vectors = {code: measure.embed(model, words, items[code].tolist()) for code in ["en", *corpus.foreign(items)]}
    hits = [measure.nearest(vectors["en"], vectors[code]).groupby("item")["correct"]
            .agg(correct="sum", answers="size").reset_index().assign(language=code) for code in corpus.foreign(items)]
    return bits, pandas.concat(hits, ignore_index=True).assign(**labels)


def note_plans(record, planned: dict[str, tuple], length: int):
    """Planned and realised non-English share of every arm against tokens, as rows."""
    for arm, (wanted, order) in planned.items():
        window = max(4, len(order) // 8)
        found = schedule.realised(order, wanted, window)
        english = found[found["stream"] == "en"]
        record.rows("schedule", [{"arm": arm, "tokens": row.blocks * length, "planned": 1 - row.planned,
                                  "realised": 1 - row.realised, "window": window} for row in english.itertuples()])


def note_text(record, arm: str, blocks: datasets.Dataset, length: int, boundaries: list[float]):
    """Tokens that an arm read, as facts by stage (parts between the boundaries), language and source."""
    progress = (pandas.Series(range(len(blocks))) + 0.5) / len(blocks)
    frame = pandas.DataFrame({"stage": 1 + sum((progress > at).astype(int) for at in boundaries),
                              "stream": blocks[:]["stream"]})
    for (stage, stream), rows in frame.groupby(["stage", "stream"]):
        language, _, source = stream.partition("/")
        record.fact("stream_tokens", len(rows) * length, "tokens", arm=arm, stage=int(stage), language=language,
                    source=source)


def note(record, bits: pandas.DataFrame, hits: pandas.DataFrame):
    """Bits per byte and retrieval of every arm by language, bits of every seed in short, and paired differences.

    `…_gain` is that of every arm on the start, `…_effect` that of curriculum and of pairs, over the arms that differ in
    nothing else. Language `non-English` takes a text in all its languages, so that its interval rests on texts, not on
    translations. Without `hits` there is no retrieval.
    """
    english = bits.assign(language=bits["language"].where(bits["language"] == "en", OTHERS))
    contrast.note(record, "bits_per_byte_of_seed", english, contrast.BITS, ["arm", "seed", "language"])
    measures = [("bits_per_byte", bits, contrast.BITS), ("retrieval", hits, contrast.ratio("correct", "answers", "share"))]
    for name, rows, score in [one for one in measures if len(one[1])]:
        known = set(rows["arm"])
        contrast.note(record, name, rows, score, ["arm", LANGUAGES])
        contrast.from_first(record, f"{name}_gain", rows, score, [LANGUAGES], "arm")
        for effect, couples in EFFECTS.items():
            sides = list(zip(*(couple for couple in couples if set(couple) <= known)))
            if sides:
                contrast.compare(record, f"{name}_effect", *(rows[rows["arm"].isin(side)] for side in sides), score,
                                 [LANGUAGES], effect=effect)


def _read(place: str, code: str, column: str, limit: int) -> sources.Content:
    """One file (relative to the repository) or data set of the hub."""
    named = HUB.fullmatch(place)
    if named and not paths.named(place).exists():
        return sources.hub(named[1], code, column, named[2] or "**/*.parquet", limit)
    return sources.own(paths.named(place), code, column, limit)


def _with_pairs(curriculum: schedule.Schedule, share: float) -> schedule.Schedule:
    """The schedule with a share of all but English given to pairs."""
    points = [(at, {"en": shares["en"], PAIRS: share * (1 - shares["en"]),
                    **{code: (1 - share) * part for code, part in shares.items() if code != "en"}})
              for at, shares in curriculum.points]
    return curriculum._replace(points=points)


def _sources(material: pandas.DataFrame, stream: str, length: int) -> dict[str, float]:
    """Shares of a stream's sources by their bytes; ValueError when it has no text."""
    sizes = material[material["stream"] == stream].groupby("source", sort=False)["bytes"].sum()
    if sizes.empty:
        raise ValueError(f"There is no training text in {stream!r}: take it out of `division`, or name a corpus.")
    sizes = sizes[(sizes >= 2 * length * BYTES) | (sizes == sizes.max())]
    return (sizes / sizes.sum()).to_dict()
