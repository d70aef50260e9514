"""The stages of Llama-Persian for any base, each tuned on the same task rows and scored on the same test rows.

Everything comes as rows (a row an item and run), which `contrast` pools and pairs.
"""
import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple

import pandas

from lib.data import corpus, mixture, prompts, text
from lib.engine import keys
from lib.evaluate import benchmarks, derived, probes
from lib.model import embeddings, folders, tokenizer
from lib.study import ch04_bilingual as bilingual
from lib.study import contrast, tuning
from lib.train import training

RUN = ["base", "stage", "method", "trained_on"]
TASKS = contrast.unions("task", {"all": pandas.Series.notna})
GENERATED = {"generated": "generated_accuracy", "invalid": "invalid", "f1": "f1", "rougeL": "rouge_l"}


class Run(NamedTuple):
    """A model of the chapter: a base's stage, tuned on task rows of `trained_on` (none, a language or both) by a method."""

    base: str
    stage: str
    method: str
    trained_on: str
    seed: int

    @property
    def name(self) -> str:
        """Folder name of the run, which is also its name in print."""
        return f"{Path(self.base).name}-{self.stage}-{self.method}-{self.trained_on}-{self.seed}"


def plan(bases: list[str], stages: list[str], methods: list[str], trained_on: list[str], seeds: list[int]) -> list[Run]:
    """Every model to score: each stage of each base, then, from the first base's last stage, methods and languages."""
    found = [Run(base, stage, "lora", "both", seed) for base in bases for stage in stages for seed in seeds]
    found += [Run(bases[0], stages[-1], method, "both", seed) for method in methods for seed in seeds]
    found += [Run(bases[0], stages[-1], "lora", language, seed) for language in trained_on if language != "none"
              for seed in seeds]
    found += [Run(bases[0], stages[-1], "none", "none", seed) for seed in seeds if "none" in trained_on]
    return list(dict.fromkeys(found))


def known_tests(published: bool, frames, language: str, settings: list[str], tasks: list[str], texts: list[str],
                parsinlu: list[str]) -> pandas.DataFrame:
    """The released rows of the settings and tasks, then ParsiNLU's test rows that are none of these, labelled.

    Where they are not `published`, what the corpus (`frames`: documents, pairs, dialogues, items) gives in their place:
    the setting `fa` is then its language, and its tasks are asked whatever `tasks` names.
    """
    if not published:
        return derived.tests(frames[3], frames[1], language, settings, texts)
    found = pandas.concat([benchmarks.released(setting, task) for setting in settings for task in [*tasks, *texts]
                           if task in benchmarks.FILES[setting]], ignore_index=True)
    more = pandas.concat([benchmarks.framed([]), *map(benchmarks.parsinlu, parsinlu)], ignore_index=True)
    again = more["text"].isin(set(found["text"]))
    if again.any():
        print(f"{again.sum()} of {len(again)} ParsiNLU rows are among the released ones and are asked once.")
    return benchmarks.labelled(pandas.concat([found, more[~again]], ignore_index=True))


def draw(known: pandas.DataFrame, count: int, longest: int, seed: int) -> pandas.DataFrame:
    """At most `count` test rows of each benchmark, setting and task (`benchmarks.sample`); none of none."""
    return known.head(0) if known.empty or count == 0 else benchmarks.sample(known, count, longest, seed)


def examples(rows: pandas.DataFrame, known: pandas.DataFrame, count: int, longest: int, seed: int):
    """Task rows to tune on, evenly over tasks, and the leak counts: (rows, counts); `known` are all test rows.

    Rows of at most `longest` characters, options included, are drawn, twice as many as wanted; what holds a test text
    or a near twin is left out (`benchmarks.clean`). Raises ValueError when none is left.
    """
    size = rows["text"].str.len() + rows["choices"].map(lambda found: 0 if found is None else sum(map(len, found)))
    drawn = rows[size <= longest].sample(frac=1, random_state=seed)
    drawn = drawn.assign(turn=drawn.groupby("task").cumcount()).sort_values("turn", kind="stable").head(2 * count)
    if drawn.empty:
        raise ValueError(f"No task row has at most {longest} characters: raise longest_example.")
    kept, counts = benchmarks.clean(drawn.drop(columns="turn").reset_index(drop=True), known)
    return kept.head(count), counts


def mixed(rows: dict[str, pandas.DataFrame], trained_on: str, count: int, seed: int) -> pandas.DataFrame:
    """`count` task rows in the languages of `trained_on`, as many of each, in the seed's order."""
    codes = list(rows) if trained_on == "both" else [trained_on]
    return pandas.concat([rows[code].head(count // len(codes)) for code in codes]).sample(frac=1, random_state=seed)


def unasked(frames, known: pandas.DataFrame, record) -> list[pandas.DataFrame]:
    """The corpus's documents, pairs, dialogues and items without training rows that give a test of `known` away."""
    asked = benchmarks.asked(known)
    return [corpus.unasked(frame, columns, asked, record, artefact=name)
            for (name, columns), frame in zip(corpus.TEXTS.items(), frames)]


def probed(rows: dict[str, pandas.DataFrame], known: pandas.DataFrame, count: int, longest: int, seed: int):
    """Task rows that probes are fitted on, and test rows that they are asked: at most `count` of a task and language, two
    frames. No training row gives a test away."""
    train = probes.labelled(pandas.concat(rows.values())).sample(frac=1, random_state=seed)
    train = train[train["text"].str.len() <= longest].groupby(["task", "language"]).head(count)
    test = draw(probes.labelled(known[known["setting"] != "translate-test"]), count, longest, seed)
    return benchmarks.clean(train.reset_index(drop=True), known)[0], test


def note_probes(record, found: pandas.DataFrame, stages: list[str]):
    """What probes find in frozen states by base, stage, language and task, fitted on the same language (`probe_accuracy`) or
    on the other (`probe_transfer`), and paired differences of stages and bases. Nothing is tuned: the n are items."""
    for name, rows in (("probe_accuracy", found[found["trained_on"] == found["language"]]),
                       ("probe_transfer", found[found["trained_on"] != found["language"]])):
        contrast.note(record, name, rows, contrast.CORRECT, ["base", "stage", "language", TASKS])
        for base, part in rows.groupby("base", sort=False):
            for before, after in contrast.comparisons(stages):
                contrast.between(record, f"{name}_difference", part, contrast.CORRECT, ["language", TASKS], "stage", before,
                                 after, base=base)
        bases = rows["base"].unique()
        if len(bases) > 1:
            contrast.between(record, f"{name}_gain_by_base", rows[rows["stage"] == stages[-1]], contrast.CORRECT,
                             ["language", TASKS], "base", *bases[:2])
    for where, rows in contrast.groups(found, ["language", TASKS]):
        record.fact("probe_chance", (1 / rows["choices"].astype(float)).mean(), "share", **where)


def own(profile: str, base: str) -> bool:
    """Whether the profile's chapters 02 to 05 trained the stages of this very base."""
    return folders.stage(profile, "base") == folders.base(base)


class Budget(NamedTuple):
    """What every base gets: bytes of monolingual and of bilingual text, instruction rows, new pieces of vocabulary."""

    text: int
    pairs: int
    instructions: int
    pieces: int
    replay: float = 0.1
    pair_share: float = 0.5
    longest: int = 240


def train(folder: Path, base: str, start: Path, frames, language: str, budget: Budget, settings: training.Settings,
          longest: int, style: str) -> dict[str, Path]:
    """The stages base, pretrained, aligned and instructed of a base, each from the one before: stage → folder.

    They are written to `folder`; the first text is read by `start`, the base `extended`. `frames` are the corpus's documents,
    pairs, dialogues and items; every base gets the same texts, in bytes, mixed as in the chapters of these stages. `longest`
    is that of an instruction in tokens.
    """
    found, streams = {"base": folders.base(base)}, bilingual.streams(*frames[:2], language)
    pair_share = budget.pair_share * ("pairs" in streams)
    replay = budget.replay * ("en" in streams)
    for stage, arm, size in (("pretrained", "no-pairs", budget.text), ("aligned", "pairs", budget.pairs)):
        shares = {name: share for name, share in bilingual.shares(arm, language, pair_share, replay).items() if share}
        drawn = mixture.documents({name: streams[name] for name in shares}, shares, size, settings.seed)
        blocks = mixture.blocks(drawn, folders.tokenizer(start), settings.block_length)
        training.pretrain(folder / stage, start, blocks, settings, merge=True)
        start = found[stage] = folder / stage / "model"
    # Text has taught the rows already, and a few hundred answers could only spoil them.
    count, told = budget.instructions, dataclasses.replace(settings, block_length=longest, rows_learning_rate=0.0)
    rows, _ = prompts.instructions(*frames, language, count, count, budget.longest, settings.seed)
    tuning.tune(folder / "instructed", start, rows, told, style, merge=True)
    return {**found, "instructed": folder / "instructed" / "model"}


def score(run: Run, folder: Path, asked: pandas.DataFrame, spoken: pandas.DataFrame, out: Path, style: str,
          max_new_tokens: int, batch_size: int) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """The run's model on the `asked` choice rows by likelihood and the `spoken` rows by generation: two frames, kept in `out`.

    A model is not asked again what the same code asked it before.
    """
    key = keys.of(__file__, run, folder, asked, spoken, style, max_new_tokens, batch_size)
    ready = functools.cache(lambda: tuning.ready(folder, style))

    def kept(name: str, rows: pandas.DataFrame, **manner) -> pandas.DataFrame:
        return keys.kept(out / run.name / f"{name}.parquet", key,
                         lambda: tuning.score(*ready(), rows, out / run.name, **manner).assign(**run._asdict()))
    return (kept("likely", asked, batch_size=batch_size),
            kept("told", spoken, prompt=None, max_new_tokens=max_new_tokens) if len(spoken) else pandas.DataFrame())


def note(record, scores: pandas.DataFrame):
    """Accuracy and chance of every run by setting and task, and over all; without flagged rows apart; seeds pooled."""
    for where, rows in contrast.groups(scores, [*RUN, "setting", "language", TASKS]):
        name, sound = _measure(where), rows[~rows["flagged"].astype(bool)]
        contrast.note(record, name, rows, contrast.CORRECT, [], **where)
        contrast.note(record, name.replace("accuracy", "margin"), rows, contrast.MARGIN, [], **where)
        record.fact(f"{name}_chance", rows["chance"].mean(), "share", **where)
        if 0 < len(sound) < len(rows):
            contrast.note(record, f"{name}_unflagged", sound, contrast.CORRECT, [], **where)


def compare(record, scores: pandas.DataFrame, stages: list[str], methods: list[str], once: list[str]):
    """Every paired difference of `contrasts` over the same items, by language, setting and task, and over all tasks; of the
    margins as `margin_difference`, `margin_arm_difference` and so on."""
    for name, rows, column, before, after, labels in contrasts(scores, stages, methods, once):
        for metric, score in ((name, contrast.CORRECT), (f"margin_{name.removeprefix('accuracy_')}", contrast.MARGIN)):
            contrast.between(record, metric, rows, score, ["language", "setting", TASKS], column, before, after, **labels)


def contrasts(scores: pandas.DataFrame, stages: list[str], methods: list[str], once: list[str]):
    """What is compared in both languages' own tests: (name, rows, column, before, after, labels).

    accuracy_difference: each stage against the one before and the first, by base. accuracy_gain_by_base: the second base
    against the first at the last stage. These rest on one training, whatever the seeds of the tuning on task rows, of bases
    whose stages were trained `once`. At the first base's last stage, arm_difference: frozen and full against LoRA;
    transfer_difference: tuning on each language's task rows against no tuning.
    """
    def rests(*names):
        return {"trainings": 1} if {*names} & {*once} else {}
    rows = scores[scores["setting"] != "translate-test"]
    bases, staged, last = list(rows["base"].unique()), _staged(rows), rows[rows["stage"] == stages[-1]]
    for base in bases:
        for before, after in contrast.comparisons(stages):
            yield ("accuracy_difference", staged[staged["base"] == base], "stage", before, after,
                   {"base": base, **rests(base)})
    if len(bases) > 1:
        yield "accuracy_gain_by_base", _staged(last), "base", *bases[:2], rests(*bases[:2])
    last = last[last["base"] == bases[0]]
    for method in methods:
        yield "arm_difference", last[last["trained_on"] == "both"], "method", "lora", method, {}
    if "none" in set(last["trained_on"]):
        last = last[last["method"].isin(["none", "lora"])]
        for language in [code for code in last["trained_on"].unique() if code != "none"]:
            yield "transfer_difference", last, "trained_on", "none", language, {}


def compare_translated(record, scores: pandas.DataFrame):
    """Translated input minus the same items' own input, by base, stage and task: `translate_test_difference`."""
    rows = _staged(scores)
    rows = rows[(rows["setting"] != "en") & (rows["item"].str.split("/").str[0] == rows["setting"])]
    rows = rows.assign(item=rows["item"].str.split("/", n=1).str[1])
    both = rows[rows.groupby(["base", "stage", "item"])["setting"].transform("nunique") == 2]
    own, translated = (both[(both["setting"] == "translate-test") == side] for side in (False, True))
    contrast.compare(record, "translate_test_difference", own, translated, contrast.CORRECT, ["base", "stage", TASKS])


def note_generated(record, answers: pandas.DataFrame):
    """Scores of generated answers by run, setting and task: choices read, invalid answers, F1, ROUGE-L, chrF++."""
    if answers.empty:
        return
    where = [*RUN, "setting", "task", "language"]
    for column, name in GENERATED.items():
        if column in answers:
            contrast.note(record, name, answers[answers[column].notna()], contrast.mean(column), where)
    told = answers[answers["task"] == "translation"]
    contrast.note(record, "chrf", told, contrast.CHRF_PLUS, where)
    record.rows("answers", answers[[*RUN, "seed", "item", "hypothesis", "invalid"]].to_dict("records"))


def cost(record, run: Run, result: dict):
    """What a tuning took, as facts, and its loss."""
    labels = run._asdict()
    for fact, unit in {"tokens": "tokens", "seconds": "s", "trainable": "parameters",
                       "answers_truncated": "examples"}.items():
        record.fact(fact, result[fact], unit, **labels)
    record.rows("loss", [{**labels, "step": row["step"], "tokens": row["tokens"], "loss": row["loss"]}
                         for row in result["log"]])


def extended(folder: Path, base: str, frames, language: str, pieces: int, seed: int) -> Path:
    """The base with new pieces learned on the training text; the base itself when none are wanted."""
    if pieces == 0:
        return folders.base(base)
    documents, pairs = (frame[frame["split"] == "train"] for frame in frames[:2])
    old, known = folders.tokenizer(folders.base(base)), pairs[["english", "target"]].values.tolist()
    texts = documents.loc[documents["language"] == language, "text"].tolist()
    new = tokenizer.extend(old, texts, pieces, text.script(language))
    start = "translations" if known else "mean-of-subtokens"
    model = embeddings.extend(folders.load(folders.base(base), folders.SAVED), old, new, start, seed, known)
    return folders.save(model, new, folder / "model")


def _measure(labels: dict) -> str:
    """`accuracy` for the stages; other runs get names of their own, so that a label set names one number."""
    if labels["trained_on"] != "both":
        return "transfer_accuracy"
    return "accuracy" if labels["method"] == "lora" else "arm_accuracy"


def _staged(scores: pandas.DataFrame) -> pandas.DataFrame:
    """Rows of the runs that are compared as stages."""
    return scores[(scores["method"] == "lora") & (scores["trained_on"] == "both")]
