"""Choice tasks by the words of their options: what is taught, and what a score of them says."""
import numpy
import pandas
import pytest

from lib.data import prompts
from lib.evaluate import harness
from lib.model import folders
from lib.study import ch07_stages as stages
from lib.study import ch07_words as words
from lib.study import tuning
from lib.train import training

ROW = {"benchmark": "made up", "setting": "fa", "task": "sentiment", "language": "fa", "category": "", "flags": [],
       "choices": ["مثبت", "منفی", "خنثی"], "answers": None}


def _rows(texts, **more):
    return pandas.DataFrame([{**ROW, "id": f"fa/sentiment/{number}", "text": text, "answer": number % 3, **more}
                             for number, text in enumerate(texts)])


def test_a_choice_is_worded_as_its_question_text_and_options():
    rows = pandas.concat([_rows(["خوب بود"]), _rows(["کتاب"], task="translation", answer="book", to="en")])
    first, second = words.worded(rows).to_dict("records")
    assert prompts.messages(first)[0]["content"] == "احساس این متن چیست؟\nخوب بود\nمثبت / منفی / خنثی"
    assert prompts.answer(first) == "مثبت"
    assert (second["task"], second["answer"]) == ("translation", "book"), "a text has no options"


def test_a_choice_of_a_task_without_a_question_is_worded_by_its_own():
    row = words.worded(_rows(["دو و دو؟"], task="multiple_choice", choices=["سه", "چهار"])).iloc[0]
    assert prompts.messages(row)[0]["content"] == "دو و دو؟\nسه / چهار"


def test_rows_are_those_of_the_tasks_named():
    rows = pandas.concat([_rows(["a", "b"]), _rows(["c"], task="qqp")])
    assert len(words.among(rows, [])) == 3 and list(words.among(rows, ["qqp", "other"])["text"]) == ["c"]
    with pytest.raises(ValueError, match="no task row of other: name some of qqp, sentiment"):
        words.among(rows, ["other"])


def test_a_margin_is_by_how_much_the_right_word_is_likelier(byte_tokenizer, tiny_model, monkeypatch):
    """Three options of 8 bytes at 4, 10 and 12 bits: the first is (11 − 4) / 8 bits a byte ahead, the second (8 − 10) / 8."""
    costs = {"مثبت": 4.0, "منفی": 10.0, "خنثی": 12.0}
    monkeypatch.setattr(harness, "gold", lambda model, tokenizer, rows, batch_size: pandas.DataFrame(
        {"bits": rows["answer"].map(costs), "bytes": rows["answer"].map(lambda word: len(word.encode()))}, rows.index))
    found = words.likely(None, None, _rows(["a", "b"], flags=["label twice"]))
    assert found["margin"].tolist() == [7 / 8, -2 / 8] and found["correct"].tolist() == [True, False]
    assert found["chance"].tolist() == [1 / 3, 1 / 3] and found["flagged"].all()


def test_a_taught_word_becomes_the_likeliest(byte_tokenizer, tiny_model, tmp_path, capsys):
    """Rows of one answer teach it; the run is scored as letters are, and not asked again what it was asked before."""
    start = folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path / "start")
    rows, run = _rows(["خوب", "بد", "کتاب", "راه"] * 2, answer=1), stages.Run("tiny", "base", "lora", "fa", 0)
    settings = training.Settings(block_length=400, batch_size=2, lora_rank=4, learning_rate=1e-2)
    tuning.tune(tmp_path / "tuned", start, words.worded(rows), settings, "alpaca")
    form, score = words.FORMS["word"]
    likely, told = score(run, tmp_path / "tuned", rows, rows.head(1), tmp_path / "out", "alpaca", 4, 4)
    before, none = score(run, start, rows, rows.head(0), tmp_path / "before", "alpaca", 4, 4)
    assert likely["margin"].mean() > before["margin"].mean() and likely["correct"].all() and none.empty
    assert form(rows).equals(words.worded(rows)) and {"generated", "invalid"} <= set(told)
    assert {"stage", "seed", "item", "setting", "chance"} <= set(likely) and numpy.isfinite(likely["margin"]).all()
    again, _ = score(run, tmp_path / "tuned", rows, rows.head(1), tmp_path / "out", "alpaca", 4, 4)
    assert again.equals(likely) and capsys.readouterr().out.count("made before") == 2


def test_letters_and_words_are_scored_in_the_same_columns(byte_tokenizer, tiny_model, tmp_path):
    """What follows pools both alike."""
    start, run = folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path / "start"), stages.Run("tiny", "base", "lora", "fa", 0)
    found = {}
    for name, (_, score) in words.FORMS.items():
        found[name], told = score(run, start, _rows(["خوب", "بد"]), _rows(["خوب"]), tmp_path / name, "alpaca", 2, 2)
        assert {"generated", "invalid", "hypothesis", "item", "setting", "task", "language", "base"} <= set(told)
    assert {*found["letter"]} - {*found["word"]} == {"hash"}
