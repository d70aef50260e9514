"""The multilingual benchmark: equal sets, the same items in every language, paired scores, and its exhibits."""
import json

import numpy
import pandas
import pytest
from sacrebleu.metrics import CHRF

from lib import exhibits
from lib.data import prompts
from lib.engine import assets, paths, records
from lib.evaluate import benchmarks, derived
from lib.model import folders
from lib.study import ch11_multilingual as multilingual
from lib.study import contrast, exams
from lib.study.ch11_multilingual import Run

ACCURACY, TRANSLATED = multilingual.SCORES["accuracy"], multilingual.SCORES["chrf"]
CHAPTER = "11_multilingual_benchmark"
NONE = exams.NOTHING
EXAM = exams.Exam([], [], 3, NONE, NONE, NONE, "alpaca", 2, 4, 5, one_shot=2)


@pytest.fixture
def found():
    """Instruction rows of English and two other languages, of many sizes."""
    def rows(code, sizes):
        frame = pandas.DataFrame([{"task": "dialogue", "language": code, "text": "x" * size, "answer": str(size)}
                                  for size in sizes])
        return frame.assign(bytes=[len(row.text) + len(row.answer) for row in frame.itertuples()])
    return {"en": rows("en", range(10, 60)), "es": rows("es", range(5, 65)), "ja": rows("ja", range(8, 62, 2))}


def test_the_first_base_is_tuned_and_every_base_is_asked_as_it_is():
    runs = multilingual.plan(["small", "strong"], ["en", "multilingual"], [0, 1])
    assert [run.name for run in runs] == ["small-none-0", "strong-none-0", "small-en-0", "small-en-1",
                                          "small-multilingual-0", "small-multilingual-1"]
    assert [name for name, *_ in multilingual.contrasts(runs)] == ["instructions", "instructions", "languages", "base"]


def test_both_sets_have_as_many_rows_and_about_as_many_bytes(found):
    drawn = multilingual.sets(found, ["en", "es", "ja"], 12, 3)
    assert [len(drawn[kind]) for kind in ("en", "multilingual")] == [12, 12]
    assert drawn["multilingual"]["language"].value_counts().to_dict() == {"en": 4, "es": 4, "ja": 4}
    sizes = [rows["bytes"].sum() for rows in drawn.values()]
    assert abs(sizes[0] - sizes[1]) < 0.05 * sizes[0]
    assert not drawn["multilingual"].duplicated(["language", "text"]).any()
    again = multilingual.sets(found, ["en", "es", "ja"], 12, 3)
    assert all(drawn[kind].equals(again[kind]) for kind in drawn)
    assert not drawn["en"].equals(multilingual.sets(found, ["en", "es", "ja"], 12, 4)["en"])


def test_where_english_is_lacking_languages_are_drawn_by_turns(found):
    few = {code: found[code].head(12).assign(language=code) for code in ("es", "ja")}
    drawn = multilingual.sets(few, ["es", "ja"], 16, 0)
    assert list(drawn) == ["multilingual"] and drawn["multilingual"]["language"].value_counts().to_dict() == {"es": 8, "ja": 8}


def test_what_chapter_10_kept_in_a_language_of_three_letters_is_found(output):
    for name in ("ckb", "fa", "replies-fa"):
        file = multilingual.written("smoke", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"instruction": "Write a line.", "input": "", "output": "A line."}\n' * (name != "replies-fa"))
    assert set(multilingual.made("smoke", 100)) == {"ckb", "fa"}


def test_too_few_instructions_are_refused(found):
    with pytest.raises(ValueError, match="only {'ja': 27}: lower examples"):
        multilingual.sets(found, ["ja"], 40, 0)


@pytest.fixture
def xquad(monkeypatch):
    """Four passages in two languages, two questions each; the last passage is long in Spanish."""
    def rows(code):
        texts = [f"passage {place} {code}" + " long" * 30 * (place == 3 and code == "es") for place in range(4)]
        return pandas.DataFrame([{**dict.fromkeys(benchmarks.COLUMNS), "id": f"xquad/{code}/{place}{number}",
                                  "benchmark": "XQuAD", "setting": code, "language": code, "category": "", "flags": [],
                                  "task": "reading_comprehension", "text": f"{texts[place]}\nwhich {number}?",
                                  "answer": "one", "answers": ["one"]} for place in range(4) for number in range(2)])
    monkeypatch.setattr(benchmarks, "xquad", rows)


def test_questions_are_the_same_in_every_language_and_what_is_shown_is_not_asked(xquad):
    asked, shown = exams.questions(["en", "es"], 3, 60, 0)
    items = asked["item"].groupby(asked["language"]).apply(sorted)
    assert items["en"] == items["es"] and len(items["en"]) == 3
    assert list(shown["language"]) == ["en", "es"] and shown["item"].nunique() == 1
    assert shown["item"].iloc[0][0] not in {item[0] for item in asked["item"]}
    assert "3" not in {item[0] for item in asked["item"]}
    with pytest.raises(ValueError, match="XQuAD has 0 passages of at most 5 characters in en, es"):
        exams.questions(["en", "es"], 3, 5, 0)


@pytest.fixture
def multiway(english, persian):
    """Multi-way items, among them Indonesian, whose code is `id`."""
    rows = [{"item": f"m{at}", "split": split, "en": f"{english[at]} {at}", "fa": persian[at], "id": f"kalimat {at}"}
            for at, split in enumerate(["test", "test", "validation", "train", "train"])]
    return pandas.DataFrame(rows)


def test_translations_ask_the_same_sentences_in_every_direction(multiway, capsys):
    asked, shown = exams.translations(multiway, ["fa", "id"], 5, 200, 0)
    assert sorted(asked["setting"].unique()) == ["en-fa", "en-id", "fa-en", "id-en"] and len(asked) == 8
    assert list(shown["id"]) == ["en-fa/m2", "fa-en/m2", "en-id/m2", "id-en/m2"]
    assert set(asked.loc[asked["setting"] == "id-en", "text"]) == {"kalimat 0", "kalimat 1"}
    assert "Of 5 sentences to translate there are 2, for no more are short enough" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no xx: name it in multiway_languages"):
        exams.translations(multiway, ["xx"], 5, 200, 0)
    with pytest.raises(ValueError, match="at most 3 characters: raise longest_sentence"):
        exams.translations(multiway, ["fa"], 5, 3, 0)


def test_one_shot_shows_an_answered_row_of_the_same_direction(multiway):
    asked, shown = exams.translations(multiway, ["fa"], 1, 200, 0)
    text = prompts.document(asked.iloc[1].to_dict(), shown.iloc[1].to_dict())
    before, after = text.split("\n\n")
    assert before.startswith("فارسی: ") and before.endswith(shown["answer"].iloc[1])
    assert after == f"فارسی: {asked['text'].iloc[1]}\nEnglish:"


@pytest.fixture
def xcopa(monkeypatch, tmp_path):
    """Three validation and three test items in Indonesian, as XCOPA's files are."""
    def row(place):
        return {"premise": f"Premis {place}." if place else "Orang itu membuka keran air di dapur.", "choice1": "Pilihan satu.", "choice2": "Lain dua.", "idx": place,
                "question": ["cause", "effect"][place % 2], "label": place % 2, "changed": False}

    def files(code):
        found = {}
        for split, first in (("validation", 10), ("test", 0)):
            found[split] = tmp_path / f"{split}.{code}.jsonl"
            found[split].write_text("".join(json.dumps(row(first + place)) + "\n" for place in range(3)), "utf8")
        return {split: str(path) for split, path in found.items()}
    monkeypatch.setattr(benchmarks, "xcopa", files)


def test_choices_go_through_the_harness_with_and_without_a_demonstration(xcopa, byte_tokenizer, tiny_model, tmp_path):
    asked = (EXAM._replace(xcopa=["id"]), tiny_model(byte_tokenizer), byte_tokenizer, tmp_path)
    found = exams.choices(*asked, untuned=True)
    assert found.groupby("asked")["item"].apply(list).to_dict() == {"zero-shot": [0, 1, 2], "one-shot": [0, 1]}
    assert set(found["benchmark"]) == {"XCOPA"} and set(found["language"]) == {"id"} and set(found["choices"]) == {2}
    place = tmp_path / "one-shot" / "xcopa_id.samples.jsonl"
    context = json.loads(place.read_text("utf8").splitlines()[0])["arguments"][0][0]
    shown, asked_for = context.split("\n\n")
    assert shown.startswith("Premis 1") and asked_for == "Orang itu membuka keran air di dapur karena"
    tuned = exams.choices(*asked, untuned=False)
    assert set(tuned["asked"]) == {"zero-shot"}
    columns = ["asked", "item", "acc", "acc_norm"]
    assert exams.choices(*asked, untuned=True)[columns].equals(found[columns])


def test_nothing_is_tuned_on_that_is_asked_by_rows_by_the_harness_or_as_plain_text(xcopa, output, tmp_path, persian):
    def instruction(text, answer="ya", **more):
        return {"task": "dialogue", "language": "id", "text": text, "answer": answer, "bytes": 9, **more}
    told = pandas.DataFrame([{"task": "translation", "language": "en", "to": "fa", "text": "The cat sat on the mat today.",
                              "choices": None, "answer": persian[1]}])
    asked = exams.asked(EXAM._replace(xcopa=["id"], spoken=told, texts=pandas.DataFrame({"text": [persian[0]]})))
    pool = pandas.DataFrame([
        instruction("Apa sebabnya?\norang itu membuka keran air di dapur"), instruction("Tulis sesuatu.", persian[0]),
        instruction("Siapa?", f"{persian[1]} و بس"), instruction("Mengapa langit biru?"),
        {**instruction("Translate", 0, choices=["The cat sat on the mat today", "No."]), "task": "other_mcq"}])
    pool = multilingual._short(pool, 900)
    record = records.Record(CHAPTER, {"profile": "test"}, {})
    kept = multilingual.unasked({"id": pool}, asked, record, instructions="made")["id"]
    assert kept["text"].tolist() == ["Mengapa langit biru?"] and list(kept) == list(pool)
    assert record.content["facts"] == [{"fact": "leaked", "value": 4, "unit": "rows", "language": "id", "instructions": "made"}]


def test_what_a_model_was_asked_is_not_asked_again(byte_tokenizer, tiny_model, tmp_path, multiway, capsys):
    start = folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path / "start")
    made, (spoken, shown) = (derived.translations(multiway.assign(split="test"), ["id"], 2, 200, 0),
                             exams.translations(multiway, ["fa"], 2, 200, 0))
    exam = EXAM._replace(made=made, spoken=spoken, shown=shown, weighed=spoken)
    first = multilingual.sit(exam, Run("tiny", "none", 0), start, tmp_path / "out")
    weighed = first[first["task"] == "right answer"]
    assert weighed["bytes"].tolist() == [len(answer.encode()) for answer in spoken["answer"]] and (weighed["code_length"] > 0).all()
    assert set(first["task"]) == {"choice", "translation", "right answer"} and "made before" not in capsys.readouterr().out
    assert multilingual.sit(exam, Run("tiny", "none", 0), start, tmp_path / "out").equals(first)
    assert "made before" in capsys.readouterr().out
    longer = exam._replace(max_new_tokens=3)
    multilingual.sit(longer, Run("tiny", "none", 0), start, tmp_path / "out")
    assert "made before" not in capsys.readouterr().out


def test_choices_made_from_the_corpus_go_the_same_way(byte_tokenizer, tiny_model, tmp_path, multiway):
    made = derived.translations(pandas.concat([multiway.assign(split="test")]), ["id"], 2, 200, 0)
    found = exams.choices(EXAM._replace(made=made), tiny_model(byte_tokenizer), byte_tokenizer, tmp_path, untuned=True)
    assert set(found["benchmark"]) == {"translation choice"} and set(found["language"]) == {"id"}
    assert sorted(found["item"]) == sorted(name.rsplit("/", 1)[1] for name in made["id"]) and set(found["choices"]) == {4}
    assert set(found["acc"]) | set(found["acc_norm"]) <= {0.0, 1.0} and set(found["asked"]) == {"zero-shot"}


def answers(base, instructions, seed, right, benchmark="XCOPA", languages=("id", "zh"), asked="zero-shot"):
    """Choice rows of a run: `right` of six items in each language are right."""
    return pandas.DataFrame([{"base": base, "instructions": instructions, "seed": seed, "task": "choice",
                              "benchmark": benchmark, "language": code, "asked": asked, "item": item, "choices": 2,
                              "acc": float(item < right), "acc_norm": float(item < 3), "margin": item / 10}
                             for code in languages for item in range(6)])


def told(base, instructions, seed, hypotheses):
    """Translations of a run in two directions."""
    references = ["the cat sat on the mat", "a dog ran away", "it is late", "we are here"]
    return pandas.DataFrame([{"base": base, "instructions": instructions, "seed": seed, "task": "translation",
                              "benchmark": "multi-way items", "language": direction, "item": f"m{item}",
                              "asked": "one-shot untuned, zero-shot tuned", "hypothesis": hypothesis,
                              "reference": reference, "invalid": False}
                             for direction in ("en-es", "es-en")
                             for item, (hypothesis, reference) in enumerate(zip(hypotheses, references))])


def test_seeds_are_pooled_and_languages_weigh_alike():
    both = pandas.concat([answers("b", "en", 0, 2), answers("b", "en", 1, 4)])
    assert contrast.estimate(both, ACCURACY)[:2] == (pytest.approx(0.5), 6)
    assert contrast.estimate(answers("b", "none", 0, 3, languages=["id"]), ACCURACY).low > 0.1
    uneven = pandas.concat([answers("b", "en", 0, 6, languages=["id"]),
                            answers("b", "en", 0, 0, languages=["zh"]).query("item < 2")])
    assert contrast.estimate(uneven, ACCURACY).value == pytest.approx(0.5)
    change = contrast.difference(answers("b", "none", 0, 2), both, ACCURACY)
    assert change.value == pytest.approx(1 / 6) and change.n == 6


def test_a_corpus_score_over_directions_is_the_mean_of_theirs():
    rows = told("b", "none", 0, ["the cat sat", "a dog ran away", "late", "here we are"])
    rows.loc[rows["language"] == "es-en", "hypothesis"] = "a dog"
    single = [CHRF(word_order=2).corpus_score(list(part["hypothesis"]), [list(part["reference"])]).score
              for _, part in rows.groupby("language")]
    assert contrast.estimate(rows, TRANSLATED).value == pytest.approx(numpy.mean(single))
    assert contrast.difference(rows, rows, TRANSLATED)[2:5] == (0, 0, 1)
    assert multilingual.bleu("en-zh").corpus_score(["我喜欢猫和狗"], [["我喜欢猫和狗"]]).score > 99


@pytest.mark.parametrize("name, benchmark, language", [
    ("xcopa_id", "XCOPA", "id"), ("copa", "XCOPA", "en"), ("xwinograd_jp", "XWinograd", "ja"),
    ("xnli_de", "XNLI", "de"), ("paws_es", "PAWS-X", "es"), ("flores_en-fa", "FLORES", "en-fa"), ("wmt16-de-en", "wmt16-de-en", "de-en")])
def test_the_harness_names_say_benchmark_and_language(name, benchmark, language):
    assert (exams._benchmark(name), exams.language_of(name)) == (benchmark, language)


@pytest.fixture
def record(output):
    """A record of made-up answers of a small base, its two tunings and a strong base."""
    made = records.Record(CHAPTER, {"profile": "smoke", "seeds": [0]}, {})
    runs = multilingual.plan(["small", "strong"], ["en", "multilingual"], [0])
    rights, lines = [2, 5, 3, 4], ["the cat", "a dog ran away", "it is late", "we here"]
    rows = [part for run, right in zip(runs, rights) for part in
            (answers(*run, right), told(*run, [line[:right * 4] for line in lines]))]
    rows = pandas.concat([*rows, answers("small", "none", 0, 4, asked="one-shot")], ignore_index=True)
    multilingual.note(made, rows)
    multilingual.compare(made, rows, runs)
    made.write()
    return made


def test_every_difference_is_named_by_its_contrast(record):
    found = records.metrics("smoke", CHAPTER)
    means = found[(found["metric"] == "accuracy_difference") & (found["language"] == "average")]
    values = {(row.contrast, row.base, row.against): row.value for row in means.itertuples()}
    assert values[("languages", "small", "en")] == pytest.approx(1 / 6)
    assert values[("base", "strong", "small")] == pytest.approx(3 / 6)
    keys = ["metric", "base", "instructions", "contrast", "against", "benchmark", "asked", "language"]
    assert not found.duplicated(keys).any()
    assert {"from English", "into English", "average"} & set(found["language"]) == {"average"}


def test_exhibits_show_ours_beside_the_papers(record):
    frame, reading = exhibits.TABLES["P3-T5"].build("smoke")
    mine = frame[(frame["task"] == "XCOPA") & (frame["language"] == "id")].iloc[0]
    assert mine["small"].startswith("33.3") and mine["PolyLM-13B"] == "70.2" and mine["n"] == "6"
    assert {"XNLI", "PAWS-X", "XWinograd", "TyDiQA", "WMT20", "MTG SG"} <= set(frame["task"])
    assert "small on XCOPA 33.3" in reading or "strong on XCOPA" in reading
    assert list(frame.attrs["printed"])[-2:] == ["PolyLM-13B", "PolyLM-MultiAlpaca-13B"]
    frame, reading = exhibits.TABLES["P3-T6"].build("smoke")
    ours, theirs = frame[frame["from"] == "here"], frame[frame["from"] == "PolyLM"]
    assert len(theirs) == 15 and set(theirs.loc[theirs["language"] == "average", "difference"]) == {"9.8", "1.4"}
    assert ours.loc[ours["language"] != "average", "p (Holm)"].ne("").all() and "10 BLEU on WMT20" in reading
    drawing, frame, reading = exhibits.FIGURES["P3-F4"].build("smoke")
    assert len(drawing.axes) == 2 and "lie above chance" in reading
    for name in ("P3-T5", "P3-T6"):
        exhibits.save(name, "smoke")


def test_what_was_not_asked_the_exhibits_say(output):
    made = records.Record(CHAPTER, {"profile": "smoke", "seeds": [0]}, {})
    rows = told("small", "none", 0, ["a", "b", "c", "d"])
    multilingual.note(made, rows)
    multilingual.compare(made, rows, multilingual.plan(["small"], [], [0]))
    made.write()
    with pytest.raises(exhibits.Lacking, match="no multi-way items"):
        exhibits.TABLES["P3-T6"].build("smoke")
    assert "No language was asked to choose" in exhibits.TABLES["P3-T5"].build("smoke")[1]
    assert "were not at hand" in exhibits.FIGURES["P3-F4"].build("smoke")[2]


def test_without_published_instructions_dialogues_stand_in(monkeypatch, output, capsys):
    monkeypatch.setattr(multilingual.assets, "absent", lambda *names: list(names))
    monkeypatch.setattr(multilingual.corpus, "language", lambda _: "fa")
    monkeypatch.setattr(multilingual.prompts, "instructions", lambda *_: (pandas.DataFrame(
        [{"task": "dialogue", "language": code, "text": f"say {code}", "answer": "yes"} for code in ("en", "fa")]), None))
    talk = pandas.DataFrame([("es", "train", "Hola", "Buenas")], columns=["language", "split", "prompt", "reply"])
    frames = [pandas.DataFrame(), pandas.DataFrame(), talk, pandas.DataFrame()]
    found = multilingual.pools("smoke", frames, ["en", "es", "ja", "fa"], "seed tasks", True, 50, 0)
    assert {code: rows["text"].tolist() for code, rows in found.items()} == {
        "en": ["say en"], "es": ["Hola"], "fa": ["say fa"]}
    assert "there are none in ja, which is left out" in capsys.readouterr().out
    drawn = multilingual.sets(found, ["es", "ja", "fa"], 1, 0)
    assert drawn["en"]["text"].tolist() == ["say en"] and drawn["multilingual"]["language"].tolist() == ["es"]


def test_instructions_come_from_seed_tasks_files_and_the_corpus(monkeypatch, output):
    monkeypatch.setattr(multilingual.assets, "absent", lambda *_: [])
    monkeypatch.setattr(multilingual.selfinstruct, "seed_tasks", lambda _: (
        [{"instruction": "Say hi", "input": None, "output": "hi"},
         {"instruction": "x" * 99, "input": "", "output": "y"}], []))
    monkeypatch.setattr(multilingual.selfinstruct, "released", lambda code: [
        {"instruction": "Di hola", "input": "fuerte", "output": "HOLA"}])
    monkeypatch.setattr(multilingual.selfinstruct, "published", lambda: ["es"])
    monkeypatch.setattr(multilingual.corpus, "language", lambda _: "fa")
    monkeypatch.setattr(multilingual.prompts, "instructions", lambda *_: (pandas.DataFrame([
        {"task": task, "language": code, "text": "Hello", "answer": "you", "to": "fa"}
        for task in ("dialogue", "translation") for code in ("en", "fa")]), None))
    found = multilingual.pools("smoke", [], ["en", "es"], "seed tasks", True, 50, 0)
    assert list(found["en"]["text"]) == ["Say hi", "Hello"], "175 seed tasks are few, so what the corpus gives joins them"
    assert list(found["es"]["text"]) == ["Di hola\nfuerte"]
    with pytest.raises(ValueError, match="in de: raise longest_example, or leave the language out"):
        multilingual.pools("smoke", [], ["de"], "seed tasks", True, 50, 0)
    path = multilingual.written("smoke", "de")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"instruction": "Sag hallo", "input": None, "output": "Hallo"}) + "\n", "utf8")
    assert list(multilingual.pools("smoke", [], ["de"], "seed tasks", True, 50, 0)["de"]["text"]) == ["Sag hallo"]


def test_profiles_name_tasks_that_the_harness_has():
    """Their folders only, since the reading of all tasks takes long."""
    from lib.engine import params
    from lib.evaluate import harness
    names = {name for profile in ("colab", "paper") for chapter in (CHAPTER, "12_rank_and_precision")
             for key in ("harness_tasks", "translation_tasks") for name in params.load(profile, chapter).get(key, [])}
    folders = [harness.SHIPPED / folder for folder in ("belebele", "xcopa", "xnli", "paws-x", "xwinograd",
                                                              "super_glue")]
    harness.known(sorted(names), folders)
    assert {"belebele_pes_Arab", "xnli_en", "xcopa_th", "flores_en-fa"} <= names
    spoken = {name: exams.language_of(name) for name in ("belebele_pes_Arab", "xnli_de", "xwinograd_jp", "copa")}
    assert list(spoken.values()) == ["fa", "de", "ja", "en"]


def test_every_language_offered_has_its_files():
    offered = {"xcopa": {f"data/{code}/test.{code}.jsonl" for code in ("id", "it", "tr", "vi", "zh", "et", "sw")},
               "xquad": {f"xquad.{code}.json" for code in ("en", "ar", "tr", "hi", "ru", "zh", "es")}}
    for name, files in offered.items():
        assert files <= set(assets.entry(name)["files"])
    assert paths.TASKS.exists()
