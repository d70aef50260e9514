"""One prompt for training and testing: a task row as messages, as text, and as a training example.

A row is a mapping with `task`, `language` (of the question) and `text` (or `question`). Multiple choice has `choices`
(list of str) and the index `answer`; the tasks in PHRASES have the text `answer`; translation also has `to`, a language
code. Training and testing both go through the tokenizer's chat template, so the bytes cannot drift apart.
"""
import functools
from pathlib import Path

import jinja2
import pandas
import yaml

from lib.data import text as words

WORDING = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf8"))
PHRASES = WORDING["phrases"]  # of tasks that are answered with a text
HEMISTICH = 70  # characters: longer lines are prose
CONTINUED = 80  # characters of a text to go on with and of its answer together
STYLES = ("chat", "alpaca")
SAMPLE = "Yes"  # an answer to try a template with
UNTHINKING = "{% set enable_thinking = false %}"


def letters(language: str) -> list[str]:
    """Option letters of a language; Latin capitals where it has none of its own here."""
    return list(_worded("letters", language))


def options(row) -> list[str]:
    """What a choice row may be answered with: the letters of its options."""
    return letters(row["language"])[:len(row["choices"])]


def messages(row) -> list[dict]:
    """The user's turn for a task row, in the row's language (English wording where that language has none here)."""
    language = row["language"]
    phrases = PHRASES.get(row["task"], WORDING["choice"])
    wording = language if language in phrases else "en"
    question = WORDING["questions"].get(row["task"], {}).get(wording)
    fields = {"text": "\n".join(filter(None, [question, row["text"] if "text" in row else row["question"]]))}
    if row["task"] == "translation":
        fields["to"] = _language(row["to"]).name
    if row["task"] not in PHRASES:
        marked = zip(letters(language), row["choices"])
        fields["options"] = "\n".join(f"{letter}) {choice}" for letter, choice in marked)
    return [{"role": "user", "content": phrases[wording].format(**fields)}]


def answer(row) -> str:
    """What the assistant should say: the letter (or published form) of the right option, or the answer's text."""
    return options(row)[row["answer"]] if row["task"] not in PHRASES else row["answer"]


def example(row) -> dict:
    """The row as TRL's conversational prompt-completion example."""
    return {"prompt": messages(row), "completion": [{"role": "assistant", "content": answer(row)}]}


def shown(rows: pandas.DataFrame, *by: str) -> pandas.DataFrame:
    """The first task row of each kind (its values of the columns `by`): what a model reads of it, and what it should say."""
    first = rows.groupby(list(by), sort=False).head(1)
    told = [example(row) for row in first.to_dict("records")]
    return first[list(by)].assign(**{"the model reads": [part["prompt"][0]["content"] for part in told],
                                     "it should say": [part["completion"][0]["content"] for part in told]})


def render(tokenizer, turns: list[dict]) -> str:
    """Messages as text up to where the assistant speaks, special tokens included.

    Tokenise it with `add_special_tokens=False`: the template has already put BOS where the model expects it. Blanks at
    its end are left to the answer where the tokenizer merges them with its first word, as it does in training.
    """
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return asked if asked == asked.rstrip() or _starts(tokenizer, asked, asked + SAMPLE) else asked.rstrip()


def around(tokenizer, turns: list[dict]) -> tuple[str, str]:
    """What the chat template puts between the rendered messages and an answer (a space, an empty thought), and what
    behind the answer.

    Raises ValueError when the text to train on does not begin with the rendered messages, character by character and
    token by token: a model would be asked otherwise than it was trained.
    """
    asked = render(tokenizer, turns)
    whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": SAMPLE}], tokenize=False)
    lead, found, tail = whole.removeprefix(asked).partition(SAMPLE)
    if not (found and whole.startswith(asked) and _starts(tokenizer, asked, whole)):
        raise ValueError("The chat template renders a prompt alone otherwise than with an answer behind it.")
    return lead, tail


def end(tokenizer) -> int:
    """Id of the first special token that the chat template puts behind an answer; ValueError where it cannot be used."""
    special = {row for row, token in tokenizer.added_tokens_decoder.items() if token.special} | {tokenizer.eos_token_id}
    if not tokenizer.chat_template:
        raise ValueError("The base has no chat template.")
    try:
        behind = around(tokenizer, [{"role": "user", "content": SAMPLE}])[1]
    except (jinja2.TemplateError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"The chat template cannot render a question and its answer ({error}).") from error
    found = [row for row in tokenizer(behind, add_special_tokens=False)["input_ids"] if row in special]
    if not found:
        raise ValueError("The chat template ends an answer with no special token.")
    return found[0]


def spoken(text: str, asked: str = "") -> str:
    """A generated answer without the thoughts before it; empty where these, begun in it or in the prompt, go on."""
    _, ended, answer = text.rpartition("</think>")
    unfinished = not ended and (asked.rstrip().endswith("<think>") or text.lstrip().startswith("<think>"))
    return "" if unfinished else answer.strip()


def unthinking(template: str | None) -> str | None:
    """A chat template that asks for an answer without thoughts, where it leaves the choice (Qwen3, SmolLM3)."""
    known = isinstance(template, str) and "enable_thinking" in template and not template.startswith(UNTHINKING)
    return UNTHINKING + template if known else template


def dress(tokenizer, style: str):
    """Gives the tokenizer a prompt style: `chat`, its own template, or `alpaca`, the parent paper's training template.

    Where there is no template of its own, or none that answers can be trained with (`end`), `chat` is `alpaca` too,
    and says so. BOS begins the Alpaca prompt where the tokenizer puts one before plain text.
    """
    if style not in STYLES:
        raise ValueError(f"Prompt style {style!r} is unknown: choose one of {', '.join(STYLES)}.")
    try:
        if style == "chat":
            end(tokenizer)
            return tokenizer
    except ValueError as error:
        _say(f"{error} So the paper's template, alpaca, is used.")
    begins = tokenizer.bos_token_id is not None and tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id
    tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + WORDING["alpaca"]
    return tokenizer


def pair_prompt(text: str, direction: str) -> str:
    """Beginning of a translation document: the text under its language's name, then the other language's name."""
    source, target = (_language(code).native for code in sides(direction))
    return f"{source}: {text}\n{target}:"


def pair_document(english: str, target: str, direction: str) -> str:
    """A translation pair as one pretraining document: each text on a line behind its language's own name."""
    row = translation(english, target, direction)
    return f"{document(row)} {row['answer']}"


def document(row, shown=None) -> str:
    """Beginning of a document that goes on with the row's answer: a translation, or a passage and a question on it.

    `shown` is a row of the same kind that stands before it with its answer: the one shot of one-shot.
    """
    before = f"{document(shown)} {shown['answer']}\n\n" if shown is not None else ""
    if row["task"] == "translation":
        return before + pair_prompt(row["text"], f"{row['language']}-{row['to']}")
    return f"{before}{row['text']}\n{_worded('reply', row['language'])}:"


def directions(language: str) -> tuple[str, str]:
    """Both translation directions, e.g. `en-fa` and `fa-en`."""
    return f"en-{language}", f"{language}-en"


def sides(direction: str) -> tuple[str, str]:
    """Codes of the language to translate and of the other, one of them English; a code may hold a hyphen."""
    return ("en", direction[3:]) if direction.startswith("en-") else (direction[:-3], "en")


def translation(english: str, target: str, direction: str) -> dict:
    """A translation row: asked in the language of the text to translate."""
    source, to = sides(direction)
    text, reply = (english, target) if source == "en" else (target, english)
    return {"task": "translation", "language": source, "text": text, "answer": reply, "to": to}


def derive(documents, pairs, dialogues, items, language: str, split: str) -> pandas.DataFrame:
    """Every task row of a split; a language that has no other task gets texts to go on with.

    Columns source, task, language, text, answer, to (translation only), choices (multiple choice only).
    """
    found = _derived(documents, pairs, dialogues, items, language, split)
    return _wanted(found, found, 1)


def instructions(documents, pairs, dialogues, items, language: str, total: int, per_source: int, longest: int,
                 seed: int) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Instruction rows derived from the training split: (rows, counts), two frames, the same for the same seed.

    As many in English as in the learned language (all in one where the other has none), the tasks of a language as even
    as their rows allow, at most `per_source` a source and language, `total` in all; texts to go on with where a language
    has too few other rows. Left out are rows whose text or answer stands in a validation or test row, and rows of more
    than `longest` characters, options included. `counts` has found, held_out, too_long and kept by source and language.
    """
    found = _derived(documents, pairs, dialogues, items, language, "train")
    secret = _held_out(documents, pairs, dialogues, items)
    text, answer = (found[column].astype(str).map(words.folded).isin(secret) for column in ("text", "answer"))
    found["held_out"] = text | answer
    found["too_long"] = ~found["held_out"] & (_length(found) > longest)
    found = _wanted(found, found[~found["held_out"] & ~found["too_long"]], total // 2)
    clean = found[~found["held_out"] & ~found["too_long"]].sample(frac=1, random_state=seed)
    clean = clean[clean.groupby(["source", "language"]).cumcount() < per_source]
    kept = _evenly(clean, total, language)
    if kept.empty:
        raise ValueError(f"None of {len(found)} instruction rows is left: raise longest_example (now {longest} "
                         f"characters) or examples ({total}).")
    found["kept"] = found.index.isin(kept.index)
    counts = found.assign(found=True).groupby(["source", "language"])[["found", "held_out", "too_long", "kept"]].sum()
    return kept.drop(columns=["held_out", "too_long"]).reset_index(drop=True), counts.reset_index()


def _starts(tokenizer, beginning: str, text: str) -> bool:
    """Whether the tokens of a text start with those of its beginning."""
    before, ids = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (beginning, text))
    return ids[:len(before)] == before


@functools.cache
def _say(sentence: str):
    """Prints a sentence once, however often it is true."""
    print(sentence)


def _worded(kind: str, language: str):
    """A wording of a kind, in English where the language has none."""
    return WORDING[kind].get(language, WORDING[kind]["en"])


def _language(code: str) -> words.Language:
    """Names of a language; its code where no name is known."""
    return words.LANGUAGES.get(code, words.Language(code, code, ""))


def _derived(documents, pairs, dialogues, items, language: str, split: str) -> pandas.DataFrame:
    """Every row that a split gives, texts to go on with in any language among them."""
    documents, pairs, dialogues, items = (frame[frame["split"] == split].to_dict("records")
                                          for frame in (documents, pairs, dialogues, items))
    found = [*_tasks(pairs, dialogues, items, language), *_ghazals(documents), *_continuations(documents)]
    columns = ["source", "task", "language", "text", "answer", "to", "choices"]
    return pandas.DataFrame(found, columns=columns).drop_duplicates(["task", "language", "text"], ignore_index=True)


def _wanted(rows, usable, enough: int):
    """The rows without texts to go on with in languages that have enough other usable rows."""
    others = usable.loc[usable["task"] != "continuation", "language"].value_counts()
    return rows[(rows["task"] != "continuation") | ~rows["language"].isin(others.index[others >= enough])]


def _tasks(pairs, dialogues, items, language: str):
    """Translations both ways, dialogues, multiple choice that asks a question, and passages to write for a heading."""
    for pair in pairs:
        for direction in directions(language):
            yield {"source": pair["source"], **translation(pair["english"], pair["target"], direction)}
    for row in dialogues:
        if row["language"] in ("en", language):
            yield {**row, "task": "dialogue", "text": row["prompt"], "answer": row["reply"]}
    asked = [{**row, "source": row["task"], "text": row["question"], "choices": list(row["choices"])}
             for row in items if row["question"]]  # word_order has none, and is for tests alone
    yield from ({**row, "answer": int(row["answer"])} for row in asked)
    for row in asked:
        if row["task"] == "heading_mcq":
            yield {"source": row["task"], "task": "passage", "language": row["language"],
                   "text": row["choices"][row["answer"]], "answer": row["question"]}


def _ghazals(documents):
    """The first couplet of a ghazal of Hafez → the second; documents that begin with prose are none."""
    for row in documents:
        lines = words.lines(row["text"])[:4]
        if row["source"] == "hafez" and len(lines) == 4 and max(map(len, lines)) <= HEMISTICH:
            yield {**row, "task": "ghazal", "text": "\n".join(lines[:2]), "answer": "\n".join(lines[2:])}


def _continuations(documents):
    """The first words of each document, `CONTINUED` characters at most, in two halves: a text and how it goes on."""
    for row in documents:
        line = row["text"].split("\n")[0]
        ends = [word.end() for word in words.WORD.finditer(line) if word.end() <= CONTINUED]
        if len(ends) > 3:
            middle = ends[len(ends) // 2 - 1]
            yield {**row, "task": "continuation", "text": line[:middle].strip(), "answer": line[middle:ends[-1]].strip()}


def _held_out(documents, pairs, dialogues, items) -> set[str]:
    """Texts of the validation and test rows, folded, so that neither case nor marks hide a twin."""
    columns = [(documents, "text"), (pairs, "english"), (pairs, "target"), (dialogues, "prompt"), (items, "question")]
    return {words.folded(text) for frame, column in columns for text in frame.loc[frame["split"] != "train", column]}


def _length(rows) -> pandas.Series:
    """Characters of question, options and answer."""
    options = rows["choices"].map(lambda choices: sum(map(len, choices)) if isinstance(choices, list) else 0)
    return rows["text"].str.len() + rows["answer"].astype(str).str.len() + options


def _evenly(rows, total: int, language: str):
    """Rows of the languages that have any by turns, as many of each, and within a language the tasks by turns."""
    rows = rows[rows["language"].isin(["en", language])]
    turns = rows.assign(turn=rows.groupby(["language", "task"]).cumcount()).sort_values("turn", kind="stable")
    sizes = turns["language"].value_counts()
    share = min(total // max(1, len(sizes)), sizes.min()) if len(sizes) else 0
    chosen = turns.groupby("language").head(share)
    order = chosen.groupby("language").cumcount()
    return chosen.assign(turn=order).sort_values(["turn", "language"]).drop(columns="turn")
