"""The exam of many languages: what every model is asked, drawn once, and its answers.

All answers come in one frame, a row an item: the run's own columns, task (choice, reading_comprehension, translation,
right answer, text), benchmark, language (of a translation: its direction), asked, item, and what the task is measured by; a
right answer and a text by their code_length in bits over their bytes. The same items are asked in every language where a
benchmark has them, so averages over languages resample whole items.
"""
from pathlib import Path
from typing import NamedTuple

import pandas
import regex

from lib.data import corpus, prompts
from lib.evaluate import benchmarks, derived, harness, measure

ACCURACIES = {"metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}, {"metric": "acc_mutual_info"}]}
# The harness' names → the benchmark's; a language is called as in the rest of this companion.
NAMES = {"xnli": "XNLI", "paws": "PAWS-X", "xwinograd": "XWinograd", "xcopa": "XCOPA", "flores": "FLORES",
         "belebele": "Belebele"}
CODES = {"jp": "ja", "eng": "en", "pes": "fa", "arb": "ar", "hin": "hi", "swh": "sw", "urd": "ur", "zho": "zh"}
ASKED = ("zero-shot", "one-shot")
NOTHING = benchmarks.framed([])


class Exam(NamedTuple):
    """What every model is asked, and how: XCOPA in some languages and further choice and translation tasks of the harness
    (the first `items` of each, a base `one_shot` of them behind a demonstration too), choices `made` from the corpus, rows
    by the `letters` of their options, rows `spoken` in words, behind those `shown` to a base as it is, rows whose right answer
    is only `weighed`, and `texts` (language, item, text) that are only read."""

    xcopa: list[str]
    harness_tasks: list[str]
    items: int
    made: pandas.DataFrame
    spoken: pandas.DataFrame
    shown: pandas.DataFrame
    style: str
    max_new_tokens: int
    batch_size: int
    seed: int
    letters: pandas.DataFrame = NOTHING
    texts: pandas.DataFrame = pandas.DataFrame(columns=["language", "item", "text"])
    translation_tasks: list[str] = []
    one_shot: int = 0
    weighed: pandas.DataFrame = NOTHING


def asked(exam: Exam) -> set[str]:
    """Strings of everything that an exam asks: nothing that is tuned on may give one away."""
    rows = pandas.concat([exam.made, exam.letters, exam.spoken, exam.weighed])
    tasks = [harness.asked(list(own), own, places) for own, places in _tasks(exam)]
    return benchmarks.asked(rows).union(exam.texts["text"], harness.asked(exam.translation_tasks), *tasks)


def answers(exam: Exam, model, tokenizer, run, out: Path) -> pandas.DataFrame:
    """Everything that the model of a run (its `name`, and `instructions`, `none` for a base as it is) is asked, answered.

    The harness' samples lie in `out`.
    """
    untuned, place = run.instructions == "none", out / run.name
    found = [choices(exam, model, tokenizer, place, untuned), _by_letter(exam, model, tokenizer, place),
             _by_hub(exam, model, tokenizer, place), _read(exam, model, tokenizer), _spoken(exam, model, tokenizer, untuned),
             _weighed(exam, model, tokenizer)]
    found = pandas.concat([part for part in found if len(part)], ignore_index=True)
    return found.assign(**run._asdict()).astype({"item": str})


def choices(exam: Exam, model, tokenizer, place: Path, untuned: bool) -> pandas.DataFrame:
    """Choices by likelihood: XCOPA in the languages from its files, and the tasks of the harness by hub.

    The first `items` of each; those of the first `one_shot` are asked behind a demonstration too when the model is a base
    as it is. Then those made from the corpus, if any. acc is by the sum of the log-likelihoods, acc_norm by that over the
    characters.
    """
    found, shots = [], [(0, exam.items)] + [(1, exam.one_shot)] * (exam.one_shot > 0 and untuned)
    for number, limit in shots:
        for own, places in _tasks(exam):
            rows = harness.named(model, tokenizer, list(own), place / ASKED[number], limit, exam.batch_size, number, exam.seed,
                                 own, places)
            found.append(_wide(rows).assign(asked=ASKED[number]))
    if len(exam.made):
        rows = harness.score(model, tokenizer, exam.made, place / "made", "document", exam.batch_size)
        rows = rows.assign(item=rows["item"].str.rsplit("/", n=1).str[1], benchmark=exam.made["benchmark"].iloc[0])
        found.append(rows[["benchmark", "language", "item", "choices", "acc", "acc_norm", "margin"]].assign(asked=ASKED[0]))
    return pandas.concat(found).assign(task="choice") if found else NOTHING


def questions(languages: list[str], count: int, longest: int, seed: int) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """XQuAD's questions on passages of at most `longest` characters with question, the same in every language.

    `count` a language, the passages by turns, and one question a language on another passage to be shown: two frames
    of task rows. Raises ValueError when no two passages are that short.
    """
    frames = [benchmarks.xquad(code) for code in languages]
    found = pandas.concat([frame.assign(item=frame["id"].str.rsplit("/", n=1).str[1]) for frame in frames])
    lengths = found["text"].str.len().groupby(found["item"]).max()
    found = found[found["item"].map(lengths) <= longest]
    first = found[found["language"] == languages[0]]
    passages = first["text"].str.rsplit("\n", n=1).str[0]
    order = sorted(set(passages), key=lambda text: corpus.digest(seed, text))
    if len(order) < 2:
        raise ValueError(f"XQuAD has {len(order)} passages of at most {longest} characters in {', '.join(languages)}, "
                         "and one is shown, one asked: raise longest_passage.")
    spread = first.assign(passage=passages.map(order.index), turn=first.groupby(passages).cumcount())
    spread = spread.sort_values(["turn", "passage"])
    shown = spread.loc[spread["passage"] == 0, "item"].head(1)
    asked = spread.loc[spread["passage"] > 0, "item"].head(count)
    _tell(len(asked), count, "questions", "longest_passage")
    return tuple(found[found["item"].isin(items)].reset_index(drop=True) for items in (asked, shown))


def passages(lacking: list[str], multiway, languages: list[str], count: int, longest: int, seed: int):
    """XQuAD's `questions`, or where its files are `lacking` those on numbered lines of the corpus: two frames."""
    if benchmarks.XQUAD in lacking:
        return derived.questions(multiway, languages, count, longest, seed)
    return questions(languages, count, longest, seed)


def choosing(lacking: list[str], multiway, languages: list[str], count: int, longest: int, seed: int):
    """What is chosen among: the languages of XCOPA and no rows, or where its files are `lacking` none and rows made."""
    if benchmarks.XCOPA in lacking:
        return [], derived.translations(multiway, languages, count, longest, seed)
    return languages, benchmarks.framed([])


def translations(multiway, languages: list[str], count: int, longest: int, seed: int):
    """Translations of the same test sentences from and into English, and one validation sentence a direction to show.

    Two frames of task rows, empty of a corpus without multi-way items; no sentence has more than `longest` characters in
    any of the languages. Raises ValueError for a language that the items lack, or when no sentence is left.
    """
    if multiway.empty:
        return benchmarks.framed([]), benchmarks.framed([])
    _have(multiway, languages)
    lengths = multiway[["en", *languages]].map(len).max(axis=1)
    drawn = multiway[lengths <= longest].drop_duplicates("en").sample(frac=1, random_state=seed)
    parts = [drawn[drawn["split"] == split].head(number) for split, number in (("test", count), ("validation", 1))]
    if parts[0].empty:
        raise ValueError(f"No multi-way test item has at most {longest} characters: raise longest_sentence.")
    _tell(len(parts[0]), count, "sentences to translate", "longest_sentence")
    return tuple(_translations(part, languages) for part in parts)


def texts(multiway: pandas.DataFrame, documents: pandas.DataFrame, languages: list[str], count: int, longest: int,
          seed: int) -> pandas.DataFrame:
    """The same held-out multi-way sentences in every language: language, item, text.

    No sentence has more than `longest` characters in any language. A corpus without such items gives the beginnings of
    held-out documents, other ones in every language. Raises ValueError for a language that the multi-way items lack, or
    when no sentence is left.
    """
    if multiway.empty:
        held = documents[(documents["split"] == "test") & documents["language"].isin(languages)]
        drawn = held.sample(frac=1, random_state=seed).groupby("language").head(count)
        return drawn.assign(item=drawn["id"], text=drawn["text"].str.slice(0, longest))[["language", "item", "text"]]
    _have(multiway, languages)
    short = multiway[(multiway["split"] == "test") & (multiway[languages].map(len).max(axis=1) <= longest)]
    if short.empty:
        raise ValueError(f"No multi-way test item has at most {longest} characters: raise longest_text.")
    drawn = short.drop_duplicates("en").sample(frac=1, random_state=seed).head(count)
    _tell(len(drawn), count, "sentences", "longest_text")
    return drawn.melt("item", languages, "language", "text")[["language", "item", "text"]]


def language_of(name: str) -> str:
    """The language that a task's name ends in, or the direction; COPA is the English XCOPA."""
    name = regex.sub(r"_[A-Z][a-z]{3}$", "", name)  # Belebele's names have the script behind the language
    found = regex.search(r"[a-z]{2}-[a-z]{2}$", name) or regex.search(r"[^_]+$", name)
    code = "en" if name == "copa" else found[0]
    return CODES.get(code, code)


def _by_letter(exam: Exam, model, tokenizer, place: Path) -> pandas.DataFrame:
    """Choices by the likelihood of an option's letter in the prompt of instruction tuning."""
    if exam.letters.empty:
        return NOTHING
    chat = prompts.dress(tokenizer, exam.style)
    found = harness.score(model, chat, exam.letters, place / "letters", "chat", exam.batch_size)
    found = found.rename(columns={"task": "category"})
    name = "released tests" if (exam.letters["benchmark"] == "Llama-Persian").all() else derived.BENCHMARK
    return found.assign(task="choice", benchmark=name, asked=ASKED[0])


def _by_hub(exam: Exam, model, tokenizer, place: Path) -> pandas.DataFrame:
    """Translations of the harness' own tasks by hub (FLORES+ and others), asked as a document of every run."""
    if not exam.translation_tasks:
        return NOTHING
    found = harness.named(model, tokenizer, exam.translation_tasks, place / "translation", exam.items, exam.batch_size)
    found = found[found["answer"].notna()].drop_duplicates(["task", "item"])
    return found.assign(benchmark=found["task"].map(_benchmark), language=found["task"].map(language_of), task="translation",
                        hypothesis=[answer.split("\n")[0].strip() for answer in found["answer"]], asked=ASKED[0])


def _read(exam: Exam, model, tokenizer) -> pandas.DataFrame:
    """Code length and bytes of the sentences that are only read."""
    if exam.texts.empty:
        return NOTHING
    found = measure.read(model, tokenizer, exam.texts).rename(columns={"bits": "code_length"})
    return found.assign(task="text", benchmark="plain text")


def _spoken(exam: Exam, model, tokenizer, untuned: bool) -> pandas.DataFrame:
    """Answers in words: a base goes on with a document behind what is shown, a tuned model is asked in its prompt."""
    if exam.spoken.empty:
        return NOTHING
    tokenizer = tokenizer if untuned else prompts.dress(tokenizer, exam.style)
    found = measure.answer(model, tokenizer, exam.spoken, exam.max_new_tokens, exam.shown if untuned else None)
    # Not the same for tuned models and others.
    manner = ASKED[0] if exam.shown.empty else "one-shot untuned, zero-shot tuned"
    return found.assign(language=found["setting"], asked=manner, item=found["item"].str.rsplit("/", n=1).str[-1])


def _weighed(exam: Exam, model, tokenizer) -> pandas.DataFrame:
    """How likely the right answers are, as code length and bytes, behind the prompt of instruction tuning: it tells models
    apart on far fewer questions than their own answers do."""
    if exam.weighed.empty:
        return NOTHING
    found = harness.gold(model, prompts.dress(tokenizer, exam.style), exam.weighed, exam.batch_size)
    return exam.weighed[["benchmark", "language"]].assign(
        item=exam.weighed["id"].str.rsplit("/", n=1).str[1], task="right answer", asked=ASKED[0],
        code_length=found["bits"], bytes=found["bytes"])


def _tell(found: int, wanted: int, what: str, limit: str):
    """Says in a line where there are fewer than wanted."""
    if found < wanted:
        print(f"Of {wanted} {what} there are {found}, for no more are short enough: raise {limit} to have them.")


def _have(multiway: pandas.DataFrame, languages: list[str]):
    """Raises ValueError for languages that the multi-way items lack."""
    if missing := sorted(set(languages) - set(multiway.columns)):
        raise ValueError(f"The multi-way items have no {', '.join(missing)}: name it in multiway_languages of 01_corpus.")


def _tasks(exam: Exam) -> list[tuple]:
    """(settings by name, folders to look in): XCOPA in the languages from its files, and the harness' tasks by hub."""
    local = {f"xcopa_{code}": {**harness.files(benchmarks.xcopa(code)), **ACCURACIES} for code in exam.xcopa}
    found = (local, [harness.SHIPPED / "xcopa"]), ({name: ACCURACIES for name in exam.harness_tasks}, None)
    return [(own, places) for own, places in found if own]


def _wide(rows: pandas.DataFrame) -> pandas.DataFrame:
    """A row an item with both accuracies, from the harness' row a metric."""
    found = rows.pivot(index=["task", "item", "choices"], columns="metric", values="value").reset_index()
    return found.assign(benchmark=found["task"].map(_benchmark), language=found["task"].map(language_of)).drop(
        columns="task").rename_axis(columns=None)


def _benchmark(name: str) -> str:
    return "XCOPA" if name == "copa" else NAMES.get(regex.split("[_-]", name)[0], name)


def _translations(pairs: pandas.DataFrame, languages: list[str]) -> pandas.DataFrame:
    """Task rows of multi-way items, both directions of every language."""
    return benchmarks.framed({"id": f"{direction}/{pair['item']}", "benchmark": "multi-way items", "setting": direction,
                              **prompts.translation(pair["en"], pair[code], direction)}
                             for code in languages for direction in prompts.directions(code)
                             for pair in pairs.to_dict("records"))
