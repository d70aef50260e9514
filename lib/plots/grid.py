"""Figures of MAPLE's grid: score against rank, the grid as a heat map, gain against resources, memory against score."""
import numpy
import pandas
from matplotlib import patheffects

from lib import levels, records
from lib.plots.base import PALETTE, WIDE, axes, figure
from lib.tables.base import interval, need, span
from lib.tables.grid import CHAPTER, FILES, LEVELS, MEASURES, OTHERS, costs, grid, measured, not_run

MARKERS = {16: "o", 8: "s", 4: "^"}
COLOURS = dict(zip(MARKERS, PALETTE))
LABELS_AT = {16: (3, 2), 8: (3, -7), 4: (-3, 2)}  # points from the mark, apart from those of the other formats
HALO = [patheffects.withStroke(linewidth=1.5, foreground="white")]
LOWER_IS_BETTER = MEASURES["bits_per_byte"][0]


@figure("P4-F1", CHAPTER, "Score against LoRA rank, a line a number of bits", FILES)
def score_by_rank(profile: str):
    """A panel a task, mean over the languages that are not English; the untuned base is a dashed line a format."""
    found = grid(measured(profile))
    found = need(found[found["language"] == OTHERS])
    drawing, panels = _panels(found)
    for panel, (benchmark, rows) in zip(panels, found.groupby("benchmark", sort=False)):
        for place, (bits, line) in enumerate(rows.groupby("bits", sort=False)):
            tuned, untuned = line[line["rank"] > 0].sort_values("rank"), line[line["rank"] == 0]
            spread = [tuned["value"] - tuned["low"], tuned["high"] - tuned["value"]]
            panel.errorbar(tuned["rank"] * 2 ** (0.14 * (place - 1)), tuned["value"], spread, marker=MARKERS[int(bits)],
                           color=COLOURS[int(bits)], capsize=2, linewidth=1, label=f"{bits:.0f} bits")
            for value in untuned["value"]:
                panel.axhline(value, color=COLOURS[int(bits)], linestyle="--", linewidth=0.8)
        _rank_axis(panel, rows)
        panel.set(ylabel=_axis(rows), title=f"{benchmark}, n = {span(rows['n'])}")
    handles, names = panels[0].get_legend_handles_labels()
    handles.append(panels[0].plot([], [], color="0.4", linestyle="--", linewidth=0.8)[0])
    drawing.legend(handles, [*names, "untuned"], loc="outside lower center", ncols=4)
    return drawing, _data(found), _rank_reading(profile, found)


def _rank_reading(profile: str, found: pandas.DataFrame) -> str:
    effects = measured(profile, "effect")
    effects = effects[effects["language"] == OTHERS].groupby(["factor", "benchmark"], sort=False).first().reset_index()
    decided = [f"{row['factor']} {row['after']:.0f} against {row['before']:.0f} changes {row['benchmark']} by "
               f"{interval(row, row['digits'])} {row['measure']}"
               for row in effects.to_dict("records") if row["low"] > 0 or row["high"] < 0]
    missing = [f"{row.bits:.0f} bits at rank {row.rank:.0f}: {row.value}" for row in not_run(profile).itertuples()]
    said = "; ".join(decided) or f"none of {len(effects)} effects of rank and bits has an interval apart from 0"
    return (f"{said[:1].upper()}{said[1:]} (n = {span(found['n'])} items, 95 % intervals; demonstration scale)."
            f"{' Not run: ' + '; '.join(missing[:2]) + '.' if missing else ''}")


@figure("P4-F2", CHAPTER, "The grid as changes against the untuned base", FILES)
def gain_grid(profile: str):
    """A heat map a task, rank by bits; bold where the 95 % interval leaves 0 out, hatched where a cell was not run."""
    found = grid(measured(profile, "gain"))
    found = need(found[found["language"] == OTHERS])
    ranks, missing = sorted(found["rank"].unique()), not_run(profile)
    widths = sorted({*found["bits"], *missing["bits"]}, reverse=True)
    drawing, panels = _panels(found)
    for panel, (benchmark, rows) in zip(panels, found.groupby("benchmark", sort=False)):
        image = _heat(panel, rows, ranks, widths)
        panel.set_xticks(range(len(ranks)), [f"{rank:.0f}" for rank in ranks])
        panel.set_yticks(range(len(widths)), [f"{bits:.0f}" for bits in widths])
        panel.set(xlabel="LoRA rank", ylabel="bits", title=f"{benchmark}, n = {span(rows['n'])}")
        panel.spines[:].set_visible(False)
        bar = drawing.colorbar(image, ax=panel, label=f"change ({_unit(rows)})")
        bar.outline.set_visible(False)
    apart = (found["low"] > 0) | (found["high"] < 0)
    return drawing, _data(found), (
        f"{apart.sum()} of {len(found)} changes have an interval apart from 0 (bold; n = {span(found['n'])} items, paired; "
        f"bits/byte are better when lower){f'; {len(missing)} cells were not run (hatched)' if len(missing) else ''}. "
        "Demonstration scale.")


def _heat(panel, rows: pandas.DataFrame, ranks: list, widths: list):
    """The cells of a task, their numbers in them; better is blue."""
    wide = rows.pivot(index="bits", columns="rank", values="value").reindex(index=widths, columns=ranks)
    most = numpy.nanmax(abs(wide.to_numpy())) or 1
    colours = "RdBu_r" if rows["measure"].iloc[0] == LOWER_IS_BETTER else "RdBu"
    panel.patch.set(hatch="////", edgecolor="0.6")
    image = panel.imshow(wide, cmap=colours, vmin=-most, vmax=most, aspect="auto")
    for row in rows.to_dict("records"):
        apart = row["low"] > 0 or row["high"] < 0
        panel.text(ranks.index(row["rank"]), widths.index(row["bits"]), f"{row['value']:+z.{row['digits']}f}",
                   ha="center", va="center", fontsize=6.5, fontweight="bold" if apart else "normal",
                   color="white" if abs(row["value"]) > 0.65 * most else "black")
    return image


@figure("P4-F3", CHAPTER, "What tuning changes, against a language's share of the web", FILES)
def gain_by_share(profile: str):
    """A panel a task; a point a language, mean gain of all cells; the ends of the resource levels are dotted."""
    found = measured(profile, "mean_gain")
    found = need(found[~found["language"].isin(LEVELS)])
    found = found.assign(share=[levels.share(code) for code in found["language"]]).dropna(subset="share")
    drawing, panels = _panels(found)
    for panel, (benchmark, rows) in zip(panels, found.groupby("benchmark", sort=False)):
        for code, row in rows.set_index("language").iterrows():
            colour = PALETTE[1] if code == "en" else PALETTE[0]
            panel.errorbar(row["share"], row["value"], [[row["value"] - row["low"]], [row["high"] - row["value"]]],
                           fmt="o", color=colour, capsize=2, linewidth=1)
            side = _free_side(row["share"], rows["share"])
            _label(panel, code, (row["share"], row["value"]), (4 * side, -2), fontsize=7)
        panel.axhline(0, color="0.4", linewidth=0.8)
        for bound in (bound for bound in levels.BOUNDS.values() if bound):
            panel.axvline(bound, color="0.6", linestyle=":", linewidth=0.8)
        panel.set_xscale("log")
        panel.set(xlabel="share of the web's pages (%, log)", ylabel=f"change ({_unit(rows)})",
                  title=f"{benchmark}, n = {span(rows['n'])}")
        panel.margins(x=0.12)
    return drawing, _data(found, "share"), _share_reading(profile, found)


def _free_side(share: float, shares: pandas.Series) -> int:
    """-1 or 1: the side of a point with fewer neighbours, which are points within a factor of two."""
    below, above = ((shares < share) & (shares > share / 2)).sum(), ((shares > share) & (shares < 2 * share)).sum()
    return -1 if above > below else 1


def _share_reading(profile: str, found: pandas.DataFrame) -> str:
    columns = ["metric", "term", "value", "low", "high", "benchmark", "unit"]
    terms = records.metrics(profile, CHAPTER).reindex(columns=columns)
    slopes = terms[(terms["metric"] == "factor") & (terms["term"] == "share of the web, tenfold")]
    parts = []
    for row in slopes.to_dict("records"):
        scale, digits, unit = (100, 1, "points") if row["unit"] == "share" else (1, 3, row["unit"])
        value, low, high = (scale * row[name] for name in ("value", "low", "high"))
        parts.append(f"{row['benchmark']} {value:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}] {unit}")
    said = f"a tenfold share moves the change by {'; '.join(parts)} (the model of C12-T1)"
    return (f"Tuned minus untuned, mean of all cells (n = {span(found['n'])} items a language): "
            f"{said if parts else 'no model was fitted'}; bits/byte are "
            "better when lower. Demonstration scale.")


@figure("P4-F4", CHAPTER, "Memory against what tuning changes: which cell to take", FILES)
def memory_and_gain(profile: str):
    """A panel a task, a point a cell, its rank beside it; the line joins the cells that no other beats in both.

    Up is better in every panel.
    """
    found, spent = grid(measured(profile, "gain")), costs(profile)
    found = need(found[found["language"] == OTHERS] if "held" in spent else ())
    found = _upwards(found).merge(spent, on=["base", "instructions", "rank", "bits"])
    found = found.assign(held=found["held"] / 1e6)
    drawing, panels = _panels(found)
    best = {}
    for panel, (benchmark, rows) in zip(panels, found.groupby("benchmark", sort=False)):
        for bits, part in rows.groupby("bits", sort=False):
            panel.errorbar(part["held"], part["value"], [part["value"] - part["low"], part["high"] - part["value"]],
                           fmt=MARKERS[int(bits)], color=COLOURS[int(bits)], elinewidth=0.5, label=f"{bits:.0f} bits")
        for row in rows.to_dict("records"):
            _label(panel, f"{row['rank']:.0f}", (row["held"], row["value"]), LABELS_AT[int(row["bits"])], fontsize=6,
                   color=COLOURS[int(row["bits"])])
        best[benchmark] = front(rows)
        panel.plot(best[benchmark]["held"], best[benchmark]["value"], color="0.5", linewidth=0.9, zorder=0)
        panel.axhline(0, color="0.4", linewidth=0.8, linestyle=":")
        saved = rows["measure"].iloc[0] == LOWER_IS_BETTER
        panel.set(xlabel="weights, adapter and optimizer (MB)", title=f"{benchmark}, n = {span(rows['n'])}",
                  ylabel="bits/byte saved" if saved else f"{rows['measure'].iloc[0].removesuffix(' %')}, points gained")
    drawing.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawing, _data(found, "held", "memory", "adapter_size", "seconds"), _front_reading(best, found)


def front(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The cells for which no other has as good a value, more is better, with as little memory; by memory."""
    ordered = rows.assign(value=rows["value"].astype(float)).sort_values(["held", "value"], ascending=[True, False])
    return ordered[ordered["value"] > ordered["value"].cummax().shift(fill_value=-numpy.inf)]


def _upwards(found: pandas.DataFrame) -> pandas.DataFrame:
    """The rows with the sign of bits/byte turned, so that more is better everywhere."""
    turned = found["measure"] == LOWER_IS_BETTER
    flipped = found.assign(value=-found["value"], low=-found["high"], high=-found["low"])
    return found.where(~turned, flipped)


def _front_reading(best: dict, found: pandas.DataFrame) -> str:
    parts = [f"{benchmark} {', '.join(f'{row.rank:.0f}/{row.bits:.0f}' for row in rows.itertuples())}"
             for benchmark, rows in best.items()]
    return (f"On the front (rank/bits), from little memory to much: {'; '.join(parts)} (n = {span(found['n'])} items, "
            "against the untuned base in the most bits, paired; where intervals overlap, take the cheaper cell). "
            "Demonstration scale.")


def _panels(found: pandas.DataFrame):
    """A figure with a panel a task, two in a row."""
    count = found["benchmark"].nunique()
    rows = -(-count // 2)
    drawing, panels = axes(rows, min(count, 2), WIDE, 2.3 * rows + 0.2, squeeze=False)
    for panel in panels.flat[count:]:
        panel.set_axis_off()
    return drawing, list(panels.flat)[:count]


def _label(panel, text: str, at: tuple, offset: tuple, **style):
    """A text beside a point, off it by so many points across and up, legible on lines that it crosses."""
    panel.annotate(text, at, offset, textcoords="offset points", ha="left" if offset[0] > 0 else "right",
                   path_effects=HALO, **style)


def _rank_axis(panel, rows: pandas.DataFrame):
    ranks = sorted(rank for rank in rows["rank"].unique() if rank > 0)
    panel.set_xscale("log", base=2)
    panel.set_xticks(ranks, [f"{rank:.0f}" for rank in ranks])
    panel.minorticks_off()
    panel.set_xlabel("LoRA rank (log)")


def _axis(rows: pandas.DataFrame) -> str:
    measure = rows["measure"].iloc[0]
    return {LOWER_IS_BETTER: "bits per byte (lower is better)"}.get(measure, measure.replace(" %", " (%)"))


def _unit(rows: pandas.DataFrame) -> str:
    measure = rows["measure"].iloc[0]
    return "bits/byte, lower is better" if measure == LOWER_IS_BETTER else "points"


def _data(found: pandas.DataFrame, *more: str) -> pandas.DataFrame:
    return found[["benchmark", "measure", "language", "rank", "bits", *more, "n", "value", "low", "high"]]
