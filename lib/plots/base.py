"""Every figure of the companion, made from records alone.

A figure is a function of the profile that returns (figure, frame, reading): the drawing, the data behind it, and one
computed sentence. `@figure` registers it under its ID. Persian needs no reshaping: matplotlib ≥ 3.11 shapes it itself.
"""
import matplotlib
from matplotlib import pyplot
from matplotlib.figure import Figure

from lib import paths
from lib.tables import Exhibit, Lacking

FIGURES: dict[str, Exhibit] = {}
# Okabe & Ito (2008): eight colours that colour-blind readers tell apart.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"]
COLUMN, WIDE = 3.4, 7.0
STYLE = {"figure.constrained_layout.use": True, "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8,
         "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7, "legend.frameon": False,
         "axes.spines.top": False, "axes.spines.right": False, "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
         "lines.linewidth": 1.3, "lines.markersize": 4, "savefig.dpi": 200, "figure.dpi": 150, "pdf.fonttype": 42}


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


def show(id: str, profile: str) -> Figure | None:
    """Draws a figure in the notebook, with its title and reading printed above; None, and why, when it lacks its data."""
    try:
        drawing, _, reading = _made(id, profile)
    except Lacking as error:
        drawing, reading = None, f"Not made here: {error}."
    print(f"Figure {id}. {FIGURES[id].title}\n{reading}")
    return drawing


def save(id: str, profile: str) -> str:
    """Writes the figure as PDF and PNG and its data as CSV under `figures/<profile>/`; returns its reading.

    Raises Lacking when it would be blank.
    """
    stem = paths.figures(profile) / f"{id}_{FIGURES[id].build.__name__}"
    drawing, frame, reading = _made(id, profile)
    with pyplot.rc_context(STYLE):
        drawing.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
        drawing.savefig(stem.with_suffix(".png"))
    frame.to_csv(stem.with_suffix(".csv"), index=False)
    return reading


def _made(id: str, profile: str) -> tuple:
    """What `Exhibit.make` gives, drawn in the house style and left open nowhere."""
    try:
        with pyplot.rc_context(STYLE):
            return FIGURES[id].make(profile)
    finally:
        pyplot.close("all")
