"""Tables of MAPLE's grid: what a cell costs, what it is worth, whom it helps, and which factor matters."""
import pandas

from lib import records, statistics
from lib.tables.base import interval, need, p_value, reported, span, table

CHAPTER = "12_rank_and_precision"
FILES, SETS = ("xcopa", "xquad", "llama-persian-tests"), ("multialpaca", "alpaca-seed-tasks")
MEASURES = {"accuracy": ("accuracy %", 100, 1), "f1": ("F1×100", 100, 1), "bits_per_byte": ("bits/byte", 1, 3)}
OTHERS, LOWER = "non-English", "mid and low"
LEVELS = ("high", "mid", "low", LOWER, OTHERS)
TRAINED = 16  # bytes a trained parameter takes: itself, its gradient and two moments of AdamW, all fp32
LABELS = ["metric", "n", "value", "low", "high", "p", "base", "instructions", "rank", "bits", "benchmark", "language",
          "factor", "before", "after", "against", "term"]


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
            "measurement a cell and seed, on the machine that the record names; the paper reports no cost, so its rows are formulas.")


def _by_formula() -> pandas.DataFrame:
    """Trainable parameters of the paper's bases, with all seven projections, as in lib/architecture."""
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
