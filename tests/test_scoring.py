"""Labels are read as a person would read them, and measures of text know Persian."""
import pandas
import pytest
from sacrebleu.metrics import BLEU, CHRF

from lib.evaluate import scoring

ZWNJ = "\u200c"
CITIES = {"id": "1", "benchmark": "b", "setting": "fa", "task": "multiple_choice", "language": "fa", "category": "",
          "text": "پایتخت ایران؟", "choices": ["تهران", "شیراز", "قم", "یزد"], "answer": 1, "flags": [], "to": None}


@pytest.mark.parametrize("value", ["C", "c", "(C)", "Option C", " c. ", "option c:", "«C»"])
def test_one_spelling_of_a_letter(value):
    assert scoring.spelling(value) == "c"


@pytest.mark.parametrize("value", [2, "2", "۲", "٢", "(۲)", " 2\n"])
def test_one_spelling_of_a_number(value):
    assert scoring.spelling(value) == "2" and scoring.gold(value, {"2": 5}) == 5


def test_unreadable_gold_label_is_none():
    assert scoring.gold("xx", {"c": 0}) is None and scoring.gold("", {"c": 0}) is None


@pytest.mark.parametrize("answer", ["ب", "ب)", "(ب) شیراز", "گزینهٔ ب", "گزینه ب است", "B", "b. because", "Option B",
                                    "۲", "2", "شيراز", "شیراز است.", "The answer is B", "پاسخ درست شیراز است", "ب\nالف"])
def test_second_choice_is_read(answer):
    assert scoring.label(answer, CITIES) == 1


@pytest.mark.parametrize("answer", ["", "نمی‌دانم", "تهران یا شیراز", "a nice question", "5", "؟", "e"])
def test_unclear_answer_is_invalid(answer):
    assert scoring.label(answer, CITIES) is None


def test_numbers_among_the_choices_are_texts_not_places():
    row = {**CITIES, "choices": ["3", "۱", "2", "4"]}
    assert scoring.label("۲", row) == 2 and scoring.label("it is 1", row) == 1 and scoring.label("الف", row) == 0


def test_squad_measures_ignore_spelling_and_articles():
    assert scoring.exact(f"مي{ZWNJ}روم، ۲ بار", ["می روم 2 بار"], "fa")
    assert scoring.f1("The cat sat.", ["no", "a cat"], "en") == pytest.approx(2 / 3)
    assert scoring.f1("", ["a cat"], "en") == 0 and scoring.exact("", [""], "en")


def test_rouge_sees_persian_words():
    scores = scoring.rouge("گربه زیر میز است", "گربه روی میز است.", "fa")
    assert scores == pytest.approx({"rouge1": 0.75, "rouge2": 1 / 3, "rougeL": 0.75})
    assert scoring.rouge("the cats sat", "cats sat", "en")["rouge1"] == 1


def test_counts_of_a_corpus_give_sacrebleus_score():
    references, worse = ["او امروز به خانه رفت.", "هوا امروز بسیار خوب است."], ["او به خانه رفت.", "هوا بد است."]
    for metric in (BLEU(tokenize="intl"), CHRF(word_order=2)):
        counts = scoring.corpus_counts(metric, worse, references)
        score = scoring.of_counts(metric)(counts.sum(1, keepdims=True))
        assert score == pytest.approx(metric.corpus_score(worse, [references]).score) and counts.shape[1] == 2
        with pytest.raises(ValueError, match="1 and 2"):
            scoring.corpus_counts(metric, references[:1], references)


def test_judge_keeps_every_row_and_counts_the_unreadable():
    text = {**CITIES, "id": "2", "task": "translation", "text": "سلام دنیا", "answer": "hello world", "to": "en",
            "flags": ["other text"]}
    question = {**CITIES, "id": "3", "task": "reading_comprehension", "answer": "تهران",
                "answers": ["تهران", "شهر تهران"]}
    short = {**CITIES, "id": "4", "task": "summary", "answer": "هوا خوب است"}
    rows = pandas.DataFrame([CITIES, text, question, short, {**CITIES, "id": "5"}])
    judged = scoring.judge(rows, ["no idea", "سلام دنیا", "شهر تهران!", "هوا خوب است", "ب"])
    assert list(judged["item"]) == list("12345") and list(judged["invalid"]) == [True, True, False, False, False]
    assert list(judged["flagged"]) == [False, True, False, False, False]
    assert list(judged["correct"])[0] is False and list(judged["correct"])[4] is True
    assert judged["f1"][2] == 1 and judged["exact"][2] and judged["rougeL"][3] == 1
    with pytest.raises(ValueError, match="4 answers cannot be matched with 5 rows"):
        scoring.judge(rows, ["", "", "", ""])


@pytest.mark.parametrize("answer", ["می‌رود", "می رود", "میرود", "مي‌رود", "ﻣﯽ\u200cﺭﻭﺩ", "میــرود",
                                    "مِی‌رَوَد", "می\u200bرود", "می\u00adرود",
                                    "او میرود.", "به گمانم او می رود نه هیچ چیز دیگر"])
def test_every_spelling_of_a_choice_is_read(answer):
    row = {**CITIES, "choices": ["می‌آید", "می‌رود", "نشسته", "رفت"]}
    assert scoring.label(answer, row) == 1


def test_numbers_marks_and_letters_that_tell_choices_apart_are_kept():
    row = {**CITIES, "choices": ["۳ بار", "۵ بار", "۳۵ بار", "هیچ"]}
    assert [scoring.label(answer, row) for answer in ("5 بار", "٣ بار", "۳۵ بار")] == [1, 0, 2]
    arabic = {**CITIES, "language": "ar", "choices": ["على", "علي", "كان", "كأن"]}
    assert [scoring.label(answer, arabic) for answer in ("علي", "عَلَى", "كأنّ")] == [1, 0, 3]
    hindi = {**CITIES, "language": "hi", "choices": ["कि", "की", "का", "के"]}
    assert [scoring.label(answer, hindi) for answer in ("की", "कि")] == [1, 0]


def test_a_reference_is_met_in_any_spelling_of_its_words():
    for answer in ("می‌روم", "می روم", "میروم", "ميـروم", "مي\u200bروم", "می‌رَوَم"):
        assert scoring.exact(answer, ["می‌روم"], "fa") and scoring.f1(answer, ["می‌روم"], "fa") == 1, answer
    assert not scoring.exact("3", ["5"], "fa") and not scoring.exact("علي", ["على"], "ar")
