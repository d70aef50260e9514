"""Bilingual pretraining: its streams of text, and the scores that tell whether two languages have moved together."""
from collections.abc import Sequence

import pandas

from lib.data import corpus, prompts
from lib.engine import statistics
from lib.evaluate import measure

ARMS = ("no-pairs", "pairs")


def streams(documents, pairs, language: str) -> dict[str, Sequence[str]]:
    """Training texts of the mixture: `<language>` and `en`, and `pairs`: a pair is a document in each direction.

    A stream without text is left out.
    """
    documents, pairs = documents[documents["split"] == "train"], pairs[pairs["split"] == "train"]
    found = {**{code: documents.loc[documents["language"] == code, "text"] for code in (language, "en")},
             "pairs": [prompts.pair_document(pair.english, pair.target, direction, language)
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
    runs = ["arm", "seed"]
    for key, rows in retrieved.groupby([*runs, "direction", "layer"], sort=False):
        record.metric("retrieval_accuracy", statistics.wilson(rows["correct"].sum(), len(rows)), "share",
                      **dict(zip([*runs, "task", "layer"], key)))
    for key, rows in retrieved.groupby(runs, sort=False):
        hits = rows.groupby("item")["correct"].mean()
        record.metric("retrieval_accuracy_mean", statistics.mean(hits), "share", **dict(zip(runs, key)))
    for key, rows in bits.groupby([*runs, "language"], sort=False):
        record.metric("bits_per_byte", statistics.ratio(rows["bits"], rows["bytes"]), "bits/byte",
                      **dict(zip([*runs, "language"], key)))
    for key, rows in translated.groupby([*runs, "direction"], sort=False):
        value, signature = measure.chrf(rows["hypothesis"], rows["reference"])
        record.metric("chrf", value, "chrF++", signature=signature, **dict(zip([*runs, "task"], key)))


def compare(record, retrieved, bits, translated, before: str, after: str):
    """Paired tests of two arms over the same items, `after` − `before`, each item averaged over the arm's seeds.

    Retrieval is averaged over layers and directions too. chrF++ is compared between the first seeds, since a corpus
    score has no item to average.
    """
    labels = {"arm": after, "against": before}
    hits, bits, firsts = (frame.rename(columns={"arm": "stage"}) for frame in (retrieved, bits, translated))
    hits = hits.groupby(["stage", "item"])["correct"].mean().reset_index().assign(task="retrieval")
    for _, change in measure.paired(hits, "correct", ["task"], before, after):
        record.metric("retrieval_accuracy_mean_difference", change, "share", **labels)
    bits = bits.groupby(["stage", "language", "item"])[["bits", "bytes"]].mean().reset_index()
    for where, change in measure.paired(bits, "bits", ["language"], before, after, weight="bytes"):
        record.metric("bits_per_byte_difference", change, "bits/byte", language=where["language"], **labels)
    firsts = firsts.drop_duplicates(["stage", "direction", "item"])
    for where, change in measure.paired_translations(firsts, before, after):
        record.metric("chrf_difference", change, "chrF++", task=where["task"], **labels)
