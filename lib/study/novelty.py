"""Is an instruction new? Rouge-L against every pooled one, exact, by RapidFuzz.

Tokens are `scoring.words`, letter by letter in scripts that write no spaces (`text.words`). 10,000 instructions take a few
seconds (`benchmarks/pool.py`).
"""
from collections.abc import Iterable, Sequence

from rapidfuzz import process
from rapidfuzz.distance import Indel, LCSseq
from rouge_score.scoring import fmeasure

from lib.data import text
from lib.evaluate import scoring

ROUNDING = 1e-9


def tokens(string: str, language: str) -> tuple[str, ...]:
    """Words without case and punctuation, Persian spelling unified; letter by letter where a script has no spaces."""
    return tuple(token for word in scoring.words(string, language) for token in text.words(word))


def rouge_l(a: str, b: str, language: str) -> float:
    """Rouge-L F (Lin 2004) of two texts over `tokens`, 0 to 1; the same number as rouge_score gives."""
    return _f(tokens(a, language), tokens(b, language))


class Pool:
    """Instructions of one language; `near` finds the one that a new instruction is too like."""

    def __init__(self, language: str, threshold: float = 0.7, instructions: Iterable[str] = ()):
        self.language, self.threshold, self.instructions = language, threshold, []
        self._spelled, self._letters = [], {}
        for instruction in instructions:
            self.add(instruction)

    def add(self, instruction: str):
        """Puts an instruction into the pool, whatever it is like."""
        self.instructions.append(instruction)
        self._spelled.append(self._spell(instruction))

    def near(self, instruction: str) -> str | None:
        """The most similar pooled instruction with Rouge-L F at or above the threshold; None when there is none."""
        spelled = self._spell(instruction)
        # Indel's normalised similarity is 2·LCS / (n + m); at the very threshold rouge_score's rounding decides.
        close = process.extract(spelled, self._spelled, limit=None, scorer=Indel.normalized_similarity,
                                score_cutoff=self.threshold - ROUNDING)
        return next((self.instructions[place] for other, _, place in close if _f(spelled, other) >= self.threshold), None)

    def near_or_new(self, instruction: str) -> str | None:
        """`near`, or None and the instruction is in the pool."""
        found = self.near(instruction)
        if found is None:
            self.add(instruction)
        return found

    def _spell(self, instruction: str) -> str:
        """Tokens as a string of one character each, which RapidFuzz compares fastest."""
        return "".join(chr(self._letters.setdefault(token, len(self._letters)))
                       for token in tokens(instruction, self.language))


def _f(a: Sequence[str], b: Sequence[str]) -> float:
    """F of Rouge-L of two sequences of tokens, computed as rouge_score does."""
    common = LCSseq.similarity(a, b)
    return fmeasure(common / len(a), common / len(b)) if a and b else 0.0
