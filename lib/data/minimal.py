"""Minimal pairs: a sentence as it was written and the same with one fault, told apart by likelihood.

After BLiMP (Warstadt et al. 2020, arXiv 1912.00582): whoever knows the grammar finds the sentence likelier than its twin.
"""
import itertools
from collections.abc import Callable, Iterable, Iterator

import pandas

from lib.data import corpus, likeness, text
from lib.data.sources import Content

FEWEST, LONGEST = 5, 200  # words and characters of a sentence
MOST = 1000  # items of a task, language and split
Pair = tuple[str, str, str, str, str]  # task, language, split, sentence, the same with a fault


def derive(documents: pandas.DataFrame, content: Content, settings: corpus.Settings) -> list[Pair]:
    """The pairs of all TASKS: of texts from outside in the languages that have any, else of held-out ones.

    `word_order` swaps two neighbouring words (in scripts without spaces two letters), so that both sentences have the same
    characters; `spacing` leaves a zero-width non-joiner of Persian out; `agreement` has a verb of the other number and comes
    from a treebank. No sentence has a near twin in the training text; MOST of a task, language and split are taken.
    """
    outside = pandas.DataFrame(content.outside, columns=["language", "split", "text"], dtype="str").assign(split="test")
    own = documents[(documents["split"] != "test") | ~documents["language"].isin(outside["language"])]
    found = []
    documents = pandas.concat([own, outside], ignore_index=True)
    for language in documents["language"].unique():
        mine, drawn = documents["language"] == language, []
        lines = {split: _sentences(itertools.compress(documents["text"], mine & (documents["split"] == split)))
                 for split in sorted(documents["split"].unique())}
        training = lines.pop("train", ())
        for split, sentences in lines.items():
            ordered = sorted(set(sentences), key=corpus.digest)
            drawn += [(task, split, *pair) for task, fault in FAULTS.items() for pair in _drawn(ordered, fault)]
        leaked = likeness.twins([pair[2] for pair in drawn], training, settings.twin_threshold)
        found += [(task, language, *rest) for task, *rest in drawn if rest[1] not in leaked]
    return found + [("agreement", row["language"], "test", row["sentence"], row["fault"]) for row in content.agreement]


def _sentences(strings: Iterable[str]) -> Iterator[str]:
    return itertools.chain.from_iterable(map(text.sentences, strings))


def _drawn(sentences: list[str], fault: Callable[[str], str | None]) -> Iterator[tuple[str, str]]:
    pairs = ((sentence, fault(sentence)) for sentence in sentences if len(sentence) <= LONGEST)
    return itertools.islice((pair for pair in pairs if pair[1]), MOST)


def swap(sentence: str) -> str | None:
    """The sentence with two neighbouring words that differ swapped, at a place that never changes; None where none can be."""
    found = list(text.WORD.finditer(sentence))
    pairs = [(a, b) for a, b in zip(found, found[1:]) if sentence[a.end():b.start()] in ("", " ")
             and a[0].casefold() != b[0].casefold() and (a.start() or not a[0][0].isupper())]
    if len(found) < FEWEST or not pairs:
        return None
    a, b = pairs[int(corpus.digest(sentence), 16) % len(pairs)]
    return sentence[:a.start()] + b[0] + sentence[a.end():b.start()] + a[0] + sentence[b.end():]


def join(sentence: str) -> str | None:
    """The sentence without one of its zero-width non-joiners, at a place that never changes; None where it has none."""
    places = [place for place, sign in enumerate(sentence) if sign == text.ZWNJ]
    if not places or len(text.words(sentence)) < FEWEST:
        return None
    place = places[int(corpus.digest(sentence), 16) % len(places)]
    return sentence[:place] + sentence[place + 1:]


FAULTS = {"word_order": swap, "spacing": join}
TASKS = (*FAULTS, "agreement")
