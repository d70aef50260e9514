"""Figures in the house style, and panels of points with their 95 % intervals."""
import itertools
import math

import matplotlib
import pandas
from matplotlib import patheffects, pyplot
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from lib.engine.markup import rightward
from lib.exhibits import lesson
from lib.exhibits.units import LEAST, printed

# Okabe & Ito (2008): eight colours that colour-blind readers tell apart.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"]
GREY = "0.75"
COLUMN, WIDE = 3.4, 7.0
STYLE = {"figure.constrained_layout.use": True, "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8,
         "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7, "legend.frameon": False,
         "axes.spines.top": False, "axes.spines.right": False, "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
         "lines.linewidth": 1.3, "lines.markersize": 4, "savefig.dpi": 200, "figure.dpi": 150, "pdf.fonttype": 42}
MARKERS = "os^Dv<>p"
HALO = [patheffects.withStroke(linewidth=1.5, foreground="white")]
# Where a name may stand beside its point, in points across and up: the nearest first.
SIDES = sorted(itertools.product((5, 12, 20, -5, -12, -20), range(-28, 29, 4)), key=lambda side: math.hypot(*side))


def axes(rows: int = 1, columns: int = 1, width: float = COLUMN, height: float = 2.4, **options):
    """A figure and its axes in the house style; `width` and `height` in inches."""
    with pyplot.rc_context(STYLE):
        return pyplot.subplots(rows, columns, figsize=(width, height), **options)


def points(panel, frame: pandas.DataFrame, group: str, *series: str, among: pandas.DataFrame | None = None,
           across: bool = False, joined: bool = False):
    """The series side by side within each group, a point with its interval each.

    Marker by the first label of `series`, colour by the last; both stay what they are in all panels of the figure
    whose rows are `among`. `across`: groups from bottom to top instead of left to right; `joined`: a line a series.
    """
    among, groups = frame if among is None else among, list(frame[group].unique())
    first, last = (list(among[label].unique()) for label in (series[0], series[-1]))
    names = among[list(series)].drop_duplicates()
    varying = [label for label in series if names[label].nunique() > 1] or list(series)
    for place, name in enumerate(names.to_dict("records")):
        rows = frame[(frame[list(series)] == pandas.Series(name)).all(axis=1)]
        shift = min(0.7, 0.17 * len(names)) * ((place + 0.5) / len(names) - 0.5)
        style = {"color": PALETTE[last.index(name[series[-1]]) % len(PALETTE)], "markersize": 3, "linewidth": 0.9,
                 "fmt": MARKERS[first.index(name[series[0]]) % len(MARKERS)] + "-" * joined, "capsize": 1.5}
        errorbars(panel, [groups.index(one) + shift for one in rows[group]], rows, across, **style,
                  label=" ".join(str(name[label]) for label in varying))
    ticks, limits = ((panel.set_yticks, panel.set_ylim) if across else (panel.set_xticks, panel.set_xlim))
    ticks(range(len(groups)), groups)
    limits(-0.6, len(groups) - 0.4)


def errorbars(panel, places, rows: pandas.DataFrame, across: bool = False, **style):
    """Values with their intervals in units of print; `places` on the other axis, which is y with `across`.

    What rests on fewer than LEAST items is grey.
    """
    rows, style = printed(rows).assign(place=list(places)), {"fmt": "o", "capsize": 2, **style}
    few = rows["n"].astype(float) < LEAST if "n" in rows else pandas.Series(False, rows.index)
    if not few.all():
        _bars(panel, rows, across, style)
        style |= {"label": None, "fmt": style["fmt"].rstrip("-")}
    if few.any():
        _bars(panel, rows[few], across, {**style, "color": GREY, "zorder": 3})


def _bars(panel, rows: pandas.DataFrame, across: bool, style: dict):
    spread = [(rows["value"] - rows["low"]).clip(lower=0), (rows["high"] - rows["value"]).clip(lower=0)]
    if across:
        panel.errorbar(rows["value"], rows["place"], xerr=spread, **style)
    else:
        panel.errorbar(rows["place"], rows["value"], spread, **style)


def level(panel, value: float, text: str = "", across: bool = False):
    """A dotted line where there is no effect, or at chance; its name at the right end."""
    line = panel.axvline if across else panel.axhline
    line(value, color="0.4", linestyle=":", linewidth=0.9)
    if text:
        panel.annotate(text, (1, value), (2, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                       va="center", color="0.4", fontsize=6)


def names(panel, places: dict[str, tuple[float, float]]):
    """Names beside their points, each on the first of SIDES that meets least: no other point and no name before it, then
    as few bars of intervals as may be. A thin line leads from a name to its point."""
    panel.figure.canvas.draw()  # or the panel would have neither its size nor its limits yet
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in panel.transData.transform(list(places.values()))]
    bars = [path.get_extents(panel.transData).padded(1) for lines in panel.collections for path in lines.get_paths()]
    for name, place in places.items():
        note = panel.annotate(name, place, (0, 0), textcoords="offset points", va="center", fontsize=6, zorder=4,
                              path_effects=HALO, arrowprops={"arrowstyle": "-", "color": "0.4", "linewidth": 0.5, "shrinkA": 0,
                                                             "shrinkB": 2})

        def met(side):
            box = _moved(note, side)
            outside = not (panel.bbox.contains(*box.p0) and panel.bbox.contains(*box.p1))
            return sum(map(box.overlaps, taken)) + 0.1 * sum(map(box.overlaps, bars)) + outside

        taken.append(_moved(note, min(SIDES, key=met)))


def _moved(note, side: tuple[int, int]) -> Bbox:
    """The box of a name, without its line, now that it stands on that side of its point."""
    note.set(position=side, ha="left" if side[0] > 0 else "right")
    note.update_positions(note.figure.canvas.get_renderer())
    return Text.get_window_extent(note)


def drawable(text: str) -> bool:
    """Whether the house's font has every letter of a text."""
    known = get_font(findfont(FontProperties())).get_charmap()
    return all(ord(sign) in known for sign in text if not sign.isspace())


def pieces(panel, cut: list[str], size: float = 9.0):
    """The pieces of a text as coloured boxes one behind another, in lines, from the right where the text is read so.

    Letters are joined within a piece. A ZWNJ is ¬, a space before a word ␣; what stands in <…>, as a part of a letter
    does, is grey.
    """
    panel.set_axis_off()
    panel.figure.canvas.draw()  # or the panel would not have its width yet
    box, right = panel.get_window_extent(), rightward(lesson.TAG.sub("", "".join(cut)))
    step, at, line = 2.1 * size * panel.figure.dpi / 72, 0.0, 0
    for place, piece in enumerate(cut):
        shown, colour = lesson.visible(piece), lesson.COLOURS[place % len(lesson.COLOURS)]
        shown, colour = ("·", lesson.GREY) if lesson.TAG.fullmatch(shown) else (shown, colour)
        drawn = panel.text(0, 0, shown, fontsize=size, ha="right" if right else "left", va="top",
                           bbox={"boxstyle": "square,pad=0.2", "facecolor": colour, "edgecolor": "none"})
        width = drawn.get_window_extent().width + 0.6 * size * panel.figure.dpi / 72
        at, line = (0.0, line + 1) if at and at + width > box.width else (at, line)
        across = (box.width - at if right else at) / box.width
        drawn.set(transform=panel.transAxes, position=(across, 1 - (line * step) / box.height))
        at += width


def tiles(groups, most: int, height: float, **options):
    """A wide figure, a panel a group of rows, at most `most` in a row of that height in inches.

    Returns (figure, [(panel, name, rows of the group), …]).
    """
    groups = list(groups)
    rows = -(-len(groups) // most)
    drawing, panels = axes(rows, -(-len(groups) // rows), WIDE, height * rows + 0.2, squeeze=False, **options)
    for panel in panels.flat[len(groups):]:
        panel.set_axis_off()
    return drawing, [(panel, *group) for panel, group in zip(panels.flat, groups)]


def slant(panel, angle: int = 30):
    """Turns the names below a panel, so that they do not run into each other."""
    pyplot.setp(panel.get_xticklabels(), rotation=angle, ha="right", rotation_mode="anchor")


def legend(drawing, **style):
    """One key for all panels, each name once."""
    # The first panel's, since a later one may be grey.
    handles = dict(pair[::-1] for panel in drawing.axes[::-1] for pair in zip(*panel.get_legend_handles_labels()))
    drawing.legend(handles.values(), handles, **{"loc": "outside lower center", **style})
