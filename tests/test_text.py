"""Spelling, words and scripts."""
import pytest

from lib import text


def test_persian_letters_are_unified_and_zwnj_survives():
    assert text.normalise("كتاب‌هاي\u200f تازه\u00a0  را", "fa") == "کتاب‌های تازه را"
    assert text.ZWNJ in text.normalise("می‌روم", "fa")


def test_arabic_keeps_its_letters():
    assert text.normalise("كتابي", "ar") == "كتابي"


def test_blanks_collapse_and_lines_stay():
    assert text.normalise("  a\t b \n\n\u200e c ", "en") == "a b\nc"


def test_a_word_is_held_together_by_zwnj():
    assert text.words("من می‌روم، don't!") == ["من", "می‌روم", "don't"]


def test_tags_and_entities_go():
    assert text.plain("a <b>bold</b> &amp; 3 < 4") == "a bold & 3 < 4"


@pytest.mark.parametrize("string, script, share", [("سلام", "Arabic", 1), ("سلام abcd", "Arabic", 0.5), ("12 !", "Latin", 0),
                                                   ("日本のテスト", "Japanese", 1), ("привет", "Cyrillic", 1)])
def test_script_share(string, script, share):
    assert text.script_share(string, script) == share


def test_unknown_script_and_language_are_named():
    with pytest.raises(ValueError, match="Klingon"):
        text.script_share("a", "Klingon")
    with pytest.raises(ValueError, match="xx.*`script`"):
        text.script("xx")


def test_key_forgets_case_digits_and_punctuation():
    assert text.key("Open 12 files.") == text.key("open 7 files") == "open 0 files"


@pytest.mark.parametrize("string, words", [
    ("你好,世界 Python3 123。", ["你", "好", "世", "界", "Python3", "123"]), ("データー", ["デ", "ー", "タ", "ー"]),
    ("น่ารัก", ["น่", "า", "รั", "ก"]), ("हिन्दी में", ["हिन्दी", "में"]), ("한국어 텍스트", ["한국어", "텍스트"])])
def test_letters_stand_for_words_where_a_script_has_no_spaces(string, words):
    assert text.words(string) == words


def test_what_is_counted_is_named():
    assert [text.unit(script) for script in ("Han", "Japanese", "Thai")] == ["character"] * 3
    assert [text.unit(script) for script in ("Arabic", "Hangul", "Devanagari")] == ["word"] * 3


@pytest.mark.parametrize("string, sentences", [
    ("He went. She said “Stop!” Then ok?", ["He went.", "She said “Stop!”", "Then ok?"]),
    ("你好。他说：“走吧！”我们走了。", ["你好。", "他说：“走吧！”", "我们走了。"]), ("3.14 is pi", ["3.14 is pi"]),
    ("آیا می‌آیی؟ بله.\nباشد", ["آیا می‌آیی؟", "بله.", "باشد"]), ("यह है। वह नहीं।", ["यह है।", "वह नहीं।"])])
def test_sentences_end_at_stops_and_line_ends(string, sentences):
    assert text.sentences(string) == sentences


def test_writing_is_the_script_of_most_letters():
    assert text.writing(["ሰላም ለዓለም abc"]) == "Ethiopic" and text.writing(["12"]) == "Latin"
