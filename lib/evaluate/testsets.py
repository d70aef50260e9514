"""What is asked of every model: texts, translation pairs and items of the test split, the same for the same seed."""
import numpy
import pandas

from lib.data import minimal, public
from lib.engine import params

HELD = ["language", "register", "split", "text"]  # columns of `held_out`


def choose(items, tasks, count: int, longest: int, seed: int = 0) -> pandas.DataFrame:
    """At most `count` test items of each task and language with at most `longest` characters in question (or choice), the
    places of the right option by turns: else always the same answer may be right far more often than by chance.

    Without `tasks` every one is asked that the corpus has, and what is left out is told. Raises ValueError for a named
    task that has no such item.
    """
    test = items[(items["split"] == "test") & items["task"].isin(tasks or set(items["task"]))]
    read = [len(row.question or max(row.choices, key=len)) for row in test.itertuples()]
    short = test[numpy.array(read, int) <= longest]
    missing = ", ".join(sorted(set(tasks or test["task"]) - set(short["task"])))
    if tasks and missing:
        raise ValueError(f"No test item of {missing} has at most {longest} characters: raise longest_item, "
                         f"or choose among the corpus's tasks {', '.join(sorted(set(items['task'])))}.")
    if missing:
        print(f"Left out is {missing}, which has no test item of at most {longest} characters.")
    if not tasks and set(short["task"]) <= set(minimal.TASKS):
        print(params.lack("tests"))
    drawn = short.sample(frac=1, random_state=seed)
    turn = drawn.groupby(["task", "language", "answer"]).cumcount()
    return drawn.iloc[turn.argsort(kind="stable")].groupby(["task", "language"]).head(count)


def held_out(documents, language: str, size: int, excerpt: int = 1500, seed: int = 0, split: str = "test"):
    """Beginnings, `excerpt` characters at most, of test documents in a language: about `size` UTF-8 bytes in all.

    DataFrame(language, register, split, text). Many short texts rather than few long ones, since the interval rests on
    their number. Raises ValueError without any.
    """
    test = documents[(documents["split"] == split) & (documents["language"] == language)]
    if test.empty:
        raise ValueError(f"There is no {split} document in {language!r}: the corpus needs a held-out split of it.")
    texts = test.sample(frac=1, random_state=seed).reindex(columns=HELD)
    texts = texts.assign(text=texts["text"].str.slice(0, excerpt))
    before = texts["text"].map(lambda string: len(string.encode("utf8"))).cumsum().shift(fill_value=0)
    return texts[before < size].reset_index(drop=True)


def tested(documents, language: str) -> str:
    """The split that a language is tested on: English on text from outside, where the corpus has any, else on `test`.

    English of the training text's own kind would call it kept where a model has only learned to read manuals.
    """
    outside = documents["language"][documents["split"] == public.OUTSIDE]
    return public.OUTSIDE if language == "en" and "en" in set(outside) else "test"


def texts(documents, language: str, size: int, excerpt: int = 1500, seed: int = 0) -> pandas.DataFrame:
    """`held_out` texts of the language and of English (`tested`), where there are any."""
    known = set(zip(documents["language"], documents["split"]))
    wanted = dict.fromkeys([(language, "test"), _english(documents, language)])
    return pandas.concat([held_out(documents, code, size, excerpt, seed, split) for code, split in wanted
                          if code == language or (code, split) in known], ignore_index=True)


def _english(documents, language: str) -> tuple[str, str]:
    """Language and split of English as `texts` reads it; where English is what is learned, what is held out of it."""
    return "en", "test" if language == "en" else tested(documents, "en")


def controls(documents, language: str, size: int, excerpt: int = 1500, seed: int = 0) -> pandas.DataFrame:
    """The sets that `texts` leaves: the language from outside, and held-out English of the training text's kind."""
    rows = documents[documents["language"].isin([language, "en"]) & documents["split"].isin(["test", public.OUTSIDE])]
    left = {*zip(rows["language"], rows["split"])} - {(language, "test"), _english(documents, language)}
    found = [held_out(documents, code, size, excerpt, seed, split) for code, split in sorted(left)]
    return pandas.concat([pandas.DataFrame(columns=HELD), *found], ignore_index=True)


def sentences(pairs, count: int, longest: int, seed: int = 0) -> pandas.DataFrame:
    """At most `count` test pairs whose sides have at most `longest` characters (told if none); no two share a sentence.

    They are from outside the corpus where there are any.
    """
    test = pairs[pairs["split"] == (public.OUTSIDE if public.OUTSIDE in set(pairs["split"]) else "test")]
    sizes = [max(map(len, pair)) for pair in zip(test["english"], test["target"])]
    short = test[numpy.array(sizes, int) <= longest]
    if len(test) and short.empty:
        print(f"None of {len(test)} held-out pairs has at most {longest} characters: raise longest_pair to have any.")
    return short.drop_duplicates("english").drop_duplicates("target").sample(frac=1, random_state=seed).head(count)
