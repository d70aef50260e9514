"""Labels read from answers, and measures of generated text against references, item by item.

Label spellings that mean the same are one label: what `text.folded` makes equal, Persian and Latin digits among it, in
Persian also Arabic letters, `Option C`, `c` and `(C)`, ints and strings. An answer that cannot be read is invalid and
counts as wrong; none is dropped.
"""
import functools
import itertools
from collections import Counter
from types import SimpleNamespace

import numpy
import pandas
import regex

from lib.data import prompts, text

# Words that stand before a letter without changing what it names.
NAMED = regex.compile(r"^(?:the )?(?:correct |right )?(?:option|answer|choice|label|گزینه|پاسخ|جواب)ی?"
                      r"(?: ?(?:درست|صحیح))?(?: is|:| است)?\s+")
EDGES = regex.compile(r"^[\p{P}\p{S}\s]+|[\p{P}\p{S}\s]+$")
ARTICLES = {"en": {"a", "an", "the"}}
ROUGE = ("rouge1", "rouge2", "rougeL")


def spelling(value, language: str = "fa") -> str:
    """The one spelling of a label in a language: normalised and folded, no brackets, no `Option` before it."""
    string = EDGES.sub("", _plain(value, language))
    return EDGES.sub("", NAMED.sub("", string))


def gold(value, labels: dict[str, int]) -> int | None:
    """Index of a gold label; `labels` maps spellings to indices. None when it is not one of them."""
    return labels.get(spelling(value))


def label(answer: str, row) -> int | None:
    """Index of the choice that a generated answer to a choice row means, or None when it cannot be told.

    In this order: the whole answer is what was asked for (a letter, or a published form), a choice's text, another
    alphabet's letter, or a number from 1; it begins with one of these, texts apart; it holds exactly one choice's text.
    """
    language, asked = row["language"], _names(row)
    texts = _index(row["choices"], language)
    texts.pop("", None)
    found = {**asked, **texts, **_index(prompts.options(row), language)}.get(spelling(answer, language))
    if found is None:
        names = {name: index for name, index in asked.items() if name not in texts}
        found = _beginning(_plain(answer, language), names)
    return _contained(answer, row["choices"], language) if found is None else found


def words(string: str, language: str, parted: bool = True) -> list[str]:
    """Words as SQuAD's scorer compares them: no case, punctuation or articles; Persian spelling and digits unified.

    A ZWNJ parts words, so that `می‌روم` written with a space is the same; not `parted`, it is nothing (`میروم`).
    """
    return [word for word in _tokens(string, language, parted) if word not in ARTICLES.get(language, ())]


def exact(answer: str, references: list[str], language: str) -> bool:
    """Whether the answer's words are those of a reference, in the same order (Rajpurkar et al. 2016)."""
    return any(a == b for a, b in _readings(answer, references, language))


def f1(answer: str, references: list[str], language: str) -> float:
    """Best F1 of the answer's words over the references, 0 to 1 (Rajpurkar et al. 2016)."""
    return max(_overlap(a, b) for a, b in _readings(answer, references, language))


def rouge(answer: str, reference: str, language: str) -> dict[str, float]:
    """F of ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), 0 to 1; with `words`, since rouge_score's own keep a to z only."""
    from rouge_score import rouge_scorer  # brings NLTK, which takes a second to import
    tokenizer = SimpleNamespace(tokenize=functools.partial(words, language=language))
    scores = rouge_scorer.RougeScorer(ROUGE, tokenizer=tokenizer).score(reference, answer)
    return {name: scores[name].fmeasure for name in ROUGE}


def corpus_counts(metric, hypotheses, references) -> numpy.ndarray:
    """A metric's counts, array [counts, segments]: what sacrebleu sums before it scores.

    Raises ValueError unless there is one hypothesis a reference.
    """
    if len(hypotheses) != len(references) or len(references) == 0:
        raise ValueError(f"{type(metric).__name__} needs one hypothesis a reference, got {len(hypotheses)} and "
                         f"{len(references)}.")
    return numpy.array(metric._extract_corpus_statistics(list(hypotheses), [list(references)])).T


def of_counts(metric):
    """The function that maps a metric's summed counts, array [counts, draws], to scores [draws]."""
    def scores(sums):
        # Of few segments many draws are alike, and sacrebleu scores one at a time.
        different, place = numpy.unique(sums, axis=1, return_inverse=True)
        found = [metric._compute_score_from_stats(list(map(int, column))).score for column in different.T]
        return numpy.array(found)[place.ravel()]
    return scores


def judge(rows: pandas.DataFrame, hypotheses: list[str]) -> pandas.DataFrame:
    """One row an answer: item, benchmark, setting, task, language, category, flagged, hypothesis, invalid, measures.

    Measures by kind of task: `label` and `correct` for choices, `exact` and `f1` for reading comprehension, ROUGE for
    summaries, `reference` for translations (chrF++ and BLEU are of the corpus: `corpus_counts`). Invalid are choices that
    cannot be read and `foreign` texts; they are scored all the same. Raises ValueError unless there is one hypothesis a row.
    """
    if len(rows) != len(hypotheses):
        raise ValueError(f"{len(hypotheses)} answers cannot be matched with {len(rows)} rows.")
    return pandas.DataFrame([{"item": row["id"], **{name: row[name] for name in
                              ("benchmark", "setting", "task", "language", "category")},
                              "flagged": len(row["flags"]) > 0, "hypothesis": answer, **_measures(row, answer)}
                             for row, answer in zip(rows.to_dict("records"), hypotheses)])


def _measures(row: dict, answer: str) -> dict:
    if row["task"] not in prompts.PHRASES:
        found = label(answer, row)
        return {"invalid": found is None, "label": found, "correct": found == row["answer"]}
    language = row["to"] if row["task"] == "translation" else row["language"]
    measured = {"invalid": foreign(answer, row["text"], language, row["answer"]), "reference": row["answer"]}
    if row["task"] == "reading_comprehension":
        # An answer may be a number or a name in another script; only an empty one is invalid.
        references = row["answers"] if row["answers"] is not None else [row["answer"]]
        return {**measured, "invalid": not words(answer, language), "exact": exact(answer, references, language),
                "f1": f1(answer, references, language)}
    return {**measured, **(rouge(answer, row["answer"], language) if row["task"] == "summary" else {})}


def foreign(answer: str, source: str, language: str, reference: str) -> bool:
    """Whether a text is no answer: empty, a copy of its source, or `misscripted`."""
    return not text.words(answer) or answer.strip() == source.strip() or misscripted(answer, language, reference)


def misscripted(answer: str, language: str, reference: str) -> bool:
    """Whether a text is mostly in another script than the language's, which is the reference's where `text.LANGUAGES`
    does not know the language."""
    script = text.script(language) if language in text.LANGUAGES else text.writing([reference])
    return text.script_share(answer, script) < 0.5


def _plain(value, language: str) -> str:
    """The value's text as it is compared: in the language's letters, folded."""
    return text.folded(text.normalise(str(value), language))


def _tokens(value, language: str, parted: bool) -> list[str]:
    """Folded words; a ZWNJ parts them or is nothing, for people leave it out both ways."""
    return text.SIGNS.findall(_plain(str(value).replace(text.ZWNJ, " ") if parted else value, language))


def _readings(answer: str, references: list[str], language: str):
    """The words of the answer and of each reference, ZWNJ read both ways."""
    for reference, parted in itertools.product(references, (True, False)):
        yield words(answer, language, parted), words(reference, language, parted)


def _index(names, language: str) -> dict[str, int]:
    return {spelling(name, language): index for index, name in enumerate(names)}


def _names(row) -> dict[str, int]:
    """Spelling → index of everything but its text that names a choice; what was asked for wins.

    Numbers from 1 name choices only where no choice is a number.
    """
    count, language = len(row["choices"]), row["language"]
    numeric = any(spelling(choice, language).isdigit() for choice in row["choices"])
    sets = [[] if numeric else range(1, count + 1), prompts.letters("en")[:count], prompts.letters(language)[:count],
            prompts.options(row)]
    return {name: index for names in sets for name, index in _index(names, language).items()}


def _beginning(answer: str, names: dict[str, int]) -> int | None:
    """Index of the name that a plain answer begins with; a single letter, which may be a word, has to end in a sign."""
    string = EDGES.sub("", answer)
    inner = NAMED.sub("", string)
    for name in sorted(names, key=len, reverse=True):
        end = r"\s*[\p{P}\n]" if len(name) == 1 and inner == string else r"[\p{P}\s]"
        if inner.startswith(name) and regex.match(end, inner[len(name):]):
            return names[name]
    return None


def _contained(answer: str, choices, language: str) -> int | None:
    """Index of the only choice whose words stand in the answer, ZWNJ read either way; None for none or several."""
    found = set()
    for parted in (True, False):
        inside, *spelled = (f" {' '.join(_tokens(string, language, parted))} " for string in (answer, *choices))
        found |= {index for index, name in enumerate(spelled) if name.strip() and name in inside}
    return found.pop() if len(found) == 1 else None


def _overlap(answer: list[str], reference: list[str]) -> float:
    common = sum((Counter(answer) & Counter(reference)).values())
    return 2 * common / (len(answer) + len(reference)) if answer and reference else float(answer == reference)
