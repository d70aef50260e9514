"""Every table of the companion, made from records alone.

A table is a function of the profile that returns (frame, reading): the rows, and one computed sentence that says what
to see in them. `@table` registers it under its ID, so that its chapter shows it and 14_paper collects it.
"""
from typing import Callable, NamedTuple

import pandas

from lib import paths


class Exhibit(NamedTuple):
    """One table or figure: its ID, the chapter that makes its numbers, a title, and the function that builds it."""

    id: str
    chapter: str
    title: str
    build: Callable


TABLES: dict[str, Exhibit] = {}


def table(id: str, chapter: str, title: str):
    """Registers `function(profile) -> (DataFrame, reading)` as a table."""
    def register(function):
        TABLES[id] = Exhibit(id, chapter, title, function)
        return function
    return register


def show(id: str, profile: str) -> pandas.DataFrame:
    """Prints the table's title and reading, and returns its frame for display."""
    frame, reading = TABLES[id].build(profile)
    print(f"Table {id}. {TABLES[id].title}\n{reading}")
    return frame


def save(id: str, profile: str) -> str:
    """Writes the table as CSV, Markdown and LaTeX (booktabs) under `figures/<profile>/tables/`; returns its reading.

    The LaTeX is for XeLaTeX or LuaLaTeX, since tables hold Persian and signs such as CO₂.
    """
    frame, reading = TABLES[id].build(profile)
    stem = paths.figures(profile) / "tables" / f"{id}_{TABLES[id].build.__name__}"
    stem.parent.mkdir(exist_ok=True)
    frame.to_csv(stem.with_suffix(".csv"), index=False)
    blanks = frame.astype(object).where(frame.notna(), None)
    body = blanks.to_markdown(index=False, floatfmt=".5g", missingval="")
    stem.with_suffix(".md").write_text(f"**{id}. {TABLES[id].title}** {reading}\n\n{body}\n", "utf8")
    style = frame.rename(columns=_latex).style.hide(axis="index").format(_latex, na_rep="")
    style.to_latex(stem.with_suffix(".tex"), hrules=True, caption=_latex(f"{TABLES[id].title}. {reading}"))
    return reading


def _latex(value) -> str:
    """A cell as LaTeX reads it: five digits of a float, and no character that LaTeX would take for a command."""
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return "".join({"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}.get(
        sign, "\\" + sign if sign in "&%$#_{}" else sign) for sign in text)


def interval(row, digits: int = 2) -> str:
    """`1.42 [1.38, 1.46]`: an estimate as it is printed in a table."""
    return f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


def span(counts) -> str:
    """`40`, or `12 to 40`: the numbers of items that several scores rest on."""
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def reported() -> pandas.DataFrame:
    """The papers' own numbers from `reported/*.csv`: paper, exhibit, item, quantity, value, unit, ours, provenance."""
    return pandas.concat([pandas.read_csv(path) for path in sorted(paths.REPORTED.glob("*.csv"))], ignore_index=True)
