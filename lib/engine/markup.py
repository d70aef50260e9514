"""How a notebook shows tables and text: whole, escaped, and each script in its own direction."""
import html
import unicodedata
from pathlib import Path

import IPython
import pandas
import regex

from lib.engine import paths

STRONG = r"[\p{bc=R}\p{bc=AL}]"  # letters that are read from right to left
RUN = regex.compile(rf"{STRONG}(?:[^\n\p{{bc=L}}]*{STRONG}\p{{bc=NSM}}*)?")
LEFT = regex.compile(r"(?=\p{L})\p{bc=L}")  # letters: some pictures are strong too
FOLDED = 12  # rows: longer tables are folded away


class Markup:
    """HTML that a notebook displays, and the plain text that stands for it elsewhere."""

    def __init__(self, html: str, plain: str = ""):
        self.html, self.plain = html, plain

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.plain


def rightward(string: str) -> bool:
    """Whether most of a string's letters are read from right to left."""
    return len(regex.findall(STRONG, string)) > len(LEFT.findall(string))


def directed(string: str) -> str:
    """A string as HTML, with `<bdi dir="rtl">` around all of it or around its parts that are read from right to left."""
    if rightward(string):
        return f'<bdi dir="rtl">{html.escape(string)}</bdi>'
    parts, end = [], 0
    for run in RUN.finditer(string):
        parts += [html.escape(string[end:run.start()]), f'<bdi dir="rtl">{html.escape(run[0])}</bdi>']
        end = run.end()
    return "".join([*parts, html.escape(string[end:])])


def inert(string: str) -> str:
    """A string as a part of Markdown, without tags, links or pictures of its own."""
    return html.escape(string, quote=False).replace("](", "]&#40;")


def printable(string: str) -> str:
    """The string with a replacement character for each control character but line breaks and tabs: none commands a
    terminal."""
    return "".join("\ufffd" if unicodedata.category(sign) == "Cc" and sign not in "\n\t" else sign for sign in string)


def frame(shown: pandas.DataFrame) -> str:
    """A frame as an HTML table: every cell whole, no index, five digits of a float; folded away beyond FOLDED rows."""
    head = "".join(f'<th style="text-align:left">{directed(str(name))}</th>' for name in shown.columns)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in shown.astype(object).itertuples(index=False, name=None))
    # A dollar in a cell is no formula.
    table = f'<table class="mathjax_ignore tex2jax_ignore"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return table if len(shown) <= FOLDED else folded(f"{len(shown)} rows", table)


def folded(summary: str, content: str) -> str:
    """HTML behind a line that opens it."""
    return f"<details><summary>{html.escape(summary)}</summary>{content}</details>"


def settle():
    """Lets the running notebook, if one is, show every frame as `frame` does, and a path as `paths.shown`."""
    shell = IPython.get_ipython()
    if shell:
        formatters = shell.display_formatter.formatters
        formatters["text/html"].for_type(pandas.DataFrame, frame)
        formatters["text/plain"].for_type(type(Path()), lambda path, printer, _: printer.text(paths.shown(path)))


def _cell(value) -> str:
    string = _plain(value)
    number = pandas.api.types.is_number(value) and not isinstance(value, bool)
    lines = "<br>".join(map(directed, string.splitlines()))
    return f'<td style="text-align:{"right" if number or rightward(string) else "left"}">{lines}</td>'


def _plain(value) -> str:
    """A cell's text: empty where nothing is known, the parts of a list on a line."""
    if pandas.api.types.is_list_like(value):
        return " · ".join(map(_plain, value))
    if pandas.isna(value):
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
