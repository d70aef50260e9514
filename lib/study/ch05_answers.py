"""What a model's answers are worth before and after instruction tuning: valid, right, repeating, in the wrong language."""
import pandas

from lib.data import corpus, mixture, prompts, text
from lib.evaluate import harness, measure, scoring
from lib.study import contrast

NGRAM, MOST = 4, 0.3  # words of a run, and the share of runs said before from which an answer repeats itself
SHARES = ("valid", "right", "repeated", "wrong_language")
SCORES = {**{share: contrast.mean(share) for share in SHARES}, "bits_per_byte": contrast.BITS}
COLUMNS = {"bits_per_byte": "bits"}  # in which a row has the score, where it is not named as that
READ = {"en": 0.1, "instructions": 0.2}  # shares of bytes of English text and English instructions


def draw(frames, language: str, count: int, longest: int, seed: int) -> pandas.DataFrame:
    """At most `count` held-out prompts of each task and language, of at most `longest` characters, with an id.

    Raises ValueError when none is that short.
    """
    rows = prompts.derive(*frames, language, "test")
    rows = rows[rows["text"].str.len() <= longest].sample(frac=1, random_state=seed)
    if rows.empty:
        raise ValueError(f"No held-out prompt has at most {longest} characters: raise longest_prompt.")
    rows = rows.groupby(["task", "language"]).head(count).sort_values(["task", "language"], kind="stable")
    rows = rows.assign(benchmark="", setting=rows["language"], category="", flags=[()] * len(rows), answers=None)
    return rows.assign(id=[f"{row.task}/{row.language}/{number}" for number, row in enumerate(rows.itertuples())])


def judged(model, tokenizer, rows: pandas.DataFrame, length: int) -> pandas.DataFrame:
    """Greedy answers of at most `length` tokens, a row each: item, task, language, answer, the SHARES as truth values, and
    bits and bytes of the right answer (`harness.gold`).

    `right` is known of choices alone, and blank elsewhere. `wrong_language` is an answer mostly in another script; one
    in letters of options has none. `repeated` is one of whose runs of NGRAM words more than MOST were said before (rep-4
    of Welleck et al. 2020, arXiv 1908.04319).
    """
    asked = [prompts.render(tokenizer, prompts.messages(row)) for row in rows.to_dict("records")]
    answers = measure.generate(model, tokenizer, asked, length)
    found = scoring.judge(rows, answers)
    wrong = [row["task"] in prompts.PHRASES and bool(text.words(answer)) and scoring.misscripted(
        answer, row["to"] if row["task"] == "translation" else row["language"], row["answer"])
        for answer, row in zip(answers, rows.to_dict("records"))]
    return pandas.DataFrame({"item": rows["id"].tolist(), "task": rows["task"].tolist(), "language": rows["language"].tolist(),
                             "answer": answers, "valid": ~found["invalid"], "repeated": list(map(repeats, answers)),
                             "right": found["correct"] if "correct" in found else None, "wrong_language": wrong,
                             **harness.gold(model, tokenizer, rows).to_dict("list")})


def repeats(answer: str) -> bool:
    """Whether an answer says the same again and again."""
    words = text.words(answer)
    runs = [tuple(words[start:start + NGRAM]) for start in range(len(words) - NGRAM + 1)]
    return bool(runs) and 1 - len(set(runs)) / len(runs) > MOST


def note(record, before: pandas.DataFrame, after: pandas.DataFrame, start: str):
    """The SCORES of both, and their paired differences, by task and language, and of all tasks together in a language."""
    by = ["language", contrast.unions("task", {"all": lambda tasks: tasks.notna()})]
    for name, score in SCORES.items():
        sides = [contrast.known(side, COLUMNS.get(name, name)) for side in (before, after)]
        for moment, rows in zip(("before", "after"), sides):
            contrast.note(record, f"answers_{name}", rows, score, by, start=start, moment=moment)
        contrast.compare(record, f"answers_{name}_difference", *sides, score, by, start=start)


def chats(tokenizer, rows: pandas.DataFrame):
    """English instructions with their answers as documents, in the form of the chat template."""
    made = [prompts.example(row) for row in rows[rows["language"] == "en"].to_dict("records")]
    return corpus.column([tokenizer.apply_chat_template(one["prompt"] + one["completion"], tokenize=False) for one in made])


def in_order(streams: dict, language: str, arm: str, budget_bytes: int, seed: int):
    """Text and English instructions of READ by streams (language, `en`, `instructions`), the same documents in each arm:
    as one stage, mixed, or as `two-stages`, all instructions behind all text."""
    shares = {name: share for name, share in READ.items() if len(streams.get(name, ()))}
    found = mixture.documents(streams, {language: 1 - sum(shares.values()), **shares}, budget_bytes, seed)
    return found if arm == "one-stage" else sorted(found, key=lambda one: one[0] == "instructions")


def note_order(record, judged: pandas.DataFrame, texts: pandas.DataFrame):
    """The SCORES of answers in each arm and language, bits per byte of plain text, and one stage against two."""
    parts = {f"order_answers_{name}": (contrast.known(judged, COLUMNS.get(name, name)), score)
             for name, score in SCORES.items()}
    for name, (rows, score) in {**parts, "order_bits_per_byte": (texts, contrast.BITS)}.items():
        contrast.note(record, name, rows, score, ["arm", "language"])
        if rows["arm"].nunique() > 1:
            contrast.between(record, f"{name}_difference", rows, score, ["language"], "arm", "two-stages", "one-stage")


def shown(rows: pandas.DataFrame, before: pandas.DataFrame, after: pandas.DataFrame, start: str, count: int) -> list[dict]:
    """The first `count` prompts of each task and language with their reference and both answers."""
    frame = pandas.DataFrame({"start": start, "task": rows["task"], "language": rows["language"],
                              "prompt": [prompts.messages(row)[0]["content"] for row in rows.to_dict("records")],
                              "reference": [prompts.answer(row) for row in rows.to_dict("records")],
                              "before": before["answer"].tolist(), "after": after["answer"].tolist()})
    return frame.groupby(["task", "language"]).head(count).to_dict("records")
