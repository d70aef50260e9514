"""Rows that the corpus gives in place of published benchmarks: in their form, from held-out text, the same everywhere."""
import pandas
import pytest

from lib import exhibits
from lib.data import prompts
from lib.engine import records
from lib.evaluate import benchmarks, derived
from lib.study import ch07_stages as stages


def _items():
    rows = [("emoji_mcq", code, split, f"{phrase} {number}", [f"{split}{number}{letter}" for letter in "abcd"], number % 4)
            for code, phrase in (("fa", "گربهٔ"), ("en", "cat")) for split in ("train", "test") for number in range(8)]
    frame = pandas.DataFrame(rows, columns=["task", "language", "split", "question", "choices", "answer"])
    return frame.assign(id=[f"i{number}" for number in range(len(frame))])


def _multiway(count=24):
    return pandas.DataFrame({"item": [f"m{number}" for number in range(count)], "split": "test",
                             **{code: [f"{code} sentence number {number}" for number in range(count)]
                                for code in ("en", "fa", "es")}})


PAIRS = pandas.DataFrame([("p1", "hafez", "test", "A cat.", "یک گربه."), ("p2", "hafez", "train", "A dog.", "یک سگ.")],
                         columns=["id", "source", "split", "english", "target"])


def test_tests_have_the_published_form_and_come_from_held_out_items():
    rows = derived.tests(_items(), PAIRS, "fa", ["fa", "en", "translate-test"], ["translation"])
    assert list(rows) == benchmarks.COLUMNS
    assert rows.groupby(["setting", "task"]).size().to_dict() == {
        ("en", "emoji_mcq"): 8, ("en", "translation"): 1, ("fa", "emoji_mcq"): 8, ("fa", "translation"): 1,
        ("translate-test", "emoji_mcq"): 8}
    assert all("test" in choice for choices in rows["choices"].dropna() for choice in choices)
    assert prompts.messages(rows.iloc[0])[0]["content"].startswith("این نام کدام شکلک است؟")


def test_translated_input_asks_the_same_items_in_english():
    rows = derived.tests(_items(), PAIRS, "fa", ["fa", "translate-test"], [])
    own, translated = (part.assign(item=part["id"].str.split("/", n=1).str[1]).set_index("item")
                       for _, part in rows.groupby("setting", sort=False))
    assert set(own.index) == set(translated.index)
    for item in own.index:
        assert own.loc[item, "choices"] == translated.loc[item, "choices"]
        assert own.loc[item, "text"].startswith("گربهٔ") and translated.loc[item, "text"].startswith("cat")


def test_another_language_has_settings_of_its_own():
    items = _items().assign(language=lambda frame: frame["language"].replace("fa", "el"))
    rows = derived.tests(items, PAIRS, "el", ["fa", "en"], [])
    assert set(rows["setting"]) == {"el", "en"} and set(rows["language"]) == {"el", "en"}
    assert len(derived.training(items, "el")) == 8 and derived.training(items, "el")["source"].nunique() == 1


def test_the_same_sentences_are_chosen_among_in_every_language():
    rows = derived.translations(_multiway(), ["es", "fa", "it"], 6, 60, seed=0)
    assert set(rows["language"]) == {"es", "fa"} and len(rows) == 12
    items = rows.assign(item=rows["id"].str.rsplit("/", n=1).str[1]).groupby("language")["item"].apply(list)
    assert items["es"] == items["fa"]
    assert sorted(set(rows["answer"])) == [0, 1, 2, 3] and all(len(set(choices)) == 4 for choices in rows["choices"])
    for row in rows.to_dict("records"):
        assert row["text"].splitlines()[0].removeprefix("English: en") == row["choices"][row["answer"]][2:]
    assert set(derived.translations(_multiway(), ["it"], 2, 60, seed=0)["language"]) == {"es", "fa"}


def test_a_numbered_line_is_asked_for_and_one_passage_is_shown():
    asked, shown = derived.questions(_multiway(), ["en", "es"], 3, 120, seed=0)
    assert len(asked) == 6 and len(shown) == 2 and not set(asked["item"]) & set(shown["item"])
    for row in [*asked.to_dict("records"), *shown.to_dict("records")]:
        *lines, number = row["text"].split("\n")
        assert lines[int(number.rstrip(".")) - 1] == f"{number} {row['answer']}" and row["answers"] == [row["answer"]]


def test_too_little_text_gives_no_rows_and_no_error():
    assert derived.translations(_multiway(3), ["es"], 4, 60, seed=0).empty
    asked, shown = derived.questions(_multiway(2), ["es"], 4, 120, seed=0)
    assert asked.empty and shown.empty
    assert derived.tests(_items().head(0), PAIRS, "fa", ["fa", "en", "translate-test"], []).empty


@pytest.mark.parametrize("published", [True, False])
def test_the_exam_is_one_whoever_asks(published, monkeypatch):
    row = {"id": "fa/sentiment/0", "benchmark": "Llama-Persian", "text": "خوب", "answer": 0}
    monkeypatch.setattr(benchmarks, "released", lambda setting, task: benchmarks.framed([row]))
    monkeypatch.setattr(benchmarks, "parsinlu", lambda task: benchmarks.framed([row, {**row, "text": "بد"}]))
    found = stages.known_tests(published, [None, PAIRS, None, _items()], "fa", ["fa"], ["sentiment"], [], ["sentiment"])
    assert set(found["benchmark"]) == {"Llama-Persian" if published else derived.BENCHMARK}
    assert not published or found["text"].tolist() == ["خوب", "بد"]


def test_what_they_hold_is_noted_like_a_file(output):
    record = records.Record("07_base_strength", {"profile": "smoke"}, {})
    record.lack({"parsinlu": "ParsiNLU"})
    derived.note(record, derived.tests(_items(), PAIRS, "fa", ["fa", "en"], []))
    record.write()
    frame, _ = exhibits.TABLES["P1-T1"].build("smoke")
    assert frame["file"].tolist() == ["corpus: fa, emoji_mcq", "corpus: en, emoji_mcq"] and set(frame["n"]) == {8}
    assert exhibits.save("P1-T1", "smoke").endswith("; rows made from the corpus stand in for ParsiNLU, not at hand.")
