"""Bilingual pretraining: its streams of text, and the scores that tell whether two languages have moved together."""
from collections.abc import Sequence

import pandas

from lib.data import corpus, prompts
from lib.evaluate import measure
from lib.study import contrast

ARMS = ("no-pairs", "pairs")


def streams(documents, pairs, language: str) -> dict[str, Sequence[str]]:
    """Training texts of the mixture: `<language>` and `en`, and `pairs`: a pair is a document in each direction.

    A stream without text is left out.
    """
    documents, pairs = documents[documents["split"] == "train"], pairs[pairs["split"] == "train"]
    found = {**{code: documents.loc[documents["language"] == code, "text"] for code in (language, "en")},
             "pairs": [prompts.pair_document(pair.english, pair.target, direction)
                       for pair in pairs.itertuples() for direction in prompts.directions(language)]}
    return {name: corpus.column(texts) for name, texts in found.items() if len(texts)}


def shares(arm: str, language: str, pair_share: float, replay: float) -> dict[str, float]:
    """Shares of bytes of each stream in an arm; the English replay is the same in both.

    Raises ValueError for an unknown arm, or when pairs and replay leave less than nothing for the language itself.
    """
    if arm not in ARMS:
        raise ValueError(f"Arm {arm!r} is unknown: choose among {', '.join(ARMS)}.")
    given = {"pairs": pair_share, "en": replay} if arm == "pairs" else {"en": replay}
    if sum(given.values()) > 1:
        raise ValueError(f"pair_share {pair_share} and replay {replay} are more than the whole: lower one of them.")
    return {**given, language: 1 - sum(given.values())}


def score(model, tokenizer, sentences, translated: int, texts: dict, language: str, max_new_tokens: int):
    """Item-level scores of a model: frames of retrieval, bits per byte (with a language column), translations.

    All `sentences` (id, english, target) serve retrieval, the first `translated` are translated in both directions;
    `texts` holds lists of texts by language. Without sentences (one is no choice) these frames are empty.
    """
    found = pandas.DataFrame(columns=["layer", "direction", "item", "correct"])
    if len(sentences) > 1:
        found = measure.retrieval(model, tokenizer, sentences["english"].tolist(), sentences["target"].tolist())
    bits = [measure.bits_per_byte(model, tokenizer, part).assign(language=code) for code, part in texts.items()]
    answers = measure.translate(model, tokenizer, sentences.head(translated), language, "document", max_new_tokens)
    return found, pandas.concat(bits), answers


def note(record, retrieved, bits, translated):
    """Puts item-level scores of all runs (columns arm, seed) into the record, each with n and interval."""
    runs, tasks = ["arm", "seed"], {"direction": "task"}
    contrast.note(record, "retrieval_accuracy", retrieved.rename(columns=tasks), contrast.CORRECT, [*runs, "task", "layer"])
    contrast.note(record, "retrieval_accuracy_mean", retrieved, contrast.CORRECT, runs)
    contrast.note(record, "bits_per_byte", bits, contrast.BITS, [*runs, "language"])
    contrast.note(record, "chrf", translated.rename(columns=tasks), contrast.CHRF_PLUS, [*runs, "task"])


def compare(record, retrieved, bits, translated, before: str, after: str):
    """Paired tests of two arms over the same items, `after` − `before`; retrieval over all layers and directions."""
    for name, rows, score, by in (("retrieval_accuracy_mean", retrieved, contrast.CORRECT, []),
                                  ("bits_per_byte", bits, contrast.BITS, ["language"]),
                                  ("chrf", translated.rename(columns={"direction": "task"}), contrast.CHRF_PLUS, ["task"])):
        if len(rows):
            contrast.between(record, f"{name}_difference", rows, score, by, "arm", before, after)
