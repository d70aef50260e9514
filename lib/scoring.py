"""Labels read from answers, and measures of text against references, for one item at a time.

Label spellings that mean the same are one label: Persian and Latin digits, Arabic and Persian letters, `Option C`, `c`
and `(C)`, casing, ints and strings. What cannot be read is None and counts as wrong; nothing is dropped.
"""
import unicodedata

import regex

from lib import prompts, text

# Words that stand before a letter without changing what it names.
NAMED = regex.compile(r"^(?:the )?(?:correct |right )?(?:option|answer|choice|label|گزینه|پاسخ|جواب)"
                      r"(?:[ی‌ٔ ]*(?:درست|صحیح))?(?: is|:| است)?\s+")
EDGES = regex.compile(r"^[\p{P}\p{S}\s\u200c]+|[\p{P}\p{S}\s\u200c]+$")


def spelling(value) -> str:
    """The one spelling of a label: lower case, Latin digits, Persian letters, no brackets, no `Option` before it."""
    string = unicodedata.normalize("NFKC", str(value)).lower().translate(text.PERSIAN_LETTERS)
    string = "".join(str(unicodedata.digit(sign, sign)) for sign in string)
    string = EDGES.sub("", text.BIDI_MARKS.sub("", string))
    return EDGES.sub("", NAMED.sub("", string))


def gold(value, labels: dict[str, int]) -> int | None:
    """Index of a gold label; `labels` maps spellings to indices. None when it is not one of them."""
    return labels.get(spelling(value))
