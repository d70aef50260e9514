"""Bilingual pretraining: its streams of text, and the scores that tell whether two languages have moved together."""
from collections.abc import Sequence

import pandas

from lib.data import corpus, prompts
from lib.evaluate import measure
from lib.study import ch03_pretraining as pretraining
from lib.study import contrast


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
