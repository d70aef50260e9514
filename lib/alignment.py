"""Bilingual pretraining: its streams of text, and the scores that tell whether two languages have moved together."""
from typing import NamedTuple

import pandas

from lib import evaluation, models, prompts, statistics


class Items(NamedTuple):
    """Held-out items that every model is scored on: pairs (english, target), and texts by language for bits per byte."""

    language: str
    pairs: pandas.DataFrame
    translated: int
    texts: dict[str, list[str]]

    def asked(self, direction: str) -> tuple[list[str], list[str]]:
        """Sentences to translate in a direction, and their references."""
        english, target = (self.pairs[column].head(self.translated).tolist() for column in ("english", "target"))
        return (english, target) if direction.startswith("en-") else (target, english)


class Scores(NamedTuple):
    """What one model did, item by item: retrieval frame, bits frames by language, translations by direction."""

    retrieval: pandas.DataFrame
    bits: dict[str, pandas.DataFrame]
    translations: dict[str, list[str]]


def streams(documents, pairs, language: str) -> dict[str, list[str]]:
    """Training texts of the mixture: `<language>` and `en`, and `pairs`, where a pair is a document in each direction."""
    documents, pairs = documents[documents["split"] == "train"], pairs[pairs["split"] == "train"]
    return {**{code: documents.loc[documents["language"] == code, "text"].tolist() for code in (language, "en")},
            "pairs": [prompts.pair_document(pair.english, pair.target, direction, language)
                      for pair in pairs.itertuples() for direction in prompts.directions(language)]}


def shares(arm: str, language: str, pair_share: float, replay: float) -> dict[str, float]:
    """Shares of bytes of each stream in an arm; the replay is the same in both. Raises ValueError for an unknown arm."""
    if arm not in ("pairs", "no-pairs"):
        raise ValueError(f"Arm {arm!r} is unknown: choose pairs or no-pairs.")
    given = {"pairs": pair_share, "en": replay} if arm == "pairs" else {"en": replay}
    return {**given, language: 1 - sum(given.values())}


def held_out(documents, pairs, language: str, sizes: dict, seed: int) -> Items:
    """Draws the test items: `sizes` holds pairs, longest (characters), translations, documents, characters.

    No two pairs share a sentence. Raises ValueError when fewer than two pairs are short enough.
    """
    short = pairs[pairs[["english", "target"]].map(len).max(axis=1) <= sizes["longest"]]
    test = short[short["split"] == "test"].drop_duplicates("english").drop_duplicates("target")
    if len(test) < 2:
        raise ValueError(f"{len(test)} held-out pairs have at most {sizes['longest']} characters: raise longest_pair.")
    test = test.sample(min(sizes["pairs"], len(test)), random_state=seed).reset_index(drop=True)
    drawn = documents[documents["split"] == "test"].sample(frac=1, random_state=seed)
    texts = {code: drawn.loc[drawn["language"] == code, "text"].head(sizes["documents"]).str[:sizes["characters"]].tolist()
             for code in (language, "en")}
    return Items(language, test, min(sizes["translations"], len(test)), texts)


def score(folder, items: Items, max_new_tokens: int) -> Scores:
    """Scores of the model in a folder: retrieval at every layer, bits per byte, greedy translations of one line."""
    model, tokenizer = models.load(folder), models.tokenizer(folder)
    retrieval = evaluation.retrieval(model, tokenizer, items.pairs["english"].tolist(), items.pairs["target"].tolist())
    bits = {code: evaluation.bits_per_byte(model, tokenizer, texts) for code, texts in items.texts.items()}
    translations = {}
    for direction in prompts.directions(items.language):
        asked = [prompts.begin_document(tokenizer, prompts.pair_prompt(text, direction, items.language))
                 for text in items.asked(direction)[0]]
        answers = evaluation.generate(model, tokenizer, asked, max_new_tokens)
        translations[direction] = [answer.partition("\n")[0] for answer in answers]
    return Scores(retrieval, bits, translations)


def note(record, scores: Scores, items: Items, **labels):
    """Puts a model's scores into the record, each with n and interval; `labels` say which arm and seed."""
    for (layer, direction), hits in scores.retrieval.groupby(["layer", "direction"], sort=False)["correct"]:
        record.metric("retrieval_accuracy", statistics.wilson(hits.sum(), len(hits)), "share", layer=layer,
                      task=direction, **labels)
    record.metric("retrieval_accuracy_mean", statistics.mean(_hits([scores])), "share", **labels)
    for language, frame in scores.bits.items():
        record.metric("bits_per_byte", statistics.ratio(frame["bits"], frame["bytes"]), "bits/byte", language=language,
                      **labels)
    for direction, answers in scores.translations.items():
        value, signature = evaluation.chrf(answers, items.asked(direction)[1])
        record.metric("chrf", value, "chrF++", task=direction, signature=signature, **labels)


def compare(record, before: list[Scores], after: list[Scores], items: Items, **labels):
    """Paired tests of two arms over the same items, `after` − `before`, each item averaged over the arm's seeds.

    chrF++ is compared for the first seed of each, since a corpus score has no item to average.
    """
    record.metric("retrieval_accuracy_mean_difference", statistics.difference(_hits(before), _hits(after)), "share", **labels)
    for language, frame in before[0].bits.items():
        a, b = (sum(scores.bits[language]["bits"] for scores in arm) / len(arm) for arm in (before, after))
        record.metric("bits_per_byte_difference", statistics.difference(a, b, frame["bytes"]), "bits/byte",
                      language=language, **labels)
    for direction, answers in before[0].translations.items():
        gain = evaluation.chrf_difference(answers, after[0].translations[direction], items.asked(direction)[1])
        record.metric("chrf_difference", gain, "chrF++", task=direction, **labels)


def _hits(arm: list[Scores]) -> pandas.Series:
    """Share of layers, directions and seeds in which each item found its translation."""
    return pandas.concat([scores.retrieval for scores in arm]).groupby("item")["correct"].mean()
