"""Every table of the companion, made from records alone.

A table is a function of the profile that returns (frame, reading): the rows, and one computed sentence that says what
to see in them. `@table` registers it under its ID, so that its chapter shows it and 14_paper collects it.
"""
from typing import Callable, NamedTuple

import pandas

from lib import paths, records, statistics


class Exhibit(NamedTuple):
    """One table or figure: its ID, the chapter that makes its numbers, a title, and the function that builds it."""

    id: str
    chapter: str
    title: str
    build: Callable


TABLES: dict[str, Exhibit] = {}


def table(id: str, chapter: str, title: str):
    """Registers `function(profile) -> (DataFrame, reading)` as a table."""
    def register(function):
        TABLES[id] = Exhibit(id, chapter, title, function)
        return function
    return register


def show(id: str, profile: str) -> pandas.DataFrame:
    """Prints the table's title and reading, and returns its frame for display."""
    frame, reading = TABLES[id].build(profile)
    print(f"Table {id}. {TABLES[id].title}\n{reading}")
    return frame


def save(id: str, profile: str) -> str:
    """Writes the table as CSV, Markdown and LaTeX (booktabs) under `figures/<profile>/tables/`; returns its reading.

    The LaTeX is for XeLaTeX or LuaLaTeX, since tables hold Persian and signs such as CO₂.
    """
    frame, reading = TABLES[id].build(profile)
    stem = paths.figures(profile) / "tables" / f"{id}_{TABLES[id].build.__name__}"
    stem.parent.mkdir(exist_ok=True)
    frame.to_csv(stem.with_suffix(".csv"), index=False)
    blanks = frame.astype(object).where(frame.notna(), None)
    body = blanks.to_markdown(index=False, floatfmt=".5g", missingval="")
    stem.with_suffix(".md").write_text(f"**{id}. {TABLES[id].title}** {reading}\n\n{body}\n", "utf8")
    style = frame.rename(columns=_latex).style.hide(axis="index").format(_latex, na_rep="")
    style.to_latex(stem.with_suffix(".tex"), hrules=True, caption=_latex(f"{TABLES[id].title}. {reading}"))
    return reading


def _latex(value) -> str:
    """A cell as LaTeX reads it: five digits of a float, and no character that LaTeX would take for a command."""
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return "".join({"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}.get(
        sign, "\\" + sign if sign in "&%$#_{}" else sign) for sign in text)


def interval(row, digits: int = 2) -> str:
    """`1.42 [1.38, 1.46]`: an estimate as it is printed in a table."""
    return f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


SCORES = {"retrieval_accuracy_mean": "retrieval acc@1", "bits_per_byte": "bits/byte", "chrf": "chrF++"}


@table("C04-T1", "04_alignment", "Bilingual pretraining with and without translation pairs")
def alignment(profile: str):
    """One row an arm: mean over the seeds of each score, with the mean of the seeds' 95 % intervals."""
    found = records.metrics(profile, "04_alignment")
    scores = found[found["metric"].isin(SCORES)].copy()
    scores["score"] = scores["metric"].map(SCORES) + " " + scores["language"].fillna(scores["task"]).fillna("")
    mean = scores.groupby(["arm", "score"], sort=False)[["value", "low", "high"]].mean()
    frame = mean.apply(interval, axis=1).unstack("score").loc[scores["arm"].unique(), scores["score"].unique()]
    facts = records.facts(profile, "04_alignment").query("fact == 'tokens'")
    frame.insert(0, "tokens", facts.groupby("arm")["value"].mean())
    frame["tokens"] = frame["tokens"].fillna(0).astype(int)
    return frame.rename_axis(columns=None).reset_index(), _alignment_reading(found)


def _alignment_reading(found: pandas.DataFrame) -> str:
    gain = found[found["metric"] == "retrieval_accuracy_mean_difference"]
    gain = gain[(gain["arm"] == "pairs") & (gain["against"] == "no-pairs")]
    if gain.empty:
        return "Only one arm was trained, so nothing is compared (demonstration scale)."
    row = gain.iloc[0]
    return (f"With pairs, retrieval averaged over layers changes by {100 * row['value']:+.1f} points "
            f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] against the same tokens without "
            f"(n = {row['n']} held-out pairs, paired bootstrap p = {row['p']:.3f}; demonstration scale).")


@table("C04-T2", "04_alignment", "Translations by each arm")
def alignment_translations(profile: str):
    """The first two held-out sentences of each direction, with the translation of every arm's first seed."""
    rows = records.rows(profile, "04_alignment", "translations")
    first = rows.drop_duplicates(["arm", "direction", "item"])
    frame = first.pivot(index=["direction", "source", "reference"], columns="arm", values="hypothesis")
    frame = frame[list(dict.fromkeys(rows["arm"]))].groupby("direction").head(2).rename_axis(columns=None).reset_index()
    shares = rows.groupby("arm", sort=False)["invalid"].mean()
    invalid = ", ".join(f"{arm} {100 * share:.0f} %" for arm, share in shares.items())
    return frame, (f"Greedy; empty, copied or wrong-script answers: {invalid} of {len(first) // rows['arm'].nunique()} "
                   "an arm and seed.")


@table("C05-T1", "05_sft", "Instruction examples by source and language")
def instruction_examples(profile: str):
    """Rows derived from the training split, left out because a held-out row shows them, and trained on."""
    facts = records.facts(profile, "05_sft")
    counts = facts[facts["fact"].str.startswith("examples_")]
    frame = counts.pivot_table("value", ["source", "language"], "fact", sort=False).astype(int)
    frame.columns = [name.removeprefix("examples_").replace("_", " ") for name in frame.columns]
    by_language = frame["kept"].groupby("language").sum()
    share = ", ".join(f"{count} {language}" for language, count in by_language.items())
    truncated = facts.loc[facts["fact"] == "answers_truncated", "value"].sum()
    return frame.reset_index(), (f"{frame['kept'].sum()} examples ({share}) of {frame['found'].sum()} derived ones; "
                                 f"{int(truncated)} answers were cut at the length limit.")


@table("C05-T2", "05_sft", "Answers before and after instruction tuning")
def generations(profile: str):
    """Held-out prompts with the reference and the greedy answer of the start and of the tuned model."""
    frame = records.rows(profile, "05_sft", "generations")
    changed = (frame["before"] != frame["after"]).sum()
    return frame, f"{changed} of {len(frame)} greedy answers to held-out prompts changed with instruction tuning."


STAGE_SCORES = {"accuracy": ("%", 100, 1), "chrf": ("chrF++", 1, 1), "bits_per_byte": ("bits/byte", 1, 3)}


@table("P1-T5", "06_evaluation", "Scores of every stage in both languages")
def stages(profile: str):
    """One row a score; columns are the stages, `estimate [low, high]`."""
    scores = _stage_scores(profile, STAGE_SCORES)
    rows = []
    for (score, unit, n), found in scores.groupby(["score", "unit", "n"], sort=False):
        digits = STAGE_SCORES[found["metric"].iloc[0]][2]
        cells = {row["stage"]: interval(row, digits) for _, row in found.iterrows()}
        rows.append({"score": score, "unit": unit, "n": n, "chance": found["chance"].iloc[0], **cells})
    return pandas.DataFrame(rows).fillna(""), _stages_reading(profile, scores)


def _stages_reading(profile: str, scores: pandas.DataFrame) -> str:
    accuracy = scores[scores["metric"] == "accuracy"]
    mean = accuracy.groupby("stage", sort=False)["value"].mean()
    changes = _changes(profile, "accuracy")
    changes = changes[changes["against"] == mean.index[0]]
    solid = sum(p < 0.05 for p in statistics.holm(changes["p"]))
    return (f"Mean accuracy over {accuracy['score'].nunique()} tasks: "
            f"{', '.join(f'{stage} {value:.1f} %' for stage, value in mean.items())}; {solid} of {len(changes)} differences "
            f"from {mean.index[0]} have p < 0.05 after Holm's correction (n = {span(accuracy['n'])} items a task; "
            "demonstration scale).")


@table("P1-T7", "06_evaluation", "What the stages cost English")
def forgetting(profile: str):
    """English scores of each stage against the first, with the paired difference; p corrected by Holm in this table."""
    scores = _stage_scores(profile, ["accuracy", "bits_per_byte"]).query("language == 'en'")
    first, values = scores["stage"].iloc[0], scores.set_index(["score", "stage"])["value"]
    changes = pandas.concat([_changes(profile, metric) for metric in ("accuracy", "bits_per_byte")])
    changes = changes[(changes["language"] == "en") & (changes["against"] == first)]
    frame = _differences(changes)
    for name, stage in (("before", changes["against"]), ("after", changes["stage"])):
        numbers = [f"{values[score, at]:.{digits}f}" for score, at, digits in zip(changes["score"], stage, changes["digits"])]
        frame.insert(frame.columns.get_loc("Δ"), name, numbers)
    bits = changes[changes["metric"] == "bits_per_byte_difference"]
    ends = "; ".join(f"{row['stage']} {interval(row, 3)}" for _, row in bits.iterrows())
    return frame, (f"English bits per byte against {first} (n = {span(bits['n'])} texts, more is worse): {ends}; "
                   "demonstration scale.")


@table("C06-T1", "06_evaluation", "Paired tests of neighbouring stages")
def neighbours(profile: str):
    """Difference of each score between a stage and the one before it; p corrected by Holm over the whole table."""
    order = records.load(profile, "06_evaluation")["parameters"]["stages"]
    pairs = list(zip(order[1:], order))
    changes = pandas.concat([_changes(profile, metric) for metric in STAGE_SCORES])
    changes = changes[[pair in pairs for pair in zip(changes["stage"], changes["against"])]]
    frame = _differences(changes)
    solid = (frame["p (Holm)"].astype(float) < 0.05).to_numpy()
    named = changes[solid].groupby(["against", "stage"], sort=False)["score"].agg(", ".join)
    found = "; ".join(f"{before} → {after} {scores}" for (before, after), scores in named.items())
    return frame, (f"{solid.sum()} of {len(changes)} steps have p < 0.05 after Holm's correction"
                   f"{': ' + found if found else ''} (n = {span(changes['n'])}; demonstration scale).")


@table("C06-T2", "06_evaluation", "Translations of held-out sentences by every stage")
def translations(profile: str, shown: int = 3):
    """The first sentences of each direction with their reference; one column a stage."""
    rows = records.rows(profile, "06_evaluation", "translations")
    keys = ["direction", "prompt", "source", "reference"]
    frame = rows.pivot_table("hypothesis", keys, "stage", aggfunc="first", sort=False)
    frame = frame[rows["stage"].unique()].groupby(["direction", "prompt"], sort=False).head(shown)
    share = rows.groupby("stage", sort=False)["invalid"].agg(["sum", "size"])
    counts = ", ".join(f"{stage} {row['sum']} of {row['size']}" for stage, row in share.iterrows())
    return frame.rename_axis(columns=None).reset_index(), (
        f"Invalid answers (empty, a copy, or in the wrong script; they count as they are in chrF++): {counts}.")


def _stage_scores(profile: str, names) -> pandas.DataFrame:
    """Estimates of chapter 06 in the units of print, with columns score (its name), digits and chance (`25 %` or blank)."""
    found = records.metrics(profile, "06_evaluation")
    found = _printed(found[found["metric"].isin(list(names))])
    facts = records.facts(profile, "06_evaluation").query("fact == 'chance'")
    chance = {_score_name(row): f"{100 * row['value']:.0f} %" for row in facts.to_dict("records")}
    return found.assign(chance=found["score"].map(chance).fillna(""))


def _changes(profile: str, name: str) -> pandas.DataFrame:
    """Paired differences of a score of chapter 06, in the units of print."""
    found = records.metrics(profile, "06_evaluation")
    return _printed(found[found["metric"] == f"{name}_difference"])


def _differences(changes: pandas.DataFrame) -> pandas.DataFrame:
    """Paired differences as a table's rows, p corrected by Holm (1979) over all of them."""
    adjusted = statistics.holm(changes["p"])
    return pandas.DataFrame([{
        "score": row["score"], "unit": row["unit"], "n": row["n"], "from": row["against"], "to": row["stage"],
        "Δ": interval(row, row["digits"]), "p": f"{row['p']:.3f}", "p (Holm)": f"{p:.3f}"}
        for (_, row), p in zip(changes.iterrows(), adjusted)])


def span(counts) -> str:
    """`40`, or `12 to 40`: the numbers of items that several scores rest on."""
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _printed(found: pandas.DataFrame) -> pandas.DataFrame:
    """Shares as per cent, and each row's score name, unit and digits."""
    units = [STAGE_SCORES[name.removesuffix("_difference")] for name in found["metric"]]
    scale = [unit[1] for unit in units]
    columns = {column: found[column] * scale for column in ("value", "low", "high")}
    return found.assign(**columns, unit=[unit[0] for unit in units], digits=[unit[2] for unit in units],
                        score=[_score_name(row) for row in found.to_dict("records")])


def _score_name(row: dict) -> str:
    """`hafez_mcq fa`, `chrf en-fa (chat)`, `bits_per_byte en`: what a row of chapter 06 measures."""
    parts = [row.get("metric", "accuracy").removesuffix("_difference"), row.get("task"), row.get("language")]
    named = " ".join(part for part in parts if isinstance(part, str) and part != "accuracy")
    return f"{named} (chat)" if row.get("prompt") == "chat" else named


def reported() -> pandas.DataFrame:
    """The papers' own numbers from `reported/*.csv`: paper, exhibit, item, quantity, value, unit, ours, provenance."""
    return pandas.concat([pandas.read_csv(path) for path in sorted(paths.REPORTED.glob("*.csv"))], ignore_index=True)


@table("C13-T1", "13_carbon", "Energy, time and CO₂ of every chapter")
def energy(profile: str):
    """One row a chapter and a total: seconds, Wh, mean watts, and grams of CO₂ on each grid."""
    facts = records.facts(profile, "13_carbon")
    spent = facts[facts["fact"].isin(["seconds", "kwh"])].pivot(index="step", columns="fact", values="value").astype(float)
    grids = facts[facts["fact"] == "intensity"].set_index("country")["value"].astype(float)
    spent.loc["total"] = spent.sum()
    frame = pandas.DataFrame({"chapter": spent.index, "seconds": spent["seconds"].round().astype(int),
                              "Wh": 1000 * spent["kwh"], "mean W": 3.6e6 * spent["kwh"] / spent["seconds"]})
    for code, intensity in grids.items():
        frame[f"g CO₂ {code}"] = spent["kwh"] * intensity
    total, most = frame.iloc[-1], frame.iloc[:-1].nlargest(1, "Wh").iloc[0]
    method = "; ".join(sorted(set(facts.loc[facts["fact"] == "method", "value"])))
    return frame.round(3), (f"All chapters drew {total['Wh']:.2f} Wh in {total['seconds'] / 60:.1f} min, {most['chapter']} most "
                            f"({most['Wh'] / total['Wh']:.0%}); that is {total[frame.columns[4]]:.1f} g CO₂ on the grid of "
                            f"{grids.index[0]}. One metering of one run, so without interval ({method}).")


@table("P2-T8", "13_carbon", "Carbon statement: GPUs × kW × h × PUE × grid factor")
def carbon_statement(profile: str):
    """This run, an estimate for a run of the paper's size, and what PersianMind reports; blank where nothing is known."""
    parameters = records.load(profile, "13_carbon")["parameters"]
    facts = records.facts(profile, "13_carbon")
    value = facts.drop_duplicates("fact").set_index("fact")["value"]
    hours, kwh = (facts.loc[facts["fact"] == name, "value"].astype(float).sum() for name in ("seconds", "kwh"))
    hours, factor = hours / 3600, value["intensity"] / 1000
    paper = reported().query("exhibit == 'P2-T8' and quantity == 'CO2 equivalent'").iloc[0]
    shared = {"PUE": parameters["pue"], "kg CO₂/kWh": factor}
    rows = [{"run": "this run, metered", "devices": 1, "kW a device": kwh / hours / parameters["pue"], "hours": hours,
             **shared, "kWh": kwh, "kg CO₂": kwh * factor},
            {"run": "paper's size, estimate", **shared, "kWh": value["estimated_kwh"], "kg CO₂": value["estimated_co2"]},
            {"run": "PersianMind, reported (4 × RTX 3090)", "devices": 4, "kg CO₂": paper["value"]}]
    return pandas.DataFrame(rows), (
        f"This run weighs {kwh * factor:.4f} kg CO₂ on the grid of {parameters['country']}; PersianMind reports "
        f"{paper['value']:.2f} kg. An estimate for {parameters['paper_tokens']:.2g} tokens and "
        f"{parameters['paper_parameters']:.2g} parameters at this machine's energy per token is "
        f"{value['estimated_co2']:,.0f} kg: it assumes that energy grows as tokens × parameters on this very hardware.")


@table("C14-T1", "14_paper", "The papers' own values beside ours")
def beside(profile: str):
    """Every reported number with its provenance, and ours where a chapter of this profile noted the same quantity."""
    frame = reported()
    frame.insert(frame.columns.get_loc("value"), "companion", [_ours(profile, key) for key in frame.pop("ours")])
    frame = frame.rename(columns={"value": "paper's value"})
    found = frame["companion"].notna().sum()
    return frame, (f"{len(frame)} reported values, {found} with one of ours beside them; ours come from a model of another "
                   "size, so only their direction compares.")


def _ours(profile: str, key) -> float | None:
    """The last value that a chapter noted under `chapter/name`; None for a blank key, an absent record or name."""
    chapter, _, name = str(key).partition("/")
    if chapter not in records.available(profile):
        return None
    facts = records.facts(profile, chapter)
    found = facts.loc[facts["fact"] == name, "value"] if len(facts) else facts
    return float(found.iloc[-1]) if len(found) else None


@table("P1-T4", "02_tokenizer", "Tokenizers: the base, continued BPE, and pieces appended")
def tokenizers(profile: str):
    """One row a tokenizer: fertility in both languages, bytes a token, shares in percent; dashes where nothing is new."""
    found = records.metrics(profile, "02_tokenizer").query("arm in @TOKENIZERS").copy()
    found["printed"] = [f"{100 * row['value']:.1f}" if row["unit"] == "share" else interval(row)
                        for row in found.to_dict("records")]
    found["column"] = [MEASURES[metric].format(language) for metric, language in zip(found["metric"], found["language"])]
    frame = found.set_index(["arm", "size", "column"])["printed"].unstack("column").reindex(columns=found["column"].unique())
    facts = records.facts(profile, "02_tokenizer").query("fact in ['new_pieces', 'zwnj_tokens']")
    facts = facts.astype({"size": int}).set_index(["arm", "size", "fact"])["value"].astype(int).unstack("fact")
    frame.insert(0, "new pieces", facts["new_pieces"])
    frame.insert(len(frame.columns), "tokens a ZWNJ", facts["zwnj_tokens"])
    frame = frame.reindex([row for arm in TOKENIZERS for row in frame.index if row[0] == arm]).fillna("–").reset_index()
    return frame.drop(columns="size").rename(columns={"arm": "tokenizer"}), _tokenizers_reading(found)


TOKENIZERS = ("base", "continued BPE", "appended BPE", "appended SentencePiece")
MEASURES = {"fertility": "tokens/word {}", "bytes_per_token": "bytes/token {}", "words_kept_whole": "words whole % {}",
            "compression": "times shorter {}", "round_trip": "exact round trip % {}", "zwnj_kept": "ZWNJ kept % {}",
            "ids_unchanged": "ids unchanged % {}", "reachable": "reachable %", "used": "used %"}


def _tokenizers_reading(found: pandas.DataFrame) -> str:
    size, shared = (int(found.loc[found["arm"] == arm, "size"].max()) for arm in (TOKENIZERS[1], TOKENIZERS[-1]))
    rows = found[(found["language"] != "en") | (found["metric"] == "ids_unchanged")].to_dict("records")
    value = {(row["metric"], row["arm"], row["size"]): row for row in rows}
    before, after = value["fertility", "base", 0], value["fertility", TOKENIZERS[1], size]
    arms = [arm for arm in TOKENIZERS[1:] if ("used", arm, shared) in value]
    used, same = ({arm: value[name, arm, shared]["value"] for arm in arms} for name in ("used", "ids_unchanged"))
    return (f"{size} pieces of continued BPE take {before['value']:.2f} tokens a word to {after['value']:.2f} "
            f"(n = {after['n']} documents). At size {shared}, pieces ever used: "
            + ", ".join(f"{arm} {share:.0%}" for arm, share in used.items()) + "; English texts with the same ids: "
            + ", ".join(f"{arm} {share:.0%}" for arm, share in same.items()) + ".")


@table("C02-T2", "02_tokenizer", "One sentence, token by token")
def sentence_cuts(profile: str):
    """One row a tokenizer at the chapter's size: number of tokens, and the tokens of one held-out sentence."""
    frame = records.rows(profile, "02_tokenizer", "cut")
    first, last = frame.iloc[0], frame.iloc[min(1, len(frame) - 1)]
    return frame, (f"{first['tokens']} tokens by the {first['tokenizer']}, {last['tokens']} by {last['tokenizer']}; "
                   "<bytes> is a part of a character, <ZWNJ> the zero-width non-joiner (one sentence, an illustration).")


@table("C02-T1", "02_tokenizer", "Bits per byte right after extension, by the start of the new rows")
def row_starts(profile: str):
    """One row a start; empty in profiles that do not measure it."""
    found = records.metrics(profile, "02_tokenizer").query("metric == 'bits_per_byte'")
    frame = pandas.DataFrame({"start": found["arm"] if len(found) else [], "n": found["n"] if len(found) else [],
                              "bits/byte": [interval(row) for row in found.to_dict("records")]})
    if found.empty:
        return frame, "Not measured in this profile (start_bits_documents is 0)."
    best = found.loc[found["value"].idxmin()]
    return frame, (f"Before any training the lowest is {best['arm']}: {interval(best)} bits/byte on {best['n']} held-out "
                   "documents.")


@table("C01-T1", "01_corpus", "What each source gives after cleaning")
def sources(profile: str):
    """One row a source and language: documents, characters, words, version, licence."""
    found = records.facts(profile, "01_corpus").query("fact in ['documents', 'characters', 'words', 'version', 'licence']")
    frame = found.pivot_table(index=["language", "source"], columns="fact", values="value", aggfunc="first").reset_index()
    frame = frame.reindex(columns=["language", "source", "documents", "characters", "words", "version", "licence"]).fillna("")
    total = frame.groupby("language")[["documents", "characters"]].sum()
    return frame, "; ".join(f"{code}: {row['characters'] / 1e6:.2f} M characters in {row['documents']} documents"
                            for code, row in total.iterrows()) + ", after duplicates were dropped."


FILTERS = ("empty", "placeholder", "length", "exact duplicate", "script", "near duplicate", "repeated reply", "twin in training")


@table("C01-T2", "01_corpus", "Rows that each filter removed")
def filters(profile: str):
    """One row an artefact and language: rows read, removed by each filter, kept."""
    found = records.facts(profile, "01_corpus").query("fact == 'rows'").astype({"value": int})
    frame = found.pivot_table(index=["artefact", "language"], columns="filter", values="value", aggfunc="sum", fill_value=0)
    frame = frame.reindex(columns=["read", *FILTERS, "kept"], fill_value=0).reset_index()
    removed = frame[list(FILTERS)].sum(axis=1)
    agree = "read = removed + kept in every row" if (frame["read"] == removed + frame["kept"]).all() else "THE COUNTS DISAGREE"
    facts = records.facts(profile, "01_corpus").set_index("fact")["value"]
    return frame, (f"{removed.sum()} of {frame['read'].sum()} rows go; {agree}. {facts['twins']} of {facts['held_out_texts']} "
                   "held-out texts have a near twin in training.")


@table("C01-T3", "01_corpus", "Test items derived from the corpus")
def derived_items(profile: str):
    """One row a task and language: items by split, choices, and what a constant answer would score on test."""
    found = records.facts(profile, "01_corpus").query("fact in ['items', 'choices', 'most_frequent_answer']")
    counts = found.astype({"value": int}).pivot_table(index=["task", "language"], columns=["fact", "split"], values="value")
    frame = counts["items"].reindex(columns=["train", "validation", "test"]).fillna(0).astype(int)
    frame["choices"] = counts["choices"].max(axis=1).astype(int)
    frame["chance %"] = (100 / frame["choices"]).round(1)
    frame["majority % (test)"] = (100 * counts["most_frequent_answer"]["test"] / counts["items"]["test"]).round(1)
    return frame.reset_index(), (f"{frame['test'].sum()} test items; the most frequent answer is right in at most "
                                 f"{frame['majority % (test)'].max():.0f} % of a task.")


@table("C03-T1", "03_pretraining", "Continued pretraining: what each arm reaches and costs")
def pretraining_arms(profile: str):
    """Untrained models first, then one row an arm: bits per byte pooled over its seeds, and its cost (mean over seeds)."""
    found, facts = records.metrics(profile, "03_pretraining"), records.facts(profile, "03_pretraining")
    pooled = found[found["metric"] == "bits_per_byte_pooled"]
    frame = pooled.assign(cell=pooled.apply(interval, axis=1, digits=3)).pivot(index="arm", columns="language", values="cell")
    frame = frame.loc[pooled["arm"].unique(), pooled["language"].unique()].add_suffix(" bits/byte")
    cost = facts.pivot_table("value", "arm", "fact", aggfunc="mean").astype(float).reindex(frame.index)
    frame["seeds"] = facts.query("fact == 'tokens'").groupby("arm").size()
    for column, fact, unit in (("tokens", "tokens", 1), ("kB", "bytes", 1000), ("seconds", "seconds", 1),
                               ("tokens/s", "tokens_per_second", 1), ("peak GB", "peak_memory", 1e9),
                               ("trained M", "trainable", 1e6)):
        frame[column] = cost[fact] / unit
    printed = frame.select_dtypes("number").map(_short)
    return frame.assign(**printed).rename_axis(columns=None).reset_index(), _pretraining_reading(profile, pooled)


def _short(value: float) -> str:
    """Three figures, or thousands with commas; a dash where there is nothing."""
    return "–" if pandas.isna(value) else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _pretraining_reading(profile: str, pooled: pandas.DataFrame) -> str:
    language = next(code for code in pooled["language"] if code != "en")
    value = pooled.set_index(["arm", "language"])["value"]
    change = records.metrics(profile, "03_pretraining").query("arm == 'main' and against == 'base'").set_index("language")
    parts = [f"{code} {interval(change.loc[code], 3)} (n = {change.loc[code, 'n']} texts)" for code in (language, "en")]
    share = value["main", language] / value["base", language] - 1
    return (f"Against the unextended base the main arm changes bits per byte by {parts[0]}, that is {share:+.0%}, and "
            f"{parts[1]}; demonstration scale.")


@table("P1-T3", "03_pretraining", "Parameters that each method trains")
def trainable_parameters(profile: str):
    """One row an arm of its own method, in millions; tied heads count under embed_tokens."""
    facts = records.facts(profile, "03_pretraining")
    wide = facts[facts["unit"] == "parameters"].drop_duplicates(["arm", "fact"]).pivot(index="arm", columns="fact", values="value")
    wide = wide.loc[facts["arm"].unique()].drop_duplicates().astype(float)
    parts = {"LoRA": "lora", "embed_tokens": "embed_tokens", "lm_head": "lm_head", "other layers": "transformer"}
    frame = pandas.DataFrame({name: wide[f"trainable_{part}"] / 1e6 for name, part in parts.items()})
    frame = frame.assign(trained=wide["trainable"] / 1e6, model=wide["total"] / 1e6).round(2)
    frame["share %"] = (100 * wide["trainable"] / wide["total"]).round(2)
    main = frame.iloc[0]
    return frame.reset_index(), (f"The arm {frame.index[0]} trains {main['trained']:.2f} M of {main['model']:.1f} M parameters "
                                 f"({main['share %']:.1f} %): adapters and the new rows of the tied or untied matrices only.")


@table("C03-T2", "03_pretraining", "Paired differences of bits per byte between arms")
def pretraining_differences(profile: str):
    """arm − against over the same texts, each text averaged over the arm's seeds; p corrected by Holm in this table."""
    found = records.metrics(profile, "03_pretraining").query("metric == 'bits_per_byte_difference'")
    corrected = statistics.holm(found["p"])
    frame = found[["arm", "against", "language", "n"]].copy()
    frame["Δ bits/byte"] = found.apply(interval, axis=1, digits=3)
    frame["p (Holm)"] = [f"{p:.3f}" for p in corrected]
    return frame, (f"{sum(p < 0.05 for p in corrected)} of {len(frame)} differences have p < 0.05 after Holm's correction "
                   f"(paired bootstrap over {span(found['n'])} texts, resolution {2 / (statistics.RESAMPLES + 1):.3f}; "
                   "negative is better; demonstration scale).")
