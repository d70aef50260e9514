"""Every table and figure of the companion, made from records alone.

An exhibit is a function of the profile. A table's returns (frame, reading): the rows, and one computed sentence that
says what to see in them; a figure's returns (drawing, frame, reading), the drawing before the data behind it. `@table`
and `@figure` register it under its ID, so that its chapter shows it and 14_paper collects it. Persian needs no
reshaping: matplotlib ≥ 3.11 shapes it itself.
"""
import functools
from typing import Callable, NamedTuple

import pandas
from matplotlib import pyplot
from matplotlib.figure import Figure

from lib.engine import assets, keys, markup, params, paths, records, run, store
from lib.engine.markup import Markup
from lib.exhibits.panels import STYLE
from lib.exhibits.units import FEW, LEAST

REPORTED = ("llama_persian", "persianmind", "polylm", "maple", "persian_benchmark", "common_crawl")
# What a metric or fact may be labelled with.
LABELS = ["arm", "asked", "base", "benchmark", "bits", "category", "contrast", "effect", "encoder", "factor", "after",
          "before", "high", "instructions", "language", "low", "method", "origin", "part", "phase", "precision", "prompt",
          "rank", "reason", "register", "round", "scale", "seed", "set", "setting", "size", "split", "stage", "start",
          "moment", "stream", "task", "term", "tokenizer",
          "trained_on", "trainings"]
# What LaTeX would take for a command, and how to write it.
COMMANDS = str.maketrans({**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}",
                          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"})
ROWS, COLUMNS = 40, 12  # most of a table that are printed; its CSV has all
NOT_RUN = "what it needs was not at hand, or the profile's parameters leave it out"


class Lacking(LookupError):
    """An exhibit cannot be made, because its record lacks what it shows; the message says so in one sentence."""


class Exhibit(NamedTuple):
    """One table or figure: its ID, the chapter that makes its numbers, a title, and the function that builds it.

    `files` are the public files (names of assets) with which it says more.
    """

    kind: str
    id: str
    chapter: str
    title: str
    files: tuple[str, ...]
    build: Callable

    def make(self, profile: str) -> tuple:
        """What `build` returns, in the house style; the reading tells which public files the chapter lacked.

        Raises Lacking where no row is to be shown, or where it cannot be made from the records of earlier versions.
        """
        try:
            with pyplot.rc_context(STYLE):
                *drawn, frame, reading = self.build(profile)
        except (FileNotFoundError, Lacking):
            raise
        except Exception as error:  # what an old record lacks may fail anywhere
            raise _of_before(profile, self.chapter, error) from error
        finally:
            pyplot.close("all")
        if frame.empty:
            raise Lacking(reading.rstrip("."))
        found = records.lacking(profile, self.chapter) if self.files else {}
        titles = [found[name] for name in self.files if name in found]
        told = f"; rows made from the corpus stand in for {', '.join(titles)}, not at hand" if titles else ""
        return *drawn, frame, f"{reading.removesuffix('.')}{told}."

    @property
    def stem(self) -> str:
        """Its files under `figures/<profile>/`, without their endings."""
        return f"{'tables/' * (self.kind == 'table')}{self.id}_{self.build.__name__}"


TABLES: dict[str, Exhibit] = {}
FIGURES: dict[str, Exhibit] = {}


def table(id: str, chapter: str, title: str, files: tuple[str, ...] = ()):
    """Registers `function(profile) -> (DataFrame, reading)` as a table."""
    return functools.partial(_register, TABLES, "table", id, chapter, title, files)


def figure(id: str, chapter: str, title: str, files: tuple[str, ...] = ()):
    """Registers `function(profile) -> (Figure, DataFrame, reading)` as a figure."""
    return functools.partial(_register, FIGURES, "figure", id, chapter, title, files)


def _register(group: dict, kind: str, id: str, chapter: str, title: str, files: tuple[str, ...], build: Callable):
    group[id] = Exhibit(kind, id, chapter, title, files, build)
    return build


def _of_before(profile: str, chapter: str, error: Exception) -> Exception:
    """The error of an exhibit as Lacking, with the way out, where a record of another version may be why."""
    if isinstance(error, store.SpoiledError):
        return Lacking(str(error).rstrip("."))
    found = {name: records.load(profile, name) for name in {*run.before(chapter), chapter} & {*records.available(profile)}}
    old = sorted(name for name, made in found.items() if keys.outdated(made, made["parameters"]))
    if not old:
        return error
    return Lacking(f"it cannot be made from records of earlier versions ({', '.join(old)}; {type(error).__name__}: "
                   f"{params.beginning(str(error))}): make them anew by "
                   f"`python -m lib.engine.run {' '.join(old)} --profile {profile}`")


def need(found, lack: str = ""):
    """`found`, rows that an exhibit is made of. Raises Lacking when there is none: `lack` is a key of `params.LACKS`."""
    if len(found) == 0:
        raise Lacking(params.LACKS[lack] if lack else NOT_RUN)
    return found


def renewed(found, profile: str, chapter: str):
    """`found`, rows that every record of today has. Raises Lacking, with the command, where an earlier version left none."""
    if len(found) == 0:
        raise Lacking(f"the record is of an earlier version: {records.anew(records.place(profile, chapter))}")
    return found


def show(id: str, profile: str, where: str = "", rows: int | None = None) -> Markup | Figure | None:
    """A table or a figure's drawing for display in a notebook, its title and reading printed above.

    Of a table `where` (a query) and `rows` (the first ones) show a part. None, and why, where the record lacks it.
    """
    exhibit = FIGURES.get(id) or TABLES[id]
    try:
        first, *_, reading = exhibit.make(profile)
    except Lacking as error:
        first, reading = None, f"Not made here: {error}."
    print(f"{exhibit.kind.title()} {id}. {exhibit.title}\n{reading}")
    if not isinstance(first, pandas.DataFrame):
        return first
    part = printed_part(first.query(where) if where else first).head(rows)
    print(_cut(first, part), end="")
    return Markup(markup.frame(part), part.to_string(index=False))


def readings(profile: str, chapter: str) -> Markup:
    """What a chapter's exhibits say, a sentence each, for display in a notebook; and those that cannot be made."""
    found, absent = {}, []
    for id, exhibit in (TABLES | FIGURES).items():
        try:
            found |= {id: exhibit.make(profile)[-1]} if exhibit.chapter == chapter else {}
        except (FileNotFoundError, Lacking):
            absent.append(id)
    found |= {"Not made here": f"{', '.join(absent)}, for the reasons above."} if absent else {}
    lines = "".join(f"<li><b>{id}</b>: {markup.directed(reading)}</li>" for id, reading in found.items())
    return Markup(f"<ul>{lines}</ul>", "\n".join(f"{id}: {reading}" for id, reading in found.items()))


def save(id: str, profile: str) -> str:
    """Writes an exhibit under `figures/<profile>/` and returns its reading; Lacking when it would be blank.

    A figure as PDF and PNG with its data as CSV, a table as CSV, Markdown and LaTeX (booktabs) in `tables/`. The LaTeX is
    for XeLaTeX or LuaLaTeX, since tables hold Persian and signs such as CO₂.
    """
    exhibit = FIGURES.get(id) or TABLES[id]
    *drawn, frame, reading = exhibit.make(profile)
    stem = paths.figures(profile) / exhibit.stem
    stem.parent.mkdir(exist_ok=True)
    frame.to_csv(stem.with_suffix(".csv"), index=False)
    if drawn:
        with pyplot.rc_context(STYLE):
            drawn[0].draw_without_rendering()
            pyplot.rcParams["figure.constrained_layout.use"] = False
            drawn[0].set_layout_engine(None)  # it is laid out now, once for both files, which "none" would draw twice each
            drawn[0].savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
            drawn[0].savefig(stem.with_suffix(".png"))
        return reading
    whole, frame = frame, printed_part(frame)
    text = f"**{id}. {exhibit.title}** {markup.inert(reading)}\n\n{markdown(frame)}\n\n{_cut(whole, frame)}"
    stem.with_suffix(".md").write_text(f"{text.rstrip()}\n", "utf8")
    style = frame.rename(columns=_latex).style.hide(axis="index").format(_latex, na_rep="")
    style.to_latex(stem.with_suffix(".tex"), hrules=True, caption=_latex(f"{exhibit.title}. {reading}"))
    return reading


def printed_part(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The part of a frame that is printed: ROWS rows and COLUMNS columns at most, fewer where its `attrs` say which."""
    columns = frame.attrs.get("printed", list(frame))[:COLUMNS]
    return frame[columns].head(min(ROWS, frame.attrs.get("rows", ROWS)))


def _cut(whole: pandas.DataFrame, part: pandas.DataFrame) -> str:
    """What stands below a printed table: how much of it is in the CSV alone, and what the mark of few items means."""
    told = f"{len(part)} of {len(whole)} rows, {part.shape[1]} of {whole.shape[1]} columns; all are in the CSV.\n"
    few = f"{FEW} fewer than {LEAST} items.\n"
    return told * (part.shape != whole.shape) + few * bool(part.map(lambda cell: FEW in str(cell)).any(axis=None))


def markdown(frame: pandas.DataFrame) -> str:
    """The frame as a Markdown table without padding, which would blow every cell up to the longest; numbers right."""
    sides = ["---:" if pandas.api.types.is_numeric_dtype(kind) else "---" for kind in frame.dtypes]
    cells = [[_plain(cell) for cell in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in ([_plain(name) for name in frame.columns], sides, *cells))


def _plain(value) -> str:
    """A cell as Markdown reads it: blank if unknown, five digits of a float, no bar, tag or line break of its own."""
    text = "" if pandas.api.types.is_scalar(value) and pandas.isna(value) else _digits(value)
    return markup.inert(text).replace("|", "\\|").replace("\n", "<br>")


def _digits(value) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _latex(value) -> str:
    """A cell as LaTeX reads it: five digits of a float, and no character that LaTeX would take for a command."""
    return _digits(value).translate(COMMANDS)


def unpacked(base: str) -> str:
    """What the whole weights of a base are that packages hold in 4 bits, to stand behind the name of a format; else nothing."""
    return " of a dequantised 4-bit file" if base in assets.registry() else ""


def measured(profile: str, chapter: str, *names: str) -> pandas.DataFrame:
    """A chapter's metrics of these names (default: all), with every column of LABELS, blank where nothing has it."""
    return _named(records.metrics(profile, chapter), "metric", names)


def noted(profile: str, chapter: str, *names: str) -> pandas.DataFrame:
    """A chapter's facts of these names (default: all), with every column of LABELS."""
    return _named(records.facts(profile, chapter), "fact", names)


def _named(found: pandas.DataFrame, column: str, names) -> pandas.DataFrame:
    found = found.reindex(columns=list(dict.fromkeys([*found, *LABELS]))).astype({column: object})
    return found[found[column].isin(names)].copy() if names else found


def reported(exhibit: str | None = None) -> pandas.DataFrame:
    """The papers' own numbers from `reported/*.csv`, all or those of an exhibit.

    Columns paper, exhibit (the ID it belongs beside), table (where the paper prints it), system, item, language, group,
    quantity, value (float), unit, ours (`chapter/name` of our counterpart), provenance, and printed: the value digit
    for digit, a text where it is one (`cosine`), empty where it is not known. Blank texts are empty strings.
    """
    parts = [pandas.read_csv(paths.REPORTED / f"{name}.csv", dtype=str, keep_default_na=False) for name in REPORTED]
    frame = pandas.concat(parts, ignore_index=True)
    frame["printed"], frame["value"] = frame["value"], pandas.to_numeric(frame["value"], errors="coerce")
    return frame if exhibit is None else frame[frame["exhibit"] == exhibit]
