"""Is an instruction new? Rouge-L against every pooled one, exact, without comparing with every pooled one.

Tokens are `scoring.words`, letter by letter in scripts that write no spaces (`text.words`). Rouge-L F of texts of n
and m tokens is 2·LCS / (n + m), so F ≥ t needs t·(n + m) / 2 tokens in common: most pairs are ruled out by the sets of
their tokens, folded into 64 bits; LCS of the rest is RapidFuzz's. 20,000 instructions take four seconds.
"""
import functools
from array import array
from collections.abc import Iterable

import numpy
from rapidfuzz import process
from rapidfuzz.distance import Indel, LCSseq
from rouge_score.scoring import fmeasure

from lib.data import text
from lib.evaluate import scoring

ROUNDING = 1e-9


@functools.lru_cache(maxsize=100_000)
def tokens(string: str, language: str) -> tuple[str, ...]:
    """Words without case and punctuation, Persian spelling unified; letter by letter where a script has no spaces."""
    return tuple(token for word in scoring.words(string, language) for token in text.words(word))


def rouge_l(a: str, b: str, language: str) -> float:
    """Rouge-L F (Lin 2004) of two texts over `tokens`, 0 to 1; the same number as rouge_score gives."""
    first, second = tokens(a, language), tokens(b, language)
    return _f(LCSseq.similarity(first, second), len(first), len(second))


def repeats(instructions: Iterable[str], language: str, threshold: float = 0.7) -> list[bool]:
    """For each instruction, whether Rouge-L F with an earlier one that is none itself reaches the threshold."""
    pool, found = Pool(language, threshold), []
    for instruction in instructions:
        found.append(pool.near(instruction) is not None)
        if not found[-1]:
            pool.add(instruction)
    return found


class Pool:
    """Instructions of one language; `near` finds the one that a new instruction is too like."""

    def __init__(self, language: str, threshold: float = 0.7):
        self.language, self.threshold, self.instructions, self._letters = language, threshold, [], {}
        self._spelled, self._lengths, self._masks = [], array("q"), array("Q")

    def __len__(self) -> int:
        return len(self.instructions)

    def add(self, instruction: str):
        """Puts an instruction into the pool, whatever it is like."""
        spelled = self._spell(instruction)
        self.instructions.append(instruction)
        self._spelled.append(spelled)
        self._lengths.append(len(spelled))
        self._masks.append(_mask(spelled))

    def near(self, instruction: str) -> str | None:
        """The most similar pooled instruction with Rouge-L F at or above the threshold; None when there is none."""
        spelled = self._spell(instruction)
        places = self._candidates(len(spelled), _mask(spelled))
        # Indel's normalised similarity is 2·LCS / (n + m); at the very threshold rouge_score's rounding decides.
        close = process.extract(spelled, [self._spelled[place] for place in places], limit=None,
                                scorer=Indel.normalized_similarity, score_cutoff=self.threshold - ROUNDING)
        for other, _, found in close:
            if _f(LCSseq.similarity(spelled, other), len(spelled), len(other)) >= self.threshold:
                return self.instructions[places[found]]
        return None

    def _candidates(self, length: int, mask: int) -> numpy.ndarray:
        """Places of the instructions that may reach the threshold: a bit that the other lacks is a token out of the LCS."""
        lengths, masks = numpy.frombuffer(self._lengths, int), numpy.frombuffer(self._masks, numpy.uint64)
        mask = numpy.uint64(mask)
        common = numpy.minimum(length - numpy.bitwise_count(mask & ~masks).astype(int),
                               lengths - numpy.bitwise_count(masks & ~mask))
        return numpy.flatnonzero(2 * common >= (self.threshold - ROUNDING) * (length + lengths))

    def _spell(self, instruction: str) -> str:
        """Tokens as a string of one character each, which RapidFuzz compares fastest."""
        return "".join(chr(self._letters.setdefault(token, len(self._letters)))
                       for token in tokens(instruction, self.language))


def _mask(spelled: str) -> int:
    """The set of the tokens, folded into 64 bits."""
    return sum(1 << bit for bit in {ord(letter) % 64 for letter in spelled})


def _f(common: int, length: int, other: int) -> float:
    """F of Rouge-L from the length of the longest common subsequence, computed as rouge_score does."""
    return fmeasure(common / length, common / other) if length and other else 0.0
