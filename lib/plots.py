"""Every figure of the companion, made from records alone.

A figure is a function of the profile that returns (figure, frame, reading): the drawing, the data behind it, and one
computed sentence. `@figure` registers it under its ID. Persian needs no reshaping: matplotlib ≥ 3.11 shapes it itself.
"""
import math

import matplotlib
import pandas
from matplotlib import pyplot
from matplotlib.figure import Figure

from lib import paths, records
from lib.tables import Exhibit, span

FIGURES: dict[str, Exhibit] = {}
# Okabe & Ito (2008): eight colours that colour-blind readers tell apart.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]
COLUMN, WIDE = 3.4, 7.0
STYLE = {"figure.constrained_layout.use": True, "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8,
         "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7, "legend.frameon": False,
         "axes.spines.top": False, "axes.spines.right": False, "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
         "lines.linewidth": 1.3, "lines.markersize": 4, "savefig.dpi": 200, "figure.dpi": 150, "pdf.fonttype": 42}


def figure(id: str, chapter: str, title: str):
    """Registers `function(profile) -> (Figure, DataFrame, reading)` as a figure."""
    def register(function):
        FIGURES[id] = Exhibit(id, chapter, title, function)
        return function
    return register


def axes(rows: int = 1, columns: int = 1, width: float = COLUMN, height: float = 2.4, **options):
    """A figure and its axes in the house style; `width` and `height` in inches."""
    with pyplot.rc_context(STYLE):
        return pyplot.subplots(rows, columns, figsize=(width, height), **options)


def show(id: str, profile: str) -> Figure:
    """Draws a figure in the notebook, with its title and reading printed above."""
    with pyplot.rc_context(STYLE):
        drawing, _, reading = FIGURES[id].build(profile)
        pyplot.close(drawing)
    print(f"Figure {id}. {FIGURES[id].title}\n{reading}")
    return drawing


def save(id: str, profile: str) -> str:
    """Writes the figure as PDF and PNG and its data as CSV under `figures/<profile>/`; returns its reading."""
    stem = paths.figures(profile) / f"{id}_{FIGURES[id].build.__name__}"
    with pyplot.rc_context(STYLE):
        drawing, frame, reading = FIGURES[id].build(profile)
        drawing.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
        drawing.savefig(stem.with_suffix(".png"))
        pyplot.close(drawing)
    frame.to_csv(stem.with_suffix(".csv"), index=False)
    return reading


@figure("C04-F1", "04_alignment", "Retrieval of translations by layer")
def retrieval_by_layer(profile: str):
    """Accuracy@1 of each arm at every layer, mean over seeds, with Wilson's bands and the line of chance."""
    found = records.metrics(profile, "04_alignment").query("metric == 'retrieval_accuracy'")
    frame = found.groupby(["task", "arm", "layer"], sort=False)[["value", "low", "high", "n"]].mean().reset_index()
    drawing, panels = axes(1, frame["task"].nunique(), WIDE, 2.4, sharey=True, squeeze=False)
    for panel, (task, part) in zip(panels[0], frame.groupby("task", sort=False)):
        for arm, line in part.groupby("arm", sort=False):
            panel.plot(line["layer"], 100 * line["value"], label=arm)
            panel.fill_between(line["layer"], 100 * line["low"], 100 * line["high"], alpha=0.15, linewidth=0)
        panel.axhline(100 / part["n"].iloc[0], color="0.4", linestyle=":", linewidth=0.9)
        panel.annotate("chance\n1/n", (1, 100 / part["n"].iloc[0]), (2, 0), xycoords=("axes fraction", "data"),
                       textcoords="offset points", va="center", color="0.4", fontsize=6)
        panel.set(xlabel="layer (0: embeddings)", title=task.replace("english", "English"), ylim=(0, None))
    panels[0][0].set_ylabel("accuracy@1 (%)")
    drawing.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=frame["arm"].nunique())
    best = frame.loc[frame["value"].idxmax()]
    return drawing, frame, (f"Best: {100 * best['value']:.1f} % of {best['n']:.0f} held-out pairs, arm {best['arm']}, "
                            f"layer {best['layer']:.0f}, {best['task'].replace('english', 'English')}; chance is {100 / best['n']:.1f} %.")


@figure("C05-F1", "05_sft", "Loss on the answers")
def instruction_loss(profile: str):
    """Training loss, on answer tokens only, against examples seen; one line a start."""
    frame = records.rows(profile, "05_sft", "loss")
    drawing, panel = axes()
    for start, line in frame.groupby("stage", sort=False):
        panel.plot(line["examples"], line["loss"], marker="o", label=f"from {start}")
    panel.set(xlabel="examples seen", ylabel="loss on answer tokens (nats/token)")
    panel.legend()
    ends = [f"from {start} {line['loss'].iloc[0]:.2f} → {line['loss'].iloc[-1]:.2f}"
            for start, line in frame.groupby("stage", sort=False)]
    return drawing, frame, f"Loss on the answers, first to last batch: {', '.join(ends)} nats/token."


@figure("P1-F1", "06_evaluation", "Accuracy of every stage by task")
def stage_accuracy(profile: str):
    """One panel a task and language; points with Wilson intervals by stage, and the chance level."""
    labels = ["task", "language", "prompt"]
    found = records.metrics(profile, "06_evaluation").query("metric == 'accuracy'")
    chance = records.facts(profile, "06_evaluation").query("fact == 'chance'").set_index(["stage", *labels])["value"]
    frame = found[["stage", *labels, "n", "value", "low", "high"]].copy()
    frame["chance"] = [chance[tuple(row)] for row in frame[["stage", *labels]].to_numpy()]
    groups = list(frame.groupby(labels, sort=False))
    lines = math.ceil(len(groups) / 4)
    columns = math.ceil(len(groups) / lines)
    drawing, panels = axes(lines, columns, WIDE, 1.9 * lines + 0.2, sharey=True, squeeze=False)
    for panel, ((task, language, prompt), part) in zip(panels.flat, groups):
        _points(panel, part, f"{task} {language}" + (" (chat)" if prompt == "chat" else ""))
    for panel in panels.flat[len(groups):]:
        panel.set_visible(False)
    for row in panels:
        row[0].set_ylabel("accuracy (%)")
    return drawing, frame, _accuracy_reading(frame)


def _points(panel, part, title: str):
    """Accuracy of the stages from left to right, in one panel."""
    value, low, high = (100 * part[column] for column in ("value", "low", "high"))
    panel.errorbar(range(len(part)), value, [value - low, high - value], fmt="o", capsize=2)
    panel.axhline(100 * part["chance"].iloc[0], color="0.4", linestyle=":", linewidth=0.9)
    panel.annotate("chance", (len(part) - 0.6, 100 * part["chance"].iloc[0]), (0, 2), textcoords="offset points",
                   ha="right", color="0.4", fontsize=6)
    panel.set_xticks(range(len(part)), part["stage"], rotation=30, ha="right", rotation_mode="anchor")
    panel.set(title=f"{title}, n = {part['n'].iloc[0]}", ylim=(0, 100), xlim=(-0.5, len(part) - 0.5))


def _accuracy_reading(frame) -> str:
    above, best = frame[frame["low"] > frame["chance"]], frame.loc[frame["value"].idxmax()]
    return (f"{len(above)} of {len(frame)} scores lie above chance with their whole 95 % interval; highest: {best['task']} "
            f"{best['language']} {best['stage']}, {100 * best['value']:.0f} % [{100 * best['low']:.0f}, "
            f"{100 * best['high']:.0f}] (n = {span(frame['n'])} items; demonstration scale).")


@figure("C13-F1", "13_carbon", "Energy of every chapter")
def energy(profile: str):
    """Bars of Wh a chapter, training apart from the rest, with the chapter's minutes."""
    facts = records.facts(profile, "13_carbon")
    names = {"kwh": "total", "training_kwh": "training", "seconds": "seconds"}
    frame = facts[facts["fact"].isin(names)].pivot(index="step", columns="fact", values="value").astype(float)
    frame = frame.rename(columns=names).reindex(columns=names.values()).fillna({"training": 0}).reset_index()
    frame[["total", "training"]] *= 1000
    # A training kept from an earlier run may have taken longer than its chapter did this time.
    inside = frame["training"].clip(upper=frame["total"])
    drawing, panel = axes(height=0.8 + 0.24 * len(frame))
    panel.barh(frame["step"], frame["total"], color=PALETTE[5], label="rest of the chapter")
    panel.barh(frame["step"], inside, color=PALETTE[0], label="training")
    for place, row in frame.iterrows():
        panel.annotate(f"{row['seconds'] / 60:.1f} min", (row["total"], place), xytext=(3, 0),
                       textcoords="offset points", va="center", fontsize=7)
    panel.set(xlabel="energy (Wh)", xlim=(0, 1.25 * frame["total"].max()))
    panel.invert_yaxis()
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    share = inside.sum() / frame["total"].sum()
    return drawing, frame, (f"Training takes {share:.0%} of {frame['total'].sum():.2f} Wh over {len(frame)} chapters "
                            "(one metering of one run, so without interval).")


@figure("P1-F3", "02_tokenizer", "Fertility against added pieces")
def fertility(profile: str):
    """Tokens a word of the learned language over new pieces, the three ways, with intervals over documents."""
    found = records.metrics(profile, "02_tokenizer").query("metric == 'fertility' and language != 'en'")
    pieces = records.facts(profile, "02_tokenizer").query("fact == 'new_pieces'").set_index(["arm", "size"])["value"]
    frame = found[["arm", "size", "value", "low", "high", "n", "language"]].copy()
    frame["pieces"] = [int(pieces[arm, size]) for arm, size in zip(frame["arm"], frame["size"])]
    base = frame[frame["arm"] == "base"]
    drawing, panel = axes()
    for marker, arm in zip("os^", [arm for arm in frame["arm"].unique() if arm != "base"]):
        part = pandas.concat([base, frame[frame["arm"] == arm]]).sort_values("pieces")
        # An appended way that was measured once is a point, not a line from the base through sizes nobody measured.
        part = part if len(part) > 2 else part[part["arm"] == arm]
        panel.errorbar(part["pieces"], part["value"], [part["value"] - part["low"], part["high"] - part["value"]],
                       marker=marker, capsize=2, linestyle="-" if len(part) > 1 else "none", label=arm)
    panel.set(xlabel="new pieces", ylabel=f"tokens a word ({frame['language'].iloc[0]})", ylim=(1, None))
    panel.legend()
    last = frame[frame["arm"] == "continued BPE"].sort_values("pieces")
    return drawing, frame, (f"Continued BPE goes from {base['value'].iloc[0]:.2f} tokens a word to {last['value'].iloc[0]:.2f} "
                            f"with {last['pieces'].iloc[0]} pieces and {last['value'].iloc[-1]:.2f} with "
                            f"{last['pieces'].iloc[-1]} (n = {base['n'].iloc[0]} documents).")


@figure("P3-F1", "02_tokenizer", "Compression of the extended tokenizer against the base's")
def compression(profile: str):
    """Bytes a token over the base's (= 1) on the same items in every language, with intervals over items."""
    found = records.metrics(profile, "02_tokenizer").query("arm == 'multiway' and metric == 'compression'")
    frame = found[["language", "value", "low", "high", "n"]].sort_values("value")
    drawing, panel = axes(height=0.7 + 0.17 * len(frame))
    panel.errorbar(frame["value"], frame["language"], xerr=[frame["value"] - frame["low"], frame["high"] - frame["value"]],
                   fmt="o", capsize=2)
    panel.axvline(1, color="0.6", linewidth=0.8)
    panel.set(xlabel="bytes a token, base = 1", ylabel="language")
    gain = frame[frame["low"] > 1][::-1]
    return drawing, frame, (f"{len(gain)} of {len(frame)} languages get shorter: "
                            + ", ".join(f"{row['language']} {row['value']:.2f}×" for row in gain.to_dict("records"))
                            + f" (n = {frame['n'].max()} items each).")


@figure("C01-F1", "01_corpus", "Composition of the corpus and length of its texts")
def composition(profile: str):
    """Left: characters by source and language. Right: share of texts by length in characters."""
    facts = records.facts(profile, "01_corpus").query("fact == 'characters'").astype({"value": float})
    size = (facts.pivot_table(index="source", columns="language", values="value") / 1e6).fillna(0)
    size = size.loc[size.sum(axis=1).sort_values().index]
    lengths = records.rows(profile, "01_corpus", "lengths").groupby(["language", "low", "high"], as_index=False)["texts"].sum()
    drawing, (left, right) = axes(1, 2, width=WIDE, height=2.4)
    for place, code in enumerate(size):
        rows = [row + 0.38 * (0.5 - place) for row in range(len(size))]
        left.barh(rows, size[code], height=0.36, color=PALETTE[place], label=code)
        part = lengths[lengths["language"] == code]
        right.stairs(100 * part["texts"] / part["texts"].sum(), [*part["low"], part["high"].iloc[-1]], color=PALETTE[place])
    left.set(xlabel="characters, million", yticks=range(len(size)), yticklabels=size.index)
    left.legend(title="language", loc="lower right")
    right.set(xscale="log", xlabel="length of a text, characters", ylabel="share of texts, %", ylim=(0, None))
    share = size.sum(axis=1) / size.to_numpy().sum()
    return drawing, size.reset_index(), (f"{share.idxmax()} is the largest source with {share.max():.0%} of "
                                         f"{size.to_numpy().sum():.1f} million characters in {len(size)} sources.")


@figure("P1-F2", "03_pretraining", "Training loss against text seen")
def pretraining_loss(profile: str):
    """One line an arm, mean over seeds, in bits per byte so that vocabularies compare; a running mean of five points."""
    rows = records.rows(profile, "03_pretraining", "loss")
    rows["smooth"] = rows.groupby(["arm", "seed"])["bits_per_byte"].transform(lambda part: part.rolling(5, min_periods=1).mean())
    frame = rows.groupby(["arm", "step"], sort=False)[["bytes", "bits_per_byte", "smooth"]].mean().reset_index()
    drawing, panel = axes()
    for arm, line in frame.groupby("arm", sort=False):
        panel.plot(line["bytes"] / 1000, line["smooth"], label=arm)
    panel.set(xlabel="text seen (kB)", ylabel="training loss (bits/byte)")
    panel.legend()
    ends = [f"{arm} {line['smooth'].iloc[0]:.2f} → {line['smooth'].iloc[-1]:.2f}" for arm, line in frame.groupby("arm", sort=False)]
    return drawing, frame, f"First to last point: {', '.join(ends)} bits/byte of the training mixture."


@figure("C03-F1", "03_pretraining", "Gain in the new language against what English loses")
def gain_and_loss(profile: str):
    """A point an arm, against the unextended base, with the 95 % intervals of both paired differences."""
    found = records.metrics(profile, "03_pretraining").query("against == 'base'")
    language = next(code for code in found["language"] if code != "en")
    wide = found.pivot(index="arm", columns="language", values=["value", "low", "high", "n"]).loc[found["arm"].unique()]
    drawing, panel = axes()
    for number, (arm, row) in enumerate(wide.iterrows()):
        gain, cost = -row["value", language], row["value", "en"]
        panel.errorbar(cost, gain, xerr=[[cost - row["low", "en"]], [row["high", "en"] - cost]],
                       yerr=[[gain + row["high", language]], [-row["low", language] - gain]], fmt="o", capsize=2, color=PALETTE[number])
        panel.annotate(arm, (cost, gain), (4, 3), textcoords="offset points", color=PALETTE[number], fontsize=7)
    panel.axvline(0, color="0.4", linestyle=":", linewidth=0.9)
    panel.axhline(0, color="0.4", linestyle=":", linewidth=0.9)
    panel.set(xlabel="English, change (bits/byte; right is worse)", ylabel=f"{language}, gain (bits/byte; up is better)")
    best = (-wide["value", language]).idxmax()
    frame = wide.set_axis([f"{code}_{name}" for name, code in wide.columns], axis=1).reset_index()
    return drawing, frame, (f"The largest gain is {-wide.loc[best, ('value', language)]:.2f} bits/byte ({best}), with English "
                            f"at {wide.loc[best, ('value', 'en')]:+.3f} (n = {wide.loc[best, ('n', language)]:.0f} and "
                            f"{wide.loc[best, ('n', 'en')]:.0f} texts).")
