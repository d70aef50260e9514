"""Exhibits of phases and transfer."""
import pandas
from matplotlib.ticker import LogLocator, NullLocator

from lib.engine import params, records
from lib.exhibits.base import figure, measured, need, noted, reported, table, unpacked
from lib.exhibits.differences import corrected
from lib.exhibits.panels import PALETTE, WIDE, axes, errorbars, legend, level, points, slant
from lib.exhibits.units import behind, cells, interval, listed, printed, span, wide

CHAPTER = "08_phases_and_transfer"
FILES = ("parsinlu",)
# The names that the papers' tables use for ParsiNLU's parts.
PARTS = {"literature": "MCQ literature", "common knowledge": "MCQ common knowledge",
         "math & logic": "MCQ math and logic"}
READING = {"f1": "{read} F1 %", "exact_match": "{read} EM %"}
ENCODINGS = {"retrieval": "retrieval {task} %", "spearman": "ρ×100 {language}",
             "paraphrase_auc": "paraphrase AUC×100 {language}"}
PRECISION = {"accuracy": "accuracy %", "accuracy_difference": "Δ accuracy", "margin_difference": "Δ margin",
             "bits_per_byte_difference": "Δ bits/byte {language}",
             "chrf": "chrF++ {task}", "chrf_difference": "Δ chrF++ {task}", "tokens_per_second": "tokens/s"}
PAPER = {("accuracy", "fa"): "paper Belebele %", ("COMET", "fa-en"): "paper COMET fa-en",
         ("COMET", "en-fa"): "paper COMET en-fa", ("size", ""): "paper GB", ("speed", ""): "paper tokens/s"}
FORMATS = ("fp32", "bf16", "int8", "nf4")
HIDDEN = ("Δ mar", "chrF", "peak", "paper GB", "paper COMET", "paper tokens")  # columns for the CSV alone


@table("P2-T1", CHAPTER, "Number formats: what they cost in answers and save in size", FILES)
def precision_cost(profile: str):
    """A row a format: our scores on the last model, size, speed and memory, beside PersianMind's own row."""
    facts, theirs = noted(profile, CHAPTER).query("precision.notna()"), reported("P2-T1")
    found = measured(profile, CHAPTER, *PRECISION).query("precision.notna()")
    rows = {kind: {"format": kind} for kind in dict.fromkeys([*facts["precision"], *FORMATS[1:]])}
    for row in found.to_dict("records"):
        rows[row["precision"]] |= {"n": row["n"]} if row["metric"] == "accuracy" else {}
        rows[row["precision"]][PRECISION[row["metric"]].format(**row)] = interval(row)
    for row in facts[facts["fact"].isin(["size", "peak_memory"])].to_dict("records"):
        rows[row["precision"]]["GB" if row["fact"] == "size" else "peak GB"] = f"{row['value'] / 1e9:.2f}"
    for kind, row in rows.items():
        row |= {PAPER[one.quantity, one.language]: one.value for one in theirs[theirs["system"] == kind.upper()].itertuples()}
        reason = facts[(facts["precision"] == kind) & (facts["fact"] == "not_run")]["value"]
        row["remark"] = "left out in this profile" if kind not in set(facts["precision"]) else "".join(reason)
    frame = pandas.DataFrame(rows.values(), dtype=object).fillna("")
    kinds = ("format", "n", "accuracy", "Δ acc", "Δ mar", "Δ bits", "chrF", "Δ chrF", "GB", "tokens", "peak", "paper", "remark")
    frame = frame[[name for kind in kinds for name in frame if name.startswith(kind)]]
    frame.attrs["printed"] = [name for name in frame if not name.startswith(HIDDEN)]
    return frame, _precision_reading(profile, facts, found)


def _precision_reading(profile: str, facts: pandas.DataFrame, found: pandas.DataFrame) -> str:
    changes, skipped = found[found["metric"] == "accuracy_difference"], facts.query("fact == 'not_run'")
    paper = reported("P2-T1").query("quantity == 'accuracy' and system.str.contains('−')")
    known = "02_tokenizer" in records.available(profile)
    base = unpacked(records.load(profile, "02_tokenizer")["parameters"]["base"]) if known else ""
    ours = (f"Against {changes['against'].iloc[0]}{base} accuracy changes by {listed(changes, '{precision}')} points "
            f"(n = {span(changes['n'])} questions, paired)" if len(changes) else "No accuracy was compared")
    said = ", ".join(f"{row.system} {row.value}" for row in paper.itertuples())
    left = f"; {len(skipped)} formats not run" if len(skipped) else ""
    return f"{ours}{left}; the paper reports {said} points at 7 billion parameters; demonstration scale."


@table("P2-T2", CHAPTER, "What each phase read and took")
def phase_budget(profile: str):
    """A row a phase, mean over seeds; beside it what the paper reports, which is blank."""
    facts = noted(profile, CHAPTER).query("phase.notna()").fillna({"stream": ""}).astype({"value": float, "phase": int})
    language = next(stream for stream in facts["stream"] if stream not in ("", "pairs", "en"))
    columns = {f"{language} text": ("stream_tokens", "text", language), "pairs": ("stream_tokens", "text", "pairs"),
               "en replay": ("stream_tokens", "text", "en"), "examples": ("examples", "instructions", ""),
               "their tokens": ("tokens", "instructions", ""), "text s": ("seconds", "text", ""),
               "instructions s": ("seconds", "instructions", "")}
    mean = facts.pivot_table("value", "phase", ["fact", "stage", "stream"]).reindex(columns=columns.values()).fillna(0)
    frame = mean.set_axis(list(columns), axis=1).round().astype(int).reset_index()
    paper = reported("P2-T2").query("value.notna()").groupby("item")["printed"].agg(", ".join)
    frame["paper"] = [paper.get(f"phase {phase}", "not reported") for phase in frame["phase"]]
    text = frame[[f"{language} text", "pairs", "en replay"]].to_numpy().sum()
    return frame, (f"All phases read {text:,} tokens of text, {frame['pairs'].sum():,} of them translation pairs, and "
                   f"{frame['their tokens'].sum():,} in {frame['examples'].sum()} instruction examples; the paper gives no "
                   "budget by phase.")


@table("P2-T3", CHAPTER, "Perplexity of every state, and bits per byte, which compare across vocabularies")
def phase_perplexity(profile: str):
    """A row a state: perplexity per token, bits per byte and its change from the state before; p by Holm."""
    values = measured(profile, CHAPTER, "perplexity", "bits_per_byte").query("phase.notna()")
    values["heading"] = values["metric"].str.replace("_", " ") + " " + values["language"]
    paired = measured(profile, CHAPTER, "bits_per_byte_difference").query("phase.notna()")
    changes = corrected(paired[paired["phase"] != "all"].drop_duplicates(["phase", "stage", "language"]))
    found = pandas.concat([values.assign(cell=cells(values)), changes.assign(
        cell=cells(changes, changes["holm"]), heading="Δ bits/byte " + changes["language"] + ", p by Holm")])
    frame = wide(found.rename(columns={"stage": "state"}), ["phase", "state"], "heading", "cell")
    tuned, last = paired[paired["phase"] == "all"], paired[paired["against"] == "extended"].groupby("language").tail(1)
    return frame, (
        f"A phase's instructions change bits per byte by {listed(tuned, '{language}')} on average, and all phases together, "
        f"against the extended model, by {listed(last, '{language}')} (less is better; n = {span(paired['n'])} texts, paired; "
        "demonstration scale).")


@table("P2-T4", CHAPTER, "Questions in the learned language", FILES)
def questions(profile: str):
    """A row a model: choice by category and reading comprehension; GPT-3.5 and the paper's models as context."""
    found = measured(profile, CHAPTER, "accuracy", *READING).query("stage.notna()")
    own = "parsinlu" in records.lacking(profile, CHAPTER) or (found["language"] != "fa").any()
    read = "numbered lines" if own else "reading comprehension"
    heading = [READING.get(metric, f"{PARTS.get(category, category)} %").format(read=read)
               for metric, category in zip(found["metric"], found["category"])]
    ours = found.assign(model=found["stage"], cell=cells(found), heading=heading, **{"from": "here"})
    known = _theirs("P2-T4")
    known = known[known["item"].isin([*PARTS.values(), "reading comprehension"])]
    heading = known["item"] + (known["item"] == "reading comprehension").map({True: " F1 %", False: " %"})
    percent = known["value"] * known["unit"].map({"share": 100}).fillna(1)
    known = known.assign(heading=heading, cell=percent.map("{:.1f}".format))
    return wide(pandas.concat([ours, known]), ["model", "from"], "heading", "cell"), _questions_reading(profile, found)


def _questions_reading(profile: str, found: pandas.DataFrame) -> str:
    accuracy = found[found["metric"] == "accuracy"]
    if accuracy.empty:
        return "There was nothing to ask, so nothing of ours stands here; the other rows are what papers report."
    chance = noted(profile, CHAPTER, "question_chance").groupby("category")["value"].first()
    above = accuracy[accuracy["low"] > accuracy["category"].map(chance).fillna(0.25).astype(float)]
    right = accuracy.assign(right=accuracy["value"] * accuracy["n"]).groupby("stage", sort=False)[["right", "n"]].sum()
    parts = ", ".join(f"{row.Index} {row.right:.0f} of {row.n}" for row in right.itertuples())
    return (f"Questions answered right: {parts}; {len(above)} of {len(accuracy)} scores lie above chance with their "
            f"whole interval (n = {span(accuracy['n'])} questions a category); the other rows are what papers report, "
            "on other questions; demonstration scale.")


@table("P2-T5", CHAPTER, "Translation in both directions")
def phase_translations(profile: str):
    """A row a model and direction: chrF++ and BLEU on held-out pairs; the papers' BLEU and COMET on other texts."""
    found, known = measured(profile, CHAPTER, "chrf", "bleu").query("stage.notna()"), _theirs("P2-T5")
    ours = pandas.DataFrame({"model": found["stage"], "direction": found["task"], "measure": found["unit"],
                             "value": cells(found), "n": found["n"], "from": "here"})
    theirs = pandas.DataFrame({"model": known["model"], "direction": known["language"], "measure": known["quantity"],
                               "value": known["printed"], "n": "", "from": known["from"]})
    change = measured(profile, CHAPTER, "chrf_difference").query("stage.notna()")
    change = change[change["stage"] == found["stage"].iloc[-1]] if len(change) else change
    said = "One model was scored"
    if len(change):
        said = f"chrF++ of {found['stage'].iloc[-1]} minus that of {found['stage'].iloc[0]}: {listed(change, '{task}')}"
    said = f"{said} (n = {span(found['n'])} sentences, paired)" if len(found) else params.lack("pairs").rstrip(".")
    return pandas.concat([ours.astype(object), theirs], ignore_index=True), (
        f"{said}; chrF++, BLEU and COMET are different scales, and the papers' texts are others; demonstration scale.")


@table("P2-T6", CHAPTER, "Sentence embeddings beside an outside encoder")
def sentence_embeddings(profile: str):
    """A row an encoder: retrieval both ways, agreement with the outside encoder's English ranking, paraphrases."""
    found = need(measured(profile, CHAPTER, *ENCODINGS).query("encoder.notna()"), "pairs")
    found["heading"] = [ENCODINGS[row["metric"]].format(**row) for row in found.to_dict("records")]
    frame = wide(found, ["encoder"], "heading")
    layers = noted(profile, CHAPTER, "layer").drop_duplicates("encoder").set_index("encoder")["value"]
    frame.insert(1, "layer", frame["encoder"].map(layers).astype(int))
    retrieval = found[found["metric"] == "retrieval"]
    mean = (100 * retrieval.groupby("encoder", sort=False)["value"].mean()).round(1)
    parts = ", ".join(f"{name} {value} %" for name, value in mean.items())
    judged = (found["metric"] == "paraphrase_auc").any()
    return frame, (f"Retrieval, mean of both directions: {parts} (n = {span(retrieval['n'])} pairs, chance "
                   f"{100 / retrieval['n'].iloc[0]:.1f} %); ρ is agreement with the outside encoder on English, not with "
                   f"people; {'paraphrase 50 is chance' if judged else 'paraphrases, which ParsiNLU has, were not judged'} "
                   "(demonstration scale).")


@table("P2-T7", CHAPTER, "Transfer: tuned on one language, tested in both")
def transfer(profile: str):
    """A row a language tuned on: accuracy by task and language, seeds pooled, and differences from untuned."""
    found = need(measured(profile, CHAPTER, "accuracy", "transfer_difference").query("trained_on.notna()"), "transfer")
    changes, scores = (found[found["metric"] == name] for name in ("transfer_difference", "accuracy"))
    scores = scores[scores["seed"].isna()]  # records of before have a score a seed, and none of all
    shown = pandas.concat([scores.assign(cell=cells(scores), heading=scores["task"] + " " + scores["language"] + " %"),
                           changes.assign(cell=cells(changes, changes["p"]), heading="Δ " + changes["language"])])
    frame = wide(shown, ["trained_on"], "heading", "cell")
    own = changes["trained_on"] == changes["language"]
    across, learned = changes[~own & (changes["trained_on"] != "both")], (changes.loc[own, "low"] > 0).any()
    return frame.rename(columns={"trained_on": "tuned on"}), (
        f"Across languages, against the untuned model: {listed(across, '{trained_on} → {language}')} points; in the language "
        f"tuned on {listed(changes[own], '{language}')}{'' if learned else ', so that nothing is shown to be learned'} (n ="
        f" {span(changes['n'])} questions{behind(changes)}, paired; every tuning has as many examples in all; demonstration "
        "scale).")


def _theirs(exhibit: str) -> pandas.DataFrame:
    """The papers' own models in an exhibit: as `reported` gives them, with columns model and from."""
    found = reported(exhibit)
    found = found[found["value"].notna() & ~found["system"].str.startswith("column")]
    names = [", ".join(filter(None, pair)) for pair in zip(found["system"], found["group"])]
    return found.assign(model=names, **{"from": found["paper"]})


@figure("P2-F1", CHAPTER, "Perplexity and bits per byte by phase")
def perplexity_by_phase(profile: str):
    """Two panels, a line a language with its intervals; states from left to right, the unextended base in bits only."""
    found = measured(profile, CHAPTER, "perplexity", "bits_per_byte").query("phase.notna()")
    found["state"] = [f"{stage}" if phase == 0 else f"{phase} {stage}" for phase, stage in zip(found["phase"], found["stage"])]
    names = found.groupby("language")["n"].first()
    found["of"] = [f"{code}, n = {names[code]} texts" for code in found["language"]]
    drawing, panels = axes(1, 2, WIDE, 2.7)
    for panel, (metric, label) in zip(panels, {"perplexity": "perplexity per token (log)",
                                               "bits_per_byte": "bits per byte"}.items()):
        part = found[(found["metric"] == metric) & ((found["stage"] != "base") | (metric == "bits_per_byte"))]
        points(panel, part, "state", "of", joined=True)
        slant(panel, 35)
        panel.set_ylabel(label)
    panels[0].set_yscale("log")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[0].yaxis.set_minor_locator(NullLocator())
    panels[0].yaxis.set_major_formatter("{x:,.0f}")
    legend(drawing, loc="outside upper center", ncols=2)
    first, last = found["state"].unique()[[1, -1]]
    ends = found[(found["metric"] == "bits_per_byte") & found["state"].isin([first, last])]
    parts = [f"{code} {line.iloc[0]:.2f} → {line.iloc[-1]:.2f}" for code, line in ends.groupby("language", sort=False)["value"]]
    frame = found[["metric", "phase", "stage", "language", "n", "value", "low", "high", "state"]]
    return drawing, frame, (f"From {first} to {last}, bits per byte: {', '.join(parts)} (n = {span(ends['n'])} texts; "
                            "demonstration scale).")


@figure("P2-F2", CHAPTER, "Accuracy against size on disk by number format", ("parsinlu",))
def accuracy_by_size(profile: str):
    """Change of accuracy against the widest format, and size as a share of the weights in 16 bits: ours paired, the paper's
    hollow, without interval."""
    sizes = noted(profile, CHAPTER, "size").set_index("precision")["value"].astype(float)
    changes, theirs = measured(profile, CHAPTER, "accuracy_difference").query("precision.notna()"), _paper_sizes()
    need([*changes.index, *theirs.index])
    whole = sizes.get("bf16", sizes.get("fp32", 2 * sizes.max()) / 2)
    ours = changes.assign(size=100 * changes["precision"].map(sizes).astype(float) / whole, of="ours")
    drawing, panel = axes()
    for kind, rows in ours.groupby("precision", sort=False):
        errorbars(panel, rows["size"], rows, color=PALETTE[FORMATS.index(kind)], label=f"{kind}, ours")
    for row in theirs.itertuples():
        panel.plot(row.size, row.value, "D", color=PALETTE[FORMATS.index(row.precision.lower())], markerfacecolor="none",
                   label=f"{row.precision}, paper")
    level(panel, 0)
    counts = f", n = {span(ours['n'])} questions" if len(ours) else ""
    panel.set(xlabel="size on disk (% of the weights in 16 bits)", ylabel="change of accuracy (points)",
              title=f"paired{counts}", xlim=(0, max(110, 1.1 * ours["size"].max()) if len(ours) else 110))
    legend(drawing, ncols=3)
    frame = pandas.concat([printed(ours), theirs])[["of", "precision", "size", "n", "value", "low", "high"]]
    return drawing, frame, _sizes_reading(ours, theirs)


def _sizes_reading(ours: pandas.DataFrame, theirs: pandas.DataFrame) -> str:
    least = theirs.loc[theirs["size"].idxmin()]
    paper = f"in the paper {least['precision']} takes {least['size']:.0f} % and costs {-least['value']:.1f} points"
    if ours.empty:
        return f"No accuracy of ours was compared; {paper}."
    small = ours.loc[ours["size"].idxmin()]
    return (f"{small['precision']} takes {small['size']:.0f} % of the space of 16 bits and changes accuracy by "
            f"{interval(small)} points (n = {small['n']} questions, paired); {paper} (demonstration scale).")


def _paper_sizes() -> pandas.DataFrame:
    """PersianMind's narrower formats: size in % of BF16's and accuracy minus BF16's in points."""
    found = reported("P2-T1").query("quantity in ['size', 'accuracy'] and unit in ['GB', '%']")
    found = found.pivot(index="system", columns="quantity", values="value").dropna().rename_axis("precision")
    widest = found.loc[found["size"].idxmax()]
    found = found.assign(value=found["accuracy"] - widest["accuracy"], size=100 * found["size"] / widest["size"])
    return found.drop(widest.name)[["size", "value"]].assign(of="PersianMind").reset_index()
