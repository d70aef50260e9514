"""Rows made from the corpus in the form of the published benchmarks: what is asked where their files are not at hand.

They come from held-out text only. None is a published benchmark; `benchmarks.COLUMNS` says what a row holds.
"""
import pandas

from lib.data import corpus, prompts
from lib.evaluate import benchmarks

BENCHMARK, TRANSLATION, LINES = "derived items", "translation choice", "numbered lines"
TRANSLATION_TASK = "translation_mcq"
OPTIONS, SHOWN_LINES = 4, 3
SAME_ITEMS = "emoji_mcq"  # its phrases name the same symbols in both languages: one is the other's translation


def tests(items: pandas.DataFrame, pairs: pandas.DataFrame, language: str, settings: list[str], texts: list[str],
          split: str = "test") -> pandas.DataFrame:
    """Choice rows by setting: the learned language (whatever else it is called), `en`, and `translate-test`.

    The last asks what the learned language's rows ask, in English, where the corpus has a phrase in both. With
    `translation` among `texts` also the pairs, to be answered in words.
    """
    held = items[items["split"] == split]
    found = []
    for setting in settings:
        code = {"en": "en", "translate-test": "en"}.get(setting, language)
        rows = _translated(held, language) if setting == "translate-test" else held[held["language"] == code]
        found.append(_choices(rows, setting if code == "en" else code, code))
        if "translation" in texts and setting != "translate-test":
            found.append(_texts(pairs[pairs["split"] == split], code, language))
    return pandas.concat(found, ignore_index=True)


def training(items: pandas.DataFrame, language: str) -> pandas.DataFrame:
    """The training items in a language as rows to tune on, as `benchmarks.training` gives them."""
    rows = items[(items["split"] == "train") & (items["language"] == language)]
    return _choices(rows, language, language).assign(source="derived from the corpus")


def note(record, known: pandas.DataFrame):
    """What the tests hold, setting by setting and task by task, as `benchmarks.note` says it of files."""
    for (setting, task), rows in known.groupby(["setting", "task"], sort=False):
        benchmarks.note_file(record, rows, setting=setting, task=task, file=f"corpus: {setting}, {task}")


def exam(items, multiway, language: str, count: int, longest_question: int, passages: int, longest_passage: int,
         seed: int):
    """Choice rows, `count` of each task, and `passages` with numbered lines, in a language: two frames."""
    rows = tests(items, pandas.DataFrame(), language, [language], [])
    short = rows[rows["text"].str.len() <= longest_question].sample(frac=1, random_state=seed)
    short = short.assign(category=short["task"]).groupby("task", sort=True).head(count).sort_values("category")
    read, _ = questions(multiway, [language], passages, longest_passage, seed)
    return short.reset_index(drop=True), read[read["language"] == language].drop(columns="item")


def translations(multiway: pandas.DataFrame, languages: list[str], count: int, longest: int, seed: int):
    """Which sentence translates the English one? The same held-out multi-way items in every language, a row each.

    Options have at most `longest` characters, the wrong ones from other items. Languages that the items lack are left
    out; where all are, every language that they have is asked.
    """
    codes = [code for code in languages if code in multiway and code != "en"] or corpus.foreign(multiway)
    drawn, found = _drawn(multiway, ["en", *codes], longest, seed), []
    for number, row in enumerate(drawn.head(count).to_dict("records") if len(drawn) >= OPTIONS else ()):
        others = [other for other in (drawn.iloc[(number + step) % len(drawn)] for step in range(1, OPTIONS))]
        for code in codes:
            choices = [other[code] for other in others]
            choices.insert(number % OPTIONS, row[code])
            found.append({"id": f"{TRANSLATION_TASK}/{code}/{row['item']}", "benchmark": TRANSLATION, "setting": code,
                          "task": TRANSLATION_TASK, "language": code, "choices": choices, "answer": number % OPTIONS,
                          "text": prompts.pair_prompt(row["en"], f"en-{code}")})
    return benchmarks.framed(found)


def questions(multiway: pandas.DataFrame, languages: list[str], count: int, longest: int, seed: int):
    """What stands in a numbered line? Passages of three held-out sentences, the same in every language.

    Answered in words of the passage, of at most `longest` characters: two frames, rows to ask and one a language to show.
    """
    codes = [code for code in languages if code in multiway] or ["en"]
    drawn = _drawn(multiway, codes, longest // SHOWN_LINES - 8, seed)
    groups = [drawn.iloc[at:at + SHOWN_LINES] for at in range(0, len(drawn) - SHOWN_LINES + 1, SHOWN_LINES)]
    rows = [_lines(group[code].tolist(), number, code) for number, group in enumerate(groups[:count + 1])
            for code in codes]
    made = benchmarks.framed(rows).assign(item=[row["id"].rsplit("/", 1)[1] for row in rows])
    return made[made["item"] != "0"].reset_index(drop=True), made[made["item"] == "0"].reset_index(drop=True)


def _choices(rows: pandas.DataFrame, setting: str, code: str) -> pandas.DataFrame:
    """Items of the corpus as task rows of a setting, as if published: input the question, output the letter."""
    letters = prompts.letters(code)
    return benchmarks.framed({"id": f"{setting}/{row['task']}/{row.get('pair', row['id'])}", "benchmark": BENCHMARK,
                             "setting": setting, "task": row["task"], "language": code, "text": row["question"],
                             "choices": list(row["choices"]), "answer": int(row["answer"]),
                             "input": row["question"], "output": letters[int(row["answer"])]}
                            for row in rows.to_dict("records"))


def _translated(held: pandas.DataFrame, language: str) -> pandas.DataFrame:
    """The learned language's phrases with the English phrase for the same symbol as their question."""
    rows = held[(held["task"] == SAME_ITEMS) & held["language"].isin(["en", language])]
    right = [row["choices"][row["answer"]] for row in rows.to_dict("records")]
    rows = rows.assign(right=right)
    english = rows[rows["language"] == "en"].drop_duplicates("right").set_index("right")["question"]
    own = rows[(rows["language"] == language) & rows["right"].isin(english.index)]
    return own.assign(question=own["right"].map(english), pair=own["id"])


def _texts(pairs: pandas.DataFrame, code: str, language: str) -> pandas.DataFrame:
    """Translation pairs as rows to answer in words, from a language into the other."""
    direction = f"en-{language}" if code == "en" else f"{language}-en"
    found = [{"id": f"{code}/translation/{row['id']}", "benchmark": BENCHMARK, "setting": code,
              **prompts.translation(row["english"], row["target"], direction)} for row in pairs.to_dict("records")]
    return benchmarks.framed({**row, "answers": [row["answer"]], "input": row["text"], "output": row["answer"]}
                            for row in found)


def _drawn(multiway: pandas.DataFrame, codes: list[str], longest: int, seed: int) -> pandas.DataFrame:
    """Held-out multi-way items, each sentence once, none of more than `longest` characters, in the seed's order."""
    held = multiway[multiway["split"] == "test"]
    short = held[held[codes].map(len).max(axis=1) <= longest] if len(held) else held
    for code in codes:
        short = short.drop_duplicates(code)
    return short.iloc[short["item"].map(lambda item: corpus.digest(seed, item)).argsort()].reset_index(drop=True)


def _lines(sentences: list[str], number: int, code: str) -> dict:
    numbered = [f"{place}. {sentence}" for place, sentence in enumerate(sentences, 1)]
    asked = number % SHOWN_LINES
    return {"id": f"{LINES}/{code}/{number}", "benchmark": LINES, "setting": code, "language": code,
            "task": "reading_comprehension", "text": "\n".join([*numbered, f"{asked + 1}."]),
            "answer": sentences[asked], "answers": [sentences[asked]]}
