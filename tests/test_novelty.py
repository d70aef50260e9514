"""The pool check gives rouge_score's verdicts, pair by pair, in every script, and loses no near duplicate."""
import random

import pytest
from rouge_score import rouge_scorer

from lib.study import novelty

WORDS = "write a short poem about the sea list three ways to save water explain why cats sleep translate this".split()
LETTERS = "東京の天気を教えてください日本で一番高い山は何"


class _Tokens:
    """rouge_score's tokenizer interface over the companion's tokens."""

    def __init__(self, language):
        self.language = language

    def tokenize(self, string):
        return list(novelty.tokens(string, self.language))


def _random(language, count, seed=0):
    """Sentences of few different tokens, some of them others with a token changed: many lie around the threshold."""
    draw, made = random.Random(seed), []
    tokens, gap = (WORDS, " ") if language == "en" else (LETTERS, "")
    for _ in range(count):
        if made and draw.random() < 0.5:
            old = draw.choice(made)
            made.append([token for token in old if draw.random() < 0.8] + draw.choices(tokens, k=draw.randint(0, 3)))
        else:
            made.append(draw.choices(tokens, k=draw.randint(1, 20)))
    return [gap.join(sentence) for sentence in made]


def test_tokens_follow_the_script():
    assert novelty.tokens("Write the POEM, now!", "en") == ("write", "poem", "now")
    assert novelty.tokens("می‌خواهم كتاب", "fa") == ("می", "خواهم", "کتاب")
    assert novelty.tokens("東京でPythonを書く", "ja") == ("東", "京", "で", "python", "を", "書", "く")
    assert novelty.tokens("ที่นี่", "th") == ("ที่", "นี่")


@pytest.mark.parametrize("language", ["en", "ja"])
def test_rouge_l_is_the_librarys(language):
    scorer, texts = rouge_scorer.RougeScorer(["rougeL"], tokenizer=_Tokens(language)), _random(language, 40)
    for a, b in zip(texts, texts[1:]):
        assert novelty.rouge_l(a, b, language) == scorer.score(a, b)["rougeL"].fmeasure


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("threshold", [0.5, 0.7, 1.0])
def test_verdicts_are_those_of_comparing_with_every_one(language, threshold):
    texts, pooled, expected = _random(language, 100, seed=1), [], []
    pool, found = novelty.Pool(language, threshold), []
    for text in texts:
        expected.append(any(novelty.rouge_l(text, other, language) >= threshold for other in pooled))
        found.append(pool.near_or_new(text) is not None)
        if not expected[-1]:
            pooled.append(text)
    assert found == expected and 3 < sum(expected) < 90 and pool.instructions == pooled


def test_the_very_threshold_counts_as_similar_as_rouge_score_rounds_it():
    pool = novelty.Pool("fa")
    pool.add("یک دو سه چهار پنج شش هفت هشت نه ده")
    same = "یک دو سه چهار پنج شش هفت"
    assert pool.near(f"{same} آب باد خاک") and not pool.near(f"{same} آب باد خاک نور")
    assert novelty.rouge_l(pool.instructions[0], f"{same} آب باد خاک", "fa") >= 0.7


def test_the_most_similar_is_named_and_nothing_is_like_no_words():
    pool = novelty.Pool("en")
    for text in ("Name two rivers in Asia", "Name two long rivers in Asia", "!!!"):
        pool.add(text)
    assert pool.near("name two long rivers of Asia") == "Name two long rivers in Asia"
    assert pool.near("?") is None and len(pool.instructions) == 3
