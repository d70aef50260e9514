"""Benchmarks are read as they were published, faults are flagged and counted, and no test row is trained on.

Rows here are made up; the real files are compared with counts that were made independently.
"""
import csv
import hashlib
import io
import json

import lm_eval
import numpy
import pandas
import pytest

from lib import exhibits
from lib.data import likeness, prompts
from lib.engine import assets, paths, records
from lib.evaluate import balance, benchmarks, harness, measure
from lib.study import contrast

FARSI = {"instruction": "یک سوال چند گزینه‌ای",
         "input": "پايتخت كجاست؟ <sep> (A) تهران (B) قم (C) یزد (D) شیراز", "output": "A"}


def files(setting: str, **rows) -> dict[str, str]:
    """Released files of a setting by path, one a task."""
    return {f"data/testset/{setting}/{name}.json": json.dumps(found) for name, found in rows.items()}


@pytest.fixture
def lay(tmp_path, monkeypatch):
    """`lay(asset, {path: text})` puts files where the assets look first, with the hashes that they have."""
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    entries = {}
    monkeypatch.setattr(assets, "registry", lambda: entries)

    def put(asset: str, contents: dict[str, str]):
        hashes = {}
        for path, content in contents.items():
            file = tmp_path / "owner" / asset / "abc" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf8", newline="")
            hashes[path] = hashlib.sha256(content.encode("utf8")).hexdigest()
        entries[asset] = {"kind": "files", "repository": f"owner/{asset}", "commit": "abc", "licence": "?",
                          "files": hashes}
    return put


def test_labels_of_all_spellings_become_indices(lay):
    math = "Question: 1+1?\n\n Option A: 1\n\n Option B: 2\n\n Option C: 3\n\n Option D: 4\n\n Option E: 5"
    word = "I ____ it.\\Question: Choose the right answer from options given a) ate b) eat c) eater d) eaten"
    lay(benchmarks.RELEASED, files("en", multiple_choice=[
        {"instruction": "a missing word", "input": word, "output": "b"},
        {"instruction": "a math problem", "input": math, "output": "Option E"}],
        sentiment=[{"instruction": "two possible", "input": "bad day", "output": "Negative"},
                   {"instruction": "an entity", "input": "He spoke.", "output": "neutral"}]))
    choices = benchmarks.released("en", "multiple_choice")
    assert list(choices["answer"]) == [1, 4] and list(choices["category"]) == ["missing word", "math"]
    assert choices["choices"][0] == ["ate", "eat", "eater", "eaten"] and choices["text"][1] == "1+1?"
    sentiment = benchmarks.released("en", "sentiment")
    assert list(sentiment["answer"]) == [1, 2] and [len(found) for found in sentiment["choices"]] == [2, 3]


def test_persian_is_normalised_and_ints_are_labels(lay):
    lay(benchmarks.RELEASED, files("fa", multiple_choice=[FARSI], sentiment=[
        {"instruction": "نظر", "input": "خوب", "output": 0}, {"instruction": "نظر", "input": "بد", "output": 1}]))
    row = benchmarks.released("fa", "multiple_choice").loc[0]
    assert row["text"] == "پایتخت کجاست؟" and row["answer"] == 0 and row["language"] == "fa"
    assert row["input"] == FARSI["input"]
    assert list(benchmarks.released("fa", "sentiment")["answer"]) == [0, 1]


def test_unreadable_released_label_is_refused(lay):
    lay(benchmarks.RELEASED, files("fa", multiple_choice=[{**FARSI, "output": "Z"}]))
    with pytest.raises(ValueError, match="fa/multiple_choice.json, row 0: the label 'Z' is none of"):
        benchmarks.released("fa", "multiple_choice")


def test_faults_are_flagged_and_kept(lay):
    same = {"instruction": "Farsi question", "input": "Where? <sep> (A) a1 (B) b1 (C) c1 (D) d1", "output": "B"}
    lay(benchmarks.RELEASED, files("translate-test", multiple_choice=[
        same, same, {**same, "input": "Where? (A) a1 (B) b1 (D) d1"},
        {**same, "input": "Where? (A) a1 (B) b1 (C) c1 (D)"}],
        entailment=[{"instruction": "", "input": "Sentence 1: It rains. The second sentence: It snows.", "output": "1"},
                    {"instruction": "", "input": "It rains. It is wet.", "output": "2"}]))
    frame = benchmarks.released("translate-test", "multiple_choice")
    assert list(frame["flags"]) == [[], ["duplicate input"], ["options not marked"], ["empty option"]]
    assert list(benchmarks.flagged(frame)) == [False, True, True, True] and list(frame["answer"]) == [1] * 4
    assert frame["choices"][2] == list("ABCD") and frame["choices"][3] == ["a1", "b1", "c1"]
    pairs = benchmarks.released("translate-test", "entailment")
    assert pairs["text"][0] == "First sentence: It rains.\nSecond sentence: It snows."
    assert list(pairs["flags"]) == [[], ["sentences not marked"]]


def test_translations_of_other_text_are_flagged(lay):
    lay(benchmarks.RELEASED, files("fa", translation_fa_en=[
        {"instruction": "متن زیر را", "input": "سلام به همه", "output": "hello to all"},
        {"instruction": "متن زیر را", "input": "سلام", "output": "a sentence that is far longer than its source is"},
        {"instruction": "از قرآن", "input": "GMT 19", "output": "GMT 19"}, *[
            {"instruction": "کتاب مقدس", "input": f"جمله {place}", "output": f"verse {place}"} for place in range(3)]]))
    frame = benchmarks.released("fa", "translation")
    assert list(frame["flags"][:3]) == [[], ["lengths differ"], ["other script"]]
    assert frame["flags"][5] == ["other text"]
    assert list(frame["to"]) == ["en"] * 6 and list(frame["category"][1:4]) == ["general 2", "Quran", "Bible"]


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match="no benchmark setting 'de'; choose one of fa, en, translate-test"):
        benchmarks.released("de")
    with pytest.raises(ValueError, match="no benchmark task 'nli'"):
        benchmarks.parsinlu("nli")
    with pytest.raises(ValueError, match="no benchmark split 'dev'"):
        benchmarks.parsinlu("qqp", "dev")


def lines(*rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def entailment(*rows) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerows([["", "sent1", "sent2", "label", "source"], *rows])
    return stream.getvalue()


def reviews(aspect: str, *labels) -> list[dict]:
    return [{"review": f"نظر {number}", "aspect": aspect, "label": label} for number, label in enumerate(labels)]


def test_parsinlu_of_every_format(lay):
    lay(benchmarks.PARSINLU, {
        "data/entailment/test.csv": entailment([3, "باران،\nتند", "خیس است.", "e", "wiki"],
                                               [4, "یک", "دو", "-", "wiki"]),
        "data/entailment/merged_with_farstail/train.tsv": "یک<sep>دو\tc\nسه<sep>چهار\txx\n",
        "data/multiple-choice/test_lit.jsonl": lines({"answer": "۳", "candidates": ["یک", "", "سه", "چهار"],
                                                      "category": "literature", "question": "کدام؟"}),
        "data/multiple-choice/test_ck.jsonl": lines({"answer": "1", "candidates": ["یک", "دو", "سه", "چهار"],
                                                     "category": "common_knowledge", "question": "کدام؟"}),
        "data/multiple-choice/test_ml.jsonl": lines({"answer": "4", "candidates": ["۱", "۲", "۳", "۴"],
                                                     "category": "math_and_logic", "question": "کدام؟"}),
        "data/reading_comprehension/eval.jsonl": lines({"question": "کجا؟", "passage": "او در خانه است.", "url": "",
                                                        "answers": [[3, "خانه"], [0, "در خانه"]]}),
        "data/sentiment-analysis/food_test.jsonl": lines(*reviews("کلی", "2", "-1", "3"), *reviews("طعم", "1")),
        "data/sentiment-analysis/movie_test.jsonl": lines(*reviews("کلی", "0"))})
    pairs = benchmarks.parsinlu("entailment")
    assert list(pairs["answer"]) == [1, None] and list(pairs["flags"]) == [[], ["no label"]]
    assert list(benchmarks.parsinlu("entailment", "train")["answer"]) == [0, None]
    choices = benchmarks.parsinlu("multiple_choice")
    assert list(choices["category"]) == ["literature", "common knowledge", "math & logic"]
    assert list(choices["answer"]) == [1, 0, 3] and choices["choices"][0] == ["یک", "سه", "چهار"]
    assert benchmarks.parsinlu("reading_comprehension")["answers"][0] == ["خانه", "در خانه"]
    assert list(benchmarks.parsinlu("sentiment")["answer"]) == [0, 1, 2, 2]
    assert list(benchmarks.parsinlu("sentiment")["category"]) == ["food"] * 3 + ["movie"]


def test_rows_without_a_label_are_left_out_and_told(lay, capsys):
    lay(benchmarks.PARSINLU, {"data/entailment/test.csv": entailment([1, "یک", "دو", "c", "w"],
                                                                     [2, "سه", "دو", "-", "w"])})
    kept = benchmarks.labelled(benchmarks.parsinlu("entailment"))
    assert len(kept) == 1 and "1 of 2 rows have no readable gold label" in capsys.readouterr().out


def rows(*texts, task: str = "sentiment", **fields) -> pandas.DataFrame:
    blank = {**dict.fromkeys(benchmarks.COLUMNS), "task": task, "language": "en", "flags": [], "source": "s",
             "answer": 0, "benchmark": "b", "setting": "en", "choices": ["positive", "negative"], **fields}
    return pandas.DataFrame([{**blank, "id": f"x/{place}", "text": string} for place, string in enumerate(texts)])


def test_no_twin_of_a_test_row_is_trained_on():
    tests = rows("First sentence: The small cat sat on the old mat.\nSecond sentence: It was there all day long.")
    training = rows("The small cat sat upon the old mat.", "Nothing that is alike stands here.",
                    "First sentence: Nobody came to the party.\nSecond sentence: it was there all day long!")
    kept, counts = benchmarks.clean(training, tests)
    assert list(kept["text"]) == ["Nothing that is alike stands here."]
    assert counts.to_dict("records") == [{"source": "s", "task": "sentiment", "found": 3, "leaked": 2, "kept": 1}]
    assert likeness.leaking([["Some text.\nIt was there all day long, so."], ["Other text entirely."]],
                          benchmarks.asked(tests)) == [True, False]


def test_the_right_option_is_asked_too_but_no_label():
    tests = rows("", task="word_order", choices=["one two three four five six.", "two one three four five six."])
    assert benchmarks.asked(tests) == {"one two three four five six."}
    assert benchmarks.asked(rows("It was there all day long.")) == {"It was there all day long."}
    assert benchmarks.asked(rows("It was there all day long.", answer=None)) == {"It was there all day long."}


def test_what_all_items_ask_gives_none_away():
    form = "Do these two sentences mean the same?\n"
    tests = rows(f"{form}The first sentence stands here.\nجملهٔ نخست این‌جا ایستاده است.", task="bitext_verify")
    training = rows(f"{form}Another one is written there.\nیکی دیگر آن‌جا نوشته شده است.", task="bitext_verify")
    assert len(benchmarks.clean(training.assign(source="s"), tests)[0]) == 1


def test_exam_questions_leak_with_their_options_only():
    tests = rows("Which of these is wrong?", task="multiple_choice", choices=["green apples", "red cars"])
    same = rows("Which of these is wrong?", task="multiple_choice", choices=["red cars", "green apples"])
    other = rows("Which of these is wrong?", task="multiple_choice", choices=["seven days", "nine weeks of rain"])
    assert benchmarks.clean(same, tests)[1]["leaked"].sum() == 1
    assert benchmarks.clean(other, tests)[1]["leaked"].sum() == 0


def test_english_to_train_on_comes_with_its_sources(lay, monkeypatch, tmp_path):
    question = {"id": "q", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}]}
    lay(benchmarks.XQUAD, {"xquad.en.json": json.dumps({"data": [{"paragraphs": [{"context": "Ann sang.",
                                                                                  "qas": [question]}]}]})})
    (tmp_path / "reviews.csv").write_text("text,label,source\na fine film,1,rotten_tomatoes\ndull,0,rotten_tomatoes\n"
                                          "long,1,imdb\n")
    monkeypatch.setattr(assets, "fetch", lambda name: tmp_path)
    items = pandas.DataFrame([{"id": "i", "task": "emoji_mcq", "language": language, "split": split, "question": "cat",
                               "choices": ["a", "b"], "answer": 1} for language in ("en", "fa")
                              for split in ("train", "test")])
    frame = benchmarks.training("en", items)
    assert list(frame["task"]) == ["reading_comprehension", "sentiment", "sentiment", "emoji_mcq"]
    assert list(frame["answer"]) == ["Ann", 0, 1, 1] and frame["source"].map(len).gt(5).all()
    assert prompts.answer(frame.loc[1]) == "A" and prompts.answer(frame.loc[0]) == "Ann"


def test_sample_takes_rows_that_belong_together():
    many = pandas.concat([rows(*map(str, range(50)), setting=setting) for setting in ("fa", "translate-test")])
    many["id"] = many["setting"] + "/sentiment/" + many["text"]
    chosen = benchmarks.sample(many, 10, seed=3)
    numbers = chosen.groupby("setting")["text"].agg(set)
    assert len(chosen) == 20 and numbers["fa"] == numbers["translate-test"]
    assert set(benchmarks.sample(many, 10, longest=1)["text"]) <= set("0123456789")


def test_a_balanced_exam_has_every_option_right_equally_often(capsys):
    """So that scores which do not depend on the item lead by nothing in the mean."""
    many = pandas.concat([rows(*map(str, range(40)), setting=setting) for setting in ("fa", "translate-test")], ignore_index=True)
    number = many["text"].astype(int)
    many["id"] = many["setting"] + "/sentiment/" + many["text"]
    many["choices"] = [["a", "b", "c"][:2 + (n >= 30)] for n in number]
    many["answer"] = [2 * (n % 2) if n >= 30 else int(n % 5 == 0) for n in number]
    chosen = balance.sample(many, 9, 40, seed=3)
    assert chosen.groupby("setting")["answer"].value_counts().to_dict() == {
        (setting, place): 4 for setting in ("fa", "translate-test") for place in (0, 1)}
    numbers = chosen.groupby("setting")["text"].agg(set)
    assert numbers["fa"] == numbers["translate-test"] and "20 rows of tasks in which some option is right less than 2 times" in capsys.readouterr().out
    assert len(balance.sample(many, 1, 40)) == 8 and balance.sample(many, 100, 40)["answer"].value_counts().to_dict() == {0: 12, 1: 12}
    assert balance.sample(many.head(0), 9, 40).empty
    once = many.head(3).assign(answer=[0, 1, 1], choices=[["a", "b"]] * 3)
    assert balance.sample(once, 9, 40).empty


def test_a_liking_for_a_letter_does_not_make_a_balanced_exam_uncertain():
    """Margins that hang on the right letter alone are certain in the mean; what items add scatters as in a stratified draw."""
    generator, places = numpy.random.default_rng(0), numpy.tile([0, 1, 2, 3], 25)
    asked = pandas.DataFrame({"id": [f"item {number}" for number in range(100)], "answer": places})
    told = {"benchmark": "made up", "setting": "fa", "task": "choice", "choices": 4, "item": asked["id"]}
    liked, luck = numpy.array([6.0, -1, -2, -3])[places], generator.normal(0.3, 0.2, (2, 100))
    scores = pandas.concat([pandas.DataFrame({**told, "seed": seed, "margin": liked + luck[seed]}) for seed in (0, 1)])
    found = balance.stratified(scores, asked, ["seed"])
    assert found.groupby("seed")["margin"].mean().tolist() == pytest.approx(scores.groupby("seed")["margin"].mean().tolist())
    before, after = (contrast.estimate(rows[rows["seed"] == 0], contrast.MARGIN) for rows in (scores, found))
    assert before.high - before.low > 1 and after.high - after.low == pytest.approx(4 * 0.2 / 10, rel=0.25)
    alone = balance.stratified(scores.assign(margin=numpy.tile(liked, 2)), asked, ["seed"])
    assert numpy.allclose(alone["margin"], 0, atol=1e-12)


def test_answer_is_scored_as_it_was_trained(byte_tokenizer):
    import copy
    turns = [{"role": "user", "content": "Which?"}]
    assert prompts.around(byte_tokenizer, turns)[0] == ""
    alpaca = prompts.dress(copy.deepcopy(byte_tokenizer), "alpaca")
    assert prompts.around(alpaca, turns)[0] == " "


def test_harness_and_generation_take_benchmark_rows(lay, byte_tokenizer, tiny_model, tmp_path):
    lay(benchmarks.RELEASED, files("fa", sentiment=[{"instruction": "نظر", "input": f"متن {place}", "output": place % 2}
                                                    for place in range(4)]))
    frame, model = benchmarks.released("fa", "sentiment"), tiny_model(byte_tokenizer)
    for prompt in ("document", "chat"):
        scored = harness.score(model, byte_tokenizer, frame, tmp_path / prompt, prompt)
        assert list(scored["item"]) == list(frame["id"]) and set(scored["choices"]) == {2}
    judged = measure.answer(model, byte_tokenizer, frame, 4)
    assert list(judged["item"]) == list(frame["id"]) and not judged["correct"][judged["invalid"]].any()


def test_harness_knows_the_tasks_that_profiles_may_name():
    shipped = paths.Path(lm_eval.__file__).parent / "tasks"
    names = ["belebele_pes_Arab", "xnli_en", "xcopa_tr", "xcopa_id", "flores_en-fa", "flores_fa-en"]
    harness.known(names, [shipped / folder for folder in ("belebele", "xnli", "xcopa")])
    with pytest.raises(ValueError, match="no task nonsense"):
        harness.known(["nonsense"], [shipped / "xcopa"])


def test_named_tasks_come_back_item_by_item(byte_tokenizer, tiny_model, tmp_path, monkeypatch):
    import datasets
    pairs = {"eng_Latn": "two cats", "pes_Arab": "دو گربه"}
    monkeypatch.setattr(datasets, "load_dataset", lambda _, code, split: [{"id": 1, "text": pairs[code]}])
    monkeypatch.setattr(harness, "known", lambda *_: harness.TaskManager(
        include_defaults=False, include_path=str(paths.TASKS)))
    found = harness.named(tiny_model(byte_tokenizer), byte_tokenizer, ["flores_fa-en"], tmp_path, limit=1)
    assert list(found["metric"]) == ["chrf", "bleu"] and list(found["reference"]) == ["two cats"] * 2
    assert isinstance(found["answer"][0], str) and (tmp_path / "flores_fa-en.samples.jsonl").exists()


@pytest.fixture
def real(monkeypatch):
    """The real files, from the folder or the cache; without both there is nothing to compare."""
    monkeypatch.setenv("COMPANION_REACH", "")
    try:
        for path in assets.entry(benchmarks.RELEASED)["files"]:
            assets.file(benchmarks.RELEASED, path)
    except assets.NotAvailable as error:
        pytest.skip(str(error))


# Rows, labels as written, majority in %, words in, duplicates, counted independently.
PUBLISHED = {
    "fa/entailment": (200, "0 68 / 1 71 / 2 61", 35.5, "39.6", 0),
    "fa/multiple_choice": (200, "A 48 / B 57 / C 51 / D 44", 28.5, "29.8", 0),
    "fa/sentiment": (100, "0 50 / 1 50", 50, "22.1", 0), "fa/summary": (200, None, None, "320.5", 0),
    "fa/translation_fa_en": (200, None, None, "22.0", 0),
    "en/entailment": (200, "Contradiction 90 / Entailment 95 / Neutral 15", 47.5, "65.3", 0),
    "en/multiple_choice": (200, "a 31 / b 28 / c 22 / d 19 / Option A 19 / Option B 24 / Option C 25 / Option D 16 / "
                                "Option E 16", 28, "25.8 / 51.2", 0),
    "en/sentiment": (200, "negative 45 / positive 31 / Negative 13 / Neutral 65 / Positive 46", 55, "41.5 / 57.5", 0),
    "en/summarization": (200, None, None, "159.5", 0), "en/translation_en_fa": (200, None, None, "19.8", 0),
    "translate-test/entailment": (200, "0 68 / 1 71 / 2 61", 35.5, "39.3", 0),
    "translate-test/multiple_choice": (200, "A 48 / B 57 / C 51 / D 44", 28.5, "31.8", 2),
    "translate-test/sentiment": (100, "0 50 / 1 50", 50, "25.0", 0),
    "translate-test/summary": (200, None, None, "342.3", 0)}


def test_counts_of_the_real_files(real, output, monkeypatch):
    monkeypatch.setattr(benchmarks, "PARSINLU_FILES", {})
    benchmarks.note(records.Record("07_base_strength", {"profile": "smoke"}, {}))
    frame, reading = exhibits.TABLES["P1-T1"].build("smoke")
    columns = ["n", "labels as written", "majority (%)", "words in", "duplicates"]
    found = frame.astype(object).where(frame.notna(), None).set_index("file")[columns]
    assert {name.removesuffix(".json"): tuple(row) for name, row in found.iterrows()} == PUBLISHED
    assert "14 files hold 2600 rows" in reading and "±9.6 points" in reading


def test_answers_of_fa_and_translate_test_are_the_same(real):
    for task in ("entailment", "multiple_choice", "sentiment"):
        fa, en = (benchmarks.released(setting, task)["output"].tolist() for setting in ("fa", "translate-test"))
        assert fa == en, task


def test_table_without_tests_says_so(output):
    records.Record("07_base_strength", {"profile": "smoke"}, {}).fact("seconds", 1.0)
    frame, reading = exhibits.TABLES["P1-T1"].build("smoke")
    assert frame.empty and "no tests in this run" in reading
