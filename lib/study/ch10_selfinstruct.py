"""Self-instruct (Wang et al. 2022, arXiv 2212.10560) with PolyLM's checks, as MultiAlpaca was made (arXiv 2307.06018).

A task is a dict of instruction, input (None when empty) and output, MultiAlpaca's release format. In rounds a teacher
sees demonstrations and is asked for more tasks; what it writes is parsed and checked, every rejection has its reason,
and what is kept may be a demonstration of later rounds. Replies are appended to a journal, and all else follows from
them: a run that was stopped goes on where it was and comes to the same tasks.
"""
import functools
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy
import pandas
import regex
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from lib.data import prompts, text
from lib.engine import assets, records, statistics, store
from lib.study import novelty
from lib.study.journal import Journal

SEEDS, RELEASED = "alpaca-seed-tasks", "multialpaca"
PARTS = ("instruction", "input", "output")
# Seed tasks that rest on English wordplay, verse or idiom, on English beside a named language, or on institutions of
# the United States: our own choice by that rule. The paper removed 13 too and adjusted 23; which ones is not known.
CULTURE_BOUND = ("idiom_meaning", "english_haiku_generation", "knock_knock_joke", "food_and_drink_collocations",
                 "complete_the_lyrics", "dad_joke_intensified", "why’s_it_not_funny", "proverbs",
                 "dialect_translation", "english_to_chinese_translation",
                 "privacy_task", "ask_for_law", "democrats_or_republicans")
REQUEST = """Come up with {total} diverse tasks to instruct a language model with, numbered. Requirements:
- Instructions, inputs and outputs are written in {language}; only the words Instruction, Input and Output stay English.
- No two instructions are alike; vary the verb, the topic, and questions with commands.
- A language model can do the task with text alone: no images, no links, no actions.
- An instruction is one or two sentences. An input holds the text that the instruction is about; where none is needed, \
write <noinput>.
- An output is a fitting answer to instruction and input.

The first {given} tasks are given. Write the other {asked}, in the same form, and nothing else."""
TRANSLATION = """Translate this task into {language}: instruction, input and output. Keep the form, the number, the \
words Instruction, Input and Output, and <noinput>, and write nothing else."""
# Quantifiers are possessive: a teacher that loops writes thousands of blanks, stars or rules in a row.
LABEL = regex.compile(r"(?mi)^(?:[^\S\n]|[#>*\-])*+(?:\d++[^\S\n]*+[.):]\s*+)?+(?:[^\S\n]|[#*])*+"
                      r"(instruction|input|output)[^\S\n]*+\**+[^\S\n]*+[:：][^\S\n]*+\**+")
# What stands between two tasks: lines that are blank, a rule or `Task 5`, and `###` at the end of one.
BETWEEN = regex.compile(r"(?i)[#*\s]*+(?:task|example)\s*+\d++[.):*\s]*+|\s*+(?:[*=\-]{3,}+\s*+)?+")
HASHES = regex.compile(r"(?<!#)#{2,}+\s*+(?:\d++[.):]?\s*+)?+$")
NONE = regex.compile(r"(?i)^[\s<\[(\"*]*+(?:no ?input|none|n/a|null|empty)?+[\s>\])\"*.]*+$")
LINK = regex.compile(r"(?i)https?://|www\.\w")
TRIED = 20  # tasks looked at for each seed that is wanted: derived ones share few instructions
REPLY = ["round", "outcome", "cut", "tokens", "seconds", "error"]
REASONS = ("malformed", "cut off", "empty", "link", "other script", "other language", "repeats input", "similar")


@dataclass(frozen=True)
class Settings:
    """How tasks of one language of `text.LANGUAGES` are made and checked.

    `first_prompts` are those of round 1, `prompts` those of each later round; a demonstration has at most
    `longest` characters; instructions are kept below Rouge-L `threshold`, inputs up to Rouge-L `overlap` with theirs,
    and `script_share` is the least share of an instruction's letters that are of the language's script.
    """

    language: str
    rounds: int = 10
    first_prompts: int = 10
    prompts: int = 100
    seed_demonstrations: int = 2
    generated_demonstrations: int = 1
    asked: int = 17
    longest: int = 2000
    threshold: float = 0.7
    overlap: float = 0.5
    script_share: float = 0.5
    seed: int = 0


def limit(limits: list[str], language: str) -> float:
    """The limit of a language in a list such as ["other 0.5", "ko 0.3"]. Raises ValueError unless it is 0 to 1."""
    known = dict(entry.split() for entry in limits if len(entry.split()) == 2)
    found = known.get(language, known.get("other", ""))
    if len(known) < len(limits) or not found.replace(".", "", 1).isdecimal() or float(found) > 1:
        raise ValueError(f"Limits {limits} give {language!r} no number from 0 to 1: write e.g. `other 0.5`, `ko 0.3`.")
    return float(found)


def source(teacher: str, endpoint: str, *settings) -> str:
    """What replies rest on besides the prompt: the teacher (a local folder by its content), endpoint, settings."""
    folder = Path(teacher).expanduser()
    model = records.digest(folder) if not endpoint and folder.is_dir() else teacher
    return " ".join(map(str, (model, endpoint, *settings)))


def seed_tasks(leave_out: list[str]) -> tuple[list[dict], list[str]]:
    """Alpaca's 175 seed tasks, the first instance of each, without those named: (tasks, names left out, one a task).

    `culture-bound` in `leave_out` stands for CULTURE_BOUND. Raises ValueError for a name that no seed task has, and
    assets.NotAvailable when the file cannot be had.
    """
    rows = read(assets.file(SEEDS, "seed_tasks.jsonl"))
    names = {name for entry in leave_out for name in (CULTURE_BOUND if entry == "culture-bound" else [entry])}
    unknown = names - {row["name"] for row in rows}
    if unknown:
        raise ValueError(f"No seed task is called {', '.join(sorted(unknown))}: see the names in the seed file.")
    kept = [row for row in rows if row["name"] not in names]
    return [_task(row["instruction"], row["instances"][0]["input"], row["instances"][0]["output"])
            for row in kept], sorted(row["name"] for row in rows if row["name"] in names)


def published() -> list[str]:
    """Languages whose MultiAlpaca file is at hand in the registry."""
    return [Path(path).stem for path in assets.entry(RELEASED)["files"]]


def released(language: str) -> list[dict]:
    """MultiAlpaca's tasks in a language as published, as `read` gives them; assets.AssetError when they cannot be had."""
    return read(assets.file(RELEASED, f"multialpaca/{language}.jsonl"))


def read(path: Path) -> list[dict]:
    """The objects of a JSONL file; in the release format each is a task."""
    with open(store.whole(path, "run chapter 10_multialpaca again"), encoding="utf8") as stream:
        return [json.loads(line) for line in stream if line.strip()]


def derived(rows: pandas.DataFrame, language: str) -> list[dict]:
    """Rows of `prompts.instructions` in a language as tasks: the first line instructs, the rest is input."""
    asked = [(prompts.messages(row)[0]["content"].partition("\n"), prompts.answer(row))
             for row in rows[rows["language"] == language].to_dict("records")]
    return [_task(first, rest, answer) for (first, _, rest), answer in asked]


def spoken(dialogues: pandas.DataFrame, language: str) -> list[dict]:
    """The corpus's training dialogues in a language as tasks: a line instructs, its answer is the output."""
    rows = dialogues[(dialogues["language"] == language) & (dialogues["split"] == "train")]
    return [_task(row.prompt, "", row.reply) for row in rows.itertuples()]


def choose_seeds(candidates: dict[str, list[dict]], settings: Settings, count: int) -> tuple[list[dict], str]:
    """Seed tasks of a language without translation: (tasks, where they are from), from the first origin that has any.

    At most `count`, drawn by the seed, of at most `longest` characters, without those that repeat an instruction.
    """
    origin = next((name for name, tasks in candidates.items() if tasks), "none")
    short = [task for task in candidates.get(origin, []) if _size(task) <= settings.longest]
    random.Random(f"{settings.seed} {settings.language}").shuffle(short)
    pool = novelty.Pool(settings.language, settings.threshold)
    new = [task for task in short[:TRIED * count] if pool.near_or_new(task["instruction"]) is None]
    return new[:count], origin


def translated(english: list[dict], teacher, journal: Journal, settings: Settings, source: str) -> tuple[list[dict], int]:
    """Seed tasks as the teacher translates them, a prompt each: (tasks, how many came back unusable)."""
    name = text.LANGUAGES[settings.language].name
    turns = [_turns(TRANSLATION.format(language=name), _shown(1, task)) for task in english]
    found = [_tasks(reply) for reply in journal.ask(teacher, turns, 0, source)]
    good = [tasks[0] for tasks in found if len(tasks) == 1 and not _unfit(tasks[0], settings)]
    return [{part: task[part] for part in PARTS} for task in good], len(english) - len(good)


def prompt(demonstrations: list[dict], asked: int, language: str) -> list[dict]:
    """Chat turns that show numbered demonstrations and ask for `asked` more tasks in a language."""
    given = len(demonstrations)
    request = REQUEST.format(total=given + asked, given=given, asked=asked, language=text.LANGUAGES[language].name)
    shown = [_shown(number, task) for number, task in enumerate(demonstrations, 1)]
    return _turns(request, *shown)


def parse(reply: str, cut: bool = False) -> list[dict]:
    """The tasks of a reply in their order, each with `reason`: empty, or why it is none.

    A task begins at an instruction, its parts stand behind their labels, numbers and rules between tasks are passed
    over; a part that is missing (input apart) or stands twice makes it malformed, also where a part's own text has a line
    that begins with a label (a program's `Input:`). The last task of a reply `cut` at the token limit is cut off.
    """
    _, *pieces = LABEL.split(reply)
    groups = []
    for part, content in zip(pieces[::2], pieces[1::2]):
        if part.lower() == "instruction" or not groups:
            groups.append([])
        groups[-1].append((part.lower(), _content(content)))
    return [{**_parsed(group), **({"reason": "cut off"} if cut and group is groups[-1] else {})} for group in groups]


def examine(task: dict, pool: novelty.Pool, settings: Settings) -> dict:
    """The task with `reason` (one of REASONS, empty when it is kept), `blanked` and `near`; kept ones enter the pool.

    An input that stands in its instruction is blanked. `near` is the pooled instruction that a similar one is like.
    """
    inside = bool(task["input"]) and task["input"].strip() in task["instruction"]
    task = {**task, "input": None if inside else task["input"], "blanked": inside, "near": None}
    reason = task.get("reason") or _unfit(task, settings)
    if not reason:
        task["near"] = pool.near_or_new(task["instruction"])
        reason = "similar" if task["near"] else ""
    return {**task, "reason": reason}


def generate(seeds: list[dict], teacher, journal: Journal, settings: Settings, source: str):
    """All rounds of a language: (tasks, replies), two frames.

    Tasks, rejected ones too, have round, prompt, instruction, input, output, reason, blanked, near; replies have round,
    outcome (tasks, unparsed, error), cut, tokens, seconds and error. Raises what the teacher raises when it cannot be
    asked. After the last round nothing is asked again.
    """
    pool = novelty.Pool(settings.language, settings.threshold, [task["instruction"] for task in seeds])
    tasks, replies = [], []
    for number in range(1, settings.rounds + 1):
        kept = [task for task in tasks if not task["reason"] and _size(task) <= settings.longest]
        answers = journal.ask(teacher, _prompts(seeds, kept, number, settings), number, source)
        for place, answer in enumerate(answers):
            found = _tasks(answer)
            replies.append(_outcome(answer, found, number))
            tasks += [{"round": number, "prompt": place, **examine(task, pool, settings)} for task in found]
    journal.close()
    columns = ["round", "prompt", *PARTS, "reason", "blanked", "near"]
    return pandas.DataFrame(tasks, columns=columns, dtype=object), pandas.DataFrame(replies, columns=REPLY)


def write(path: Path, tasks: pandas.DataFrame) -> Path:
    """The kept tasks in the release format, a JSON object a line, input null when empty."""
    kept = tasks.loc[tasks["reason"] == "", list(PARTS)].itertuples(index=False)
    lines = "".join(json.dumps(_task(*row), ensure_ascii=False) + "\n" for row in kept)
    return store.atomically(path, lambda temporary: temporary.write_text(lines, encoding="utf8"), sealed=True)


def survey(tasks: list[dict], settings: Settings, rows: int = 0) -> pandas.DataFrame:
    """`rows` tasks of a set (0: all), drawn by the seed, put through the checks of `generate`; no seeds are pooled."""
    if rows:
        tasks = pandas.Series(tasks).sample(min(rows, len(tasks)), random_state=settings.seed).sort_index()
    pool = novelty.Pool(settings.language, settings.threshold)
    return pandas.DataFrame([examine(task, pool, settings) for task in tasks],
                            columns=[*PARTS, "reason", "blanked", "near"], dtype=object)


def note(record: records.Record, settings: Settings, tasks: pandas.DataFrame, replies: pandas.DataFrame):
    """What a language's rounds gave: counts by round and reason, and shares with intervals.

    Tasks of a reply resemble each other, so shares of tasks are resampled over replies, and n counts these.
    """
    for number, round_ in replies.groupby("round"):
        found = tasks[tasks["round"] == number]
        labels = {"language": settings.language, "set": "generated", "round": int(number)}
        record.fact("asked", settings.asked * len(round_), "tasks", **labels)
        record.fact("generated", len(found), "tasks", **labels)
        record.fact("blanked", int(found["blanked"].sum()), "inputs", **labels)
        record.fact("kept", int((found["reason"] == "").sum()), "tasks", **labels)
        _note_rejected(record, found, labels)
        for outcome in ("tasks", "unparsed", "error"):
            record.fact("replies", int((round_["outcome"] == outcome).sum()), "replies", **labels, outcome=outcome)
        if len(found):
            record.metric("survival", _share(*_by_reply(found)), "share", **labels)
    note_shares(record, settings, tasks, replies)


def note_shares(record: records.Record, settings: Settings, tasks: pandas.DataFrame, replies: pandas.DataFrame):
    """Over all rounds: replies with a task in them, tasks kept of those written and asked for, tokens, seconds."""
    language = settings.language
    labels = {"language": language, "set": "generated"}
    if len(replies):
        parsed = (replies["outcome"] == "tasks").sum()
        record.metric("parsed", statistics.wilson(parsed, len(replies)), "share", **labels)
        kept, _ = _by_reply(tasks)
        kept = [*kept, *[0] * (len(replies) - len(kept))]
        record.metric("yield", _share(kept, settings.asked), "share", **labels)
    if len(tasks):
        record.metric("survival_overall", _share(*_by_reply(tasks)), "share", **labels)
    record.fact("tokens", int(replies["tokens"].sum()), "tokens", language=language)
    record.fact("teacher_seconds", round(float(replies["seconds"].sum()), 1), "s", language=language)
    record.fact("cut_replies", int(replies["cut"].sum()), "replies", language=language)


def note_survey(record: records.Record, language: str, found: pandas.DataFrame):
    """What the same checks reject in a published set, and the share of tasks that they keep (n counts tasks)."""
    labels = {"language": language, "set": "released"}
    record.fact("surveyed", len(found), "tasks", **labels)
    _note_rejected(record, found, labels)
    if len(found):
        kept = (found["reason"] == "").sum()
        record.metric("survival_overall", statistics.wilson(kept, len(found)), "share", **labels)


def _note_rejected(record: records.Record, found: pandas.DataFrame, labels: dict):
    for reason in REASONS:
        record.fact("rejected", int((found["reason"] == reason).sum()), "tasks", **labels, reason=reason)


def card(record: records.Record, language: str, kind: str, tasks: list[dict]):
    """Facts of a set of tasks: how many, empty inputs, instructions that stand twice, median characters a part."""
    labels, tasks = {"language": language, "set": kind}, pandas.DataFrame(tasks, columns=list(PARTS), dtype=object)
    empty = tasks["input"].isna() | (tasks["input"] == "")
    record.fact("tasks", len(tasks), "tasks", **labels)
    record.fact("empty_inputs", int(empty.sum()), "tasks", **labels)
    record.fact("duplicates", int(tasks["instruction"].duplicated().sum()), "tasks", **labels)
    for part in PARTS:
        lengths = tasks.loc[~empty if part == "input" else tasks.index, part].str.len()
        median = float(lengths.median()) if len(lengths) else None
        record.fact("median_length", median, "characters", **labels, part=part)


def examples(tasks: pandas.DataFrame, language: str, count: int) -> list[dict]:
    """The first `count` tasks of every reason, kept ones first, as rows for the record."""
    chosen = tasks.groupby("reason").head(count).sort_values("reason", kind="stable").assign(language=language)
    return chosen[["language", "round", *PARTS, "reason", "near"]].to_dict("records")


@functools.cache
def _identifier() -> LanguageIdentifier:
    """Gives the likeliest code in `text.LANGUAGES` (Lui and Baldwin 2012), but for a language that it has no label of."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(set(text.LANGUAGES) & set(identifier.labels))
    return identifier


def _unfit(task: dict, settings: Settings) -> str:
    """The first check that a task fails by itself, without the pool; empty when it passes."""
    if task.get("reason"):
        return task["reason"]
    instruction, language = task["instruction"], settings.language
    if not text.words(instruction) or not task["output"].strip():
        return "empty"
    if any(LINK.search(task[part] or "") for part in PARTS):
        return "link"
    if text.script_share(instruction, text.script(language)) < settings.script_share:
        return "other script"
    if language in _identifier().labels and _identifier().classify(instruction)[0] != language:
        return "other language"
    repeated = task["input"] and novelty.rouge_l(instruction, task["input"], language) > settings.overlap
    return "repeats input" if repeated else ""


def _prompts(seeds, kept, number: int, settings: Settings) -> list[list[dict]]:
    """The prompts of a round; seeds take the place of generated demonstrations that there are none of."""
    count = settings.first_prompts if number == 1 else settings.prompts
    draw = random.Random(f"{settings.seed} {settings.language} {number}")
    made = min(settings.generated_demonstrations, len(kept))
    given = settings.seed_demonstrations + settings.generated_demonstrations - made
    return [prompt([*draw.sample(seeds, given), *draw.sample(kept, made)], settings.asked, settings.language)
            for _ in range(count)]


def _tasks(reply: dict) -> list[dict]:
    return [] if reply["finish"] == "error" else parse(reply["text"], reply["finish"] == "length")


def _outcome(reply: dict, found: list[dict], number: int) -> dict:
    outcome = "error" if reply["finish"] == "error" else "tasks" if found else "unparsed"
    return {"round": number, "outcome": outcome, "cut": reply["finish"] == "length", "tokens": reply["tokens"],
            "seconds": reply["seconds"], "error": reply["error"]}


def _by_reply(tasks: pandas.DataFrame) -> tuple[pandas.Series, pandas.Series]:
    """Tasks kept and tasks written in each reply that has any."""
    kept = (tasks["reason"] == "").groupby([tasks["round"], tasks["prompt"]])
    return kept.sum(), kept.size()


def _share(kept, of) -> statistics.Estimate:
    """Σ kept / Σ of, resampled over replies; where the shares of all are alike, `mean` has Wilson's interval."""
    of = numpy.broadcast_to(of, len(kept))
    shares = numpy.asarray(kept) / of
    return statistics.mean(shares) if numpy.ptp(shares) == 0 else statistics.ratio(kept, of)


def _content(string: str) -> str:
    """What stands behind a label, without the rules and headings that lead to the next task."""
    lines = string.split("\n")
    while True:
        lines[-1] = HASHES.sub("", lines[-1])
        if len(lines) == 1 or not BETWEEN.fullmatch(lines[-1]):
            return "\n".join(lines).strip()
        lines.pop()


def _parsed(group: list[tuple[str, str]]) -> dict:
    parts = dict(reversed(group))  # of a part that stands twice, the first
    malformed = len(parts) < len(group) or not {"instruction", "output"} <= parts.keys()
    return {**_task(*(parts.get(part, "") for part in PARTS)), "reason": "malformed" if malformed else ""}


def _task(instruction: str, input: str | None, output: str) -> dict:
    given = (input or "").strip()
    return {"instruction": instruction.strip(), "input": None if NONE.match(given) else given,
            "output": output.strip()}


def _shown(number: int, task: dict) -> str:
    return (f"{number}. Instruction: {task['instruction']}\n{number}. Input: {task['input'] or '<noinput>'}\n"
            f"{number}. Output: {task['output']}\n###")


def _turns(*parts: str) -> list[dict]:
    return [{"role": "user", "content": "\n\n".join(parts)}]


def _size(task: dict) -> int:
    return sum(len(task[part] or "") for part in PARTS)
