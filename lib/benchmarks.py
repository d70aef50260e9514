"""Published benchmarks as task rows: the test files of Llama-Persian, ParsiNLU, and XQuAD's English side.

A row has id, benchmark, setting, task, language, category, text, choices, answer, answers, to, flags, as `prompts` and
`evaluation.harness` read it; released rows also keep instruction, input and output as they were published, and forms,
the answer that the published instruction wants for each choice. Faults of the files are flagged, never repaired.
"""
import csv
import io
import json
from collections.abc import Callable, Iterable

import pandas
import regex

from lib import assets, scoring, text

RELEASED, PARSINLU, XQUAD = "llama-persian-tests", "parsinlu", "xquad"
COLUMNS = ["id", "benchmark", "setting", "task", "language", "category", "text", "choices", "answer", "answers", "to",
           "flags", "instruction", "input", "output", "forms"]
FILES = {"fa": {"entailment": "entailment", "multiple_choice": "multiple_choice", "sentiment": "sentiment",
                "summary": "summary", "translation": "translation_fa_en"},
         "en": {"entailment": "entailment", "multiple_choice": "multiple_choice", "sentiment": "sentiment",
                "summary": "summarization", "translation": "translation_en_fa"},
         "translate-test": {"entailment": "entailment", "multiple_choice": "multiple_choice", "sentiment": "sentiment",
                            "summary": "summary"}}
# The names of the labels in each language, in the order of their index.
SENTIMENT = {"en": ["positive", "negative", "neutral"], "fa": ["مثبت", "منفی", "خنثی"]}
ENTAILMENT = {"en": ["contradiction", "entailment", "neutral"], "fa": ["تضاد", "استلزام", "خنثی"]}
SAME = {"en": ["no", "yes"], "fa": ["خیر", "بله"]}
PAIR = {"en": "First sentence: {}\nSecond sentence: {}", "fa": "جملهٔ اول: {}\nجملهٔ دوم: {}"}
# Where the sentences of an entailment pair begin, as the files mark them.
PREMISE = regex.compile(r"(?is)^(?:premise:|جمله اول:|(?:the )?first sentence:|sentence 1:)\s*(.*?)\s*(?:<sep>)?\s*"
                        r"(?:hypothesis:|جمله دوم:|(?:the )?second sentence:|sentence 2:)\s*(.*)$")
OPTIONS = {"released": regex.compile(r"(?s)^(.*?)\s*(?:<sep>)?\s*\(A\)(.*)\(B\)(.*)\(C\)(.*)\(D\)(.*)$"),
           "missing word": regex.compile(r"(?s)^(.*?)\\Question:.*?given\s*a\)(.*?)\sb\)(.*?)\sc\)(.*?)\sd\)(.*)$"),
           "math": regex.compile(r"(?s)^(?:Question:)?(.*?)Option A:(.*)Option B:(.*)Option C:(.*)Option D:(.*)"
                                 r"Option E:(.*)$")}
# What tells the parts of a file apart: a word of the instruction → the category.
CATEGORIES = {("en", "multiple_choice"): {"missing word": "missing word", "math": "math"},
              ("en", "sentiment"): {"an entity": "entity", "two possible": "two-way"},
              ("fa", "translation"): {"مقدس": "Bible", "قرآن": "Quran", "سوال": "question", "داده شده": "general",
                                      "زیر": "general 2"}}
PARSINLU_FILES = {
    "entailment": {"train": ["entailment/merged_with_farstail/train.tsv"],
                   "validation": ["entailment/merged_with_farstail/dev.tsv"], "test": ["entailment/test.csv"]},
    "multiple_choice": {"train": ["multiple-choice/train.jsonl"], "validation": ["multiple-choice/valid.jsonl"],
                        "test": [f"multiple-choice/test_{part}.jsonl" for part in ("lit", "ck", "ml")]},
    "qqp": {"train": ["qqp/train.jsonl"], "validation": ["qqp/dev.jsonl"], "test": ["qqp/test.jsonl"]},
    "reading_comprehension": {"train": ["reading_comprehension/train.jsonl"],
                              "validation": ["reading_comprehension/dev.jsonl"],
                              "test": ["reading_comprehension/eval.jsonl"]},
    "sentiment": {"train": ["sentiment-analysis/food.jsonl", "sentiment-analysis/movie_train.jsonl"],
                  "validation": ["sentiment-analysis/food_dev.jsonl", "sentiment-analysis/movie_dev.jsonl"],
                  "test": ["sentiment-analysis/food_test.jsonl", "sentiment-analysis/movie_test.jsonl"]}}
OVERALL = "کلی"  # ParsiNLU's sentiment rows ask for eight or nine aspects of a review; this one is the whole of it
SETTINGS, SPLITS = tuple(FILES), ("train", "validation", "test")


def available() -> bool:
    """Whether every benchmark file is at hand or can be fetched; prints the reason when not."""
    try:
        for asset in (RELEASED, PARSINLU, XQUAD):
            for path in assets.entry(asset)["files"]:
                assets.file(asset, path)
    except assets.NotAvailable as error:
        print(f"Without the benchmark files: {error}")
        return False
    return True


def released(setting: str, task: str | None = None) -> pandas.DataFrame:
    """The Llama-Persian test files of a setting (fa, en or translate-test), one task or all, a row an item.

    Raises ValueError for another setting or task, or a gold label that cannot be read.
    """
    tasks = _known(setting, FILES, "setting")
    names = [task] if task else list(tasks)
    return pandas.concat([_released(setting, name, _known(name, tasks, "task")) for name in names], ignore_index=True)


def parsinlu(task: str, split: str = "test") -> pandas.DataFrame:
    """A task of ParsiNLU (Khashabi et al. 2021) in Persian; entailment's train and validation include FarsTail.

    Splits are train, validation and test. A row without a readable gold label has answer None and the flag `no label`.
    Sentiment is that of the review as a whole, neutral and mixed taken together. Raises ValueError for an unknown task
    or split.
    """
    files = _known(split, _known(task, PARSINLU_FILES, "task"), "split")
    return _frame({"id": f"parsinlu/{task}/{split}/{number}", "benchmark": "ParsiNLU", "setting": "fa", "task": task,
                   "language": "fa", **READERS[task](raw)}
                  for number, raw in enumerate(raw for file in files for raw in _lines(file)))


def xquad() -> pandas.DataFrame:
    """XQuAD's English questions (Artetxe et al. 2020, from SQuAD 1.1's validation part) as reading comprehension."""
    articles = json.loads(assets.file(XQUAD, "xquad.en.json").read_text("utf8"))["data"]
    places = [(paragraph["context"], question) for article in articles for paragraph in article["paragraphs"]
              for question in paragraph["qas"]]
    return _frame({"id": f"xquad/en/{question['id']}", "benchmark": "XQuAD", "setting": "en", "language": "en",
                   "task": "reading_comprehension",
                   **_question(passage, question["question"], [found["text"] for found in question["answers"]], "en")}
                  for passage, question in places)


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
    parts = CATEGORIES.get((setting, task), {})
    rows = []
    for number, raw in enumerate(json.loads(assets.file(RELEASED, path).read_text("utf8"))):
        category = next((part for word, part in parts.items() if word in raw["instruction"]), "")
        row = {"id": f"{setting}/{task}/{number}", "benchmark": "Llama-Persian", "setting": setting, "task": task,
               "language": language, "category": category, **raw,
               **RELEASED_READERS[task](raw, category, language)}
        if row["answer"] is None:
            raise ValueError(f"{path}, row {number}: the label {raw['output']!r} is none of {row['choices']}.")
        rows.append(row)
    return _frame(rows)


def _labelled(raw: dict, string: str, choices: list[str], forms: list[str], language: str) -> dict:
    labels = {scoring.spelling(form): index for index, form in enumerate(forms)}
    return {"text": text.normalise(string, language), "choices": choices, "forms": forms,
            "answer": scoring.gold(raw["output"], labels)}


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
    forms = {"math": [f"Option {letter}" for letter in "ABCDE"], "missing word": list("abcd")}.get(category, list("ABCD"))
    if not found:
        return {**_labelled(raw, raw["input"], forms, forms, language), "flags": ["options not marked"]}
    question, *choices = (text.normalise(part, language) for part in found.groups())
    filled = [place for place, choice in enumerate(choices) if choice]
    choices, forms = ([options[place] for place in filled] for options in (choices, forms))
    return {**_labelled(raw, question, choices, forms, language),
            "flags": [] if len(filled) == len(found.groups()) - 1 else ["empty option"]}


def _released_text(raw: dict, category: str, language: str) -> dict:
    other = "en" if language == "fa" else "fa"
    to = {"to": other} if "translat" in raw["instruction"] or "ترجمه" in raw["instruction"] else {}
    reply = text.normalise(raw["output"], to.get("to", language))
    return {"text": text.normalise(raw["input"], language), "answer": reply, "answers": [reply], **to}


RELEASED_READERS: dict[str, Callable] = {
    "sentiment": _released_sentiment, "entailment": _released_entailment, "multiple_choice": _released_choice,
    "summary": _released_text, "translation": _released_text}


def _lines(path: str) -> list[dict]:
    """Rows of a ParsiNLU file: JSON lines, CSV, or the two columns that FarsTail was merged into."""
    content = assets.file(PARSINLU, f"data/{path}").read_text("utf8")
    if path.endswith(".jsonl"):
        rows = [json.loads(line) for line in content.splitlines() if line.strip()]
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


READERS: dict[str, Callable] = {"entailment": _entailment, "multiple_choice": _choice, "qqp": _qqp,
                                "reading_comprehension": _comprehension, "sentiment": _sentiment}


def _frame(rows: Iterable[dict]) -> pandas.DataFrame:
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
