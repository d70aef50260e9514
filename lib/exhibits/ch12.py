"""Exhibits of MAPLE's grid: what a cell costs, what it is worth, whom it helps, and which factor matters."""
import numpy
import pandas

from lib.data import levels
from lib.exhibits.base import figure, measured, need, noted, reported, table, unpacked
from lib.exhibits.differences import corrected, differences
from lib.exhibits.panels import GREY, HALO, PALETTE, errorbars, legend, level, tiles
from lib.exhibits.units import LEAST, cells, in_print, interval, listed, p_value, printed, span, wide

CHAPTER = "12_rank_and_precision"
FILES, SETS = ("xcopa", "xquad", "llama-persian-tests"), ("multialpaca", "alpaca-seed-tasks")
MEASURES = {"accuracy": "accuracy %", "f1": "F1×100", "bits_per_byte": "bits/byte"}
WEIGHED = {**MEASURES, "answer_bits_per_byte": "bits/byte of the right answer"}  # of tables, which have a row a measure
OTHERS, LOWER = "non-English", "mid and low"
LEVELS = ["high", "mid", "low", LOWER, OTHERS]
SCALE = 3  # half-widths at the ends of the heat maps' colours
CELL = ["base", "instructions", "rank", "bits"]
TRAINED = 16  # bytes a trained parameter takes: itself, its gradient and two moments of AdamW, all fp32
MARKERS = {16: "o", 8: "s", 4: "^"}
COLOURS = dict(zip(MARKERS, PALETTE))
LABELS_AT = {16: (3, 2), 8: (3, -7), 4: (-3, -7)}  # points from the mark, apart from those of the other formats
BITS = MEASURES["bits_per_byte"]
EFFECT = "{factor} {after:.0f} against {before:.0f}, {benchmark}"


def _scores(profile: str, what: str = "", measures: dict = MEASURES) -> pandas.DataFrame:
    """Scores of the chapter, or its differences of a kind (gain, effect …), in units of print; measure is their name."""
    found = printed(measured(profile, CHAPTER, *(f"{name}_{what}".rstrip("_") for name in measures)))
    return found.assign(measure=found["metric"].str.removesuffix(f"_{what}").map(measures))


def _grid(found: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of the first base and set, where the whole grid is, and of that base untuned."""
    tuned = found[found["rank"] > 0]
    if tuned.empty:
        return found
    first = tuned.iloc[0]
    return found[(found["base"] == first["base"]) & found["instructions"].isin([first["instructions"], "none"])]


def _not_run(profile: str) -> pandas.DataFrame:
    """Cells that the machine could not run, with the reason: base, instructions, rank, bits, value."""
    return noted(profile, CHAPTER, "not_run").dropna(subset="rank").drop_duplicates(CELL)


def _costs(profile: str) -> pandas.DataFrame:
    """What each cell took, mean over the seeds: base, instructions, rank, bits, then a column a cost.

    Beside the measured ones `held`: bytes of weights, adapter, gradient and the optimizer's two moments, which rank and
    bits decide; what the text needs on its way comes on top, and is the same in every cell.
    """
    facts = noted(profile, CHAPTER).query("rank.notna() and fact != 'not_run'")
    costs = facts.assign(value=pandas.to_numeric(facts["value"])).pivot_table("value", CELL, "fact", sort=False)
    costs = costs.reindex(columns=list(dict.fromkeys([*costs, "kwh"]))).rename_axis(columns=None).reset_index()
    if "trainable" in costs:
        untuned = costs[costs["rank"] == 0].set_index(["base", "bits"])["size"].rename("weights")
        costs = costs.join(untuned, on=["base", "bits"])
        costs["held"] = costs["weights"] + TRAINED * costs["trainable"]
    return costs


@table("P4-T1", CHAPTER, "What each rank and number of bits costs; held: weights, adapter, gradient, AdamW's moments")
def cost_of_cells(profile: str):
    """One row a cell, mean over the seeds; below, the trainable share of the paper's bases by formula."""
    found = _costs(profile)
    need(found if "trainable" in found else ())
    tuned = found[found["rank"] > 0]
    columns = {"rank": tuned["rank"], "bits": tuned["bits"], "trainable": tuned["trainable"],
               "trainable %": _share(tuned), "adapter MB": tuned["adapter_size"] / 1e6,
               "weights MB": tuned["weights"] / 1e6, "held MB": tuned["held"] / 1e6,
               "memory added GB": tuned["memory"] / 1e9, "peak memory GB": tuned["peak_memory"] / 1e9,
               "seconds": tuned["seconds"], "tokens/s": tuned["tokens_per_second"], "Wh": 1000 * tuned["kwh"]}
    digits = {"trainable %": 2, "adapter MB": 1, "memory added GB": 2, "peak memory GB": 2, "Wh": 2}
    ours = tuned[["base", "instructions"]].assign(**{"from": "here", **{
        name: values.map(f"{{:,.{digits.get(name, 0)}f}}".format, na_action="ignore") for name, values in columns.items()}})
    absent = _not_run(profile).rename(columns={"value": "from"})[[*CELL, "from"]]
    absent[["rank", "bits"]] = absent[["rank", "bits"]].map("{:.0f}".format)
    frame = pandas.concat([ours.astype(object), absent, _by_formula()])
    frame = frame[["base", "instructions", *columns, "from"]].fillna("")
    frame.attrs["printed"] = [name for name in frame if name not in ("adapter MB", "memory added GB", "seconds")]
    return frame, _cost_reading(_grid(found))


def _cost_reading(found: pandas.DataFrame) -> str:
    tuned = found[found["rank"] > 0]
    share, base, most = _share(tuned), tuned["base"].iloc[0], tuned["bits"].max()
    mean = tuned.groupby("bits")[["weights", "total", "tokens_per_second"]].mean()
    held = round(8 * mean["weights"][most] / mean["total"][most])  # bits a weight takes in the machine's own format
    own = {most: f", held in {held} here,"} if held != most else {}
    parts = [f"{_width(bits, base)}{own.get(bits, '')} {row.weights / 1e6:.0f} MB and {row.tokens_per_second:.0f} tokens/s"
             for bits, row in mean.iloc[::-1].iterrows()]
    return (f"Ranks {span(tuned['rank'].astype(int))} train {share.min():.2f} to {share.max():.2f} % of all parameters, and "
            f"weights in {', in '.join(parts)} (mean over the ranks, one measurement a cell and seed; the paper's rows are "
            "formulas).")


def _share(tuned: pandas.DataFrame) -> pandas.Series:
    """Per cent of base and adapter together that are trained, as the paper's rows count; `total` is the base's."""
    return 100 * tuned["trainable"] / (tuned["total"] + tuned["trainable"])


def _width(bits: float, base: str) -> str:
    """`8 bits`; the most are no more than a base's file has, where that was quantised."""
    return f"{bits:.0f} bits{unpacked(base) * (bits == max(MARKERS))}"


def _by_formula() -> pandas.DataFrame:
    """Trainable parameters of the paper's bases, with all seven projections, as in lib/exhibits/architecture."""
    found = reported("P4-T1").query("group == 'all 7 projections'")
    shapes = found.pivot_table("value", ["system", "item"], "quantity", sort=False).reset_index()
    return pandas.DataFrame({"base": shapes["system"], "rank": shapes["item"].str.removeprefix("rank "),
                             "trainable": shapes["trainable parameters"].map("{:,.0f}".format),
                             "trainable %": shapes["trained share"].map("{:.2f}".format), "from": "formula"})


@table("P4-T2", CHAPTER, "Every cell: mean over the languages that are not English", FILES)
def cell_scores(profile: str):
    """One row a base, set, task and bits; a column untuned and one a rank. Then the paper's systems, where known."""
    found = _scores(profile)
    found = need(found[found["language"] == OTHERS])
    frame = _by_rank(found, ["base", "instructions", "benchmark", "measure", "bits"]).assign(**{"from": "here"})
    theirs = [{"base": row.system, "benchmark": row.item, "measure": row.unit or row.quantity, "from": "MAPLE",
               "untuned": row.printed} for row in reported("P4-T2").query("item != '' and printed != ''").itertuples()]
    frame = pandas.concat([frame, pandas.DataFrame(theirs)]).fillna("")
    frame.attrs["printed"] = [name for name in frame if name != "from"]
    found, missing = _grid(found), len(_not_run(profile))
    # The finest measure, where there is one.
    rows = found[found["benchmark"] == found.sort_values("measure", key=lambda names: names != BITS)["benchmark"].iloc[0]]
    tuned, before = rows[rows["rank"] > 0], rows[rows["rank"] == 0].sort_values("bits").iloc[-1]
    best = tuned.loc[tuned["value"].idxmin() if before["measure"] == BITS else tuned["value"].idxmax()]
    absent = f"; {missing} cells not run" if missing else ""
    unknown = "" if theirs else "; the paper's scores are not known"
    return frame, (f"{before['benchmark']}, {before['measure']}: {interval(before)} untuned, {interval(best)} in the best "
                   f"cell (rank {best['rank']:.0f}, {best['bits']:.0f} bits), which the choice among many flatters (n = "
                   f"{before['n']} items, the same in every cell{absent}{unknown}; "
                   "demonstration scale).")


@table("P4-T3", CHAPTER, "What tuning changes, by how much text a language has on the web", FILES)
def gain_by_level(profile: str):
    """One row a task and resource level: the mean gain of all cells, and of the cheapest and the dearest cell."""
    found, grid = _scores(profile, "mean_gain", WEIGHED), _grid(_scores(profile, "gain", WEIGHED))
    found = found[found["language"].isin(LEVELS)]
    keys = {"benchmark": "task", "measure": "measure", "language": "level"}
    frame, reading = differences(found, keys, "Tuned minus untuned in the same format, mean over all cells:",
                                 f"language in ['high', '{LOWER}']", column="mean gain")
    ends = grid[["rank", "bits"]].agg(["min", "max"])
    against = f"untuned, {ends['bits']['max']:.0f} bits"
    for rank, bits in ends.itertuples(index=False):
        corner = grid[(grid["rank"] == rank) & (grid["bits"] == bits)]
        shown = dict(zip(zip(corner["benchmark"], corner["measure"], corner["language"]), cells(corner)))
        frame[f"rank {rank:.0f}, {bits:.0f} bits − {against}"] = [
            shown.get(key, "") for key in zip(frame["task"], frame["measure"], frame["level"])]
    return frame, (f"{reading.removesuffix('.')}; high is from 1 % of the web's pages, mid from 0.1 %, and less is better of "
                   "bits/byte.")


@table("P4-T4", CHAPTER, "What tuning changes in English, by rank and bits", FILES)
def english(profile: str):
    """One row a task and bits, a column a rank: tuned minus untuned, paired; below, the paper's measure, not known."""
    found = _grid(_scores(profile, "gain", WEIGHED))
    found = need(found[found["language"] == "en"])
    frame = _by_rank(found, ["benchmark", "measure", "bits"]).drop(columns="untuned", errors="ignore")
    theirs = [{"benchmark": f"{row.item}, {row.system}", "measure": f"{row.quantity} {row.unit}", "from": "MAPLE"}
              for row in reported("P4-T4").itertuples()]
    means = _scores(profile, "mean_gain", WEIGHED).query("language == 'en'")
    return pandas.concat([frame.assign(**{"from": "here"}), pandas.DataFrame(theirs)]).fillna(""), (
        f"Tuned minus untuned in the same format, mean over all cells: {listed(means, '{benchmark}, {measure}', '; ')} (n = "
        f"{span(found['n'])} items, paired; the cells below are against the untuned base in the most bits; demonstration "
        "scale).")


@table("P4-T5", CHAPTER, "Sets of instructions of equal size, at the middle rank in the most bits", FILES + SETS)
def instruction_sets(profile: str):
    """One row a set and task, another set minus the first; sets that were not run have their reason."""
    found = _scores(profile, "set").query(f"language in ['en', '{OTHERS}']")
    keys = {"instructions": "set", "against": "against", "benchmark": "task", "measure": "measure", "language": "language"}
    reasons = noted(profile, CHAPTER, "not_run").query("rank.isna()").drop_duplicates("instructions")
    need([*found.index, *reasons.index])
    frame, reading = differences(found, keys, "Mean over the languages that are not English:",
                                 f"language == '{OTHERS}'") if len(found) else (pandas.DataFrame(), "No other set was run.")
    absent = pandas.DataFrame({"set": reasons["instructions"], "difference": reasons["value"]})
    said = f"; {', '.join(reasons['instructions'])} left out" if len(reasons) else ""
    return pandas.concat([frame.astype(object), absent]).fillna(""), (
        f"{reading.removesuffix('.')}{said}; the paper's numbers are not known.")


@table("C12-T1", CHAPTER, "Which factor matters: a mixed-effects model of the gains", FILES)
def factors(profile: str):
    """One row a task and term, with the joint p of its factor, by Holm over the factors of all tasks."""
    found, reasons = _factors(profile), noted(profile, CHAPTER, "not_modelled")
    if found.empty:
        told = [{"task": row.benchmark, "not modelled": row.value} for row in reasons.itertuples()]
        return pandas.DataFrame(need(told)), f"No model of any of {len(told)} tasks was fitted."
    tests = noted(profile, CHAPTER, "factor_p").query("factor != 'mean'").astype({"value": float})
    tests = tests[tests["benchmark"].isin(found["benchmark"])]
    tests = corrected(tests.assign(p=tests["value"])).set_index(["benchmark", "factor"])[["p", "holm"]].add_suffix("_joint")
    found = found.join(tests, on=["benchmark", "factor"])
    frame = pandas.DataFrame({"task": found["benchmark"], "term": found["term"],
                              "unit": found["unit"].replace({"share": "points"}), "n": found["n"],
                              "estimate": [interval(row, 2 if row["unit"] == "share" else 4)
                                           for row in found.to_dict("records")],
                              "p": found["p"].map(p_value), "factor": found["factor"],
                              "p of the factor": found["p_joint"].map(p_value), "p (Holm)": found["holm_joint"].map(p_value)})
    small = [f"{factor} in {benchmark}" for benchmark, factor in tests.index[tests["holm_joint"] < 0.05]]
    return frame, (f"Factors whose terms differ from 0 (Holm over {len(tests)} tests): {', '.join(small) or 'none'} (n = "
                   f"{span(found['n'])} items; demonstration scale).")


def _factors(profile: str) -> pandas.DataFrame:
    """Terms of the model, of tasks in levels.FEWEST languages at least."""
    found, gains = measured(profile, CHAPTER, "factor"), _scores(profile, "gain")
    gains = gains[~gains["language"].isin([*LEVELS, "en"])]
    few = gains.groupby("benchmark")["language"].nunique() < levels.FEWEST
    return found[~found["benchmark"].isin(few.index[few])]


def _by_rank(found: pandas.DataFrame, keys: list[str]) -> pandas.DataFrame:
    """Cells as they are printed, a row a combination of the keys, n, and a column untuned and one a rank."""
    # An untuned model stands beside every set that its base was tuned on.
    sets = found.loc[found["rank"] > 0, ["base", "instructions"]].drop_duplicates()
    untuned = found[found["rank"] == 0]
    if len(sets):
        untuned = untuned.drop(columns="instructions").merge(sets, on="base")
    found = pandas.concat([found[found["rank"] > 0], untuned])
    found = found.sort_values(keys[:-1], key=lambda labels: labels.factorize()[0], kind="stable")
    found = found.assign(at=found["rank"].map(lambda rank: f"rank {rank:.0f}" if rank else "untuned"),
                         bits=found["bits"].map("{:.0f}".format))
    frame = wide(found, keys, "at").join(found.groupby(keys)["n"].max().astype(str), on=keys)
    order = found.sort_values("rank")["at"].unique()
    # A set that was tuned at the middle rank in the most bits only has no line for the other formats.
    ranks = [name for name in order if name != "untuned"]
    shown = (frame[ranks] != "").any(axis=1) if ranks else frame.index
    return frame.loc[shown, [*keys, "n", *order]].reset_index(drop=True)


def _tasks(found: pandas.DataFrame):
    """A drawing with a panel a task: (drawing, [(panel, name, rows)])."""
    drawing, panels = tiles(found.groupby("benchmark", sort=False), 2, 2.3)
    for panel, benchmark, rows in panels:
        panel.set_title(f"{benchmark}, n = {span(rows['n'])}")
    return drawing, panels


@figure("P4-F1", CHAPTER, "Score against LoRA rank, a line a number of bits", FILES)
def score_by_rank(profile: str):
    """A panel a task, mean over the languages that are not English; the untuned base is a dashed line a format."""
    found = _grid(_scores(profile))
    found = need(found[found["language"] == OTHERS])
    drawing, panels = _tasks(found)
    for panel, _, rows in panels:
        for place, (bits, line) in enumerate(rows.groupby("bits", sort=False)):
            tuned, untuned = line[line["rank"] > 0].sort_values("rank"), line[line["rank"] == 0]
            errorbars(panel, tuned["rank"] * 2 ** (0.14 * (place - 1)), tuned, fmt=MARKERS[int(bits)] + "-",
                      color=COLOURS[int(bits)], linewidth=1, label=_width(bits, rows["base"].iloc[0]))
            for value, n in zip(untuned["value"], untuned["n"]):
                panel.axhline(value, color=COLOURS[int(bits)] if n >= LEAST else GREY, linestyle="--", linewidth=0.8)
        ranks = sorted(set(rows["rank"]) - {0})
        panel.set_xscale("log", base=2)
        panel.set_xticks(ranks, [f"{rank:.0f}" for rank in ranks])
        panel.minorticks_off()
        measure = rows["measure"].iloc[0]
        label = "bits per byte (lower is better)" if measure == BITS else measure.replace(" %", " (%)")
        panel.set(xlabel="LoRA rank (log)", ylabel=label)
    drawing.axes[0].plot([], [], color="0.4", linestyle="--", linewidth=0.8, label="untuned")
    legend(drawing, ncols=4)
    return drawing, _data(found), _rank_reading(profile, found)


def _rank_reading(profile: str, found: pandas.DataFrame) -> str:
    effects = _scores(profile, "effect").query(f"language == '{OTHERS}'").drop_duplicates(["factor", "benchmark"])
    decided = listed(effects[(effects["low"] > 0) | (effects["high"] < 0)], f"{EFFECT}, {{measure}}", "; ")
    missing = [f"{row.bits:.0f} bits at rank {row.rank:.0f}: {row.value}" for row in _not_run(profile).itertuples()]
    said = f"Changes apart from 0: {decided}" if decided else (
        f"None of {len(effects)} effects of rank and bits has an interval apart from 0")
    return (f"{said} (n = {span(found['n'])} items, 95 % intervals; demonstration scale"
            f"{'; not run: ' + '; '.join(missing[:2]) if missing else ''}).")


@figure("P4-F2", CHAPTER, "The grid as changes against the untuned base", FILES)
def gain_grid(profile: str):
    """A heat map a task, rank by bits, of one scale: the change in half-widths of its 95 % interval, blue for better.

    Bold where the interval leaves 0 out, hatched where a cell was not run, grey where it rests on few items.
    """
    found = _grid(_scores(profile, "gain"))
    found = need(found[found["language"] == OTHERS])
    ranks, missing = sorted(found["rank"].unique()), _not_run(profile).query("rank > 0")
    widths = sorted({*found["bits"], *missing["bits"]}, reverse=True)
    drawing, panels = _tasks(found)
    for panel, _, rows in panels:
        image = _heat(panel, rows.assign(share=_half_widths(rows)), ranks, widths)
        panel.set_title(f"{panel.get_title()} ({_unit(rows)})")
        panel.set_xticks(range(len(ranks)), [f"{rank:.0f}" for rank in ranks])
        panel.set_yticks(range(len(widths)), [f"{bits:.0f}" for bits in widths])
        panel.set(xlabel="LoRA rank", ylabel="bits" + " (16: of a 4-bit file)" * bool(unpacked(rows["base"].iloc[0])))
        panel.spines[:].set_visible(False)
    bar = drawing.colorbar(image, ax=drawing.axes, label="change in half-widths\nof its interval (blue: better)", extend="both")
    bar.outline.set_visible(False)
    told = found[found["n"] >= LEAST]
    apart = (told["low"] > 0) | (told["high"] < 0)
    return drawing, _data(found), (
        f"{apart.sum()} of {len(told)} changes on {LEAST} items or more have an interval apart from 0 (bold; n = "
        f"{span(found['n'])} items, paired{f'; {len(missing)} cells not run, hatched' if len(missing) else ''}; demonstration "
        "scale).")


def _half_widths(rows: pandas.DataFrame) -> pandas.Series:
    """Changes in half-widths of their intervals, more is better; 0 where nothing varies, unknown on few items."""
    sign = -1 if rows["measure"].iloc[0] == BITS else 1
    half = ((rows["high"] - rows["low"]) / 2).where(lambda widths: widths > 0)
    return (sign * rows["value"] / half).fillna(0).where(rows["n"] >= LEAST)


def _heat(panel, rows: pandas.DataFrame, ranks: list, widths: list):
    """The cells of a task, coloured by column share, their numbers in them."""
    wide = rows.pivot(index="bits", columns="rank", values="share").reindex(index=widths, columns=ranks)
    panel.patch.set(hatch="////", edgecolor="0.6")
    few = wide.isna() & rows.pivot(index="bits", columns="rank", values="n").reindex(index=widths, columns=ranks).notna()
    panel.imshow(few.astype(float).where(few), cmap="Greys", vmin=0, vmax=8, aspect="auto")
    image = panel.imshow(wide, cmap="RdBu", vmin=-SCALE, vmax=SCALE, aspect="auto")
    for row in rows.to_dict("records"):
        apart = (row["low"] > 0 or row["high"] < 0) and row["n"] >= LEAST
        panel.text(ranks.index(row["rank"]), widths.index(row["bits"]), f"{row['value']:+z.{in_print(row['unit'])[1]}f}",
                   ha="center", va="center", fontsize=6.5, fontweight="bold" if apart else "normal",
                   color="0.5" if row["n"] < LEAST else "white" if abs(row["share"]) > 0.65 * SCALE else "black")
    return image


@figure("P4-F3", CHAPTER, "What tuning changes, against a language's share of the web", FILES)
def gain_by_share(profile: str):
    """A panel a task; a point a language, mean gain of all cells; the ends of the resource levels are dotted."""
    found = _scores(profile, "mean_gain")
    found = need(found[~found["language"].isin(LEVELS)])
    found = found.assign(share=[levels.share(code) for code in found["language"]]).dropna(subset="share")
    drawing, panels = _tasks(found)
    for panel, _, rows in panels:
        for english, part in rows.groupby(rows["language"] == "en"):
            errorbars(panel, part["share"], part, color=PALETTE[int(english)], linewidth=1)
        for row in rows.itertuples():
            _label(panel, row.language, (row.share, row.value), (4 * _free_side(row.share, rows["share"]), -2), fontsize=7)
        level(panel, 0)
        for bound in (bound for bound in levels.BOUNDS.values() if bound):
            panel.axvline(bound, color="0.6", linestyle=":", linewidth=0.8)
        panel.set(xlabel="share of the web's pages (%, log)", xscale="log", ylabel=f"change ({_unit(rows)})")
        panel.margins(x=0.12)
    return drawing, _data(found, "share"), _share_reading(profile, found)


def _free_side(share: float, shares: pandas.Series) -> int:
    """-1 or 1: the side of a point with fewer neighbours, which are points within a factor of two."""
    below, above = ((shares < share) & (shares > share / 2)).sum(), ((shares > share) & (shares < 2 * share)).sum()
    return -1 if above > below else 1


def _share_reading(profile: str, found: pandas.DataFrame) -> str:
    slopes = _factors(profile).query("term == 'share of the web, tenfold'")
    parts = [f"{row['benchmark']} {interval(row)} {in_print(row['unit'])[2]}" for row in slopes.to_dict("records")]
    said = f"With a tenfold share of the web the change at the lowest rank in the most bits is larger by: {'; '.join(parts)}"
    return (f"{said if parts else 'No model was fitted'} (the model of C12-T1, the points are means of all cells; n = "
            f"{span(found['n'])} items a language; demonstration scale).")


@figure("P4-F4", CHAPTER, "Memory against what tuning changes: which cell to take", FILES)
def memory_and_gain(profile: str):
    """A panel a task, a point a cell, its rank beside it; the line joins the cells that no other beats in both.

    Up is better in every panel; what rests on few items is grey, without a line.
    """
    found, spent = _grid(_scores(profile, "gain")), _costs(profile)
    found = need(found[found["language"] == OTHERS] if "held" in spent else ())
    turned = found.assign(value=-found["value"], low=-found["high"], high=-found["low"])
    found = found.where(found["measure"] != BITS, turned).merge(spent.assign(held=spent["held"] / 1e6), on=CELL)
    drawing, panels = _tasks(found)
    best = {}
    for panel, benchmark, rows in panels:
        for bits, part in rows.groupby("bits", sort=False):
            errorbars(panel, part["held"], part, fmt=MARKERS[int(bits)], color=COLOURS[int(bits)], elinewidth=0.5, capsize=0,
                      label=_width(bits, rows["base"].iloc[0]))
        for row in rows.to_dict("records"):
            _label(panel, f"{row['rank']:.0f}", (row["held"], row["value"]), LABELS_AT[int(row["bits"])], fontsize=6,
                   color=COLOURS[int(row["bits"])] if row["n"] >= LEAST else GREY)
        if rows["n"].min() >= LEAST:
            best[benchmark] = front(rows)
            panel.plot(best[benchmark]["held"], best[benchmark]["value"], color="0.5", linewidth=0.9, zorder=0)
        level(panel, 0)
        measure = rows["measure"].iloc[0]
        panel.set(xlabel="weights, adapter and optimizer (MB)",
                  ylabel="bits/byte saved" if measure == BITS else f"{measure.removesuffix(' %')}, points gained")
    legend(drawing, ncols=3)
    return drawing, _data(found, "held", "memory", "adapter_size", "seconds"), _front_reading(best, found)


def front(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The cells for which no other has as good a value, more is better, with as little memory; by memory."""
    ordered = rows.assign(value=rows["value"].astype(float)).sort_values(["held", "value"], ascending=[True, False])
    return ordered[ordered["value"] > ordered["value"].cummax().shift(fill_value=-numpy.inf)]


def _front_reading(best: dict, found: pandas.DataFrame) -> str:
    ends = {benchmark: dict.fromkeys(f"{row.rank:.0f}/{row.bits:.0f}" for row in rows.iloc[[0, -1]].itertuples())
            for benchmark, rows in best.items()}
    parts = [f"{benchmark} {' to '.join(cells)}" for benchmark, cells in ends.items()]
    return (f"The front (rank/bits), from little memory to much: {', '.join(parts) or 'no task has enough items'} (n = "
            f"{span(found['n'])} items, against the untuned base in the most bits, paired; where intervals overlap, take the "
            "cheaper cell; demonstration scale).")


def _label(panel, text: str, at: tuple, offset: tuple, **style):
    """A text beside a point, off it by so many points across and up, legible on lines that it crosses."""
    panel.annotate(text, at, offset, textcoords="offset points", ha="left" if offset[0] > 0 else "right",
                   path_effects=HALO, **style)


def _unit(rows: pandas.DataFrame) -> str:
    measure = rows["measure"].iloc[0]
    return "bits/byte, lower is better" if measure == BITS else "points"


def _data(found: pandas.DataFrame, *more: str) -> pandas.DataFrame:
    return found[["benchmark", "measure", "language", "rank", "bits", *more, "n", "value", "low", "high"]]
