"""Bilingual pretraining: its streams of text, and the scores that tell whether two languages have moved together."""
import itertools
from collections.abc import Sequence
from pathlib import Path

import pandas

from lib.data import corpus, mixture, prompts
from lib.evaluate import measure
from lib.model import folders
from lib.study import ch03_pretraining as pretraining
from lib.study import contrast

# The design start × pairs: where new rows begin (a stage of `pretraining.starts`) and what is read.
CELLS = {"mean": ("mean-start", "no-pairs"), "mean-pairs": ("mean-start", "pairs"), "translations": ("extended", "no-pairs"),
         "translations-pairs": ("extended", "pairs")}
# Cells before and after; of an interaction half of what pairs do more where rows know their translations.
EFFECTS = {"start": (("mean", "mean-pairs"), ("translations", "translations-pairs")),
           "pairs": (("mean", "translations"), ("mean-pairs", "translations-pairs")),
           "pairs from mean": (("mean",), ("mean-pairs",)),
           "pairs from translations": (("translations",), ("translations-pairs",)),
           "interaction": (("mean-pairs", "translations"), ("mean", "translations-pairs"))}


def streams(documents, pairs, language: str) -> dict[str, Sequence[str]]:
    """Training texts, where there are any: `<language>`, `en`, and `pairs`, each pair a document in each direction."""
    found = [prompts.pair_document(pair.english, pair.target, direction)
             for pair in pairs[pairs["split"] == "train"].itertuples() for direction in prompts.directions(language)]
    return pretraining.streams(documents, language) | ({"pairs": corpus.column(found)} if found else {})


def shares(arm: str, language: str, pair_share: float, replay: float) -> dict[str, float]:
    """Shares of bytes of each stream in an arm, English replay the same in both; ValueError when they exceed the whole."""
    given = {"pairs": pair_share, "en": replay} if arm == "pairs" else {"en": replay}
    if sum(given.values()) > 1:
        raise ValueError(f"pair_share {pair_share} and replay {replay} are more than the whole: lower one of them.")
    return {**given, language: 1 - sum(given.values())}


def score(model, tokenizer, sentences, translated: int, texts: pandas.DataFrame, language: str, max_new_tokens: int):
    """Item-level scores of a model: frames of retrieval, bits per byte (with a language column), translations.

    All `sentences` (id, english, target) serve retrieval, the first `translated` are translated in both directions;
    Without sentences (one is no choice) these frames are empty.
    """
    found = pandas.DataFrame(columns=["layer", "direction", "item", "correct"])
    if len(sentences) > 1:
        found = measure.retrieval(model, tokenizer, sentences["english"].tolist(), sentences["target"].tolist())
    answers = measure.translate(model, tokenizer, sentences.head(translated), language, "document", max_new_tokens)
    return found, measure.read(model, tokenizer, texts), answers


def factorial(streams, starts: dict[str, Path], language: str, sizes: list[int], seeds: list[int], pair_share: float,
              replay: float, length: int):
    """Runs of CELLS at each size (bytes of text) and seed: labels, model to start from, and blocks of `length` tokens, of a
    size and seed as many in each cell."""
    for size, seed in itertools.product(sizes, seeds):
        packed = {arm: mixture.blocks(mixture.documents(streams, shares(arm, language, pair_share, replay), size, seed),
                                      folders.tokenizer(starts["extended"]), length) for arm in ("no-pairs", "pairs")}
        fewest = min(map(len, packed.values()))
        for name, (start, arm) in CELLS.items():
            yield {"size": size, "arm": name, "seed": seed}, starts[start], packed[arm].select(range(fewest))


def note_factorial(record, retrieved: pandas.DataFrame, bits: pandas.DataFrame):
    """Retrieval over all layers and bits per byte of each cell and size, and the EFFECTS."""
    for name, rows, score, by in (("factorial_retrieval", retrieved, contrast.CORRECT, ["size"]),
                                  ("factorial_bits_per_byte", bits, contrast.BITS, ["size", "language"])):
        contrast.note(record, name, rows, score, ["arm", *by])
        for effect, sides in EFFECTS.items():
            before, after = (rows[rows["arm"].isin(side)] for side in sides)
            contrast.compare(record, f"{name}_effect", before, after, score, by, effect=effect)


def note(record, retrieved, bits, translated, couples):
    """Item-level scores of all runs (columns arm, seed) as metrics, and paired differences of arms, `after` − `before`.

    `couples` are those arms. Differences of retrieval are over all layers and directions.
    """
    retrieved, translated = (rows.rename(columns={"direction": "task"}) for rows in (retrieved, translated))
    contrast.note(record, "retrieval_accuracy", retrieved, contrast.CORRECT, ["arm", "seed", "task", "layer"])
    for name, rows, score, by in (("retrieval_accuracy_mean", retrieved, contrast.CORRECT, []),
                                  ("bits_per_byte", bits, contrast.BITS, ["language"]),
                                  ("chrf", translated, contrast.CHRF_PLUS, ["task"])):
        contrast.note(record, name, rows, score, ["arm", "seed", *by])
        for before, after in couples if len(rows) else ():
            contrast.between(record, f"{name}_difference", rows, score, by, "arm", before, after)
