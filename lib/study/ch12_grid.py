"""MAPLE's grid: one base tuned on instructions at every LoRA rank and number of bits, and what each cell is worth.

A cell is tuned on the frozen base in 16, 8 or 4 bits and asked in the same format. All answers come in one frame, a row
an item and run, as in `exams`; the tasks are choice (XCOPA, and the released Persian and English tests),
reading_comprehension (XQuAD), right answer (more of its questions, their answers weighed) and text (held-out sentences),
both in bits per byte. Languages are also taken together by their resource level (`levels`).
"""
import dataclasses
from pathlib import Path
from typing import NamedTuple

import pandas

from lib.data import corpus, levels
from lib.engine import keys
from lib.evaluate import harness
from lib.model import adapters, folders, formats
from lib.study import ch10_selfinstruct as selfinstruct
from lib.study import ch11_multilingual as multilingual
from lib.study import contrast, exams, tuning
from lib.train import training

KEYS = ["base", "instructions", "rank", "bits"]
LOWER, OTHERS = "mid and low", "non-English"
HELD = 0.2  # share of a set's rows that rates are compared on, and not trained on meanwhile
UNTUNED = "none"
COMPARED = {"choice": "accuracy", "reading_comprehension": "f1", "text": "bits_per_byte"}
MEASURES = {"choice": ["accuracy", "margin"], "reading_comprehension": ["f1", "exact_match", "invalid"],
            "right answer": ["answer_bits_per_byte"], "text": ["bits_per_byte"]}
WEIGHED = [("choice", "margin"), ("right answer", "answer_bits_per_byte")]  # finer, and compared beside them
COLUMNS = [*KEYS, "seed", "task", "benchmark", "language", "category", "asked", "item", "choices", "acc", "margin", "f1",
           "exact", "invalid", "hypothesis", "code_length", "bytes"]
COSTS = {"seconds": "s", "tokens": "tokens", "tokens_per_second": "tokens/s", "peak_memory": "bytes", "memory": "bytes",
         "trainable": "parameters", "total": "parameters", "adapter_size": "bytes", "size": "bytes",
         "kwh": "kWh", "kwh_low": "kWh", "kwh_high": "kWh"}


class Run(NamedTuple):
    """A model of the grid: a base in so many bits, untuned (instructions `none`, rank 0) or tuned at a LoRA rank."""

    base: str
    instructions: str
    rank: int
    bits: int
    seed: int

    @property
    def name(self) -> str:
        """Folder name of the run."""
        return f"{Path(self.base).name}-{self.instructions}-rank-{self.rank}-bits-{self.bits}-seed-{self.seed}"


def _level(name: str):
    return lambda codes: (codes != "en") & codes.map(levels.level).isin(name.split(" and "))


# The rows of each language, then of those but English by resource level, and of all but English.
PARTS = contrast.unions("language", {name: _level(name) for name in (*levels.BOUNDS, LOWER)}
                        | {OTHERS: lambda codes: codes != "en"})


def plan(bases: list[str], sets: list[str], ranks: list[int], bits: list[int], seeds: list[int],
         crossed: bool = False) -> list[Run]:
    """Every model: each base untuned in each format, then the first base and set at every rank and format.

    Further bases and sets are tuned at the middle rank in the most bits, or with `crossed` at every rank and format.
    """
    untuned = [Run(base, UNTUNED, 0, width, 0) for base in bases for width in bits]
    pairs = [(base, kind) for base in bases for kind in sets if crossed or base == bases[0] or kind == sets[0]]
    tuned = [Run(base, kind, rank, width, seed) for seed in seeds for base, kind in pairs
             for rank, width in cells(ranks, bits, crossed or (base, kind) == pairs[0])]
    return untuned + tuned


def cells(ranks: list[int], bits: list[int], whole: bool) -> list[tuple[int, int]]:
    """(rank, bits) of the whole grid, or of its one cell at the middle rank in the most bits."""
    middle = sorted(ranks)[(len(ranks) - 1) // 2]
    return [(rank, width) for rank in ranks for width in bits] if whole else [(middle, max(bits))]


def at_hand(names: list[str], lacking: list[str], source: str) -> list[str]:
    """The sets of instructions, the corpus's own in place of those whose files are `lacking`."""
    files = {"multialpaca": selfinstruct.RELEASED, "alpaca": "" if source == "hub" else selfinstruct.SEEDS}
    return list(dict.fromkeys("derived" if files.get(name) in lacking else name for name in names))


def pools(profile: str, frames, names: list[str], source: str, longest: int, seed: int) -> dict:
    """Instruction rows to draw each set from, set → language → frame with a column bytes.

    `multialpaca` is what is at hand of it, `made` what chapter 10 kept, `derived` the corpus's own instructions in its
    language (from `frames`: documents, pairs, dialogues, items), `alpaca` English (`source`: seed tasks or hub).
    """
    learned, published = corpus.language(profile), selfinstruct.published()
    wanted = {"multialpaca": published, "derived": [learned], "alpaca": ["en"]}
    wanted = list(dict.fromkeys(code for name in names for code in wanted.get(name, [])))
    found = multilingual.pools(profile, frames, wanted, source, False, longest, seed)
    whole = {"multialpaca": {code: found[code] for code in published if code in found},
             "derived": {code: rows for code, rows in found.items() if code == learned},
             "alpaca": {code: rows for code, rows in found.items() if code == "en"},
             "made": multilingual.made(profile, longest)}
    return {name: whole[name] for name in names}


def sets(found: dict, count: int, seed: int, record) -> dict[str, pandas.DataFrame]:
    """Sets of `count` rows each, in the seed's order: the first one's languages by turns, others matched to its bytes.

    A set with too few rows is left out, and why is noted. Raises ValueError when the first one is.
    """
    drawn, first = {}, next(iter(found))
    for name, pool in found.items():
        needed = -(-count // max(len(pool), 1))
        few = {code: len(rows) for code, rows in pool.items() if len(rows) < needed}
        if few or not pool:
            reason = (f"the set {name} was not run, because of rows that are short enough it wants {count}, {needed} a "
                      f"language, and has {few or 'none'}")
            if name == first:
                raise ValueError(f"{reason.capitalize()}: lower examples, or raise longest_example.")
            if reason not in [fact["value"] for fact in record.content["facts"]]:  # of another seed
                print(reason.capitalize())
            record.fact("not_run", reason, instructions=name, seed=seed)
            continue
        sizes = drawn[first]["bytes"] if drawn else multilingual.sizes(pool, count, seed)
        drawn[name] = multilingual.matched(pool, sizes, seed)
    return drawn


def by_level(exam: exams.Exam) -> dict[str, list[str]]:
    """The exam's languages but English, by resource level; without those whose share of the web is not known."""
    asked = {*exam.xcopa, *map(exams.language_of, exam.harness_tasks)}
    asked |= {code for frame in (exam.made, exam.letters, exam.spoken, exam.texts) for code in frame["language"]}
    found = {name: sorted(code for code in asked - {"en"} if levels.level(code) == name) for name in levels.BOUNDS}
    return {name: codes for name, codes in found.items() if codes}


def rates(record, runs: list[Run], folder: Path, starts: dict[str, Path], pools: dict, count: int, tried: list[float],
          settings: training.Settings, style: str) -> dict[tuple[str, int], float]:
    """The learning rate of each base and rank that `runs` tune: of those tried the one with which the right answers of rows
    held back cost least, after a training on the others of the first set in the most bits. No test item is looked at.

    Two ranks at one rate differ in the size of their steps too. With fewer than two rates to try there is nothing to choose.
    """
    if len(tried) < 2:
        return {}
    name, found, most = next(iter(pools)), {}, max(run.bits for run in runs)
    rows = sets({name: pools[name]}, count, settings.seed, record)[name]
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} examples are too few to hold one back and compare rates: raise examples, or give "
                         "one rate.")
    kept = rows.head(min(round((1 - HELD) * len(rows)), len(rows) - 1))
    for base, rank in dict.fromkeys((run.base, run.rank) for run in runs if run.rank):
        costs = {}
        for rate in tried:
            place = folder / f"rate-{Path(base).name}-{rank}-{rate:g}"
            own = dataclasses.replace(settings, learning_rate=rate, lora_rank=rank, bits=most,
                                      lora_alpha=round(rank * settings.lora_alpha / settings.lora_rank))
            tuning.tune(place, starts[base], kept, own, style)
            cost = harness.gold(*tuning.ready(place, style), rows.iloc[len(kept):]).sum()
            costs[rate] = float(cost["bits"] / cost["bytes"])
        found[base, rank] = min(costs, key=costs.get)
        record.rows("rates", [{"base": base, "rank": rank, "rate": rate, "bits_per_byte": cost,
                               "taken": rate == found[base, rank]} for rate, cost in costs.items()])
    return found


def cell(record, run: Run, folder: Path, start: Path, rows, settings: training.Settings, exam: exams.Exam) -> pandas.DataFrame:
    """Tunes a run on the instruction rows (an untuned one not), asks it everything, and notes what it took.

    What was finished from the same start, rows, settings, exam and code, here or in a sweep, is not repeated. The answers
    are empty, and the reason is noted, where the machine cannot run the format.
    """
    place = folder / run.name
    try:
        result = tuning.tune(place, start, rows, settings, exam.style) if run.rank else {}
        key = keys.of(__file__, run, result.get("key", start), *exam)
        answers = keys.kept(place / "answers.parquet", key,
                            lambda: sit(exam, place if run.rank else start, run, folder / "samples"))
    except formats.NotAvailable as error:
        print(error)
        record.fact("not_run", str(error), **run._asdict())
        return pandas.DataFrame(columns=COLUMNS)
    known = {**result, **result.get("energy", {}), **answers.attrs}
    for name in COSTS:
        if name in known:
            record.fact(name, known[name], COSTS[name], **run._asdict())
    return answers


def load(folder: Path, bits: int):
    """The model of a folder on frozen weights of so many bits, and its tokenizer; an adapter stays beside the weights.

    The model is the base's own class, as the harness wants it, with LoRA layers in it where the folder has an adapter; new
    rows that were trained stand in its matrices.
    """
    kind = formats.BITS[bits]
    model = formats.load(folder, kind) if kind else folders.load(folder)
    model = adapters.quicken(adapters.merge_rows(model))
    return model.get_base_model() if hasattr(model, "peft_config") else model, folders.tokenizer(folder)


def sit(exam: exams.Exam, start: Path, run: Run, folder: Path) -> pandas.DataFrame:
    """Everything that a run in the folder `start` is asked, with its answers; the harness' samples lie in `folder`.

    `attrs` have the bytes of the untuned model (`size`), or of the adapter (`adapter_size`).
    """
    model, tokenizer = load(start, run.bits)
    size, model = formats.size(model), formats.unpacked(model)
    frame = exams.answers(exam, model, tokenizer, run, folder).reindex(columns=COLUMNS).astype({"acc": float})
    adapter = start / "adapter_model.safetensors"
    frame.attrs = {"adapter_size": adapter.stat().st_size} if run.rank else {"size": size}
    return frame


def note(record, answers: pandas.DataFrame):
    """Every score by cell, benchmark, and language or level, seeds pooled; chance as a fact."""
    for where, rows in contrast.groups(answers, [*KEYS, "task", "benchmark", PARTS]):
        for name in MEASURES[where["task"]]:
            if len(contrast.known(rows, multilingual.SHARES.get(name))) == len(rows):
                contrast.note(record, name, rows, multilingual.SCORES[name], [], **where)
    for where, rows in contrast.groups(answers[answers["task"] == "choice"], ["language", "task", "benchmark"]):
        record.fact("chance", float((1 / rows["choices"].astype(float)).mean()), "share", **where)


def compare(record, answers: pandas.DataFrame, runs: list[Run]):
    """Paired differences over the same items, seeds pooled, as `<measure>_<what>`:

    gain: a cell minus the untuned base in the most bits. mean_gain: all cells of the first base and set together minus the
    untuned base in the same formats.
    effect: of a factor of the grid, its highest value minus a lower one, the other factor averaged.
    format: the untuned base in fewer bits minus in the most. set: another set of instructions minus the first, at the
    middle rank in the most bits. base: another base minus the first, both untuned.
    """
    first = answers[(answers["base"] == runs[0].base)]
    tuned, untuned = first[first["rank"] > 0], first[first["rank"] == 0]
    most = untuned[untuned["bits"] == untuned["bits"].max()]
    for key, rows in tuned.groupby(KEYS, sort=False):
        _differences(record, "gain", most, rows, **dict(zip(KEYS, key)))
    for width in sorted(set(untuned["bits"]) - set(most["bits"])):
        fewer = untuned[untuned["bits"] == width]
        _differences(record, "format", most, fewer, bits=width, against=int(most["bits"].max()))
    if len(tuned):
        _compare_tuned(record, tuned, untuned)
    for base in dict.fromkeys(run.base for run in runs if run.base != runs[0].base):
        other = answers[(answers["base"] == base) & (answers["rank"] == 0)]
        _differences(record, "base", most, other[other["bits"] == other["bits"].max()], base=base, against=runs[0].base)


def scores(answers: pandas.DataFrame) -> pandas.DataFrame:
    """The gain of every tuned run over its untuned base in the most bits, by benchmark, language and item: a row each.

    Columns KEYS, seed, task, benchmark, language, item, unit, gain and share (of the web, %). The mean over the items is the
    gain in a language: bits are divided by the mean bytes of its items.
    """
    frame = answers[answers["task"].isin(COMPARED)].copy()
    size = frame.groupby(["benchmark", "language"])["bytes"].transform("mean").astype(float)
    frame["score"] = frame["acc"].where(frame["task"] == "choice", frame["f1"]).astype(float).where(
        frame["task"] != "text", frame["code_length"].astype(float) / size)
    same = ["base", "benchmark", "language", "item"]
    untuned = frame[frame["rank"] == 0].sort_values("bits", kind="stable").groupby(same)["score"].last().rename("before")
    frame = frame[frame["rank"] > 0].merge(untuned, left_on=same, right_index=True)
    frame = frame.assign(gain=frame["score"] - frame["before"], share=frame["language"].map(levels.share),
                         unit=frame["task"].map(COMPARED).map(lambda name: multilingual.SCORES[name].unit))
    return frame[[*KEYS, "seed", "task", "benchmark", "language", "item", "unit", "gain", "share"]]


def _compare_tuned(record, tuned: pandas.DataFrame, untuned: pandas.DataFrame):
    """The mean gain, the factors' effects and the other sets, of the first base."""
    kind = tuned["instructions"].iloc[0]
    whole = tuned[tuned["instructions"] == kind]
    # Each cell against the untuned base in its own format: what rounding the weights does is no tuning.
    formats = {*untuned["bits"]} & {*whole["bits"]}
    _differences(record, "mean_gain", *(side[side["bits"].isin(formats)] for side in (untuned, whole)), instructions=kind)
    for factor in ("rank", "bits"):
        high = whole[factor].max()
        for place, low in enumerate(sorted(set(whole[factor]) - {high})):
            _differences(record, "effect", whole[whole[factor] == low], whole[whole[factor] == high], factor=factor,
                         before=int(low), after=int(high), span="part" if place else "whole")
    for other in dict.fromkeys(tuned["instructions"]):
        rows = tuned[tuned["instructions"] == other]
        same = whole[whole["rank"].isin(rows["rank"]) & whole["bits"].isin(rows["bits"])]
        if other != kind:
            _differences(record, "set", same, rows, instructions=other, against=kind)


def _differences(record, what: str, before: pandas.DataFrame, after: pandas.DataFrame, /, **labels):
    """Notes `<measure>_<what>` of each benchmark, language and level: after − before, in what is COMPARED and WEIGHED."""
    for task, name in [*COMPARED.items(), *WEIGHED]:
        a, b = (contrast.known(side, "margin" if name == "margin" else None) for side in (before, after))
        contrast.compare(record, f"{name}_{what}", a, b[b["task"] == task], multilingual.SCORES[name],
                         ["task", "benchmark", PARTS], **labels)
