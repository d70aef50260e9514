"""Exhibits of continued pretraining."""
import pandas

from lib.engine import records
from lib.exhibits.architecture import Architecture
from lib.exhibits.base import figure, measured, need, noted, renewed, reported, table
from lib.exhibits.panels import COLUMN, GREY, PALETTE, WIDE, axes, level, names
from lib.exhibits.units import behind, interval, listed, span

CHAPTER = "03_pretraining"
PARTS = {"LoRA": "trainable_lora", "embed_tokens": "trainable_embed_tokens", "lm_head": "trainable_lm_head",
         "other layers": "trainable_transformer", "trained": "trainable", "model": "total"}


@table("P1-T3", CHAPTER, "Parameters that each method trains, and Llama-Persian's on Llama-2-7B")
def trainable_parameters(profile: str):
    """One row an arm of its own method, in millions, tied heads under embed_tokens; last the paper's, by formula."""
    facts = noted(profile, CHAPTER)
    counts = facts[facts["unit"] == "parameters"].drop_duplicates(["arm", "fact"])
    counts = counts.pivot(index="arm", columns="fact", values="value").loc[facts["arm"].unique()].drop_duplicates()
    frame = pandas.DataFrame({name: counts[fact].astype(float) / 1e6 for name, fact in PARTS.items()}).round(2)
    frame.loc["Llama-2-7B, by formula"] = (by_formula() / 1e6).round(2)
    frame["share %"] = (100 * frame["trained"] / frame["model"]).round(2)
    main, paper = frame.iloc[0], frame.iloc[-1]
    matrices = 1 - paper["LoRA"] / paper["trained"]
    return frame.rename_axis("arm").reset_index(), (
        f"The arm {frame.index[0]} trains {main['share %']:.1f} % of {main['model']:.1f} M parameters, Llama-Persian's "
        f"settings {paper['share %']:.1f} % of {paper['model']:,.0f} M, {matrices:.0%} of them embeddings and head.")


def by_formula() -> pandas.Series:
    """What Llama-Persian's settings train on Llama-2-7B, by part: LoRA on all projections and two whole matrices."""
    shape = [_value("P1-T3", "PersianMind", name) for name in ("layers", "hidden size", "feed-forward size")]
    model = Architecture(*shape, vocabulary=_value("P1-T4", "extended tokenizer", "vocabulary"))
    lora, matrix = model.lora(_value("P1-T2", "pretraining", "LoRA rank")), model.matrices() // 2
    return pandas.Series([lora, matrix, matrix, 0, lora + 2 * matrix, model.parameters() + lora], list(PARTS))


def _value(exhibit: str, system: str, quantity: str) -> int:
    """The first reported whole number of a quantity."""
    return int(reported(exhibit).query("system == @system and quantity == @quantity")["value"].iloc[0])


@figure("P1-F2", CHAPTER, "Training loss against text seen")
def pretraining_loss(profile: str):
    """One line an arm, mean over seeds, in bits per byte so that vocabularies compare; a running mean of five points."""
    rows = records.rows(profile, CHAPTER, "loss")
    rows["smooth"] = rows.groupby(["arm", "seed"])["bits_per_byte"].transform(
        lambda curve: curve.rolling(5, min_periods=1).mean())
    rows["entry"] = rows.groupby(["arm", "seed"]).cumcount()
    # Where one seed's run is a step longer, its end would be a jump of the mean.
    seeds = rows.groupby("arm")["seed"].transform("nunique")
    rows = rows[rows.groupby(["arm", "entry"])["seed"].transform("nunique") == seeds]
    means = rows.groupby(["arm", "entry"], sort=False)[["step", "bytes", "bits_per_byte", "smooth"]].mean()
    frame = means.reset_index().drop(columns="entry")
    drawing, panel = axes(height=2.9)
    for number, (arm, line) in enumerate(frame.groupby("arm", sort=False)):
        panel.plot(line["bytes"] / 1000, line["smooth"], "-" if number < len(PALETTE) else "--", label=arm,
                   linewidth=0.8 if number else 1.6)  # the first is what the reading is about
    drawing.legend(loc="outside lower center", ncols=3)
    panel.set(xlabel="text seen (kB, log scale)", xscale="log", ylabel="training loss (bits/byte)")
    name = frame["arm"].iloc[0]
    curve, seeds = frame.loc[frame["arm"] == name, "bits_per_byte"], rows.loc[rows["arm"] == name, "seed"].nunique()
    tenth = max(1, len(curve) // 10)
    return drawing, frame, (f"Training loss of the arm {name} is {curve[:tenth].mean():.2f} bits/byte of its mixture in the "
                            f"first tenth of its run and {curve[-tenth:].mean():.2f} in the last (trainings {seeds}; on what "
                            "is trained, so no test).")


@figure("C03-F1", CHAPTER, "Gain in the new language against what English loses")
def gain_and_loss(profile: str):
    """A point an arm, against the unextended base, with the 95 % intervals of both paired differences: on the left with an
    arrow from where it started, on the right, where there are several, the trained ones near by.

    The main run, which reads more than the arms, is left out beside them.
    """
    found = measured(profile, CHAPTER, "bits_per_byte_difference").query("against == 'base'")
    arms = set(found["arm"]) - {"extended", "main"}
    wide, language = _beside_english(found[(found["arm"] != "main") | (not arms)], ["arm"], ["value", "low", "high", "n"])
    places = {arm: (row["value", "en"], -row["value", language]) for arm, row in wide.iterrows()}
    trained = {arm: place for arm, place in places.items() if arm != "extended"}
    several = len(trained) > 2
    drawing, panels = axes(1, 1 + several, WIDE if several else COLUMN, 3, squeeze=False, width_ratios=[1, 1.6][:1 + several])
    whole = panels[0, 0]
    _gains(whole, wide, language)
    level(whole, 0)
    _arrows(whole, places)
    whole.margins(x=0.25)
    names(whole, {name: place for name, place in {"base": (0, 0), **places}.items() if not (several and name in trained)})
    if several:
        whole.set_title("from the base, by way of new rows")
        near = panels[0, 1]
        _gains(near, wide, language, trained)
        near.set(title="the trained arms", ylabel="")
        near.margins(0.12)
        names(near, trained)
    best = wide["value", language].idxmin()
    own, english = (found[(found["arm"] == best) & (found["language"] == code)] for code in (language, "en"))
    gained = own.assign(value=-own["value"], low=-own["high"], high=-own["low"])
    return drawing, _flat(wide), (
        f"{best} gains most against the base: {listed(gained, '{language}')} bits/byte; English changes by "
        f"{interval(english.iloc[0])}, above 0 is worse (n = {span(own['n'])} and {span(english['n'])} texts"
        f"{behind(own)}; demonstration scale).")


@figure("C03-F2", CHAPTER, "An adapter added in part: what the language gains against what English loses")
def scaled_adapters(profile: str):
    """A line an arm, a point a scale of its adapter, against the base on text from outside, where there is any.

    Raises Lacking for a record from before adapters were scaled.
    """
    found = renewed(measured(profile, CHAPTER, "bits_per_byte_scaled_difference").query("against == 'base'"), profile, CHAPTER)
    found = found.sort_values("split").drop_duplicates(["arm", "scale", "language"])  # `outside` comes before `test`
    wide, language = _beside_english(found, ["arm", "scale"], ["value", "low", "high", "n", "trainings"])
    drawing, panel = axes(height=3)
    _gains(panel, wide, language)
    first = "main" if "main" in wide.index else wide.index[0][0]
    main = wide.loc[first]
    for scale, row in main.iterrows():  # of every arm they would lie upon each other
        panel.annotate(f"{scale:g}", (row["value", "en"], -row["value", language]), (3, -7), textcoords="offset points",
                       fontsize=6)
    drawing.legend(title=f"arm; scale at the points of {first}", loc="outside upper center", ncols=3)
    told = "; ".join(f"{scale:g}: {-row['value', language]:.3f} and {row['value', 'en']:+.3f}"
                     for scale, row in main.iterrows())
    n, other, trainings = (main[name, code].iloc[0] for name, code in (("n", language), ("n", "en"), ("trainings", "en")))
    taken = noted(profile, CHAPTER, "adapter_scale")  # records from before it was chosen have none
    told += "".join(f"; into the model goes {row.value:g} ({row.reason})" for row in taken.itertuples())
    return drawing, _flat(wide), (
        f"Gain of {language} and change of English by scale of the adapter, bits/byte: {told} (n = {n:.0f} and "
        f"{other:.0f} texts, trainings {trainings:.0f}; demonstration scale).")


def _beside_english(found: pandas.DataFrame, keys: list[str], values: list[str]) -> tuple[pandas.DataFrame, str]:
    """The values side by side for the language and English, a row each of `keys`; and the language's code."""
    need(found.query("language == 'en'"), "english")
    language = next(code for code in found["language"] if code != "en")
    wide = found.pivot(index=keys, columns="language", values=values)
    return wide.loc[found["arm"].unique()], language


def _gains(panel, wide: pandas.DataFrame, language: str, arms=None):
    """What is gained against what English loses: a line an arm, of all or of `arms`, a point a row, with both intervals."""
    for number, (arm, rows) in enumerate(wide.groupby("arm", sort=False)):
        if arms is not None and arm not in arms:
            continue
        cost, gain = rows["value", "en"], -rows["value", language]
        panel.errorbar(cost, gain, xerr=[cost - rows["low", "en"], rows["high", "en"] - cost],
                       yerr=[gain + rows["high", language], -rows["low", language] - gain], capsize=0,
                       elinewidth=0.6, label=arm, fmt=f"{'osD^vP*'[number % 7]}-", color=PALETTE[number % len(PALETTE)])
    level(panel, 0, across=True)
    panel.set(xlabel="English, change (bits/byte; right is worse)", ylabel=f"{language}, gain (bits/byte)")
    panel.locator_params("x", nbins=6)  # else the numbers of a negative tick touch the next


def _arrows(panel, places: dict[str, tuple[float, float]]):
    """An arrow to every arm from where it started: the base, or the extended model."""
    begins = {"extended": (0, 0), "unextended": (0, 0), "mean-start": None}  # mean-start's own start is not scored
    for arm, end in places.items():
        if begin := begins.get(arm, places.get("extended")):
            panel.annotate("", end, begin, arrowprops={"arrowstyle": "->", "color": GREY, "linewidth": 0.7}, zorder=0)


def _flat(wide: pandas.DataFrame) -> pandas.DataFrame:
    """The frame with a column `fa_value` for each pair of columns."""
    return wide.set_axis([f"{code}_{name}" for name, code in wide.columns], axis=1).reset_index()
