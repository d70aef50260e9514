"""Markdown as text: the blocks of a page, and those of a page and its translation side by side."""
import difflib
import itertools
from functools import partial

import regex
from markdown_it import MarkdownIt

from lib.data import text

FRONT_MATTER = regex.compile(r"\A\ufeff?---\s*\n.*?\n---\s*\n", regex.S)
MARKS = regex.compile(r"\{#[\w-]+\}|\{%.*?%\}|\{\{.*?\}\}|^:{3,}.*$|<[^<>]*>", regex.M)  # anchors, templates, containers, tags
# What is seen of a part of a line, by its kind; other kinds, such as tags and images, are not.
SHOWN = {"softbreak": lambda _: " ", "hardbreak": lambda _: "\n", "code_inline": str, "text": partial(MARKS.sub, " ")}
PARSER = MarkdownIt("commonmark").enable("table")
RUN = 3  # neighbouring blocks of the same kinds that are taken for the same content
RATIOS = (0.4, 2.2)  # of the characters of a pair's two sides
Block = tuple[str, str]  # kind (p, h2, li, td, code …), text


def blocks(string: str) -> list[Block]:
    """(kind, text) of each block of a page: paragraphs, headings, list items, cells; a listing has no text.

    Front matter, images, tags and marks of templates are left out, and links are read as their labels.
    """
    found, kinds = [], []
    for token in PARSER.parse(FRONT_MATTER.sub("", string, count=1)):
        if token.nesting == 1:
            kinds.append(token.tag)
        elif token.nesting == -1:
            kinds.pop()
        elif token.type in ("fence", "code_block"):
            found.append(("code", ""))
        elif token.type == "inline":
            within = "li" if kinds[-2:] == ["li", "p"] else kinds[-1]
            found.append((within, " ".join(_inline(token).split())))
    return [block for block in found if block[0] == "code" or block[1]]


def _inline(token) -> str:
    """The words of an inline token as a reader sees them; marks that stand in code are what the text speaks of."""
    return "".join(SHOWN[child.type](child.content) for child in token.children if child.type in SHOWN)


def align(english: list[Block], other: list[Block]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """(English, translation) of blocks, or of their sentences where the counts agree; then the translated blocks and the
    English ones without a pair.

    Pages whose kinds of blocks agree are paired one to one; of others the runs of at least RUN kinds that match. A pair
    whose lengths differ by more than RATIOS allow is none.
    """
    kinds = [[kind for kind, _ in page] for page in (english, other)]
    matcher = difflib.SequenceMatcher(None, *kinds, autojunk=False)
    runs = [(0, 0, len(english))] if kinds[0] == kinds[1] else [run for run in matcher.get_matching_blocks() if run[2] >= RUN]
    couples = {b + step: a + step for a, b, size in runs for step in range(size)}
    pairs, alone, paired = [], [], set()
    for place, (_, string) in enumerate(other):
        if place in couples and _alike(english[couples[place]][1], string):
            pairs += _sentences(english[couples[place]][1], string)
            paired.add(couples[place])
        elif string:
            alone.append(string)
    return pairs, alone, [string for place, (_, string) in enumerate(english) if string and place not in paired]


def _alike(english: str, other: str) -> bool:
    return bool(english and other) and RATIOS[0] <= len(other) / len(english) <= RATIOS[1]


def _sentences(english: str, other: str) -> list[tuple[str, str]]:
    """The two sides cut into sentences where both have as many and each couple is alike, else as they are."""
    couples = list(itertools.zip_longest(text.sentences(english), text.sentences(other), fillvalue=""))
    return couples if all(_alike(*couple) for couple in couples) else [(english, other)]
