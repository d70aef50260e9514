"""Every table and figure of the companion, made from records alone.

An exhibit is a function of the profile. A table's returns (frame, reading): the rows, and one computed sentence that
says what to see in them; a figure's returns (drawing, frame, reading), the drawing before the data behind it. `@table`
and `@figure` register it under its ID, so that its chapter shows it and 14_paper collects it. Persian needs no
reshaping: matplotlib ≥ 3.11 shapes it itself.
"""
import html
from typing import Callable, NamedTuple

import matplotlib
import pandas
from matplotlib import pyplot
from matplotlib.figure import Figure

from lib.engine import params, paths, records

REPORTED = ("llama_persian", "persianmind", "polylm", "maple", "persian_benchmark", "common_crawl")

# Okabe & Ito (2008): eight colours that colour-blind readers tell apart.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"]
COLUMN, WIDE = 3.4, 7.0
STYLE = {"figure.constrained_layout.use": True, "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8,
         "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7, "legend.frameon": False,
         "axes.spines.top": False, "axes.spines.right": False, "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
         "lines.linewidth": 1.3, "lines.markersize": 4, "savefig.dpi": 200, "figure.dpi": 150, "pdf.fonttype": 42}
# How a unit is printed: factor, digits, and the name of a difference in it.
UNITS = {"share": (100, 1, "points"), "%": (1, 1, "points"), "ρ": (100, 1, "points"), "AUC": (100, 1, "points"),
         "bits/byte": (1, 3, "bits/byte"), "times the base": (1, 2, "times"), "chrF++": (1, 1, "chrF++"),
         "BLEU": (1, 1, "BLEU"), "per token": (1, 1, "per token"), "tokens/s": (1, 1, "tokens/s")}
# What a metric or fact may be labelled with.
LABELS = ["arm", "asked", "base", "benchmark", "bits", "category", "contrast", "effect", "encoder", "factor", "after",
          "before", "instructions", "language", "method", "phase", "precision", "prompt", "rank", "reason", "round", "seed",
          "setting", "size", "stage", "stream", "task", "term", "tokenizer", "trained_on"]
NOT_RUN = "what it needs was not at hand, or the profile's parameters leave it out"


class Lacking(LookupError):
    """An exhibit cannot be made, because its record lacks what it shows; the message says so in one sentence."""


class Exhibit(NamedTuple):
    """One table or figure: its ID, the chapter that makes its numbers, a title, and the function that builds it.

    `files` are the public files (names of assets) with which it says more.
    """

    id: str
    chapter: str
    title: str
    build: Callable
    files: tuple[str, ...] = ()

    def make(self, profile: str) -> tuple:
        """What `build` returns, its reading with a sentence on the public files that the chapter lacked.

        Raises Lacking where no row is to be shown.
        """
        *drawn, frame, reading = self.build(profile)
        if frame.empty:
            raise Lacking(reading.rstrip("."))
        found = records.lacking(profile, self.chapter) if self.files else {}
        titles = [found[name] for name in self.files if name in found]
        told = f" Not at hand: {', '.join(titles)}; rows made from the corpus stand in." if titles else ""
        return *drawn, frame, reading + told


TABLES: dict[str, Exhibit] = {}
FIGURES: dict[str, Exhibit] = {}


def table(id: str, chapter: str, title: str, files: tuple[str, ...] = ()):
    """Registers `function(profile) -> (DataFrame, reading)` as a table."""
    def register(function):
        TABLES[id] = Exhibit(id, chapter, title, function, files)
        return function
    return register


def figure(id: str, chapter: str, title: str, files: tuple[str, ...] = ()):
    """Registers `function(profile) -> (Figure, DataFrame, reading)` as a figure."""
    def register(function):
        FIGURES[id] = Exhibit(id, chapter, title, function, files)
        return function
    return register


def axes(rows: int = 1, columns: int = 1, width: float = COLUMN, height: float = 2.4, **options):
    """A figure and its axes in the house style; `width` and `height` in inches."""
    with pyplot.rc_context(STYLE):
        return pyplot.subplots(rows, columns, figsize=(width, height), **options)


def need(found, lack: str = ""):
    """`found`, rows that an exhibit is made of. Raises Lacking when there is none: `lack` is a key of `params.LACKS`."""
    if len(found) == 0:
        raise Lacking(params.LACKS[lack] if lack else NOT_RUN)
    return found


def show(id: str, profile: str) -> pandas.DataFrame | Figure | None:
    """A table's frame or a figure's drawing for display in a notebook, its title and reading printed above.

    None, or a frame without rows, and why, where the record lacks what it shows.
    """
    kind, exhibit = ("Figure", FIGURES[id]) if id in FIGURES else ("Table", TABLES[id])
    try:
        first, *_, reading = _made(exhibit, profile)
    except Lacking as error:
        first, reading = None if id in FIGURES else pandas.DataFrame(), f"Not made here: {error}."
    print(f"{kind} {id}. {exhibit.title}\n{reading}")
    return first


def save(id: str, profile: str) -> str:
    """Writes an exhibit under `figures/<profile>/` and returns its reading; Lacking when it would be blank.

    A figure as PDF and PNG with its data as CSV, a table as CSV, Markdown and LaTeX (booktabs) in `tables/`. The LaTeX is
    for XeLaTeX or LuaLaTeX, since tables hold Persian and signs such as CO₂.
    """
    exhibit = FIGURES.get(id) or TABLES[id]
    *drawn, frame, reading = _made(exhibit, profile)
    stem = paths.figures(profile) / ("" if drawn else "tables") / f"{id}_{exhibit.build.__name__}"
    stem.parent.mkdir(exist_ok=True)
    frame.to_csv(stem.with_suffix(".csv"), index=False)
    if drawn:
        with pyplot.rc_context(STYLE):
            drawn[0].savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
            drawn[0].savefig(stem.with_suffix(".png"))
        return reading
    stem.with_suffix(".md").write_text(f"**{id}. {exhibit.title}** {reading}\n\n{_markdown(frame)}\n", "utf8")
    style = frame.rename(columns=_latex).style.hide(axis="index").format(_latex, na_rep="")
    style.to_latex(stem.with_suffix(".tex"), hrules=True, caption=_latex(f"{exhibit.title}. {reading}"))
    return reading


def _made(exhibit: Exhibit, profile: str) -> tuple:
    """What `Exhibit.make` gives, drawn in the house style and left open nowhere."""
    try:
        with pyplot.rc_context(STYLE):
            return exhibit.make(profile)
    finally:
        pyplot.close("all")


def _markdown(frame: pandas.DataFrame) -> str:
    """The frame as a Markdown table without padding, which would blow every cell up to the longest; numbers right."""
    sides = ["---:" if pandas.api.types.is_numeric_dtype(kind) else "---" for kind in frame.dtypes]
    cells = [[_plain(cell) for cell in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in ([_plain(name) for name in frame.columns], sides, *cells))


def _plain(value) -> str:
    """A cell as Markdown reads it: blank if unknown, five digits of a float, no bar, tag or line break of its own."""
    text = "" if pandas.api.types.is_scalar(value) and pandas.isna(value) else _digits(value)
    return html.escape(text, quote=False).replace("|", "\\|").replace("\n", "<br>")


def _digits(value) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _latex(value) -> str:
    """A cell as LaTeX reads it: five digits of a float, and no character that LaTeX would take for a command."""
    text = _digits(value)
    return "".join({"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}.get(
        sign, "\\" + sign if sign in "&%$#_{}" else sign) for sign in text)


def measured(profile: str, chapter: str, *names: str) -> pandas.DataFrame:
    """A chapter's metrics of these names (default: all), with every column of LABELS, blank where nothing has it."""
    return _named(records.metrics(profile, chapter), "metric", names)


def noted(profile: str, chapter: str, *names: str) -> pandas.DataFrame:
    """A chapter's facts of these names (default: all), with every column of LABELS."""
    return _named(records.facts(profile, chapter), "fact", names)


def _named(found: pandas.DataFrame, column: str, names) -> pandas.DataFrame:
    found = found.reindex(columns=list(dict.fromkeys([*found, *LABELS]))).astype({column: object})
    return found[found[column].isin(names)].copy() if names else found


def printed(found: pandas.DataFrame) -> pandas.DataFrame:
    """The rows in units of print: value, low and high times the factor of UNITS, shares as %."""
    factor = found["unit"].map(lambda unit: UNITS.get(unit, (1,))[0]).astype(float)
    return found.assign(**{name: factor * found[name].astype(float) for name in ("value", "low", "high")},
                        unit=found["unit"].mask(factor == 100, "%"))


def interval(row, digits: int | None = None) -> str:
    """`1.42 [1.38, 1.46]`: an estimate in its unit of print, by default with the digits of UNITS."""
    factor, usual, _ = UNITS.get(row["unit"], (1, 2, ""))
    digits = usual if digits is None else digits
    value, low, high = (f"{factor * row[name]:z.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def cells(found: pandas.DataFrame) -> list[str]:
    """The estimate of every row as `interval` prints it."""
    return [interval(row) for row in found.to_dict("records")]


def listed(found: pandas.DataFrame, form: str, between: str = ", ") -> str:
    """`fa 0.21 [0.10, 0.32], en …`: every row as `form` names it (`{language}`), then its estimate."""
    return between.join(f"{form.format(**row)} {interval(row)}" for row in found.to_dict("records"))


def wide(found: pandas.DataFrame, keys: list[str], column: str, cell: str = "cell") -> pandas.DataFrame:
    """Cells side by side: a row a combination of `keys`, a column a value of `column`, in order of appearance."""
    frame = found.pivot_table(cell, keys, column, aggfunc="first")[found[column].unique()].astype(object).fillna("")
    return found[keys].drop_duplicates().join(frame, on=keys).reset_index(drop=True)


def p_value(p) -> str:
    """`0.012`, or `< 0.001`: a p as it is printed in a table; empty where there is none."""
    return "" if pandas.isna(p) else "< 0.001" if p < 0.0005 else f"{p:.3f}"


def span(counts) -> str:
    """`40`, or `12 to 40`: the numbers of items that several scores rest on."""
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def reported(exhibit: str | None = None, system: str | None = None, language: str | None = None) -> pandas.DataFrame:
    """The papers' own numbers from `reported/*.csv`, those of an exhibit, a system or a language if one is named.

    Columns paper, exhibit (the ID it belongs beside), table (where the paper prints it), system, item, language, group,
    quantity, value (float), unit, ours (`chapter/name` of our counterpart), provenance, and printed: the value digit
    for digit, a text where it is one (`cosine`), empty where it is not known. Blank texts are empty strings.
    """
    parts = [pandas.read_csv(paths.REPORTED / f"{name}.csv", dtype=str, keep_default_na=False) for name in REPORTED]
    frame = pandas.concat(parts, ignore_index=True)
    frame["printed"], frame["value"] = frame["value"], pandas.to_numeric(frame["value"], errors="coerce")
    wanted = {"exhibit": exhibit, "system": system, "language": language}
    for column, value in wanted.items():
        frame = frame if value is None else frame[frame[column] == value]
    return frame
