"""PersianMind's schedule: phases of bilingual text, each followed by instructions, and what its models are worth."""
import itertools
import random
from collections.abc import Sequence
from typing import NamedTuple

import pandas

from lib.data import prompts
from lib.engine import paths
from lib.evaluate import benchmarks, derived, harness, measure
from lib.model import folders, formats
from lib.study import ch04_bilingual as bilingual
from lib.study import ch07_stages as stages
from lib.study import contrast, tuning
from lib.train import training

CHAPTER = "08_phases_and_transfer"
STAGES = ("text", "instructions")
# Per token, 2^(Σ bits / Σ tokens): as papers print it, comparable within one vocabulary only.
PERPLEXITY = contrast.ratio("bits", "tokens", "per token")._replace(function=lambda sums: 2 ** (sums[0] / sums[1]))


class State(NamedTuple):
    """A model on the way: phase 0 is before all phases, a later phase has a state after each of its STAGES."""

    phase: int
    stage: str

    @property
    def name(self) -> str:
        """`base`, `extended`, `phase 1 text`, `phase 1` (after its instructions) …"""
        return self.stage if self.phase == 0 else f"phase {self.phase}" + (" text" if self.stage == "text" else "")


def states(count: int) -> list[State]:
    """The unextended base, the extended model that the first phase starts from, and both states of every phase."""
    later = [State(phase, stage) for phase in range(1, count + 1) for stage in STAGES]
    return [State(0, "base"), State(0, "extended"), *later]


def folder(profile: str, state: State, seed: int):
    """Model folder of a state: a stage of chapter 02, or what a training of this chapter merged."""
    if state.phase == 0:
        return folders.stage(profile, state.stage)
    return paths.run(profile, CHAPTER) / f"seed-{seed}" / f"{state.phase}-{state.stage}" / "model"


def streams(documents, pairs, language: str, count: int, seed: int) -> list[dict[str, Sequence[str]]]:
    """Texts of each phase (`bilingual.streams`), none in two phases; English or pairs of fewer texts are left out."""
    whole = {name: texts for name, texts in bilingual.streams(documents, pairs, language).items()
             if name == language or len(texts) >= count}
    orders = {name: list(range(len(texts))) for name, texts in whole.items()}
    for name, order in orders.items():
        random.Random(f"{seed}/{name}").shuffle(order)
    return [{name: texts.source.select(own(orders[name], phase, count))["text"] for name, texts in whole.items()}
            for phase in range(1, count + 1)]


def own(rows, phase: int, count: int):
    """The rows of one of `count` phases, one after the other; ValueError when there are fewer rows than phases."""
    share = len(rows) // count
    if share == 0:
        raise ValueError(f"{len(rows)} rows are too few for {count} phases: take more examples, or fewer phases.")
    return rows[(phase - 1) * share:phase * share]


def train(profile: str, phase: int, blocks, rows, settings: dict, style: str) -> dict[str, dict]:
    """One phase from the state before it, text in packed blocks, then instruction rows: `settings` → results, by stage."""
    seed = settings["text"].seed
    before = State(phase - 1, "instructions") if phase > 1 else State(0, "extended")
    text, tuned = (folder(profile, State(phase, stage), seed) for stage in STAGES)
    first = training.pretrain(text.parent, folder(profile, before, seed), blocks, settings["text"], merge=True)
    second = tuning.tune(tuned.parent, text, rows, settings["instructions"], style, merge=True)
    return dict(zip(STAGES, (first, second)))


def note(record, scores: pandas.DataFrame):
    """Perplexity and bits per byte of every state and language over all seeds, and paired differences of the latter.

    Each state is held against the one before it, the last against both starts: `against` is `text` for a phase's
    instructions against its text, else the name of the other state. The phase `all` takes all phases together.
    """
    for name, score in (("perplexity", PERPLEXITY), ("bits_per_byte", contrast.BITS)):
        contrast.note(record, name, scores, score, ["phase", "stage", "language"])
    rows = {State(**where): part for where, part in contrast.groups(scores, ["phase", "stage"])}
    known = list(rows)
    for before, after in [*itertools.pairwise(known), *((start, known[-1]) for start in known[:2])]:
        against = before.stage if before.phase == after.phase else before.name
        contrast.compare(record, "bits_per_byte_difference", rows[before], rows[after], contrast.BITS, ["language"],
                         phase=after.phase, stage=after.stage, against=against)
    contrast.between(record, "bits_per_byte_difference", scores, contrast.BITS, ["language"], "stage", *STAGES, phase="all")


def budget(record, phase: int, seed: int, blocks, examples: int, results: dict[str, dict]):
    """What a phase read and took, as facts: tokens by stream of text, instruction examples and tokens, seconds."""
    packed = pandas.Series([len(ids) for ids in blocks["input_ids"]]).groupby(list(blocks["stream"])).sum()
    for stream, tokens in packed.items():
        record.fact("stream_tokens", int(tokens), "tokens", phase=phase, seed=seed, stage="text", stream=stream)
    record.fact("examples", examples, "examples", phase=phase, seed=seed, stage="instructions")
    for stage, result in results.items():
        for fact, unit in {"tokens": "tokens", "bytes": "bytes", "seconds": "s"}.items():
            record.fact(fact, result[fact], unit, phase=phase, seed=seed, stage=stage)


def exam(published: bool, items, multiway, language: str, questions: int, longest_question: int, passages: int,
         longest_passage: int, seed: int):
    """Test rows of ParsiNLU: `questions` of each category of multiple choice, and `passages` to read; two frames.

    Rows without a gold label are left out and told. Where it is not `published`, the corpus's items by task, and
    passages of numbered lines. Raises ValueError when a limit leaves none of ParsiNLU.
    """
    if not published:
        return derived.exam(items, multiway, language, questions, longest_question, passages, longest_passage, seed)
    found = []
    for task, count, longest, by in (("multiple_choice", questions, longest_question, "category"),
                                     ("reading_comprehension", passages, longest_passage, "task")):
        rows = benchmarks.labelled(benchmarks.parsinlu(task))
        short = rows[rows["text"].str.len() <= longest]
        if short.empty and count:
            raise ValueError(f"No row of {task} has at most {longest} characters: raise its limit.")
        found.append(short.sample(frac=1, random_state=seed).groupby(by).head(count).sort_values("category"))
    return found


def sit(model, tokenizer, rows: pandas.DataFrame, out, max_new_tokens: int = 0) -> pandas.DataFrame:
    """A model's answers to task rows in its prompt (`tuning.score`); none to none."""
    return tuning.score(model, tokenizer, rows, out, "chat", max_new_tokens) if len(rows) else pandas.DataFrame()


def note_questions(record, choices: pandas.DataFrame, answers: pandas.DataFrame, language: str):
    """Accuracy by category, F1 and exact match of generated answers, invalid ones apart; `stage` names the model."""
    for where, rows in contrast.groups(choices, ["stage", "category"]) if len(choices) else ():
        contrast.note(record, "accuracy", rows, contrast.CORRECT, [], **where, language=language)
        record.fact("question_chance", (1 / rows["choices"]).mean(), "share", **where)
    for name, column in (("f1", "f1"), ("exact_match", "exact"), ("invalid", "invalid")) if len(answers) else ():
        contrast.note(record, name, answers, contrast.mean(column), ["stage"], task="reading_comprehension",
                      language=language)


def note_translations(record, translated: pandas.DataFrame, label: str):
    """chrF++, BLEU and invalid answers by direction, and paired differences of chrF++ to the first model.

    Column `stage` names the model; `label` is what the record calls that column.
    """
    rows = translated.rename(columns={"direction": "task", "stage": label})
    for name, score in (("chrf", contrast.CHRF_PLUS), ("bleu", contrast.BLEU_INTL), ("invalid", contrast.INVALID)):
        contrast.note(record, name, rows, score, [label, "task"])
    contrast.from_first(record, "chrf_difference", rows, contrast.CHRF_PLUS, ["task"], label)


def in_format(record, kind: str, place, rows, sentences, texts, language: str, style: str, max_new_tokens: int,
              speed_tokens: int, timed: list[str]):
    """A model in a number format: its choices, translations, and bits of `texts`, frames with `stage` the format; notes its
    cost.

    All are empty, and the reason is noted, where the machine cannot run the format. `rows` and `sentences` may be
    empty; `timed` are prompts to measure the speed on.
    """
    try:
        model = formats.load(place, kind)
    except formats.NotAvailable as error:
        print(error)
        record.fact("not_run", str(error), precision=kind)
        return pandas.DataFrame(), pandas.DataFrame(columns=[*measure.TRANSLATED, "stage"]), pandas.DataFrame()
    tokenizer = prompts.dress(folders.tokenizer(place), style)
    cost = formats.cost(model, tokenizer, timed, speed_tokens)
    record.metric("tokens_per_second", cost.tokens_per_second, "tokens/s", precision=kind)
    record.fact("size", cost.size, "bytes", precision=kind)
    record.fact("peak_memory", cost.peak_memory, "bytes", precision=kind)
    samples = place.parent.parent / "formats" / kind
    choices = harness.score(model, tokenizer, rows, samples, "chat")
    translated = measure.translate(model, tokenizer, sentences, language, "chat", max_new_tokens)
    return tuple(frame.assign(stage=kind) for frame in (choices, translated, measure.read(model, tokenizer, texts)))


def note_formats(record, choices: pandas.DataFrame, read: pandas.DataFrame):
    """Accuracy and margin of each format over the same questions, bits per byte of the same texts by language, and their
    paired differences to the first format."""
    for rows, name, score, by in ((choices, "accuracy", contrast.CORRECT, []), (choices, "margin", contrast.MARGIN, []),
                                  (read, "bits_per_byte", contrast.BITS, ["language"])):
        if len(rows):
            rows = rows.rename(columns={"stage": "precision"})
            contrast.note(record, name, rows, score, ["precision", *by])
            contrast.from_first(record, f"{name}_difference", rows, score, by, "precision")


def transferable(items, language: str, longest: int) -> list[str]:
    """Choice tasks with items of at most `longest` characters to train and to test on in both languages.

    Not bitext_verify, whose question is in both languages at once, nor any task whose items have no question.
    """
    short = items[items["question"].str.len().between(1, longest) & (items["task"] != "bitext_verify")]
    known = set(zip(short["task"], short["language"], short["split"]))
    wanted = [(code, split) for code in (language, "en") for split in ("train", "test")]
    return [task for task in sorted(set(short["task"])) if all((task, *place) in known for place in wanted)]


def transfer_rows(items, tasks: list[str], language: str, count: int, longest: int, seed: int) -> dict:
    """Training rows of choice tasks by what is tuned on: the language, `en`, and `both`, `count` each; ValueError for none."""
    train = items[(items["split"] == "train") & items["task"].isin(tasks) & (items["question"].str.len() <= longest)]
    train = train.sample(frac=1, random_state=seed)
    sides = {code: train[train["language"] == code].head(count) for code in (language, "en")}
    if missing := [code for code, rows in sides.items() if rows.empty]:
        raise ValueError(f"No training item of {', '.join(tasks)} in {', '.join(missing)} has at most {longest} "
                         "characters: choose other transfer_tasks, or raise longest_question.")
    return {**sides, "both": stages.mixed(sides, "both", count, seed)}


def note_transfer(record, answers: pandas.DataFrame):
    """Accuracy by what was tuned on, task and language, seeds pooled; by language also paired differences of it and of the
    margin to no tuning (`none`)."""
    rows = answers.rename(columns={"stage": "trained_on"})
    contrast.note(record, "accuracy", rows, contrast.CORRECT, ["trained_on", "task", "language"])
    for language, part in rows.groupby("language", sort=False):
        record.fact("chance", (1 / part["choices"]).mean(), "share", part="transfer", language=language)
    contrast.from_first(record, "transfer_difference", rows, contrast.CORRECT, ["language"], "trained_on")
    contrast.from_first(record, "margin_transfer_difference", rows, contrast.MARGIN, ["language"], "trained_on")
