"""The grid: its plan, equal sets, cells that are asked once, paired differences, and exhibits that say what is absent."""
import json
from dataclasses import replace

import numpy
import pandas
import pytest

from lib import exhibits
from lib.data import levels
from lib.engine import params, records
from lib.evaluate import benchmarks
from lib.exhibits import ch12
from lib.model import folders, formats
from lib.study import ch11_multilingual as multilingual
from lib.study import ch12_grid as grid
from lib.study import exams, factors
from lib.study.ch12_grid import Run
from lib.train import training

CHAPTER = "12_rank_and_precision"
SETTINGS = training.Settings(lora_rank=2, lora_alpha=4, block_length=400, batch_size=1, learning_rate=1e-2)
EXHIBITS = ["P4-T1", "P4-T2", "P4-T3", "P4-T4", "P4-T5", "C12-T1"]
FIGURES = ["P4-F1", "P4-F2", "P4-F3", "P4-F4"]


def test_every_format_is_asked_untuned_and_the_first_base_and_set_get_the_whole_grid():
    runs = grid.plan(["small", "strong"], ["multialpaca", "derived"], [8, 16, 32], [16, 4], [0, 1])
    assert len(runs) == len(set(runs)) == 2 * 2 + 2 * (6 + 1 + 1)
    assert {run.bits for run in runs if run.rank == 0 and run.base == "strong"} == {16, 4}
    others = {(run.base, run.instructions, run.rank, run.bits) for run in runs[4:] if run[:2] != ("small", "multialpaca")}
    assert others == {("small", "derived", 16, 16), ("strong", "multialpaca", 16, 16)}
    assert len(grid.plan(["small", "strong"], ["multialpaca", "derived"], [8], [4], [0], crossed=True)) == 2 + 4


@pytest.mark.parametrize("profile", ["smoke", "laptop", "night", "full", "colab", "paper"])
def test_the_share_of_every_language_that_a_profile_asks_is_known(profile):
    values = params.load(profile, CHAPTER)
    codes = {*values["xcopa_languages"], *values["xquad_languages"], *values["text_languages"],
             *map(exams.language_of, values["harness_tasks"])}
    assert all(levels.share(code) > 0 for code in codes)


def test_levels_follow_the_share_of_the_web(exam):
    assert grid.by_level(exam._replace(xcopa=["sw"], harness_tasks=["belebele_arb_Arab"])) == {
        "high": ["es"], "mid": ["ar", "fa"], "low": ["sw"]}
    assert [levels.level(code) for code in ("zh", "id", "fa", "et", "ur", "sw")] == ["high", "high", "mid", "mid", "low", "low"]
    assert numpy.isnan(levels.share("xx")) and levels.level("xx") == "unknown"


def pool(code, sizes):
    return pandas.DataFrame([{"task": "dialogue", "language": code, "text": "x" * size, "answer": str(number),
                              "bytes": size + 1} for number, size in enumerate(sizes)])


def test_sets_are_of_one_size_and_one_with_too_few_rows_says_why(output, capsys):
    record = records.Record(CHAPTER, {"profile": "smoke"}, {})
    pools = {"multialpaca": {"es": pool("es", range(10, 60)), "ja": pool("ja", range(15, 65))},
             "derived": {"fa": pool("fa", range(5, 90))}, "made": {"es": pool("es", [20, 30])}}
    drawn = grid.sets(pools, 8, 0, record)
    assert list(drawn) == ["multialpaca", "derived"]
    assert drawn["multialpaca"]["language"].value_counts().to_dict() == {"es": 4, "ja": 4}
    sizes = [rows["bytes"].sum() for rows in drawn.values()]
    assert len(drawn["derived"]) == 8 and abs(sizes[0] - sizes[1]) < 0.05 * sizes[0]
    reason = "the set made was not run, because of rows that are short enough it wants 8, 8 a language, and has {'es': 2}"
    assert record.content["facts"][0]["value"] == reason and reason[1:] in capsys.readouterr().out
    with pytest.raises(ValueError, match="lower examples, or raise longest_example"):
        grid.sets({"made": pools["made"]}, 8, 0, record)


def test_the_same_sentences_are_read_in_every_language(english, persian):
    multiway = pandas.DataFrame({"item": ["a", "b", "c"], "split": ["test", "test", "train"], "en": english[:3],
                                 "fa": persian[:3]})
    documents = pandas.DataFrame([("d1", "test", "fa", persian[4]), ("d2", "train", "fa", persian[3])],
                                 columns=["id", "split", "language", "text"])
    found = exams.texts(multiway, documents, ["en", "fa"], 5, 200, 0)
    assert len(found) == 4 and set(found["item"]) == {"a", "b"}
    with pytest.raises(ValueError, match="no xx: name it in multiway_languages"):
        exams.texts(multiway, documents, ["en", "xx"], 5, 200, 0)
    with pytest.raises(ValueError, match="at most 3 characters: raise longest_text"):
        exams.texts(multiway, documents, ["en"], 5, 3, 0)
    alone = exams.texts(multiway.head(0), documents, ["en", "fa"], 5, 10, 0)
    assert alone.to_dict("records") == [{"language": "fa", "item": "d1", "text": persian[4][:10]}]


@pytest.fixture
def exam(english, persian):
    """Released rows, a question and sentences in two languages; no file is needed."""
    row = {**dict.fromkeys(benchmarks.COLUMNS), "category": "", "flags": []}
    choices = pandas.DataFrame([{**row, "id": f"{code}/sentiment/0", "benchmark": "Llama-Persian", "setting": code,
                                 "task": "sentiment", "language": code, "text": text, "choices": ["good", "bad"],
                                 "answer": 0} for code, text in (("en", english[0]), ("fa", persian[0]))])
    spoken = pandas.DataFrame([{**row, "id": "xquad/es/1", "benchmark": "XQuAD", "setting": "es", "language": "es",
                                "task": "reading_comprehension", "text": "Un perro.\n¿Qué?", "answer": "perro",
                                "answers": ["perro"]}])
    texts = pandas.DataFrame([{"language": code, "item": "a", "text": text}
                              for code, text in (("en", english[1]), ("fa", persian[1]))])
    return exams.Exam([], [], 1, exams.NOTHING, spoken, spoken.head(0), "alpaca", 2, 2, 0, letters=choices, texts=texts)


def test_plain_sentences_are_asked_too(exam, tmp_path, english):
    assert {*exam.texts["text"], *exam.letters["text"], "Un perro."} - exams.asked(exam) == {"Un perro."}


@pytest.fixture
def start(byte_tokenizer, tiny_model, tmp_path):
    return folders.save(tiny_model(byte_tokenizer, width=64), byte_tokenizer, tmp_path / "start")


def test_a_cell_is_tuned_in_its_format_asked_everything_and_not_repeated(start, exam, output, english, capsys):
    record = records.Record(CHAPTER, {"profile": "smoke"}, {})
    rows = pandas.DataFrame([{"task": "dialogue", "language": "en", "text": text, "answer": "yes"} for text in english[:2]])
    folder, answers = output / "runs" / "smoke" / CHAPTER, {}
    for bits in (16, 4):
        settings = replace(SETTINGS, bits=bits)
        for run in (Run("tiny", "none", 0, bits, 0), Run("tiny", "derived", 2, bits, 0)):
            answers[run] = grid.cell(record, run, folder, start, rows, settings, exam)
    for found in answers.values():
        assert found.groupby("task").size().to_dict() == {"choice": 2, "reading_comprehension": 1, "text": 2}
        assert list(found) == grid.COLUMNS
    bits = [float(found["code_length"].sum()) for found in answers.values()]
    assert len(set(bits)) == 4, "tuning and format both change what the model thinks of a text"
    facts = records.pandas.DataFrame(record.content["facts"])
    assert set(facts.loc[facts["rank"] == 2, "fact"]) == set(grid.COSTS) - {"size"}
    sizes = facts[facts["fact"] == "size"].set_index("bits")["value"]
    assert sizes[4] < sizes[16]
    again = grid.cell(record, run, folder, start, rows, settings, exam)
    assert "not repeated" in capsys.readouterr().out and again.equals(answers[run])
    assert not grid.cell(record, run, folder, start, rows, replace(settings, learning_rate=1e-3), exam).equals(again)


def test_each_rank_takes_the_rate_whose_held_back_answers_cost_least(start, output, english):
    record, runs = records.Record(CHAPTER, {"profile": "smoke"}, {}), [Run("tiny", "derived", 2, 16, 0), Run("tiny", "none", 0, 16, 0)]
    rows = pandas.DataFrame([{"task": "dialogue", "language": "en", "text": f"{line} {at}", "answer": "yes", "bytes": len(line)}
                             for at, line in enumerate(english[:10])])
    asked = (record, runs, output, {"tiny": start}, {"derived": {"en": rows}}, 10)
    assert grid.rates(*asked, [1e-2], SETTINGS, "chat") == {} and grid.rates(*asked, [1e-9, 1e-2], SETTINGS, "chat") == {("tiny", 2): 1e-2}
    noted = pandas.DataFrame(record.content["rows"]["rates"])
    assert noted["taken"].tolist() == [False, True] and noted["bits_per_byte"].is_monotonic_decreasing


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("bits", [16, 4])
def test_a_start_whose_new_rows_are_trained_is_asked_in_every_format(bits, tied, byte_tokenizer, tiny_model, exam, output, english):
    model = tiny_model(byte_tokenizer, tied, width=64)
    model.config.base_vocab_size = len(byte_tokenizer) - 20
    start = folders.save(model, byte_tokenizer, output / "start")
    rows = pandas.DataFrame([{"task": "dialogue", "language": "en", "text": text, "answer": "yes"} for text in english[:2]])
    record, run = records.Record(CHAPTER, {"profile": "smoke"}, {}), Run("tiny", "derived", 2, bits, 0)
    found = grid.cell(record, run, output / "cells", start, rows, replace(SETTINGS, bits=bits, rows_learning_rate=1e-2), exam)
    assert found.groupby("task").size().to_dict() == {"choice": 2, "reading_comprehension": 1, "text": 2}


def test_what_a_sweep_finished_is_taken(start, exam, output, english, capsys):
    record, home = records.Record(CHAPTER, {"profile": "smoke"}, {}), output / "runs" / "smoke"
    rows = pandas.DataFrame([{"task": "dialogue", "language": "en", "text": text, "answer": "yes"} for text in english[:2]])
    swept = home / "sweeps" / CHAPTER / "0f3a" / "runs" / "smoke" / CHAPTER
    for run in (Run("tiny", "none", 0, 16, 0), Run("tiny", "derived", 2, 16, 0)):
        first = grid.cell(record, run, swept, start, rows, SETTINGS, exam)
        capsys.readouterr()
        taken = grid.cell(record, run, home / CHAPTER, start, rows, SETTINGS, exam)
        assert "not repeated" in capsys.readouterr().out and taken.equals(first)
    anew = grid.cell(record, run, home / CHAPTER, start, rows, replace(SETTINGS, learning_rate=1e-3), exam)
    assert not anew.equals(first) and grid.cell(record, run, swept, start, rows, SETTINGS, exam).equals(first)


def test_a_format_that_cannot_run_is_told_and_the_rest_goes_on(start, exam, output, monkeypatch):
    def lacking(*_, **__):
        raise formats.NotAvailable("nf4 was not run, because bitsandbytes cannot on cpu here: no kernel")

    monkeypatch.setattr(formats, "load", lacking)
    record = records.Record(CHAPTER, {"profile": "smoke"}, {})
    found = grid.cell(record, Run("tiny", "none", 0, 4, 0), output / "runs/smoke/x", start, None, training.Settings(), exam)
    assert found.empty and record.content["facts"][0]["value"].startswith("nf4 was not run")


def made_up(run, gain):
    """Answers of a run: six choices in three languages, sentences in four, English tests; `gain` items more are right."""
    right = {"id": 2, "et": 1, "sw": 1}
    rows = [{"task": "choice", "benchmark": "XCOPA", "language": code, "item": str(item), "choices": 2,
             "acc": float(item < right[code] + gain)} for code in right for item in range(12)]
    rows += [{"task": "choice", "benchmark": "released tests", "language": "en", "item": f"r{item}", "choices": 3,
              "acc": float(item < 6 - gain)} for item in range(12)]
    rows += [{"task": "text", "benchmark": "plain text", "language": code, "item": f"m{item}",
              "code_length": 100.0 + item - 3 * gain, "bytes": 50 + item} for code in ("en", "zh", "fa", "ur") for item in range(12)]
    rows += [{"task": "right answer", "benchmark": "XQuAD", "language": code, "item": f"q{item}",
              "code_length": 40.0 + item - 2 * gain, "bytes": 10} for code in ("en", "es") for item in range(12)]
    return pandas.DataFrame([{**row, **run._asdict(), "asked": "zero-shot"} for row in rows]).reindex(columns=grid.COLUMNS)


def gain_of(run):
    return 0 if run.rank == 0 else 1 + int(numpy.log2(run.rank / 8)) - (run.bits == 4)


@pytest.fixture
def record(output, monkeypatch):
    """A record of made-up answers in which rank and bits help, and one format and one set were not run."""
    made = records.Record(CHAPTER, {"profile": "smoke", "seeds": [0]}, {})
    runs = grid.plan(["small"], ["multialpaca", "derived"], [8, 16, 32, 64], [16, 4], [0])
    answers = pandas.concat([made_up(run, gain_of(run)) for run in runs], ignore_index=True)
    for run in runs:
        costs = {"size": 3e8 * run.bits / 16} if run.rank == 0 else {
            "seconds": 10.0, "tokens": 1000, "tokens_per_second": 100.0, "peak_memory": 2_000_000_000,
            "memory": int(1e8 * run.bits + 1e6 * run.rank), "trainable": run.rank * 1000, "total": 1_000_000,
            "adapter_size": run.rank * 4000, "kwh": None}
        for name, value in costs.items():
            made.fact(name, value, grid.COSTS[name], **run._asdict())
    made.fact("not_run", "int8 was not run, because bitsandbytes cannot", **Run("small", "multialpaca", 8, 8, 0)._asdict())
    made.fact("not_run", "the set made was not run, because it has 2 rows", instructions="made", seed=0)
    grid.note(made, answers)
    grid.compare(made, answers, runs)
    factors.note(made, grid.scores(answers))
    made.write()
    return made


def _one(name, **labels):
    found = records.metrics("smoke", CHAPTER)
    found = found[found["metric"] == name]
    for label, value in labels.items():
        found = found[found[label] == value]
    assert len(found) == 1, found
    return found.iloc[0]


def test_differences_are_paired_and_named(record):
    gain = _one("accuracy_gain", rank=64, bits=16, instructions="multialpaca", benchmark="XCOPA", language="non-English")
    assert gain["value"] == pytest.approx(4 / 12) and gain["n"] == 12 and gain["low"] > 0
    assert _one("accuracy_gain", rank=8, bits=4, benchmark="XCOPA", language="low")["value"] == 0
    effect = _one("accuracy_effect", factor="rank", span="whole", benchmark="XCOPA", language="mid and low")
    assert (effect["before"], effect["after"]) == (8, 64) and effect["value"] == pytest.approx(3 / 12)
    assert _one("accuracy_effect", factor="bits", benchmark="XCOPA", language="high")["value"] == pytest.approx(1 / 12)
    assert _one("bits_per_byte_effect", factor="rank", span="whole", benchmark="plain text", language="en")["value"] < 0
    assert _one("accuracy_set", instructions="derived", benchmark="XCOPA", language="et")["value"] == 0
    assert _one("accuracy_mean_gain", benchmark="released tests", language="en")["value"] < 0
    weighed = _one("answer_bits_per_byte_gain", rank=8, bits=16, instructions="multialpaca", language="en")
    assert weighed["value"] == pytest.approx(-0.2) and weighed["benchmark"] == "XQuAD" and weighed["unit"] == "bits/byte"
    keys = ["metric", *grid.KEYS, "benchmark", "language", "factor", "before", "term", "against"]
    assert not records.metrics("smoke", CHAPTER).duplicated(keys).any()


def test_exhibits_say_what_came_out_and_what_is_absent(record):
    built = {name: exhibits.TABLES[name].build("smoke") for name in EXHIBITS}
    for name, (frame, reading) in built.items():
        assert len(frame) and "emonstration scale" in reading or name == "P4-T1", name
        exhibits.save(name, "smoke")
    cost, reading = built["P4-T1"]
    assert {"here", "formula"} <= set(cost["from"]) and "int8 was not run, because bitsandbytes cannot" in set(cost["from"])
    assert "19,988,480" in set(cost["trainable"]) and "300 MB" in reading
    scores = built["P4-T2"][0]
    first = scores[(scores["benchmark"] == "XCOPA") & (scores["instructions"] == "multialpaca") & (scores["bits"] == "16")].iloc[0]
    assert first["untuned"].startswith("11.1") and first["rank 64"].startswith("44.4") and first["n"] == "12"
    assert "the set made was not run, because it has 2 rows" in set(built["P4-T5"][0]["difference"])
    assert "made left out" in built["P4-T5"][1]
    assert {"bits/byte of the right answer"} < {*built["P4-T3"][0]["measure"]} and "right answer" in built["P4-T4"][1]
    assert "rank in plain text" in built["C12-T1"][1]


def test_figures_draw_every_cell_and_mark_those_that_were_not_run(record):
    for name in FIGURES:
        reading = exhibits.save(name, "smoke")
        drawing, frame, _ = exhibits.FIGURES[name].build("smoke")
        assert len(frame) and reading.endswith("."), name
    assert "not run: 8 bits at rank 8" in exhibits.FIGURES["P4-F1"].build("smoke")[2]
    drawing, _, reading = exhibits.FIGURES["P4-F2"].build("smoke")
    assert "1 cells not run, hatched" in reading
    assert [label.get_text() for label in drawing.axes[0].get_yticklabels()] == ["16", "8", "4"]


def test_the_front_keeps_cells_that_none_beats_in_both():
    rows = pandas.DataFrame({"held": [1.0, 2.0, 3.0, 3.0], "value": [50, 40, 60, 55]})
    assert exhibits.ch12.front(rows)["value"].tolist() == [50, 60]
    assert exhibits.ch12.front(rows.assign(value=-rows["value"]))["value"].tolist() == [-50, -40]


def test_without_tuned_cells_the_exhibits_say_so(output, monkeypatch):
    made = records.Record(CHAPTER, {"profile": "smoke", "seeds": [0]}, {})
    made.write()
    for exhibit in [*(exhibits.TABLES[name] for name in EXHIBITS), *(exhibits.FIGURES[name] for name in FIGURES)]:
        with pytest.raises(exhibits.Lacking, match="parameters leave it out"):
            exhibit.build("smoke")


def test_the_corpus_stands_in_for_sets_whose_files_lack():
    lacking = ["multialpaca", "alpaca-seed-tasks"]
    assert grid.at_hand(["multialpaca", "derived", "made", "alpaca"], lacking, "seed tasks") == ["derived", "made"]
    assert grid.at_hand(["multialpaca", "alpaca"], lacking, "hub") == ["derived", "alpaca"]
    assert grid.at_hand(["multialpaca", "made"], [], "seed tasks") == ["multialpaca", "made"]


def test_sets_come_from_the_files_the_corpus_and_chapter_10(monkeypatch, output):
    monkeypatch.setattr(multilingual.assets, "absent", lambda *_: [])
    monkeypatch.setattr(multilingual.selfinstruct, "seed_tasks", lambda _: (
        [{"instruction": "Say hi", "input": None, "output": "hi"}], []))
    monkeypatch.setattr(multilingual.selfinstruct, "released", lambda code: [
        {"instruction": f"Di {code}", "input": None, "output": "hola"}])
    monkeypatch.setattr(multilingual.selfinstruct, "published", lambda: ["es", "pt"])
    monkeypatch.setattr(multilingual.corpus, "language", lambda _: "fa")
    monkeypatch.setattr(multilingual.prompts, "instructions", lambda *_: (pandas.DataFrame([
        {"task": task, "language": code, "text": "Hello", "answer": "you", "to": "fa"}
        for task in ("dialogue", "translation") for code in ("en", "fa")]), None))
    path = multilingual.written("smoke", "de")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"instruction": "Sag hallo", "input": None, "output": "Hallo"}) + "\n", "utf8")
    path.with_name("replies-de.jsonl").write_text("{}\n")
    found = grid.pools("smoke", [], ["multialpaca", "made", "alpaca"], "seed tasks", 50, 0)
    assert {name: list(pool) for name, pool in found.items()} == {"multialpaca": ["es", "pt"], "made": ["de"], "alpaca": ["en"]}
    assert found["made"]["de"]["text"].tolist() == ["Sag hallo"] and found["alpaca"]["en"]["bytes"].tolist() == [8, 8]


def test_the_most_bits_of_a_quantised_base_are_named_for_what_they_are():
    assert ch12._width(16, "smollm2-135m") == "16 bits of a dequantised 4-bit file" and ch12._width(8, "smollm2-135m") == "8 bits"
    assert ch12._width(16, "org/name@main") == "16 bits"
