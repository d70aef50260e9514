"""Is an instruction new? Rouge-L against every pooled one, exact, without comparing with every pooled one.

Tokens are `scoring.words`, letter by letter in scripts that write no spaces (`text.words`). Rouge-L F of texts of n
and m tokens is 2·LCS / (n + m), so F ≥ t needs t·(n + m) / 2 tokens in common: most pairs are ruled out by an index of
rare tokens (prefix filter, Chaudhuri et al. 2006), which loses none; LCS of the rest is RapidFuzz's.
"""
import functools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable

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
    instructions = list(instructions)
    pool, found = Pool(language, threshold, instructions), []
    for instruction in instructions:
        found.append(pool.near(instruction) is not None)
        if not found[-1]:
            pool.add(instruction)
    return found


class Pool:
    """Instructions of one language; `near` finds the one that a new instruction is too like.

    `sample` are texts like those to come: they tell which tokens are rare, which changes the speed and nothing else.
    """

    def __init__(self, language: str, threshold: float = 0.7, sample: Iterable[str] = ()):
        self.language, self.threshold = language, threshold
        self.instructions, self._encoded, self._index = [], [], defaultdict(list)
        counts = Counter(item for string in sample for item in _numbered(tokens(string, language)))
        # Rare first; a token that the sample lacks comes before all others, in the order of its arrival.
        self._rank = {item: rank for rank, item in enumerate(sorted(counts, key=lambda item: (counts[item], item)))}
        self._unseen, self._letters = -1, {}

    def __len__(self) -> int:
        return len(self.instructions)

    def add(self, instruction: str):
        """Puts an instruction into the pool, whatever it is like."""
        found = tokens(instruction, self.language)
        for item in self._rare(found):
            self._index[item].append(len(self))
        self.instructions.append(instruction)
        self._encoded.append(self._spelled(found))

    def near(self, instruction: str) -> str | None:
        """The most similar pooled instruction with Rouge-L F at or above the threshold; None when there is none."""
        found = tokens(instruction, self.language)
        candidates = sorted({number for item in self._rare(found) for number in self._index.get(item, ())})
        spelled = self._spelled(found)
        # Indel's normalised similarity is 2·LCS / (n + m); at the very threshold rouge_score's rounding decides.
        close = process.extract(spelled, [self._encoded[number] for number in candidates], limit=None,
                                scorer=Indel.normalized_similarity, score_cutoff=self.threshold - ROUNDING)
        for other, _, place in close:
            if _f(LCSseq.similarity(spelled, other), len(spelled), len(other)) >= self.threshold:
                return self.instructions[candidates[place]]
        return None

    def _rare(self, found: tuple[str, ...]) -> list[tuple[str, int]]:
        """The rarest tokens, so many that a text with F ≥ threshold holds one of them among its own such tokens."""
        needed = math.ceil(self.threshold * len(found) / (2 - self.threshold) - ROUNDING)
        return sorted(_numbered(found), key=self._order)[:len(found) - needed + 1]

    def _order(self, item: tuple[str, int]) -> int:
        if item not in self._rank:
            self._rank[item], self._unseen = self._unseen, self._unseen - 1
        return self._rank[item]

    def _spelled(self, found: tuple[str, ...]) -> str:
        """Tokens as a string of one character each, which RapidFuzz compares fastest."""
        return "".join(chr(self._letters.setdefault(token, len(self._letters))) for token in found)


def _numbered(found: tuple[str, ...]) -> list[tuple[str, int]]:
    """Tokens with how often each stood before, so that a set of them counts repetitions."""
    seen, numbered = Counter(), []
    for token in found:
        numbered.append((token, seen[token]))
        seen[token] += 1
    return numbered


def _f(common: int, length: int, other: int) -> float:
    """F of Rouge-L from the length of the longest common subsequence, computed as rouge_score does."""
    return fmeasure(common / length, common / other) if length and other else 0.0
