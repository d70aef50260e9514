"""The same blocks in two orders, any language by a file, held-out items without twins, and effects that add up."""
import random
from collections import Counter

import numpy
import pandas
import pytest

from lib import exhibits
from lib.data import corpus, schedule, sources
from lib.engine import records
from lib.model import folders
from lib.study import ch09_curriculum as curriculum
from lib.train import training

CHAPTER = "09_curriculum"
WORDS = {"en": "rain snow sun sea hill wood town book pen house garden bird fish star moon".split(),
         "fa": "باران برف آفتاب دریا تپه جنگل شهر کتاب قلم خانه باغ پرنده ماهی ستاره ماه".split(),
         "tr": "yağmur kar güneş deniz tepe orman şehir kitap kalem ev bahçe kuş balık yıldız ay".split(),
         "ru": "дождь снег солнце море холм лес город книга ручка дом сад птица рыба звезда луна".split()}


def _line(code, number):
    return " ".join(random.Random(number).choices(WORDS[code], k=7))


@pytest.fixture(scope="module")
def multiway():
    rows = [{"item": str(number), "split": "test" if number % 10 == 0 else "train",
             **{code: _line(code, number) for code in WORDS}} for number in range(150)]
    return pandas.DataFrame(rows)


@pytest.fixture(scope="module")
def documents():
    rows = [{"language": code, "source": source, "split": split, "text": "\n".join([_line(code, 7 * number)] * 4)}
            for code in ("en", "fa") for source in ("book", "help") for number in range(12)
            for split in ("train", "test")]
    return pandas.DataFrame(rows)


@pytest.fixture(scope="module")
def nothing():
    return pandas.DataFrame(columns=["language", "source", "split", "text"])


@pytest.fixture(scope="module")
def planned():
    wanted = schedule.named("stepwise", [0.3, 0.6], [0.5], {"fa": 0.5, "tr": 0.3, "ru": 0.2})
    return curriculum.plans(list(curriculum.ARMS), wanted, 0.4, 60)


def test_both_orders_have_the_same_blocks_and_pairs_replace_no_english(planned):
    counts = {arm: Counter(order) for arm, (_, order) in planned.items()}
    assert counts["constant"] == counts["curriculum"] and counts["constant-pairs"] == counts["curriculum-pairs"]
    assert counts["curriculum"]["en"] == counts["curriculum-pairs"]["en"] == 33
    assert counts["curriculum-pairs"]["pairs"] == round(0.4 * 27)
    early = {arm: order[:30].count("en") for arm, (_, order) in planned.items()}
    assert early["curriculum"] == 21 and abs(early["constant"] - 16.5) <= 1


@pytest.fixture(scope="module")
def packed(documents, multiway, nothing, planned, byte_tokenizer):
    material = curriculum.texts(documents, multiway, nothing)
    return curriculum.pack(material, [order for _, order in planned.values()], byte_tokenizer, 16, 0)


def test_arms_read_the_same_text_in_another_order(packed, planned):
    read = {arm: schedule.arrange(packed, order)[:]["input_ids"] for arm, (_, order) in planned.items()}
    assert read["constant"] != read["curriculum"]
    assert sorted(read["constant"]) == sorted(read["curriculum"])


def test_blocks_know_their_language_and_source(packed, planned, byte_tokenizer):
    rows = schedule.arrange(packed, planned["curriculum-pairs"][1])
    assert [stream.split("/")[0] for stream in rows[:]["stream"]] == planned["curriculum-pairs"][1]
    assert {"en/book", "en/help", f"ru/{curriculum.ITEMS}", f"pairs/{curriculum.ITEMS}"} <= set(rows[:]["stream"])
    pairs = byte_tokenizer.decode(sum(packed["pairs"][:]["input_ids"], []))
    assert "English: " in pairs and "Türkçe: " in pairs


def test_division_is_given_or_by_temperature(documents, multiway, nothing):
    material = curriculum.texts(documents, multiway, nothing)
    assert curriculum.divide(material, 2.0, {"fa": 3.0, "tr": 1.0}) == {"fa": 0.75, "tr": 0.25}
    natural, even = (curriculum.divide(material, heat, {}) for heat in (1.0, 100.0))
    assert set(natural) == {"fa", "tr", "ru"} and natural["fa"] > even["fa"] > 0.33
    with pytest.raises(ValueError, match="no training text in 'sw'"):
        curriculum.pack(material, [["sw"]], None, 16, 0)


@pytest.fixture
def first(output):
    """A record of chapter 01 with its settings."""
    parameters = {"profile": "laptop", **corpus.Settings(minimum_characters=5).__dict__, "multiway_languages": []}
    records.Record("01_corpus", parameters, {}).write()


def test_a_users_language_comes_from_a_file(first, tmp_path, documents, multiway):
    words = "mvua jua bahari kitabu nyumba ndege samaki mwezi nyota mti mji njia".split()
    lines = [" ".join(random.Random(number).choices(words, k=8)) for number in range(60)]
    (tmp_path / "sw.txt").write_text("\n".join(lines), encoding="utf8")
    owned = curriculum.own("laptop", {"sw": [str(tmp_path / "sw.txt")]}, "text", 0)
    assert set(owned["language"]) == {"sw"} and {"train", "test"} <= set(owned["split"])
    texts = curriculum.held_out(documents, multiway[multiway.split == "test"], owned, 2, 1, 500, 100, 0)
    assert {"en", "fa", "tr", "ru", "sw"} == set(texts["language"])
    assert "sw" in curriculum.divide(curriculum.texts(documents, multiway, owned), 2.0, {})


def test_scripts_are_found_in_the_text_where_no_table_has_them():
    assert curriculum.script("am", [{"am": "ሰላም ለዓለም abc"}]) == "Ethiopic"
    assert curriculum.script("yue", [{"yue": "你好世界"}]) == "Han" and curriculum.script("hi", []) == "Devanagari"


@pytest.mark.parametrize("corpora, message", [
    ({False: ["a.txt"]}, "quote a code"), ({"ar": "a.txt"}, "a list of files"),
    ({"ar": ["nowhere.txt"]}, "There is no file .*corpora")])
def test_wrong_corpora_are_told(first, corpora, message):
    with pytest.raises(sources.SourceError, match=message):
        curriculum.own("laptop", corpora, "text", 0)


def test_held_out_items_with_a_twin_in_any_language_are_dropped(multiway, nothing, capsys):
    clean, dropped = curriculum.unseen(multiway, nothing, 200, 0)
    planted = multiway.copy()
    planted.loc[planted.index[-1], "ru"] = clean.iloc[0]["ru"] + "!"
    assert clean.iloc[0]["item"] not in set(curriculum.unseen(planted, nothing, 200, 0)[0]["item"])
    assert dropped + len(clean) == (multiway.split == "test").sum()
    assert curriculum.unseen(multiway, nothing, 3, 0)[0].empty and "raise longest_item" in capsys.readouterr().out
    assert curriculum.unseen(multiway[:0], nothing, 200, 0)[0].empty and not capsys.readouterr().out


def test_documents_tell_a_language_that_no_item_has(documents, multiway, nothing):
    texts = curriculum.held_out(documents, multiway[:0], nothing, 2, 2, 300, 100, 0)
    assert set(texts["language"]) == {"en", "fa"}


def _scores(curriculum_gain=-0.2, pairs_gain=-0.1):
    """Bits of 12 texts in three languages under every arm, with known effects; retrieval likewise."""
    draws, bits, hits = numpy.random.default_rng(0), [], []
    for code, base in (("fa", 3.0), ("tr", 2.0), ("en", 1.0)):
        for item in range(12):
            size, level = 50 + item, base + draws.normal(0, 0.1)
            for arm, kind in {"start": None, **curriculum.ARMS}.items():
                for seed in (0, 1) if kind else (0,):
                    trained = kind is not None and code != "en"
                    shift = trained and -0.5 + curriculum_gain * kind.curriculum + pairs_gain * kind.pairs
                    row = {"arm": arm, "seed": seed, "language": code, "item": item}
                    bits.append({**row, "bytes": size, "bits": size * (level + shift)})
                    hits.append({**row, "correct": 6 * trained, "answers": 60})
    return pandas.DataFrame(bits), pandas.DataFrame(hits).query("language != 'en'")


def _noted(profile="laptop"):
    parameters = {"profile": profile, "seeds": [0, 1], "boundaries": [0.5]}
    record = records.Record(CHAPTER, parameters, {})
    bits, hits = _scores()
    curriculum.note(record, bits, hits)
    return record


def test_effects_are_those_of_the_scores(output):
    _noted().write()
    found = records.metrics("laptop", CHAPTER).query("metric == 'bits_per_byte_effect'")
    value = found.set_index(["effect", "language"])["value"]
    assert value["curriculum", curriculum.OTHERS] == pytest.approx(-0.2)
    gain = records.metrics("laptop", CHAPTER).query("metric == 'retrieval_gain' and arm == 'constant'")
    assert gain["value"].tolist() == pytest.approx([0.1] * 3)
    assert value["pairs", "fa"] == pytest.approx(-0.1) and value["curriculum", "en"] == 0
    assert set(found["n"]) == {12}


def test_exhibits_of_a_record(output, packed, planned, byte_tokenizer):
    record = _noted()
    curriculum.note_plans(record, planned, 16)
    for arm, (_, order) in planned.items():
        curriculum.note_text(record, arm, schedule.arrange(packed, order), 16, [0.5])
    record.write()
    for name in ("P3-T1", "P3-T2"):
        frame, reading = exhibits.TABLES[name].build("laptop")
        assert len(frame) and reading.endswith("."), name
    shares = exhibits.TABLES["P3-T1"].build("laptop")[0].query("of == 'here'")[["stage 1 %", "stage 2 %"]]
    assert shares.sum().tolist() == pytest.approx([100, 100], abs=0.1)
    drawing, effects, reading = exhibits.FIGURES["C09-F1"].build("laptop")
    assert [label.get_text() for label in drawing.axes[0].get_yticklabels()][:2] == ["en", curriculum.OTHERS]
    assert set(effects["what"]) == {"start", "gain", "effect"} and "curriculum -0.200" in reading
    for name in ("P3-F3", "C09-F1"):
        assert exhibits.save(name, "laptop").endswith("."), name


def test_an_arm_is_trained_and_scored(output, packed, planned, documents, multiway, nothing, byte_tokenizer,
                                      tiny_model):
    start = folders.save(tiny_model(byte_tokenizer), byte_tokenizer, output / "start")
    order = planned["curriculum"][1][:8]
    settings = training.Settings(block_length=16, lora_rank=2, checkpoint_steps=2)
    folder = output / "curriculum-0"
    assert training.pretrain(folder, start, schedule.arrange(packed, order), settings)["tokens"] == 8 * 16
    items, _ = curriculum.unseen(multiway, nothing, 200, 0)
    texts = curriculum.held_out(documents, items, nothing, 2, 2, 300, 100, 0)
    bits, hits = curriculum.score(folder, texts, items.head(3), arm="curriculum", seed=0)
    assert len(bits) == len(texts) and set(hits["language"]) == {"fa", "tr", "ru"} and len(hits) == 9
    assert hits["correct"].between(0, hits["answers"]).all() and set(hits["answers"]) == {6}
    assert curriculum.score(folder, texts, items.head(1), arm="x", seed=0)[1].empty
