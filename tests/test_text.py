"""Spelling, words and scripts."""
import unicodedata

import pytest

from lib.data import text


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


SENTENCE = "او می‌گوید کتاب سلام را دیروز خوانده است"
SPELLINGS = {
    "presentation forms": SENTENCE.replace("کتاب", "ﮐﺘﺎﺏ").replace("سلام", "ﺳﻼﻡ"),
    "tatweel": SENTENCE.replace("سلام", "ســـلام"), "vowel marks": SENTENCE.replace("کتاب", "کِتابِ"),
    "ZWSP": SENTENCE.replace("سلام", "سل\u200bام"), "soft hyphen": SENTENCE.replace("دیروز", "دی\u00adروز"),
    "no ZWNJ": SENTENCE.replace("\u200c", ""), "ZWJ": SENTENCE.replace("است", "است\u200d"),
    "bidi marks": f"\u202b{SENTENCE}\u202c\u200f", "two ZWNJ": SENTENCE.replace("\u200c", "\u200c\u200c")}


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
def test_one_key_for_every_spelling_of_a_sentence(spelled):
    assert spelled != SENTENCE and text.key(spelled) == text.key(SENTENCE)
    assert text.folded(spelled) == text.folded(SENTENCE)


@pytest.mark.parametrize("marked, bare", [
    ("عَلِمَ الطُّلَّابُ", "علم الطلاب"), ("هٰذا ﷲ", "هذا الله"), ("שָׁלוֹם", "שלום"), ("хлопо́к", "хлопок"),
    ("İstanbul", "istanbul"), ("Straße ﬁn", "STRASSE FIN"), ("e\u0301", "é"), ("خانهٔ ما", "خانه ما"),
    ("❤\ufe0f a", "❤ a")])
def test_optional_marks_and_case_are_forgotten(marked, bare):
    assert text.key(marked) == text.key(bare)


@pytest.mark.parametrize("one, other", [
    ("कि", "की"), ("दिन", "दीन"), ("ज़रा", "जरा"), ("ที่", "ที"), ("ไม้", "ไม่"), ("கிளி", "கீளி"), ("বিনা", "বীণা"),
    ("ệ", "ê"), ("ñ", "n"), ("й", "и"), ("على", "علي"), ("كتابة", "كتابه"), ("مؤمن", "مومن"), ("ہے", "ھے"), ("ۂ", "ہ"),
    ("بڑی", "بڑے"), ("غذا", "غزا")])
def test_marks_and_letters_that_make_another_word_are_kept(one, other):
    assert text.key(one) != text.key(other)


def test_answers_keep_their_numbers():
    assert text.folded("۳ کتاب") == text.folded("3 کتاب") == text.folded("٣ کتاب") != text.folded("۵ کتاب")


@pytest.mark.parametrize("language, string", [
    ("ar", "كتابي على مَكتبةٍ ســلام"), ("ur", "یہ بڑے گھر کی خالۂ ہے، ھم ہیں"), ("hi", "क्‍ष और राम् की"),
    ("he", "שָׁלוֹם"), ("th", "ที่นี่")])
def test_letters_and_marks_of_other_languages_stay(language, string):
    assert text.normalise(string, language) == unicodedata.normalize("NFC", string)


@pytest.mark.parametrize("string, wanted, kinds", [
    ("ﻛﺘﺎﺏ ﺳﻼﻡ", "کتاب سلام", ["presentation forms", "Arabic letters"]), ("ســـلام", "سلام", ["tatweel"]),
    ("سل\u200bام دی\u00adروز\ufeff", "سلام دیروز", ["invisible characters"]),
    ("بَد و ﹶ", "بَد و َ", ["presentation forms"]),
    ("می\u200c\u200cروم", "می\u200cروم", ["ZWNJ runs"]),
    ("کتاب\u200c ها\u200c\n\u200cرا", "کتاب ها\nرا", ["ZWNJ runs"]),
    ("می\u200cروم", "می\u200cروم", []), ("half \ud83d", "half", ["invisible characters"])])
def test_what_is_rewritten_is_told(string, wanted, kinds):
    assert text.normalise(string, "fa") == wanted and text.rewritings(string, "fa") == kinds


def test_only_line_feeds_and_carriage_returns_end_a_line():
    assert text.lines("a\r\nb\rc\n\nd\u2028e\u2029f\u0085g\x0ch") == ["a", "b", "c", "", "d\u2028e\u2029f\u0085g\x0ch"]


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
