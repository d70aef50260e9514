"""Generated inputs: whatever a user hands in gives a result or one sentence, no traceback, no hang, and no lost row.

A few cases of each kind as a rule; COMPANION_CASES=300 tries so many of each, other ones every time, and writes
docs/reliability-inputs.md.
"""
import contextlib
import copy
import functools
import gzip
import io
import itertools
import json
import math
import os
import random
import re
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import escape

import fake_server
import pandas
import pyarrow
import pyarrow.parquet
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib import exhibits
from lib.data import corpus, files
from lib.engine import assets, keys, launch, params, paths, records, run, sweep
from lib.exhibits import pages
from lib.model import basecheck
from lib.study import ch10_selfinstruct as selfinstruct
from lib.study import teacher

CASES = int(os.environ.get("COMPANION_CASES", 0))  # of each kind; 0: as few as each test says
PATIENCE = 60  # seconds of computing for a case; five times as many by the clock, which other work on the machine stretches
OWN = (params.ParameterError, paths.FolderError, assets.AssetError, files.SourceError, teacher.TeacherError, run.ChapterError,
       records.RecordError)
LIBRARY = str(paths.ROOT / "lib")
LONGEST = 1000  # characters of a sentence that is still read
TRIED, SECONDS = Counter(), Counter()


@pytest.fixture(scope="module", autouse=True)
def told():
    """Writes what the long form tried, once it is through; kinds that it left out stay as they were."""
    yield
    place = paths.ROOT / "docs" / "reliability-inputs.md"
    known = re.findall(r"^\| (.+?) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", place.read_text("utf8") if place.exists() else "", re.M)
    rows = {kind: list(map(int, counts)) for kind, *counts in known if kind != "all"}
    for kind in SECONDS:
        taken, refused = TRIED[kind, "taken"], TRIED[kind, "refused"]
        rows[kind] = [taken + refused, taken, refused, round(SECONDS[kind])]
    if CASES:
        rows["all"] = [sum(counts) for counts in zip(*rows.values())]
        place.write_text(HEAD + "".join(f"| {kind} | {' | '.join(map(str, counts))} |\n" for kind, counts in rows.items()), "utf8")


HEAD = """# Inputs tried

Generated cases (`COMPANION_CASES=… make test ARGS=tests/test_inputs.py`): each came to a result or to one sentence with the value and
the way out, within a minute; a traceback, a hang, or a row that no count knows fails the test. Of texts and pairs the whole of chapter 01
is run.

| input | cases | taken | refused in a sentence | seconds |
|---|---|---|---|---|
"""


def few(count):
    """Settings of a test that tries `count` cases in the short form: the same ones every time."""
    return settings(max_examples=CASES or count, derandomize=not CASES, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))


def outcome(kind, act):
    """What a case comes to, None where one sentence refuses it. Fails for a traceback, a hang, and for what is no sentence."""
    signal.signal(signal.SIGALRM, _hang)
    signal.signal(signal.SIGPROF, _hang)
    signal.alarm(5 * PATIENCE)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    began, told = time.monotonic(), "taken"
    try:
        return act()
    except Exception as error:
        told = "refused"
        _check(error)
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        TRIED[kind, told] += 1
        SECONDS[kind] += time.monotonic() - began


def _hang(*_):
    raise AssertionError(f"no answer within {PATIENCE} s")


def _check(error):
    """Raises the error itself unless the project raised it, in one sentence that can be read."""
    inner = traceback.extract_tb(error.__traceback__)[-1]
    ours = isinstance(error, (*OWN, exhibits.Lacking)) or type(error) in (ValueError, FileNotFoundError, RuntimeError) and inner.filename.startswith(LIBRARY)
    words = f"{error}." if isinstance(error, exhibits.Lacking) else str(error)  # it is the end of a sentence
    if not ours:
        raise error
    assert "\n" not in words and 20 < len(words) < LONGEST and words.endswith("."), words


# Parameters

CHAPTERS = run.chapters()
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-2, 3), st.floats(), st.text(max_size=20), st.dates(), st.datetimes(),
                  st.binary(max_size=9), st.sampled_from(["1e-3", "~", "~nobody/x", "a/b", "fa", "x" * 300, "x" * 3000, "a\0b", "/", "..", "0x1F",
                                                          "\ud83d\ude00", "org/name@main"]))
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3)
                      | st.dictionaries(st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none()), inner, max_size=3), max_leaves=6)
ODD = ["a: [", "\tseed: 1", "seed: !!python/object/apply:os.system [ls]", "seed: !!int x", "seed: !!float y", "seed: 2024-13-45",
       "seed: !!timestamp x", "seed: 1\nseed: 2", "<<: {seed: 1}", "<<: 1", "=: 1", "? [a]\n: 1", "? {a: b}\n: 1", "corpora: &a {x: *a}",
       "seed: &a [*a]", "seed: " + "[" * 5000, "seed: " + "9" * 5000, "seed: 1_000", "seed: 1:30", "seed: 0o17", "seed: 017", "--- 1\n--- 2", "%YAML 3.0\n---\nseed: 1", "[]",
       "- a", "text", "", "---", "null", "seed: !!binary x", "seed: !!set {a}", "seed: *nowhere", "\0", "seed: \x07", "\ufeffseed: 1",
       "seed: 1\r\nscript: Arabic\r", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
       "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]",
       "corpora: {no: [a.txt]}", "corpora: {1: [a], b: 2}", "division: {fa: .nan}", "corpora: {2024-01-01: x}", "!!omap [a: 1]", "seed: !foo 1", "!!str"]


@st.composite
def parameter_files(draw):
    """A chapter, and the bytes of a parameter file for it: nearly right, or anything that YAML may hold."""
    chapter = draw(st.sampled_from(CHAPTERS))
    known = params.defaults(chapter)
    name = draw(st.sampled_from(sorted(known)) | st.text(max_size=12) | st.sampled_from(sorted(known)).map(str.upper))
    value = draw(values | st.from_type(params.stated(chapter).model_fields[name].annotation) if name in known else values)
    odd = st.sampled_from(ODD)
    written = draw(st.just(yaml.dump({"profile": "mine", name: value}, allow_unicode=True)) | odd.map("profile: mine\n".__add__) | odd)
    encoding = draw(st.sampled_from(["utf8"] * 30 + ["utf-8-sig", "utf-16", "utf-32", "cp1252"]))
    content = written.encode(encoding, "replace")
    cut = draw(st.integers(0, len(content))) if draw(st.integers(0, 29)) == 0 else len(content)
    return chapter, content[:cut]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """An empty folder of profiles; the notebooks are the real ones."""
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params")
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    (tmp_path / "params/mine").mkdir(parents=True)
    return tmp_path / "params/mine"


@few(40)
@given(parameter_files())
def test_a_parameter_file_is_taken_or_refused(mine, case):
    chapter, content = case
    (mine / f"{chapter}.yaml").write_bytes(content)

    def act():
        found = params.load("mine", chapter)
        params.written("mine", chapter, found)
        keys.of_chapter(chapter, found)
        records.write_json(mine / "record.json", found)
        for file in found.get("corpus_files", []):
            paths.named(file).exists()
        return found
    outcome("parameter files", act)
    (mine / f"{chapter}.yaml").unlink()


SWEPT = st.dictionaries(st.sampled_from(["size", "start", "seed", "profile", "nothing"]), values | st.lists(values, max_size=3) | st.just([0, 1]), max_size=3)
asked = st.fixed_dictionaries({}, optional={
    "profile": st.just("mine") | values, "chapter": st.sampled_from(["02_tokenizer", "x" * 300, "2_tokenizer", "..", "a\0b"]) | values, "grid": SWEPT | values,
    "zip": SWEPT | values, "set": SWEPT, "cores": values, "memory": values, "gpus": values, "accelerate": st.sampled_from(["", "x" * 300, "a.yaml", "cpu2", "/", ".."]) | values,
    "at_once": values})


@few(25)
@given(asked, st.sampled_from(ODD), st.integers(0, 4), st.booleans())
def test_a_sweep_or_a_launch_is_taken_or_refused(mine, content, odd, which, launching):
    text = odd if which == 0 else yaml.dump(content if which < 3 else {"profile": "mine", "chapter": "02_tokenizer", **content})
    (mine / "02_tokenizer.yaml").write_text("profile: mine\n")
    (mine / "launch.yaml").write_text(yaml.dump({name: content[name] for name in ("accelerate", "at_once") if name in content}) if which else odd, "utf8")
    (mine / "sweep.yaml").write_text(text, "utf8", "replace")
    outcome("sweeps and launches", lambda: launch.load("mine") if launching else sweep.load(mine / "sweep.yaml"))


def test_a_grid_that_no_machine_could_run_is_refused(mine):
    (mine / "02_tokenizer.yaml").write_text("profile: mine\n")
    lists = "".join(f"  {name}: [{', '.join(map(str, range(200)))}]\n" for name in ("seed", "size", "measured_documents", "start_bits_documents"))
    (mine / "sweep.yaml").write_text(f"profile: mine\nchapter: 02_tokenizer\ngrid:\n{lists}")
    with pytest.raises(params.ParameterError, match="make 1600000000 cells, more than 10000: shorten the lists"):
        sweep.load(mine / "sweep.yaml")


# Texts, pairs and tests of one's own

LINES = ["می‌خواهم کتاب‌های تازه را بخوانم و درباره‌ی آن‌ها بنویسم.", "این پرونده را باز کنید، خط‌ها را بخوانید و پرونده را ببندید.",
         "کتاب خوب را باید دو بار خواند، یک بار برای لذت.", "امروز هوا خوب است و ما به باغ می‌رویم تا گل‌ها را ببینیم.",
         "زبان فارسی را مردم ایران، افغانستان و تاجیکستان می‌نویسند؛ آیا شما هم؟", "The quick brown fox jumps over the lazy dog.",
         "Всё, что нужно знать о языке, можно прочитать в этой книге.", "我们今天去公园看花，然后回家读书写字。", "ประเทศไทยมีภาษาเป็นของตนเอง",
         "مرحبا يا صديقي، كيف حالك اليوم في هذه المدينة؟", "שלום לכולם, זה ספר חדש על שפה.", "日本語の文章を読むのは楽しいです。", "{0} %s فایل __X__"]
ENCODINGS = ["utf8"] * 40 + ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "cp1256", "latin-1", "shift-jis", "cp1251", "utf-7"]
PACKING = {"": bytes, ".gz": gzip.compress, ".zst": lambda content: pyarrow.compress(content, "zstd", asbytes=True)}
sentences = st.one_of(st.sampled_from(LINES), st.text(max_size=80), st.lists(st.sampled_from(LINES), min_size=1, max_size=4).map(" ".join),
                      st.sampled_from(["", " ", "\u2028", "\x85a\x0cb\x1c", "\0", "\u200c" * 30, "ا" * 5000, "\ufeff", "a\r\nb\rc", "=cmd|' /C calc'!A0"]))
# Anything that JSON may hold.
shapes = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | sentences,
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "en", "fa", "id", "a.b"]), inner, max_size=3),
                      max_leaves=5)


def dumped(kind, rows):
    """Rows (objects, or what stands in for one) as a file of the kind."""
    if kind in (".jsonl", ".json"):
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) if kind == ".jsonl" else json.dumps(rows, ensure_ascii=False)
    frame = pandas.DataFrame([row if isinstance(row, dict) else {"text": row} for row in rows])
    if kind == ".parquet":
        buffer = io.BytesIO()
        try:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row for row in rows if isinstance(row, dict)]), buffer)
        except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):
            frame.astype(str).to_parquet(buffer)
        return buffer.getvalue()
    return frame.to_csv(index=False, sep="," if kind == ".csv" else "\t", quoting=0)


ENTITIES = ('<!DOCTYPE tmx [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">'
            '<!ENTITY e SYSTEM "file:///etc/passwd">]><tmx><body><tu><tuv xml:lang="en"><seg>&c;</seg></tuv><tuv xml:lang="fa"><seg>&e;</seg></tuv></tu>')


def spoiled(draw, content):
    """The bytes as they are, or cut, or with a byte changed, or with more of them."""
    place = draw(st.integers(0, max(0, len(content) - 1)))
    return draw(st.sampled_from([content] * 30 + [content[:place], content[:place] + b"\xff" + content[place + 1:], content + b"\0\0",
                                                 content[:place] + b"\0" + content[place:]]))


@st.composite
def own_files(draw, good, bad, kinds):
    """Name and bytes of a user's file of rows: good ones, and in some files bad ones among them."""
    kind, packing = draw(st.sampled_from(kinds)), draw(st.sampled_from(["", "", "", ".gz", ".zst"]))
    rows = draw(st.lists(good, max_size=12) | st.lists(good, min_size=1, max_size=12) | st.lists(good | bad, max_size=12))
    if kind == ".tmx":
        content = draw(st.sampled_from(["<tmx><body>", "<?xml version='1.0'?><tmx><body>", ENTITIES])) + "".join(
            "<tu>" + "".join(f"<tuv xml:lang='{code}'><seg>{escape(str(found))}</seg></tuv>" for code, found in row.items()) + "</tu>"
            for row in rows if isinstance(row, dict)) + "&e;</body></tmx>" * draw(st.booleans()) + "</body></tmx>"
    elif kind == ".txt":
        content = draw(st.sampled_from(["\n", "\n\n", "\r\n\r\n", "\r"])).join(str(row.get("text") if isinstance(row, dict) else row) for row in rows)
    else:
        content = dumped(kind, rows)
    if isinstance(content, str):
        content = content.encode(draw(st.sampled_from(ENCODINGS)), "replace")
    name = f"mine{kind}{packing}"
    return name, spoiled(draw, PACKING[packing](spoiled(draw, content)))


@contextlib.contextmanager
def written(name, content):
    """A folder of its own with the file."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / name
        place.write_bytes(content)
        yield place


def settings_of(**changed):
    """Parameters of chapter 01 with nothing but one's own files."""
    return params.defaults(corpus.CHAPTER) | {"profile": "mine", "sources": [], "outside": [], "multiway_languages": ["ar"],
                                              "minimum_characters": 5, "minimum_pair_characters": 5} | changed


def through(parameters):
    """Chapter 01 on the parameters, as its notebook has it; fails when a row is lost that no count knows."""
    from lib.data import items
    record = records.Record(corpus.CHAPTER, parameters, {})
    content, _ = corpus.gather(parameters)
    chosen = corpus.configure(parameters)
    frames, ledger = corpus.clean(content, parameters["multiway_languages"], chosen)
    frames = corpus.guard(corpus.split(frames, chosen, ledger), corpus.asked(content), chosen, ledger)
    assert not corpus.leaks(frames, chosen)
    questions = corpus.examined(items.derive(content, frames, chosen), content.tests, chosen, ledger)
    artefacts = corpus.artefacts(frames, questions, chosen, content.outside)
    corpus.write("mine", artefacts)
    corpus.note(record, ledger, frames, artefacts)
    record.write()
    for name, frame in frames.items():
        counts = Counter()
        for row in ledger:
            counts[row["filter"] == "read"] += row["rows"] * (row["artefact"] == name and row["filter"] != "rewritten")
        assert counts[True] == counts[False] + len(frame), (name, ledger)
    return content


# A text that is enough for a chapter by itself, so that a file beside it is really read.
WORDS = " ".join(LINES[:5]).split()
ENOUGH = "\n\n".join(" ".join(random.Random(seed).sample(WORDS, 12)) for seed in range(40)).encode()


@few(40)
@given(own_files(st.fixed_dictionaries({"text": sentences}, optional={"id": shapes, "a": shapes}), sentences | shapes, [".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet"]), st.booleans(), st.sampled_from(["fa", "en", "ja", "xx"]),
       st.sampled_from(["text", "a.b", "id"]), st.sampled_from([0, 0, 50]))
def test_a_corpus_is_taken_or_refused(mine, case, alone, language, column, limit):
    def act():
        with written(*case) as place, written("enough.txt", ENOUGH) as enough:
            chosen = [str(place)] + [] * alone + [str(enough)] * (not alone)
            content = through(settings_of(corpus_files=chosen, corpus_text_column=column, language=language, corpus_characters=limit,
                                          script={"en": "Latin", "ja": "Japanese"}.get(language, "Arabic")))
            read = list(files.texts(place, column, language))
            mine = {unit["group"] for unit in content.units if unit["source"] == place.name}
            lost = sum(row["rows"] for row in content.left_out)
            assert limit or len(mine) + lost == len(read), f"{len(read)} rows, {len(mine)} used, {lost} counted as left out"
    outcome("corpora", act)


@few(25)
@given(own_files(st.fixed_dictionaries({"en": sentences, "fa": sentences}),
                 st.fixed_dictionaries({}, optional={"english": shapes, "target": shapes, "en": shapes, "fa": shapes}) | shapes, [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".tmx", ".tmx"]))
def test_pairs_are_taken_or_refused(mine, case):
    def act():
        with written(*case) as place, written("enough.txt", ENOUGH) as enough:
            through(settings_of(corpus_files=[str(enough)], pair_files=[str(place)]))
    outcome("translation pairs", act)


question = st.fixed_dictionaries({"question": sentences, "choices": st.lists(sentences, max_size=9), "answer": st.integers(-1, 9) | sentences | shapes},
                                 optional={"language": st.sampled_from(["fa", "en", "FA", "", None, 1, "pt-BR"]), "id": shapes})
right = st.fixed_dictionaries({"question": st.sampled_from(LINES), "choices": st.lists(st.sampled_from(LINES), min_size=2, max_size=8, unique=True),
                               "answer": st.integers(0, 1)}, optional={"id": shapes})


@few(30)
@given(own_files(right, question | shapes, [".jsonl", ".jsonl", ".json"]), st.sampled_from(["mine", "exam-1", "qqp", "a b"]))
def test_benchmark_rows_are_taken_whole_or_refused(mine, case, name):
    def act():
        with written(case[0].replace("mine", name), case[1]) as place, written("enough.txt", ENOUGH) as enough:
            content = through(settings_of(corpus_files=[str(enough)], test_files=[str(place)]))
            assert len(content.tests) == len(list(files.records(place, "fa", [])))
    outcome("benchmark rows", act)


SIZE = 50 if CASES else 2  # MB
LINE = " ".join(LINES[:5])
HUGE = {
    "one line.txt": lambda size: (LINE * (size // len(LINE.encode()))).encode(),
    "one word.txt": lambda size: ("ا" * (size // 2)).encode(), "nothing but NUL.txt": bytes, "nothing but ends.txt": lambda size: b"\n" * (size // 10),
    "one row.jsonl": lambda size: json.dumps({"text": LINE * (size // len(LINE.encode()))}, ensure_ascii=False).encode(),
    "one cell.csv": lambda size: f'text\n"{LINE * (size // len(LINE.encode()))}"\n'.encode(),
    "brackets.json": lambda size: b"[" * size, "one bracket.jsonl": lambda size: b'{"text": "' + b"a" * size,
    "packed.txt.gz": lambda size: gzip.compress(bytes(size))}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_file_is_taken_or_refused(mine, name):
    def act():
        with written(name, HUGE[name](SIZE * 2 ** 20)) as place, written("enough.txt", ENOUGH) as enough:
            return through(settings_of(corpus_files=[str(enough), str(place)]))
    outcome("huge files", act)


# Replies of a teacher

LABELS = ["Instruction:", "1. Instruction：", "**Input**:", "Output:", "## 3) output :", "###", "---", "Task 4", "<noinput>", "<think>", "</think>",
          "*" * 3000, " " * 3000, "\n" * 300, "https://a.b", "Instruction", "Explain why the sky is blue.", "Well, it depends.", "\0\x1b[2J", "\u202e"]
replies = st.lists(st.sampled_from(LABELS) | sentences, max_size=12).map("\n".join) | st.text()
bodies = st.one_of(replies.map(fake_server.completion), shapes, st.builds(fake_server.completion, replies | shapes, shapes),
                   shapes.map(lambda found: {**fake_server.completion("Well."), "usage": found}),
                   shapes.map(lambda found: {**fake_server.completion("Well."), "usage": {"completion_tokens": found}}),
                   shapes.map(lambda found: {"choices": found}), shapes.map(lambda found: {"choices": [{"message": found}]}),
                   shapes.map(lambda found: {"choices": [{"message": {"content": found}}]}), shapes.map(lambda found: {"error": found}))
ASKED = {"max_new_tokens": 16, "temperature": 0.0, "seed": 1, "timeout": 5.0, "retries": 0, "batch_size": 1}


@pytest.fixture(scope="module")
def talker():
    """A server whose `answer` (status, bytes) a test sets."""
    with fake_server.serve() as server:
        fake_server.SCRIPT["said"] = lambda handler, _: handler.send(server.answer[0], raw=server.answer[1])
        yield server
        del fake_server.SCRIPT["said"]


@few(30)
@given(st.sampled_from([200] * 8 + [201, 204, 302, 400, 401, 404, 418, 500]), bodies, st.booleans())
def test_what_a_server_says_is_a_reply_or_a_refusal(talker, status, body, garbled):
    def act():
        raw = json.dumps(body).encode()
        talker.answer = status, raw[:len(raw) // 2] if garbled else raw
        [reply] = teacher.open("m", endpoint=talker.url, **ASKED).ask([[{"role": "user", "content": "said"}]])
        assert reply.finish in ("stop", "length", "error") and bool(reply.error) == (reply.finish == "error")
        assert isinstance(reply.text, str) and isinstance(reply.tokens, int)
        json.dumps(reply._asdict(), allow_nan=False)
        return reply
    outcome("servers' answers", act)


class Told:
    """A teacher that says what a test gives it, one after the other."""

    def __init__(self, texts):
        self.texts = itertools.cycle(texts)

    def ask(self, prompts):
        for _, text in zip(prompts, self.texts):
            text = text.encode("utf8", "replace").decode("utf8")
            yield teacher.Reply(text, "length" if len(text) % 5 == 1 else "stop", "", 0.1, len(text))


SEEDS = [{"instruction": line, "input": None, "output": "Fine."} for line in (
    "Explain why the sky is blue.", "Write a recipe for lentil soup.", "Name three famous painters of the Renaissance.", "What is the capital of Peru?")]


@few(25)
@given(st.lists(replies, min_size=1, max_size=4), st.sampled_from(["en", "fa", "zh"]), st.binary(max_size=60))
def test_what_a_teacher_writes_is_kept_or_rejected_for_a_reason(mine, texts, language, damage):
    def act():
        chosen = selfinstruct.Settings(language, rounds=2, first_prompts=2, prompts=3)
        with written("replies.jsonl", damage) as place:
            tasks, answers = selfinstruct.generate(SEEDS, Told(texts), selfinstruct.Journal(place), chosen, "a teacher")
            again, _ = selfinstruct.generate(SEEDS, Told(["never asked"]), selfinstruct.Journal(place), chosen, "a teacher")
        assert len(answers) == 5 and set(tasks["reason"]) <= {"", *selfinstruct.REASONS}
        assert again.equals(tasks)
        record = records.Record("10_multialpaca", {"profile": "mine"}, {})
        selfinstruct.note(record, chosen, tasks, answers)
        selfinstruct.write(mine / "tasks.jsonl", tasks)
        record.write()
        assert len(selfinstruct.read(mine / "tasks.jsonl")) == (tasks["reason"] == "").sum()
        return tasks
    outcome("teachers' replies", act)


# Base models

SAID = {"en": "The quick brown fox reads the file.", "fa": "می‌خواهم کتاب‌های تازه را بخوانم."}
SMALL = st.sampled_from([None, True, False, 0, -1, 1, 3, 7, 64, 500, 5000, 1.5, "", "x", "float16", "<|im_end|>", "</s>", [], [1], {}, {"a": 1}, "LlamaForCausalLM"])
TEMPLATES = st.sampled_from(["", "{{", "{{ 1/0 }}", "{{ messages[9].content }}", "{% for m in messages %}{{ m.content }}{% endfor %}", "{{ raise_exception('no') }}",
                             "{{ ''.__class__.__mro__ }}", "{% include 'x' %}", "{{ messages }}" * 50, "Yes", "{% for i in range(9999999) %}x{% endfor %}"])


@pytest.fixture(scope="module")
def bases(byte_tokenizer, tiny_model, tmp_path_factory):
    """Folders of two good tiny bases."""
    folder = tmp_path_factory.mktemp("bases")
    for tied in (True, False):
        tiny_model(byte_tokenizer, tied).save_pretrained(folder / str(tied))
        byte_tokenizer.save_pretrained(folder / str(tied))
    return folder


def entry(draw, content):
    """A place anywhere in a JSON value, as (container, key)."""
    while True:
        keys = list(content) if isinstance(content, dict) else range(len(content))
        key = draw(st.sampled_from(list(keys)[:30] + list(keys)[-3:]))
        if not isinstance(content[key], (dict, list)) or not content[key] or draw(st.booleans()):
            return content, key
        content = content[key]


def spoil_base(draw, folder):
    """Does one thing to a base's folder that somebody's download or export may have done."""
    from safetensors.torch import load_file, save_file
    weights = folder / "model.safetensors"
    file = draw(st.sampled_from(sorted(folder.iterdir())))
    kind = draw(st.sampled_from(["remove", "cut", "flip", "entry", "entry", "entry", "entry", "drop", "weight", "weight", "template", "folder"]))
    if kind == "remove":
        file.unlink()
    elif kind == "folder":
        file.unlink()
        file.mkdir()
    elif kind in ("cut", "flip"):
        content, place = file.read_bytes(), draw(st.integers(0, max(0, file.stat().st_size - 1)))
        file.write_bytes(content[:place] + (b"" if kind == "cut" else bytes([content[place] ^ 0x55]) + content[place + 1:]))
    elif kind == "template":
        (folder / "chat_template.jinja").write_text(draw(TEMPLATES))
    elif kind in ("entry", "drop") and (found := sorted(folder.glob("*.json"))):
        file = draw(st.sampled_from(found))
        content = json.loads(file.read_text("utf8"))
        inner, key = entry(draw, content)
        if kind == "drop":
            inner.pop(key)
        else:
            inner[key] = draw(SMALL.map(copy.deepcopy))
        file.write_text(json.dumps(content), "utf8")
    elif weights.is_file():
        held = load_file(weights)
        name = draw(st.sampled_from(sorted(held)))
        held[name] = {"shape": held[name].flatten()[:-1].clone(), "nan": held[name] * math.nan, "whole": held[name].to(int),
                      "half": held[name].half(), "empty": held[name][:0]}[draw(st.sampled_from(["shape", "nan", "whole", "half", "empty"]))]
        save_file(held, weights, metadata={"format": "pt"})


@few(25)
@given(st.data())
def test_a_base_is_taken_or_refused(bases, data):
    with tempfile.TemporaryDirectory() as scratch:
        folder = shutil.copytree(bases / str(data.draw(st.booleans())), Path(scratch) / "base")
        for _ in range(data.draw(st.integers(0, 2))):
            with contextlib.suppress(OSError, ValueError):  # what is spoiled already
                spoil_base(data.draw, folder)
        outcome("base models", lambda: basecheck.inspect(str(folder), SAID))


@few(15)
@given(st.text(max_size=30) | st.sampled_from(["x" * 300, "~nobody/model", "a\0b", "/", ".", "", "~", "a/b", "a/b@", "a/b@c d", "../../etc/passwd", "http://x/y"]))
def test_a_base_of_no_such_name_is_refused(name):
    assert outcome("names of bases", lambda: basecheck.inspect(name, SAID)) is None


# Records of other versions

OLD = json.loads(Path(__file__).with_name("old_records.json").read_text("utf8"))  # the first of each chapter that was kept, cut short


@few(25)
@given(st.data())
def test_a_record_of_another_shape_is_read_or_refused(output, data):
    content = copy.deepcopy(data.draw(st.sampled_from(OLD)))
    for _ in range(data.draw(st.integers(0, 3))):
        inner, key = entry(data.draw, content)
        if data.draw(st.booleans()):
            inner.pop(key)
        else:
            inner[key] = data.draw(st.sampled_from([None, True, 0, -1, 1.5, "", "x"]))

    # The chapter is told by the folder, not by what the record says.
    chapter = data.draw(st.sampled_from([record["chapter"] for record in OLD]))
    place = records.write_json(output / f"runs/full/{chapter}/record.json", content)
    drawn = [one for one in (exhibits.FIGURES | exhibits.TABLES).values() if one.chapter == chapter]
    none = pandas.DataFrame({"state": [], "chapter": []})
    uses = [lambda: run.why(place, params.load("full", chapter), []), lambda: (run.minutes("full", chapter), run.offer("full", "04_alignment")),
            lambda: (pages.keep("full"), pages.index("full", none)), *(functools.partial(one.make, "full") for one in drawn)]
    outcome("records of another shape", data.draw(st.sampled_from(uses)))
    shutil.rmtree(output / "figures", ignore_errors=True)
    shutil.rmtree(output / "runs")


# Cases that failed once

@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_how_lines_end_changes_no_document_and_no_split(mine, end):
    found = []
    for content in (ENOUGH, ENOUGH.replace(b"\n", end.encode())):
        with written("mine.txt", content) as place:
            through(settings_of(corpus_files=[str(place)]))
        found.append(corpus.read("mine", "documents"))
    assert found[0].equals(found[1]) and len(found[0]) > 10


def test_a_damaged_text_in_a_parquet_file_is_refused(mine):
    with written("mine.parquet", b"") as place:
        pandas.DataFrame({"text": ["xyzxyz", "abcabc"]}).to_parquet(place, compression=None)
        place.write_bytes(place.read_bytes().replace(b"xyzxyz", b"xyz\xffyz"))
        with pytest.raises(files.SourceError, match="is not a readable parquet file .*can't decode"):
            list(files.texts(place, "text", "fa"))


def test_a_line_separator_within_a_text_is_no_end_of_a_row(mine):
    rows = [json.dumps({"text": f"{line}\u2028{line[::-1]}"}, ensure_ascii=False) for line in ENOUGH.decode().split("\n\n")]
    with written("mine.jsonl", "\n".join(rows).encode()) as place:
        content = through(settings_of(corpus_files=[str(place)]))
    assert len(content.units) == len(rows) and not content.left_out


@pytest.mark.parametrize("line, words", [
    ("seed: !!int x", ["invalid literal", "one `key: value` a line"]), ("seed: 2024-13-45", ["month must be in 1..12"]),
    ("seed: " + "[" * 5000, ["recursion"]), ("seed: &a 1\nscript: *a", ["an alias, *name, is not read"]),
    ("seed: " + "x" * 9999, ["key `seed` is 'xxxx", "…", "whole number"]),
])
def test_an_odd_line_of_a_parameter_file_is_refused(mine, line, words):
    (mine / "01_corpus.yaml").write_text(f"profile: mine\n{line}\n")
    with pytest.raises(params.ParameterError) as refusal:
        params.load("mine", "01_corpus")
    assert all(word in str(refusal.value) for word in words) and len(str(refusal.value)) < LONGEST


@pytest.mark.parametrize("value, words", [
    ("{no: [a.txt]}", "its key False is true/false where a text is needed: quote it"), ("{fa: 2024-01-01}", "datetime.date(2024, 1, 1) in it is a date"),
    ("{fa: .nan}", "nan is not a finite number"), ("{1: [a], b: [c]}", "its key 1 is a whole number where a text is needed")])
def test_what_a_record_could_not_hold_is_refused_before_anything_runs(mine, value, words):
    (mine / "09_curriculum.yaml").write_text(f"profile: mine\ncorpora: {value}\n")
    with pytest.raises(params.ParameterError, match=re.escape(words)):
        params.load("mine", "09_curriculum")


def test_a_name_too_long_for_a_file_is_no_file(mine):
    (mine / "01_corpus.yaml").write_text(f"profile: mine\ncorpus_files: [{'x' * 300}.txt]\n")
    found = params.load("mine", "01_corpus")
    assert keys.of_chapter("01_corpus", found)
    with pytest.raises(files.SourceError, match="There is no file .*xxx"):
        corpus.gather(found | {"sources": [], "outside": []})


def test_a_lone_pair_of_a_split_gives_no_question(mine):
    from lib.data import items
    pairs = pandas.DataFrame({"id": ["a"], "english": ["The fox."], "target": [LINES[0]], "split": ["test"]})
    assert items.verify(pairs, corpus.Settings()) == []
