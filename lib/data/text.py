"""Words, scripts and spelling: what the companion knows about written language, Persian or any other."""
import functools
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import regex
import yaml

ZWNJ, TATWEEL = "\u200c", "\u0640"
# Letters in the shape that they have in print, alone, joined or in a ligature: a matter of fonts, not of spelling. The
# blank on which Unicode puts a mark that stands alone is left out.
PRESENTATION = {sign: unicodedata.normalize("NFKC", chr(sign)).strip() for sign in range(0xFB00, 0xFEFD)
                if unicodedata.category(chr(sign))[0] == "L" and unicodedata.decomposition(chr(sign)).startswith("<")}
PRINTED = re.compile("[\ufb00-\ufefc]")
# Soft hyphens, zero-width spaces and joiners of words, marks of direction, and halves of a broken pair of UTF-16.
INVISIBLE = regex.compile(r"[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]")
# A ZWNJ behind another one, or at the edge of a word.
IDLE_ZWNJ = regex.compile(rf"(?<!\S){ZWNJ}+|{ZWNJ}+(?!\S)|(?<={ZWNJ}){ZWNJ}+")
# What two spellings of a word may differ in: what no reader sees, and marks that are optional in their script: those of
# Arabic, Hebrew and Syriac, stress in Cyrillic, and the second dot of a Turkish İ in lower case. Marks of other scripts
# (the vowel signs of Devanagari, Thai, Tamil) are letters.
OPTIONAL = regex.compile(r"[\p{Cf}\p{Default_Ignorable_Code_Point}\p{Cs}[\p{Mn}&&[\u0590-\u074f\u0870-\u08ff]]]"
                         r"|(?<=\p{Cyrillic})[\u0300\u0301]|(?<=i)\u0307", regex.V1)
FOLDED = {**PRESENTATION, ord(TATWEEL): None,
          **{sign: str(unicodedata.decimal(chr(sign))) for sign in range(0x80, 0x20000)
             if unicodedata.category(chr(sign)) == "Nd"}}
# A string without any of these is not translated: `re` sees that fastest.
FOLDABLE = re.compile(f"[{TATWEEL}\ufb00-\ufefc\\d]")
# A single space, which would replace itself, is left out.
BLANKS, BREAKS, DIGITS = regex.compile(r"[^\S\n]{2,}|[^\S\n ]"), regex.compile(r"\s*\n\s*"), regex.compile(r"\d+")
TAG = regex.compile(r"</?[a-zA-Z][^<>]{0,200}>")
LETTERS = regex.compile(r"\p{L}+")
SIGNS = regex.compile(r"[\p{L}\p{M}\p{N}]+")
# Scripts that write no spaces between words: each letter, with its marks, stands for a word.
UNSPACED = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
PARTS = r"[\p{L}\p{M}\p{N}]"
SINGLE = "[" + "".join(rf"\p{{{script}}}" for script in UNSPACED) + "ー]"
RUN = f"[{PARTS}--{SINGLE}]+"
WORD = regex.compile(rf"[{SINGLE}&&{PARTS}]\p{{M}}*|{RUN}(?:[{ZWNJ}'’]{RUN})*", regex.V1)
# English characters that one of the script says as much as: measured on Django's messages, rounded.
WEIGHTS = {"Han": 3, "Japanese": 2, "Hangul": 2}
# A sentence ends at a line's end, or behind a stop: with a space after it, or one that needs none.
STOP = regex.compile(r"[.!?…؟۔।॥։።][\p{Pe}\p{Pf}\"']*\K\s+|[。！？][\p{Pe}\p{Pf}]*\K|\s*\n\s*")


class Language(NamedTuple):
    """A language: its name in English and in itself, and the Unicode script it is written in."""

    name: str
    native: str
    script: str


LANGUAGES = {code: Language(*row) for code, row in
             yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf8")).items()}
# Japanese mixes three scripts; a letter of any of them is Japanese.
SCRIPTS = {"Japanese": r"\p{Han}\p{Hiragana}\p{Katakana}"}


def normalise(string: str, language: str) -> str:
    """One spelling of a text as it is trained on: NFC, `rewriters`, one space for each run of blanks; vowel marks stay."""
    string = unicodedata.normalize("NFC", string)
    for rewrite in rewriters(language).values():
        string = rewrite(string)
    return BREAKS.sub("\n", BLANKS.sub(" ", string)).strip()


def rewritings(string: str, language: str) -> list[str]:
    """Which `rewriters` change the string in `normalise`, by name."""
    string, found = unicodedata.normalize("NFC", string), []
    for name, rewrite in rewriters(language).items():
        before, string = string, rewrite(string)
        found += [name] if string != before else []
    return found


@functools.cache
def rewriters(language: str) -> dict[str, Callable[[str], str]]:
    """Name → function of a string, for each kind of rewriting in `normalise`, in their order.

    In Persian Arabic ي ى ك become ی ی ک, and tatweel, which only stretches a word, goes; elsewhere both stay.
    """
    persian = {"Arabic letters": lambda string: string.replace("ي", "ی").replace("ى", "ی").replace("ك", "ک"),
               "tatweel": lambda string: string.replace(TATWEEL, "")}
    return {"presentation forms": lambda string: (unicodedata.normalize("NFC", string.translate(PRESENTATION))
                                                  if PRINTED.search(string) else string),
            **(persian if language == "fa" else {}),
            "invisible characters": lambda string: INVISIBLE.sub("", string),
            "ZWNJ runs": lambda string: IDLE_ZWNJ.sub("", string)}


def lines(string: str) -> list[str]:
    r"""The lines of a string, which end at \n, \r\n or \r only; str.splitlines cuts at U+2028 and others too."""
    return string.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def byte_level(tokenizer) -> bool:
    """Whether a tokenizer spells text in bytes (GPT-2, Llama-3, Qwen) rather than in characters (SentencePiece)."""
    return "ByteLevel" in repr(tokenizer.backend_tokenizer.pre_tokenizer)


def plain(string: str) -> str:
    """The string without HTML tags and entities."""
    return html.unescape(TAG.sub("", string))


def words(string: str) -> list[str]:
    """Runs of letters, marks and digits; a ZWNJ or apostrophe inside holds a word together (می‌روم is one).

    Where a script writes no spaces (`UNSPACED`), every letter with its marks counts as a word.
    """
    return WORD.findall(string)


def sentences(string: str) -> list[str]:
    """The string cut after full stops, question and exclamation marks, and at line ends."""
    return [part.strip() for part in STOP.split(string) if part.strip()]


def unit(script: str) -> str:
    """What `words` counts in a script: `character` in one without spaces between words, else `word`."""
    return "character" if script in (*UNSPACED, *SCRIPTS) else "word"


def script_share(string: str, script: str) -> float:
    """Share of the string's letters that are of a Unicode script, 0 without letters; ValueError for an unknown script."""
    letters = sum(map(len, LETTERS.findall(string)))
    return sum(map(len, _letters(script).findall(string))) / letters if letters else 0.0


@functools.cache
def _letters(script: str):
    """Pattern of letters of a script, or of the scripts a language mixes."""
    members = SCRIPTS.get(script, rf"\p{{Script={script}}}")
    try:
        return regex.compile(rf"[[{members}]&&\p{{L}}]+", regex.V1)
    except regex.error as error:
        raise ValueError(f"Unicode knows no script {script!r}; write e.g. Arabic, Latin, Cyrillic.") from error


def writing(strings: Iterable[str]) -> str:
    """The script of most letters in the strings; Latin where they have none."""
    letters, names = Counter(letter for string in strings for letter in string if letter.isalpha()), Counter()
    for letter, count in letters.items():
        names[unicodedata.name(letter, "Latin").split()[0].title()] += count
    name = names.most_common(1)[0][0] if names else "Latin"
    return "Han" if name == "Cjk" else name


def script(language: str) -> str:
    """The script of a language code. Raises ValueError for one that is not in the table."""
    if language not in LANGUAGES:
        raise ValueError(f"No script is known for language {language!r}; name it in the parameter `script`, "
                         f"or use one of {', '.join(sorted(LANGUAGES))}.")
    return LANGUAGES[language].script


def folded(string: str) -> str:
    """The string as it is compared: NFKC, casefolded, Latin digits, without what spellings may differ in (`OPTIONAL`).

    Letters are told apart as Unicode does: what they mean in a language (ي in Persian) is known to `normalise`.
    """
    if string.isascii():
        return string.casefold()
    string = string.translate(FOLDED) if FOLDABLE.search(string) else string
    return OPTIONAL.sub("", unicodedata.normalize("NFKC", string).casefold())


def key(string: str) -> str:
    """What makes two strings the same content: `folded`, digits → 0, letters and digits only."""
    return " ".join(SIGNS.findall(DIGITS.sub("0", folded(string))))
