"""A dictionary from new pieces to the base's tokens, learned from translation pairs."""
import numpy
from scipy import sparse
from transformers import PreTrainedTokenizerFast

from lib.model.tokenizer import encode

ROUNDS = 8  # of expectation maximisation; the likelihood hardly moves after five
LONGEST = 80  # tokens of a sentence that are read
PAIRS = 20_000  # that are read: enough for frequent words, a few seconds, 1 GB at most


def learn(pairs, base: PreTrainedTokenizerFast, tokenizer: PreTrainedTokenizerFast):
    """Probability of each of the base's tokens as translation of each new piece, by IBM model 1 (Brown et al. 1993).

    `pairs` are (English, target) sentences; `tokenizer` continues the ids of `base`. Returns a sparse matrix
    [new pieces, ids of the base] whose rows sum to 1, or to 0 for a piece in no pair, and how often each piece was seen.
    """
    size, known = len(tokenizer) - len(base), len(base)
    place, piece, token = _candidates(list(pairs)[:PAIRS], base, tokenizer)
    kinds, kind = numpy.unique(piece * known + token, return_inverse=True)
    pieces, tokens = kinds // known, kinds % known
    chance = numpy.ones(len(kinds))
    for _ in range(ROUNDS):
        weight = chance[kind]
        weight /= numpy.bincount(place, weight)[place]
        count = numpy.bincount(kind, weight, len(kinds))
        chance = count / numpy.bincount(tokens, count, known)[tokens]
    seen = numpy.bincount(pieces, count, size)
    return sparse.csr_matrix((count / seen[pieces], (pieces, tokens)), shape=(size, known)), seen


def _candidates(pairs, base, tokenizer):
    """Three equal arrays: each new piece at its place in the corpus, beside each English token of the same pair."""
    english = encode(base, [" " + source for source, _ in pairs])
    target = encode(tokenizer, [" " + other for _, other in pairs])
    found, places = [], 0
    for ours, theirs in zip(english, target):
        ours = numpy.array(ours[:LONGEST], dtype=numpy.int64)
        theirs = numpy.array([number - len(base) for number in theirs[:LONGEST] if number >= len(base)], numpy.int64)
        spots = places + numpy.arange(len(theirs))
        found.append((spots.repeat(len(ours)), theirs.repeat(len(ours)), numpy.tile(ours, len(theirs))))
        places += len(theirs)
    return map(numpy.concatenate, zip(*found)) if found else [numpy.zeros(0, numpy.int64)] * 3
