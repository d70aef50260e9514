"""Exhibits of MAPLE's grid: what a cell costs, what it is worth, whom it helps, and which factor matters."""
import numpy
import pandas
from matplotlib import patheffects

from lib.data import levels
from lib.engine import records, statistics
from lib.exhibits.base import PALETTE, WIDE, axes, figure, interval, need, p_value, reported, span, table

CHAPTER = "12_rank_and_precision"
FILES, SETS = ("xcopa", "xquad", "llama-persian-tests"), ("multialpaca", "alpaca-seed-tasks")
MEASURES = {"accuracy": ("accuracy %", 100, 1), "f1": ("F1×100", 100, 1), "bits_per_byte": ("bits/byte", 1, 3)}
OTHERS, LOWER = "non-English", "mid and low"
LEVELS = ("high", "mid", "low", LOWER, OTHERS)
TRAINED = 16  # bytes a trained parameter takes: itself, its gradient and two moments of AdamW, all fp32
LABELS = ["metric", "n", "value", "low", "high", "p", "base", "instructions", "rank", "bits", "benchmark", "language",
          "factor", "before", "after", "against", "term"]
MARKERS = {16: "o", 8: "s", 4: "^"}
COLOURS = dict(zip(MARKERS, PALETTE))
LABELS_AT = {16: (3, 2), 8: (3, -7), 4: (-3, 2)}  # points from the mark, apart from those of the other formats
HALO = [patheffects.withStroke(linewidth=1.5, foreground="white")]
LOWER_IS_BETTER = MEASURES["bits_per_byte"][0]


def measured(profile: str, what: str = "") -> pandas.DataFrame:
    """Scores of the chapter, or its differences of a kind (gain, effect …), as they are printed.

    Columns LABELS, measure (as printed) and digits; value, low and high in the printed unit.
    """
    found = records.metrics(profile, CHAPTER)
    found = found.reindex(columns=list(dict.fromkeys([*found.columns, *LABELS])))
    names = {f"{name}_{what}" if what else name: shown for name, shown in MEASURES.items()}
    found = found[found["metric"].isin(list(names))].copy()
    for column, at in (("measure", 0), ("scale", 1), ("digits", 2)):
        found[column] = [names[name][at] for name in found["metric"]]
    for column in ("value", "low", "high"):
        found[column] = found[column].astype(float) * found["scale"]
    return found


def grid(found: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of the first base and set, where the whole grid is, and of that base untuned."""
    tuned = found[found["rank"] > 0]
    if tuned.empty:
        return found
    first = tuned.iloc[0]
    return found[(found["base"] == first["base"]) & found["instructions"].isin([first["instructions"], "none"])]


def not_run(profile: str) -> pandas.DataFrame:
    """Cells that the machine could not run, with the reason: base, instructions, rank, bits, value."""
    facts = records.facts(profile, CHAPTER).reindex(columns=["fact", "value", "base", "instructions", "rank", "bits"])
    return facts[(facts["fact"] == "not_run") & facts["rank"].notna()]


def costs(profile: str) -> pandas.DataFrame:
    """What each cell took, mean over the seeds: base, instructions, rank, bits, then a column a cost.

    Beside the measured ones `held`: bytes of weights, adapter, gradient and the optimizer's two moments, which rank and
    bits decide; what the text needs on its way comes on top, and is the same in every cell.
    """
    facts = records.facts(profile, CHAPTER).reindex(columns=["fact", "value", "base", "instructions", "rank", "bits"])
    facts = facts[facts["rank"].notna() & (facts["fact"] != "not_run")]
    wide = facts.assign(value=pandas.to_numeric(facts["value"])).pivot_table(
        "value", ["base", "instructions", "rank", "bits"], "fact", sort=False)
    wide = wide.reindex(columns=[*wide.columns, *({"kwh"} - set(wide))]).rename_axis(columns=None).reset_index()
    if "trainable" in wide:
        sizes = wide[wide["rank"] == 0].set_index(["base", "bits"])["size"]
        wide["weights"] = [sizes.get((row.base, row.bits)) for row in wide.itertuples()]
        wide["held"] = wide["weights"] + TRAINED * wide["trainable"]
    return wide


@table("P4-T1", CHAPTER, "What each rank and number of bits costs")
def cost_of_cells(profile: str):
    """One row a cell, mean over the seeds; below, the trainable share of the paper's bases by formula."""
    found = costs(profile)
    need(found if "trainable" in found else ())
    rows = [{"base": row.base, "instructions": row.instructions, "rank": f"{row.rank:.0f}", "bits": f"{row.bits:.0f}",
             "trainable": f"{row.trainable:,.0f}", "trainable %": f"{100 * row.trainable / row.total:.2f}",
             "adapter MB": f"{row.adapter_size / 1e6:.1f}", "weights MB": f"{row.weights / 1e6:.0f}",
             "held MB": f"{row.held / 1e6:.0f}",
             "memory added GB": f"{row.memory / 1e9:.2f}", "peak memory GB": f"{row.peak_memory / 1e9:.2f}",
             "seconds": f"{row.seconds:.0f}", "tokens/s": f"{row.tokens_per_second:.0f}",
             "Wh": "" if pandas.isna(row.kwh) else f"{1000 * row.kwh:.2f}", "from": "here"}
            for row in found[found["rank"] > 0].itertuples()]
    rows += [{"base": row.base, "instructions": row.instructions, "rank": f"{row.rank:.0f}", "bits": f"{row.bits:.0f}",
              "from": row.value} for row in not_run(profile).itertuples()]
    frame = pandas.concat([pandas.DataFrame(rows, dtype=object), _by_formula()]).fillna("")
    return frame, _cost_reading(grid(found))


def _cost_reading(found: pandas.DataFrame) -> str:
    tuned = found[found["rank"] > 0]
    share = 100 * tuned["trainable"] / tuned["total"]
    mean = tuned.groupby("bits")[["weights", "memory", "tokens_per_second"]].mean()
    parts = [f"{bits:.0f} bits {row.weights / 1e6:.0f} MB of weights, {row.memory / 1e9:.2f} GB added in training, "
             f"{row.tokens_per_second:.0f} tokens/s" for bits, row in mean.iloc[::-1].iterrows()]
    return (f"Ranks {span(tuned['rank'].astype(int))} train {share.min():.2f} to {share.max():.2f} % of the parameters; "
            f"{'; '.join(parts)} (mean over the ranks). Held are weights, adapter, gradient and AdamW's moments. One "
            "measurement a cell and seed, on the machine that the record names; the paper reports no cost, so its rows are "
            "formulas.")


def _by_formula() -> pandas.DataFrame:
    """Trainable parameters of the paper's bases, with all seven projections, as in lib/model/architecture."""
    found = reported("P4-T1").query("group == 'all 7 projections'")
    wide = found.pivot_table(index=["system", "item"], columns="quantity", values="value", sort=False).reset_index()
    return pandas.DataFrame({"base": wide["system"], "rank": wide["item"].str.removeprefix("rank "),
                             "trainable": [f"{value:,.0f}" for value in wide["trainable parameters"]],
                             "trainable %": [f"{value:.2f}" for value in wide["trained share"]], "from": "formula"})


@table("P4-T2", CHAPTER, "Every cell: mean over the languages that are not English", FILES)
def cell_scores(profile: str):
    """One row a base, set, task and bits; a column untuned and one a rank. Then the paper's systems, not known here."""
    found = measured(profile)
    found = need(found[found["language"] == OTHERS])
    frame = _wide(found, ["base", "instructions", "benchmark", "measure", "bits"])
    theirs = reported("P4-T2").query("item != '' and quantity != ''")
    theirs = [{"base": row.system, "benchmark": row.item, "measure": row.unit or row.quantity, "from": "MAPLE",
               "untuned": row.printed} for row in theirs.itertuples()]
    frame = pandas.concat([frame.assign(**{"from": "here"}), pandas.DataFrame(theirs)]).fillna("")
    return frame, _score_reading(grid(found), profile)


def _score_reading(found: pandas.DataFrame, profile: str) -> str:
    parts = []
    for benchmark, rows in found[found["rank"] > 0].groupby("benchmark", sort=False):
        better = "idxmin" if rows["measure"].iloc[0] == "bits/byte" else "idxmax"
        best = rows.loc[getattr(rows["value"], better)()]
        before = found[(found["benchmark"] == benchmark) & (found["rank"] == 0)]
        parts.append(f"{benchmark} {_cell(before.sort_values('bits').iloc[-1])} untuned, at best {_cell(best)} "
                     f"{best['measure']} at rank {best['rank']:.0f} in {best['bits']:.0f} bits")
    missing = len(not_run(profile))
    return (f"{'; '.join(parts)} (n = {span(found['n'])} items, the same in every cell; the best of many cells is "
            f"flattered){f'; {missing} cells were not run' if missing else ''}. Demonstration scale.")


@table("P4-T3", CHAPTER, "What tuning changes, by how much text a language has on the web", FILES)
def gain_by_level(profile: str):
    """One row a task and resource level: the mean gain of all cells, and of the cheapest and the dearest cell."""
    found, cells = measured(profile, "mean_gain"), grid(measured(profile, "gain"))
    found = need(found[found["language"].isin(LEVELS)])
    corners = {(row["benchmark"], row["language"], row["rank"], row["bits"]): _cell(row)
               for row in cells.to_dict("records")}
    low, high = ((getattr(cells["rank"], end)(), getattr(cells["bits"], end)()) for end in ("min", "max"))
    rows = [{"task": row["benchmark"], "measure": row["measure"], "level": row["language"], "n": row["n"],
             "mean gain": _cell(row), "p": p_value(row["p"]), "p (Holm)": p_value(row["holm"]),
             **{f"rank {rank:.0f}, {bits:.0f} bits": corners.get((row["benchmark"], row["language"], rank, bits), "")
                for rank, bits in (low, high)}} for row in _corrected(found).to_dict("records")]
    ends = [f"{row['benchmark']} {row['language']} {_cell(row)} {row['measure']}" for row in
            found[found["language"].isin(["high", LOWER])].to_dict("records")]
    return pandas.DataFrame(rows), (
        f"Tuned minus untuned, mean over all cells: {'; '.join(ends)} (n = {span(found['n'])} items, paired; bits/byte are "
        "better when lower). Levels by share of the web's pages, without English: high from 1 %, mid from 0.1 %. "
        "Demonstration scale.")


@table("P4-T4", CHAPTER, "What tuning changes in English, by rank and bits", FILES)
def english(profile: str):
    """One row a task and bits, a column a rank: tuned minus untuned, paired; below, the paper's measure, not known."""
    found = grid(measured(profile, "gain"))
    found = need(found[found["language"] == "en"])
    frame = _wide(found, ["benchmark", "measure", "bits"]).drop(columns="untuned", errors="ignore")
    theirs = [{"benchmark": f"{row.item}, {row.system}", "measure": f"{row.quantity} {row.unit}", "from": "MAPLE"}
              for row in reported("P4-T4").itertuples()]
    frame = pandas.concat([frame.assign(**{"from": "here"}), pandas.DataFrame(theirs)]).fillna("")
    effects = measured(profile, "effect").query("language == 'en'")
    means = measured(profile, "mean_gain").query("language == 'en'")
    parts = [f"{row['benchmark']} {_cell(row)} {row['measure']}" for row in means.to_dict("records")]
    kept = [f"{row['factor']} {row['after']:.0f} against {row['before']:.0f}, {row['benchmark']} {_cell(row)}"
            for row in effects.groupby(["factor", "benchmark"], sort=False).first().reset_index().to_dict("records")]
    return frame, (f"Mean over all cells: {'; '.join(parts)}; what more rank and more bits change: {'; '.join(kept)} "
                   f"(n = {span(found['n'])} items, paired). Demonstration scale.")


@table("P4-T5", CHAPTER, "Sets of instructions of equal size, at the middle rank in the most bits", FILES + SETS)
def instruction_sets(profile: str):
    """One row a set and task, another set minus the first; sets that were not run have their reason."""
    found = measured(profile, "set")
    found = found[found["language"].isin(["en", OTHERS])]
    rows = [{"set": row["instructions"], "against": row["against"], "task": row["benchmark"], "measure": row["measure"],
             "language": row["language"], "n": row["n"], "difference": _cell(row), "p": p_value(row["p"]),
             "p (Holm)": p_value(row["holm"])} for row in _corrected(found).to_dict("records")]
    facts = records.facts(profile, CHAPTER).reindex(columns=["fact", "value", "instructions", "rank"])
    reasons = facts[(facts["fact"] == "not_run") & facts["rank"].isna()].drop_duplicates("instructions")
    rows += [{"set": row.instructions, "difference": row.value} for row in reasons.itertuples()]
    theirs = [f"{row.system} {row.printed} {row.unit}" for row in reported("P4-T5").itertuples()]
    paper = f"the paper compares {', '.join(theirs)}, with no number known here."
    need(rows)
    ends = [f"{row['instructions']} against {row['against']}, {row['benchmark']} {_cell(row)} {row['measure']}"
            for row in found[found["language"] == OTHERS].to_dict("records")]
    said = [*ends, *reasons["value"]]
    sizes = f" (n = {span(found['n'])} items, paired)" if len(found) else ""
    return pandas.DataFrame(rows, dtype=object).fillna(""), f"{'; '.join(said)}{sizes}; {paper} Demonstration scale."


@table("C12-T1", CHAPTER, "Which factor matters: a mixed-effects model of the gains", FILES)
def factors(profile: str):
    """One row a task and term, with the joint p of its factor, by Holm over the factors of all tasks."""
    found = records.metrics(profile, CHAPTER)
    found = found[found["metric"] == "factor"] if len(found) else found
    facts = records.facts(profile, CHAPTER).reindex(columns=["fact", "value", "benchmark", "factor"])
    reasons = facts[facts["fact"] == "not_modelled"]
    if found.empty:
        told = [{"task": row.benchmark, "not modelled": row.value} for row in reasons.itertuples()]
        return pandas.DataFrame(need(told)), "No model of any task was fitted."
    tests = facts[(facts["fact"] == "factor_p") & (facts["factor"] != "mean")].reset_index(drop=True)
    tests["holm"] = statistics.holm(tests["value"].astype(float))
    joint = tests.set_index(["benchmark", "factor"])
    rows = [_factor_row(row, joint) for row in found.to_dict("records")]
    small = [f"{factor} in {benchmark}" for (benchmark, factor), row in joint.iterrows() if row["holm"] < 0.05]
    return pandas.DataFrame(rows), (
        f"Factors whose terms differ from 0 (Holm over {len(tests)} tests): {', '.join(small) or 'none'}. Rows are gains "
        f"of a run in a language ({span(found['n'])}); points of accuracy or F1, or bits/byte. Demonstration scale.")


def _factor_row(row: dict, joint: pandas.DataFrame) -> dict:
    share = row["unit"] == "share"
    scaled = {name: row[name] * (100 if share else 1) for name in ("value", "low", "high")}
    test = joint.loc[(row["benchmark"], row["factor"])] if row["factor"] != "mean" else None
    return {"task": row["benchmark"], "term": row["term"], "unit": "points" if share else row["unit"], "n": row["n"],
            "estimate": interval(scaled, 2 if share else 4), "p": p_value(row["p"]), "factor": row["factor"],
            "p of the factor": "" if test is None else p_value(float(test["value"])),
            "p (Holm)": "" if test is None else p_value(test["holm"])}


def _wide(found: pandas.DataFrame, keys: list[str]) -> pandas.DataFrame:
    """Cells as they are printed, a row a combination of the keys, a column untuned and one a rank; n first."""
    kinds = found[found["rank"] > 0].groupby("base")["instructions"].unique()
    rows = []
    for row in found.to_dict("records"):
        # An untuned model stands beside every set that its base was tuned on.
        for kind in [row["instructions"]] if row["rank"] else kinds.get(row["base"], ["none"]):
            rows.append({**row, "instructions": kind, "cell": _cell(row),
                         "at": f"rank {row['rank']:.0f}" if row["rank"] else "untuned"})
    frame = pandas.DataFrame(rows).assign(bits=[f"{row['bits']:.0f}" for row in rows])
    wide = frame.pivot_table("cell", keys, "at", aggfunc="first", sort=False)
    ranks = sorted((name for name in wide if name != "untuned"), key=lambda name: int(name.split()[1]))
    wide = wide.reindex(columns=[name for name in ("untuned", *ranks) if name in wide])
    # A set that was tuned in the middle cell only has no line for the other formats.
    wide = wide.dropna(how="all", subset=ranks) if ranks else wide
    wide.insert(0, "n", [f"{number}" for number in frame.groupby(keys, sort=False)["n"].max().reindex(wide.index)])
    return wide.fillna("").rename_axis(columns=None).reset_index()


def _corrected(found: pandas.DataFrame) -> pandas.DataFrame:
    """With a column holm: p corrected over all rows that are shown together."""
    return found.assign(holm=statistics.holm(found["p"].astype(float)) if len(found) else [])


def _cell(row) -> str:
    return interval(row, int(row["digits"]))


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
