"""Every table of the companion, made from records alone.

A table is a function of the profile that returns (frame, reading): the rows, and one computed sentence that says what
to see in them. `@table` registers it under its ID, so that its chapter shows it and 14_paper collects it.
"""
from typing import Callable, NamedTuple

import pandas

from lib import paths, records


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


def save(id: str, profile: str):
    """Writes the table as CSV, Markdown and LaTeX (booktabs) under `figures/<profile>/tables/`; returns its reading."""
    frame, reading = TABLES[id].build(profile)
    stem = paths.figures(profile) / "tables" / f"{id}_{TABLES[id].build.__name__}"
    stem.parent.mkdir(exist_ok=True)
    frame.to_csv(stem.with_suffix(".csv"), index=False)
    stem.with_suffix(".md").write_text(f"**{id}. {TABLES[id].title}** {reading}\n\n{frame.to_markdown(index=False)}\n", "utf8")
    frame.style.hide(axis="index").to_latex(stem.with_suffix(".tex"), hrules=True, caption=f"{TABLES[id].title}. {reading}")
    return reading


def interval(row, digits: int = 2) -> str:
    """`1.42 [1.38, 1.46]`: an estimate as it is printed in a table."""
    return f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
