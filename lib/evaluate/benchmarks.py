"""Published benchmarks as task rows: the test files of Llama-Persian, ParsiNLU, and English rows to train on.

A row has COLUMNS, as `prompts` and `harness.score` read it; published rows keep input and output as they stand. Faults
of the files are flagged, never repaired. Files, labels and known faults: `benchmarks.yaml`.
"""
import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

import pandas
import regex
import yaml

from lib.data import corpus, items, likeness, text
from lib.engine import assets, records
from lib.evaluate import scoring

RELEASED, PARSINLU, XQUAD, XCOPA, REVIEWS = "llama-persian-tests", "parsinlu", "xquad", "xcopa", "movie-reviews"
COLUMNS = ["id", "benchmark", "setting", "task", "language", "category", "text", "choices", "answer", "answers", "to",
           "flags", "input", "output"]
KNOWN = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf8"))
FILES, PARSINLU_FILES = KNOWN["released"], KNOWN["parsinlu"]
SENTIMENT, ENTAILMENT, SAME, PAIR = KNOWN["labels"].values()
# Where the sentences of an entailment pair begin, as the files mark them.
PREMISE = regex.compile(r"(?is)^(?:premise:|جمله اول:|(?:the )?first sentence:|sentence 1:)\s*(.*?)\s*(?:<sep>)?\s*"
                        r"(?:hypothesis:|جمله دوم:|(?:the )?second sentence:|sentence 2:)\s*(.*)$")
OPTIONS = {"released": regex.compile(r"(?s)^(.*?)\s*(?:<sep>)?\s*\(A\)(.*)\(B\)(.*)\(C\)(.*)\(D\)(.*)$"),
           "missing word": regex.compile(r"(?s)^(.*?)\\Question:.*?given\s*a\)(.*?)\sb\)(.*?)\sc\)(.*?)\sd\)(.*)$"),
           "math": regex.compile(r"(?s)^(?:Question:)?(.*?)Option A:(.*)Option B:(.*)Option C:(.*)Option D:(.*)"
                                 r"Option E:(.*)$")}
OVERALL = "کلی"  # ParsiNLU's sentiment rows ask for eight or nine aspects of a review; this one is the whole of it
LENGTHS = 2.5  # a translation with so many times the other side's characters is flagged, short ones (40) apart
MARKER = "^(?:" + "|".join(part.split("{}")[0] for pair in PAIR.values() for part in pair.split("\n")) + ")"
ASKING = {question for question, _ in items.VERIFY.values()}  # the first line of every such item


def released(setting: str, task: str | None = None) -> pandas.DataFrame:
    """The Llama-Persian test files of a setting (fa, en or translate-test), one task or all, a row an item.

    Raises ValueError for another setting or task, or a gold label that cannot be read.
    """
    tasks = _known(setting, FILES, "setting")
    names = [task] if task else list(tasks)
    return pandas.concat([_released(setting, name, _known(name, tasks, "task")) for name in names], ignore_index=True)


def parsinlu(task: str, split: str = "test") -> pandas.DataFrame:
    """A task of ParsiNLU (Khashabi et al. 2021) in Persian; entailment's train and validation include FarsTail.

    A row without a readable gold label has answer None and the flag `no label`. Sentiment is that of the review as a
    whole, neutral and mixed taken together. Raises ValueError for a task or split that is none.
    """
    files = _known(split, _known(task, PARSINLU_FILES, "task"), "split")
    return framed({"id": f"parsinlu/{task}/{split}/{number}", "benchmark": "ParsiNLU", "setting": "fa", "task": task,
                   "language": "fa", **READERS[task](raw)}
                  for number, raw in enumerate(raw for file in files for raw in _lines(file)))


def xquad(language: str = "en") -> pandas.DataFrame:
    """XQuAD (Artetxe et al. 2020, from SQuAD 1.1's validation part) in a language as reading comprehension.

    The same questions in every language, by the end of their id. Raises assets.AssetError for another language.
    """
    articles = json.loads(assets.file(XQUAD, f"xquad.{language}.json").read_text("utf8"))["data"]
    return framed({"id": f"xquad/{language}/{asked['id']}", "benchmark": "XQuAD", "setting": language,
                   "language": language, "task": "reading_comprehension",
                   **_question(paragraph["context"], asked["question"], [one["text"] for one in asked["answers"]], language)}
                  for article in articles for paragraph in article["paragraphs"] for asked in paragraph["qas"])


def xcopa(language: str) -> dict[str, str]:
    """Files of XCOPA (Ponti et al. 2020) in a language: validation (100 items) and test (500), by split.

    Raises assets.AssetError for another language.
    """
    return {split: str(assets.file(XCOPA, f"data/{language}/{name}.{language}.jsonl"))
            for split, name in (("validation", "val"), ("test", "test"))}


def training(language: str, items: pandas.DataFrame | None = None) -> pandas.DataFrame:
    """Rows for supervised fine-tuning in fa or en, with a column `source`; rows without a label are left out and told.

    Persian: the training parts of ParsiNLU, FarsTail's included; the one of food reviews holds the reviews of the test
    part too, so `clean` is needed. English: XQuAD's questions and review snippets, since the released English files are
    for testing only. `items` adds the training items that the corpus chapter derived in that language.
    """
    if language == "fa":
        frames = [parsinlu(task, "train").assign(source=source) for task, source in KNOWN["sources"].items()]
    else:
        frames = [xquad().assign(source="XQuAD, English (from SQuAD 1.1's validation part)"),
                  reviews().assign(source="Rotten Tomatoes snippets (package movie-reviews)")]
    if items is not None:
        mine = items[(items["split"] == "train") & (items["language"] == language)].rename(columns={"question": "text"})
        frames.append(mine.assign(benchmark="corpus", setting=language, category="", source="derived from the corpus",
                                  flags=[[] for _ in range(len(mine))]))
    return labelled(pandas.concat(frames, ignore_index=True)[[*COLUMNS, "source"]])


def labelled(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The rows that have a gold label; prints how many have none."""
    bare = frame["flags"].map(lambda flags: "no label" in flags)
    if bare.any():
        print(f"{bare.sum()} of {len(bare)} rows have no readable gold label and are left out: "
              f"{', '.join(frame.loc[bare, 'id'])}.")
    return frame[~bare].reset_index(drop=True)


def sample(frame: pandas.DataFrame, count: int, longest: int | None = None, seed: int = 0) -> pandas.DataFrame:
    """At most `count` labelled rows of each benchmark, setting and task, with at most `longest` characters of text.

    In order of a hash of the row's number, so that rows of fa and translate-test that belong together are chosen together.
    """
    frame = labelled(frame)
    frame = frame[frame["text"].str.len() <= longest] if longest else frame
    order = frame["id"].map(lambda name: corpus.digest(seed, name.rsplit("/", 1)[1])).sort_values().index
    return frame.loc[order].groupby(["benchmark", "setting", "task"]).head(count).reset_index(drop=True)


def clean(training: pandas.DataFrame, tests: pandas.DataFrame):
    """Training rows that hold no test text, nor a near twin of one: (kept, counts).

    Passages and sentences of a pair are compared one by one (`likeness.leaking`). `counts`: source, task, found, leaked, kept.
    """
    leaked = pandas.Series(likeness.leaking([_pieces(row) for row in training.to_dict("records")], asked(tests)),
                           training.index, bool)
    counts = training.assign(found=1, leaked=leaked, kept=~leaked).groupby(["source", "task"], sort=False)
    return training[~leaked].reset_index(drop=True), counts[["found", "leaked", "kept"]].sum().reset_index()


def published(names: list[str]) -> set[str]:
    """What published tests ask (`asked`), by the names of their assets; ValueError for one that has no test rows here."""
    rows = {PARSINLU: lambda: [parsinlu(task) for task, splits in PARSINLU_FILES.items() if "test" in splits],
            RELEASED: lambda: [released(setting) for setting in FILES], XQUAD: lambda: [xquad()]}
    return {string for name in names for frame in _known(name, rows, "test")() for string in asked(frame)}


def asked(tests: pandas.DataFrame) -> set[str]:
    """The strings of test rows that nothing to train on may give away (`likeness.leaking`)."""
    return {piece for row in tests.to_dict("records") for piece in _pieces(row)}


def note(record: records.Record):
    """Puts what the published files hold into a chapter's record: facts of released files, from which table P1-T1 is
    made, and the rows and flags of each task and split of ParsiNLU."""
    for setting in FILES:
        for task, rows in released(setting).groupby("task", sort=False):
            note_file(record, rows, setting=setting, task=task, file=f"{setting}/{FILES[setting][task]}.json")
    for task, splits in PARSINLU_FILES.items():
        for split in splits:
            rows, labels = parsinlu(task, split), {"benchmark": "ParsiNLU", "task": task, "split": split}
            record.fact("parsinlu_rows", len(rows), "rows", **labels)
            _note_flags(record, rows, "parsinlu_flag", labels)


def note_file(record: records.Record, rows: pandas.DataFrame, **labels):
    """Rows, mean words, repeated inputs, flags and labels as written of a file, or of a part of the corpus's items.

    `labels` (setting, task and file) say which; of each part with choices of its own also what the majority gets right.
    """
    record.fact("released_rows", len(rows), "rows", **labels)
    asked = rows.loc[rows["input"].map(str).str.strip() != "", "input"]  # some items are their options alone
    record.fact("released_duplicates", len(asked) - asked.nunique(), "rows", **labels)
    record.fact("released_words_out", rows["output"].map(str).str.split().str.len().mean(), "words", **labels)
    _note_flags(record, rows, "released_flag", labels)
    written = set(rows.loc[rows["choices"].notna(), "output"].astype(str))
    record.fact("released_spellings", len(written) - len(set(map(scoring.spelling, written))), "labels", **labels)
    # The parts of a file with choices have different choices; those of the translations are only worded differently.
    for part, found in rows.groupby(rows["category"].where(rows["choices"].notna(), ""), sort=False):
        record.fact("released_words_in", found["input"].map(str).str.split().str.len().mean(), "words", part=part, **labels)
        if found["choices"].notna().all():
            record.fact("released_majority", int(found["answer"].value_counts().max()), "rows", part=part, **labels)
            for label, count in found["output"].astype(str).value_counts().sort_index().items():
                record.fact("released_label", int(count), "rows", part=part, label=label, **labels)


def _note_flags(record: records.Record, rows: pandas.DataFrame, fact: str, labels: dict):
    for flag, count in rows["flags"].explode().value_counts().items():
        record.fact(fact, int(count), "rows", flag=flag, **labels)
    record.fact(f"{fact}ged", int(flagged(rows).sum()), "rows", **labels)


def reviews() -> pandas.DataFrame:
    """Rotten Tomatoes snippets (Pang and Lee 2005), positive or negative, from a package: English to train on."""
    frame = pandas.read_csv(next(assets.fetch(REVIEWS).rglob("*.csv"))).query("source == 'rotten_tomatoes'")
    return framed({"id": f"reviews/{number}", "benchmark": "Rotten Tomatoes", "setting": "en", "task": "sentiment",
                   "language": "en", "text": text.normalise(row.text, "en"), "choices": SENTIMENT["en"][:2],
                   "answer": 0 if row.label else 1} for number, row in enumerate(frame.itertuples()))


def flagged(frame: pandas.DataFrame) -> pandas.Series:
    """Whether a row has any flag: scores are given with and without these rows."""
    return frame["flags"].map(len) > 0


def _known(name: str, mapping: dict, kind: str):
    if name not in mapping:
        raise ValueError(f"There is no benchmark {kind} {name!r}; choose one of {', '.join(mapping)}.")
    return mapping[name]


def _released(setting: str, task: str, name: str) -> pandas.DataFrame:
    """Rows of one released file."""
    path, language = f"data/testset/{setting}/{name}.json", "fa" if setting == "fa" else "en"
    parts = KNOWN["categories"].get(setting, {}).get(task, {})
    rows = []
    for number, raw in enumerate(json.loads(assets.file(RELEASED, path).read_text("utf8"))):
        category = next((part for word, part in parts.items() if word in raw["instruction"]), "")
        row = {"id": f"{setting}/{task}/{number}", "benchmark": "Llama-Persian", "setting": setting, "task": task,
               "language": language, "category": category, **raw,
               **RELEASED_READERS[task](raw, category, language)}
        if row["answer"] is None:
            raise ValueError(f"{path}, row {number}: the label {raw['output']!r} is none of {row['choices']}.")
        if task == "translation" and number in KNOWN["other_text"][setting]:
            row["flags"] = [*row["flags"], "other text"]
        rows.append(row)
    return framed(rows)


def _labelled(raw: dict, string: str, choices: list[str], forms: list[str], language: str) -> dict:
    labels = {scoring.spelling(form): index for index, form in enumerate(forms)}
    return {"text": text.normalise(string, language), "choices": choices, "answer": scoring.gold(raw["output"], labels)}


def _released_sentiment(raw: dict, category: str, language: str) -> dict:
    names = SENTIMENT[language][:3 if category == "entity" else 2]
    forms = names if category else ["0", "1"]
    return _labelled(raw, raw["input"], names, forms, language)


def _released_entailment(raw: dict, category: str, language: str) -> dict:
    found = PREMISE.match(raw["input"])
    string = PAIR[language].format(*found.groups()) if found else raw["input"]
    forms = ["Contradiction", "Entailment", "Neutral"] if raw["output"][:1].isalpha() else ["0", "1", "2"]
    return {**_labelled(raw, string, ENTAILMENT[language], forms, language),
            "flags": [] if found else ["sentences not marked"]}


def _released_choice(raw: dict, category: str, language: str) -> dict:
    found = OPTIONS[category or "released"].match(raw["input"])
    forms = {"math": [f"Option {letter}" for letter in "ABCDE"], "missing word": list("abcd")}
    forms = forms.get(category, list("ABCD"))
    if not found:
        return {**_labelled(raw, raw["input"], forms, forms, language), "flags": ["options not marked"]}
    question, *choices = (text.normalise(part, language) for part in found.groups())
    filled = [place for place, choice in enumerate(choices) if choice]
    choices, forms = ([options[place] for place in filled] for options in (choices, forms))
    return {**_labelled(raw, question, choices, forms, language),
            "flags": [] if len(filled) == len(found.groups()) - 1 else ["empty option"]}


def _released_text(raw: dict, category: str, language: str) -> dict:
    reply = text.normalise(raw["output"], language)
    return {"text": text.normalise(raw["input"], language), "answer": reply, "answers": [reply]}


def _released_translation(raw: dict, category: str, language: str) -> dict:
    to = "en" if language == "fa" else "fa"
    asked, reply = text.normalise(raw["input"], language), text.normalise(raw["output"], to)
    longer, shorter = max(len(asked), len(reply)), min(len(asked), len(reply))
    shares = [text.script_share(string, text.script(code)) for string, code in ((asked, language), (reply, to))]
    flags = (["lengths differ"] if longer >= 40 and longer > LENGTHS * shorter else []) + (
        ["other script"] if min(shares) < 0.5 else [])
    return {"text": asked, "answer": reply, "answers": [reply], "to": to, "flags": flags}


RELEASED_READERS = {
    "sentiment": _released_sentiment, "entailment": _released_entailment, "multiple_choice": _released_choice,
    "summary": _released_text, "translation": _released_translation}


def _lines(path: str) -> list[dict]:
    """Rows of a ParsiNLU file: JSON lines, CSV, or the two columns that FarsTail was merged into."""
    content = assets.file(PARSINLU, f"data/{path}").read_text("utf8")
    if path.endswith(".jsonl"):
        rows = [json.loads(line) for line in text.lines(content) if line.strip()]
        domain = {"domain": path.split("/")[-1].split("_")[0].removesuffix(".jsonl")}
        return [{**row, **domain} for row in rows if row.get("aspect", OVERALL) == OVERALL]
    if path.endswith(".csv"):
        return list(csv.DictReader(io.StringIO(content)))
    parts = (line.rsplit("\t", 1) for line in content.split("\n") if line.strip())
    return [{**dict(zip(("sent1", "sent2"), pair.split("<sep>", 1))), "label": label, "source": "merged with FarsTail"}
            for pair, label in parts]


def _pair(first: str, second: str) -> str:
    return PAIR["fa"].format(*(text.normalise(string, "fa") for string in (first, second)))


def _entailment(raw: dict) -> dict:
    return {"text": _pair(raw["sent1"], raw["sent2"]), "choices": ENTAILMENT["fa"], "category": raw["source"],
            "answer": scoring.gold(raw["label"], {"c": 0, "e": 1, "n": 2})}


def _choice(raw: dict) -> dict:
    filled = [place for place, choice in enumerate(raw["candidates"]) if choice.strip()]
    labels = {str(place + 1): index for index, place in enumerate(filled)}
    return {"text": text.normalise(raw["question"], "fa"), "answer": scoring.gold(raw["answer"], labels),
            "choices": [text.normalise(raw["candidates"][place], "fa") for place in filled],
            "category": raw["category"].replace("_", " ").replace("math and", "math &")}


def _qqp(raw: dict) -> dict:
    return {"text": _pair(raw["q1"], raw["q2"]), "choices": SAME["fa"], "category": raw["category"],
            "answer": scoring.gold(raw["label"], {"0": 0, "1": 1})}


def _question(passage: str, question: str, answers: list[str], language: str) -> dict:
    replies = [text.normalise(answer, language) for answer in answers]
    return {"text": text.normalise(f"{passage}\n{question}", language), "answer": replies[0], "answers": replies}


def _comprehension(raw: dict) -> dict:
    return _question(raw["passage"], raw["question"], [answer for _, answer in raw["answers"]], "fa")


def _sentiment(raw: dict) -> dict:
    value = int(raw.get("sentiment", raw.get("label")))
    index = {-2: 1, -1: 1, 1: 0, 2: 0, 0: 2, 3: 2}.get(value)
    return {"text": text.normalise(raw["review"], "fa"), "choices": SENTIMENT["fa"], "answer": index,
            "category": raw["domain"]}


READERS = {"entailment": _entailment, "multiple_choice": _choice, "qqp": _qqp, "reading_comprehension": _comprehension,
           "sentiment": _sentiment}


def _pieces(row: dict) -> list[str]:
    """The strings of a row that would give it away: its text and the parts of that, and its answer.

    A question with options counts with them, since exams ask `Which is wrong?` over and over. Strings of fewer than
    `likeness.SECRET` characters stand in many texts by themselves and are no secret, nor is a label, nor what all items ask.
    """
    if row["task"] == "multiple_choice":
        return [" ".join([row["text"], *row["choices"]])]
    parts = [regex.sub(MARKER, "", line) for line in text.lines(row["text"]) if line not in ASKING]
    answer = row["answer"]
    if not isinstance(answer, str):
        answer = row["choices"][int(answer)] if row["choices"] is not None and pandas.notna(answer) else ""
    return [string for string in dict.fromkeys([" ".join(parts), *parts, answer]) if len(string) >= likeness.SECRET]


def framed(rows: Iterable[dict]) -> pandas.DataFrame:
    """The rows of one task with the flags that a rule finds added; what a row lacks is None."""
    blank, seen, found = {**dict.fromkeys(COLUMNS), "category": "", "flags": []}, set(), []
    for row in rows:
        row = {**blank, **row}
        asked = (row["text"], *(row["choices"] or []))
        missing = ["no label"] if row["answer"] is None else []
        again = ["duplicate input"] if asked in seen else []
        seen.add(asked)
        found.append({**row, "flags": [*row["flags"], *missing, *again]})
    return pandas.DataFrame(found, columns=COLUMNS, dtype=object)
