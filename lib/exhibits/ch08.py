"""Exhibits of phases and transfer."""
import pandas
from matplotlib.ticker import LogLocator, NullLocator

from lib.engine import params, records, statistics
from lib.exhibits.base import PALETTE, WIDE, axes, figure, interval, need, p_value, reported, span, table

CHAPTER = "08_phases_and_transfer"
ABSENT = "There was nothing to ask, so nothing of ours stands here."
FILES = ("parsinlu",)
# The names that the papers' tables use for ParsiNLU's parts.
PARTS = {"literature": "MCQ literature", "common knowledge": "MCQ common knowledge",
         "math & logic": "MCQ math and logic"}
NAMES = {"f1": "F1", "exact_match": "EM", "spearman": "ρ×100", "paraphrase_auc": "paraphrase AUC×100"}
COLOURS = dict(zip(("fp32", "bf16", "int8", "nf4"), PALETTE))


@table("P2-T1", CHAPTER, "Number formats: what they cost in answers and save in size", FILES)
def precision_cost(profile: str):
    """A row a format: our scores on the last model, size, speed and memory, beside PersianMind's own row."""
    facts = _facts(profile).query("precision.notna()")
    rows = []
    for kind, found in facts.groupby("precision", sort=False):
        values = found.set_index("fact")["value"]
        sizes = {column: f"{values[fact] / 1e9:.2f}" for column, fact in (("GB", "size"), ("peak GB", "peak_memory"))
                 if fact in values}
        rows.append({"format": kind, **_precision_scores(profile, kind), **sizes, **_paper_precision(kind),
                     "remark": values.get("not_run", "")})
    rows += [{"format": kind, **_paper_precision(kind), "remark": "left out in this profile"}
             for kind in ("bf16", "int8", "nf4") if kind not in set(facts["precision"])]
    frame = pandas.DataFrame(rows, dtype=object).fillna("")
    kinds = ("format", "n", "accuracy", "Δ acc", "chrF", "Δ chrF", "GB", "tokens", "peak", "paper", "remark")
    order = [name for kind in kinds for name in frame if name.startswith(kind)]
    return frame[order], _precision_reading(profile)


def _precision_scores(profile: str, kind: str) -> dict:
    found = _metrics(profile)
    cells = {"accuracy": (100, "accuracy %"), "accuracy_difference": (100, "Δ accuracy"), "chrf": (1, "chrF++"),
             "chrf_difference": (1, "Δ chrF++"), "tokens_per_second": (1, "tokens/s")}
    row = {}
    for estimate in found[(found["precision"] == kind) & found["metric"].isin(cells)].to_dict("records"):
        scale, name = cells[estimate["metric"]]
        name = f"{name} {estimate['task']}" if estimate["metric"].startswith("chrf") else name
        row |= {"n": estimate["n"]} if estimate["metric"] == "accuracy" else {}
        row[name] = interval(_scaled(estimate, scale), 1)
    return row


def _paper_precision(kind: str) -> dict:
    names = {("accuracy", "fa"): "Belebele %", ("COMET", "fa-en"): "COMET fa-en", ("COMET", "en-fa"): "COMET en-fa",
             ("size", ""): "GB", ("speed", ""): "tokens/s"}
    found = _reported("P2-T1")
    return {f"paper {names[row['quantity'], row['language']]}": row["value"]
            for row in found[found["system"] == kind.upper()].to_dict("records")}


def _precision_reading(profile: str) -> str:
    facts = _facts(profile)
    first, skipped = facts["precision"].dropna().iloc[0], facts.query("fact == 'not_run'")
    found = _metrics(profile).query("metric == 'accuracy_difference' and precision.notna()")
    paper = _reported("P2-T1").query("quantity == 'accuracy' and system.str.contains('−')")
    parts = [f"{row['precision']} {interval(_scaled(row, 100), 1)}" for _, row in found.iterrows()]
    ours = (f"Against {first} accuracy changes by {', '.join(parts)} points (n = {span(found['n'])} questions, paired)"
            if parts else "No accuracy was compared")
    said = ", ".join(f"{row.system} {row.value}" for row in paper.itertuples())
    left = f"; {len(skipped)} formats not run" if len(skipped) else ""
    return f"{ours}{left}; the paper reports {said} points at 7 billion parameters. Demonstration scale."


@table("P2-T2", CHAPTER, "What each phase read and took")
def phase_budget(profile: str):
    """A row a phase, mean over seeds; beside it what the paper reports, which is blank."""
    facts = _facts(profile).query("phase.notna()").fillna({"stream": ""}).astype({"value": float})
    mean = facts.groupby(["phase", "fact", "stage", "stream"])["value"].mean()
    language = next(stream for stream in facts["stream"] if stream not in ("", "pairs", "en"))
    columns = {f"{language} text": ("stream_tokens", "text", language), "pairs": ("stream_tokens", "text", "pairs"),
               "en replay": ("stream_tokens", "text", "en"), "examples": ("examples", "instructions", ""),
               "their tokens": ("tokens", "instructions", ""), "text s": ("seconds", "text", ""),
               "instructions s": ("seconds", "instructions", "")}
    paper = _reported("P2-T2")
    rows = [{"phase": int(phase), **{name: round(mean.get((phase, *key), 0)) for name, key in columns.items()},
             "paper": _said(paper.query("item == @name")["value"])}
            for phase in sorted(facts["phase"].unique()) for name in [f"phase {int(phase)}"]]
    frame = pandas.DataFrame(rows)
    total = frame[[f"{language} text", "pairs", "en replay", "their tokens"]].to_numpy().sum()
    return frame, (f"All phases read {total:,} tokens, {frame['pairs'].sum():,} of them translation pairs, in "
                   f"blocks and {frame['examples'].sum()} instruction examples; the paper gives no budget by phase.")


def _said(values) -> str:
    return ", ".join(str(value) for value in values.dropna()) or "not reported"


@table("P2-T3", CHAPTER, "Perplexity of every state, and bits per byte, which compare across vocabularies")
def phase_perplexity(profile: str):
    """A row a state: perplexity per token, bits per byte and its change from the state before; p by Holm."""
    found = _metrics(profile).query("phase.notna()")
    changes = found[(found["metric"] == "bits_per_byte_difference") & (found["phase"] != "all")]
    changes = changes.drop_duplicates(["phase", "stage", "language"]).copy()
    changes["p"] = statistics.holm(changes["p"])
    rows = []
    values = found[found["metric"].isin(["perplexity", "bits_per_byte"])]
    for (phase, stage), state in values.groupby(["phase", "stage"], sort=False):
        row = {"phase": phase, "state": stage}
        for metric, digits in (("perplexity", 1), ("bits_per_byte", 3)):
            for _, cell in state[state["metric"] == metric].iterrows():
                row[f"{metric.replace('_', ' ')} {cell['language']}"] = interval(cell, digits)
        for _, change in changes[(changes["phase"] == phase) & (changes["stage"] == stage)].iterrows():
            row[f"Δ bits/byte {change['language']}"] = f"{interval(change, 3)}, p {p_value(change['p'])}"
        rows.append(row)
    return pandas.DataFrame(rows, dtype=object).fillna(""), _perplexity_reading(profile)


def _perplexity_reading(profile: str) -> str:
    found = _metrics(profile).query("metric == 'bits_per_byte_difference'")
    tuned, last = found[found["phase"] == "all"], found[found["against"] == "extended"].groupby("language").tail(1)
    effects = ", ".join(f"{row['language']} {interval(row, 3)}" for _, row in tuned.iterrows())
    whole = ", ".join(f"{row['language']} {interval(row, 3)}" for _, row in last.iterrows())
    return (f"Instruction tuning changes bits per byte by {effects}, mean over the phases; all phases together by "
            f"{whole} (less is better; n = {span(found['n'])} texts, paired). Perplexity per token is no measure "
            "between base and extended, whose tokens differ; the paper's values by phase are not known. "
            "Demonstration scale.")


@table("P2-T4", CHAPTER, "Questions in the learned language", FILES)
def questions(profile: str):
    """A row a model: choice by category and reading comprehension; GPT-3.5 and the paper's models as context."""
    found = _metrics(profile).query("stage.notna() and metric in ['accuracy', 'f1', 'exact_match']")
    rows = {}
    for _, row in found.iterrows():
        reading = row["metric"] in NAMES
        column = f"reading comprehension {NAMES[row['metric']]}" if reading else PARTS.get(row["category"], row["category"])
        cells = rows.setdefault(row["stage"], {"model": row["stage"], "from": "here"})
        cells[f"{column} %"] = interval(_scaled(row, 100), 1)
    known = _reported("P2-T4")
    known = known[known["item"].isin([*PARTS.values(), "reading comprehension"]) & known["value"].notna()
                  & ~known["system"].str.startswith("column")]
    for row in known.to_dict("records"):
        name = ", ".join(filter(None, [row["system"], row["group"]]))
        column = row["item"] + (" F1" if row["item"] == "reading comprehension" else "") + " %"
        value = row["value"] * (100 if row["unit"] == "share" else 1)
        rows.setdefault(name, {"model": name, "from": row["paper"]})[column] = f"{value:.1f}"
    return pandas.DataFrame(rows.values(), dtype=object).fillna(""), _questions_reading(found, _facts(profile))


def _questions_reading(found: pandas.DataFrame, facts: pandas.DataFrame) -> str:
    accuracy = found[found["metric"] == "accuracy"]
    if accuracy.empty:
        return f"{ABSENT} The other rows are what papers report."
    chance = facts.query("fact == 'question_chance'").groupby("category")["value"].first()
    above = accuracy[accuracy["low"] > accuracy["category"].map(chance).fillna(0.25).astype(float)]
    mean = accuracy.groupby("stage", sort=False)["value"].mean()
    parts = ", ".join(f"{stage} {100 * value:.1f} %" for stage, value in mean.items())
    return (f"Mean accuracy {parts}; {len(above)} of {len(accuracy)} scores lie above chance with their "
            f"whole interval (n = {span(accuracy['n'])} questions a category); the other rows are what papers report, "
            "on other samples. Demonstration scale.")


@table("P2-T5", CHAPTER, "Translation in both directions")
def phase_translations(profile: str):
    """A row a model and direction: chrF++ and BLEU on held-out pairs; the papers' BLEU and COMET on other texts."""
    found = _metrics(profile).query("metric in ['chrf', 'bleu'] and stage.notna()")
    rows = [{"model": row["stage"], "direction": row["task"], "measure": row["unit"], "value": interval(row, 1),
             "n": row["n"], "from": "here"} for _, row in found.iterrows()]
    known = _reported("P2-T5")
    known = known[known["value"].notna() & ~known["system"].str.startswith("column")]
    rows += [{"model": ", ".join(filter(None, [row["system"], row["group"]])), "direction": row["language"],
              "measure": row["quantity"], "value": row["printed"], "n": "", "from": row["paper"]}
             for row in known.to_dict("records")]
    change = _metrics(profile).query("metric == 'chrf_difference' and stage.notna()")
    parts = [f"{row['task']} {interval(row, 1)}" for _, row in change.iterrows()]
    ours = "One model was scored"
    if parts:
        ours = f"chrF++ of {found['stage'].iloc[-1]} against {found['stage'].iloc[0]}: {', '.join(parts)}"
    ours += f" (n = {span(found['n'])} sentences, paired)" if len(found) else ""
    return pandas.DataFrame(rows), (f"{ours if len(found) else params.lack('pairs')[:-1]}; chrF++, BLEU and COMET are "
                                    "different scales, and the papers' texts are others. Demonstration scale.")


@table("P2-T6", CHAPTER, "Sentence embeddings beside an outside encoder", FILES)
def sentence_embeddings(profile: str):
    """A row an encoder: retrieval both ways, agreement with the outside encoder's English ranking, paraphrases."""
    found, layers = need(_metrics(profile).query("encoder.notna()"), "pairs"), _facts(profile).query("fact == 'layer'")
    rows = []
    for name, part in found[~found["metric"].str.endswith("difference")].groupby("encoder", sort=False):
        row = {"encoder": name, "layer": int(layers.query("encoder == @name")["value"].iloc[0])}
        for _, cell in part.iterrows():
            if cell["metric"] == "retrieval":
                row[f"retrieval {cell['task']} %"] = interval(_scaled(cell, 100), 1)
            else:
                row[f"{NAMES[cell['metric']]} {cell['language']}"] = interval(_scaled(cell, 100), 1)
        rows.append(row)
    return pandas.DataFrame(rows, dtype=object).fillna(""), _embeddings_reading(found)


def _embeddings_reading(found: pandas.DataFrame) -> str:
    retrieval = found[found["metric"] == "retrieval"]
    mean = (100 * retrieval.groupby("encoder", sort=False)["value"].mean()).round(1)
    gain = found[found["metric"] == "retrieval_difference"]
    changes = ", ".join(f"{row['encoder']} against {row['against']} {interval(_scaled(row, 100), 1)} points"
                        for _, row in gain.iterrows())
    parts = ", ".join(f"{name} {value} %" for name, value in mean.items())
    return (f"Retrieval, mean of both directions: {parts} (n = {span(retrieval['n'])} pairs, chance "
            f"{100 / retrieval['n'].iloc[0]:.1f} %); {changes}. ρ ranks pairs of sentences beside the outside "
            "encoder's view of their English sides: agreement with a model, not with people; AUC×100 of 50 is chance. "
            "Demonstration scale.")


@table("P2-T7", CHAPTER, "Transfer: tuned on one language, tested in both")
def transfer(profile: str):
    """A row a language tuned on: accuracy by task and language, mean over seeds, and differences from untuned."""
    found = need(_metrics(profile).query("trained_on.notna()"), "transfer")
    accuracy, changes = (found[found["metric"] == name] for name in ("accuracy", "transfer_difference"))
    keys = ["trained_on", "task", "language"]
    mean = accuracy.groupby(keys, sort=False)[["value", "low", "high"]].mean().reset_index()
    rows = {}
    for row in mean.to_dict("records"):
        rows.setdefault(row["trained_on"], {"tuned on": row["trained_on"]})[f"{row['task']} {row['language']} %"] = (
            interval(_scaled(row, 100), 1))
    for row in changes.to_dict("records"):
        rows[row["trained_on"]][f"Δ {row['language']}"] = f"{interval(_scaled(row, 100), 1)}, p {p_value(row['p'])}"
    across = changes[(changes["trained_on"] != changes["language"]) & (changes["trained_on"] != "both")]
    parts = [f"{row['trained_on']} → {row['language']} {interval(_scaled(row, 100), 1)}"
             for row in across.to_dict("records")]
    return pandas.DataFrame(rows.values(), dtype=object).fillna(""), (
        f"Across languages, against the untuned model: {', '.join(parts)} points (n = {span(changes['n'])} questions, "
        "paired); each language has as many training examples. Demonstration scale.")


def _scaled(row, factor: float) -> dict:
    return {name: row[name] * factor for name in ("value", "low", "high")}


def _reported(exhibit: str) -> pandas.DataFrame:
    """What papers print for an exhibit; values as numbers, blanks as blanks."""
    found = reported()
    found = found[found["exhibit"] == exhibit].copy()
    found[["system", "group", "language"]] = found[["system", "group", "language"]].fillna("")
    return found.assign(value=pandas.to_numeric(found["value"], errors="coerce"))


def _metrics(profile: str) -> pandas.DataFrame:
    return _with(records.metrics(profile, CHAPTER), "precision", "phase", "stage", "encoder", "trained_on", "category",
                 "against", "task", "language")


def _facts(profile: str) -> pandas.DataFrame:
    return _with(records.facts(profile, CHAPTER), "precision", "phase", "stage", "encoder", "stream", "category")


def _with(frame: pandas.DataFrame, *columns: str) -> pandas.DataFrame:
    """The frame with every label column, blank where this run noted no such label."""
    return frame.reindex(columns=[*frame.columns, *(name for name in columns if name not in frame)]).astype(
        {name: object for name in columns})


@figure("P2-F1", CHAPTER, "Perplexity and bits per byte by phase")
def perplexity_by_phase(profile: str):
    """Two panels, a line a language with its intervals; states from left to right, the unextended base in bits only."""
    found = records.metrics(profile, CHAPTER).query("metric in ['perplexity', 'bits_per_byte'] and phase.notna()")
    frame = found[["metric", "phase", "stage", "language", "n", "value", "low", "high"]].copy()
    frame["state"] = [_state(row) for row in frame.to_dict("records")]
    order = list(dict.fromkeys(frame["state"]))
    drawing, panels = axes(1, 2, WIDE, 2.7)
    for panel, (metric, label) in zip(panels, {"perplexity": "perplexity per token (log)",
                                               "bits_per_byte": "bits per byte"}.items()):
        part = frame[(frame["metric"] == metric) & ((frame["stage"] != "base") | (metric == "bits_per_byte"))]
        for place, (marker, (language, line)) in enumerate(zip("os^", part.groupby("language", sort=False))):
            panel.errorbar([order.index(state) + 0.12 * place for state in line["state"]], line["value"],
                           [line["value"] - line["low"], line["high"] - line["value"]], marker=marker, capsize=2,
                           label=f"{language}, n = {line['n'].iloc[0]} texts")
        panel.set_xticks(range(len(order)), order, rotation=35, ha="right", rotation_mode="anchor")
        panel.set(ylabel=label, xlim=(-0.4, len(order) - 0.6))
    panels[0].set_yscale("log")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[0].yaxis.set_minor_locator(NullLocator())
    panels[0].yaxis.set_major_formatter("{x:,.0f}")
    drawing.legend(*panels[1].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    ends = frame[(frame["metric"] == "bits_per_byte") & frame["state"].isin([order[1], order[-1]])]
    parts = [f"{language} {line['value'].iloc[0]:.2f} → {line['value'].iloc[-1]:.2f}"
             for language, line in ends.groupby("language", sort=False)]
    return drawing, frame, (f"From {order[1]} to {order[-1]}, bits per byte: {', '.join(parts)} (n = {span(ends['n'])} "
                            "texts; demonstration scale).")


def _state(row: dict) -> str:
    if row["phase"] == 0:
        return row["stage"]
    return f"{row['phase']} {row['stage']}"


@figure("P2-F2", CHAPTER, "Accuracy against size on disk by number format", ("parsinlu",))
def accuracy_by_size(profile: str):
    """Ours with Wilson intervals in the left panel, the paper's own points in the right one."""
    metrics, facts = records.metrics(profile, CHAPTER), records.facts(profile, CHAPTER)
    sizes = facts.query("fact == 'size'").set_index("precision")["value"] / 1e9
    ours = metrics.query("metric == 'accuracy' and precision.notna()") if "precision" in metrics else metrics[:0]
    frame = ours[["precision", "n", "value", "low", "high"]].assign(size=[sizes[kind] for kind in ours["precision"]],
                                                                      of="ours")
    theirs = _theirs()
    drawing, panels = axes(1, 2, WIDE, 2.4)
    for panel, part, title in ((panels[0], frame, f"ours, n = {span(frame['n'])} questions" if len(frame) else "ours"),
                               (panels[1], theirs, "PersianMind, as reported (Belebele)")):
        for row in part.to_dict("records"):
            color = COLOURS[row["precision"].lower()]
            ends = [row.get("low", row["value"]), row.get("high", row["value"])]
            spread = [[100 * abs(row["value"] - end)] for end in ends]
            panel.errorbar(row["size"], 100 * row["value"], spread, fmt="o", capsize=2, color=color)
            panel.annotate(row["precision"], (row["size"], 100 * row["value"]), (5, 4), textcoords="offset points",
                           color=color, fontsize=7)
        panel.set(xlabel="size on disk (GB)", title=title)
        panel.margins(x=0.2)
    panels[0].set_ylabel("accuracy (%)")
    return drawing, frame, _sizes_reading(frame, theirs)


def _sizes_reading(ours, theirs) -> str:
    least = theirs.loc[theirs["size"].idxmin()]
    paper = (f"in the paper {least['precision']} takes {least['size'] / theirs['size'].max():.0%} of its largest and "
             f"answers {100 * least['value']:.1f} %. Demonstration scale.")
    if ours.empty:
        return f"No accuracy of ours was measured; {paper}"
    small = ours.loc[ours["size"].idxmin()]
    return (f"{small['precision']} takes {small['size'] / ours['size'].max():.0%} of the largest format's space and "
            f"answers {100 * small['value']:.0f} % [{100 * small['low']:.0f}, {100 * small['high']:.0f}] of "
            f"{small['n']} questions; {paper}")


def _theirs():
    """PersianMind's formats: size in GB and accuracy as a share."""
    found = reported().query("exhibit == 'P2-T1' and quantity in ['size', 'accuracy'] and unit in ['GB', '%']")
    wide = found.assign(value=found["value"].astype(float)).pivot(index="system", columns="quantity", values="value")
    wide = wide.dropna().rename_axis(columns=None).reset_index()
    return wide.rename(columns={"system": "precision"}).assign(value=wide["accuracy"] / 100, of="paper")
