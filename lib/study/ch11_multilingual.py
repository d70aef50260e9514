"""One benchmark over many languages: the models and what they are tuned on, and what is noted of their answers (`exams`)."""
import itertools
from pathlib import Path
from typing import NamedTuple

import pandas
from sacrebleu.metrics import BLEU

from lib.data import corpus, prompts, text
from lib.engine import assets, keys, paths
from lib.evaluate import scoring
from lib.model import folders
from lib.study import ch07_stages as stages
from lib.study import ch10_selfinstruct as selfinstruct
from lib.study import contrast, exams, tuning

MADE = "10_multialpaca"
SHARES = {"accuracy": "acc", "accuracy_normalised": "acc_norm", "margin": "margin", "f1": "f1", "exact_match": "exact",
          "invalid": "invalid"}
MEASURES = {"choice": ["accuracy", "accuracy_normalised", "margin"], "reading_comprehension": ["f1", "exact_match", "invalid"],
            "translation": ["chrf", "bleu", "invalid"], "right answer": ["answer_bits_per_byte"], "text": ["bits_per_byte"]}
DERIVED = 4000  # rows of a language that are derived, its tasks by turns: else tens of thousands of pairs crowd out all others
ENOUGH = 200  # of these, answered in words as the published sets are: then rows answered by a letter are left out
CHARACTERS = {"zh": "zh", "ja": "char", "th": "char"}  # BLEU's tokenizer for scripts without spaces
# The rows of each language, then of all; of translations also of those from and into English.
PARTS = contrast.unions("language", {
    "from English": lambda codes: codes.str.startswith("en-"), "into English": lambda codes: codes.str.endswith("-en"),
    "average": pandas.Series.notna}, least=2)


class Run(NamedTuple):
    """A model of the chapter: a base as it is (instructions `none`) or tuned on a set of instructions with a seed."""

    base: str
    instructions: str
    seed: int

    @property
    def name(self) -> str:
        """Folder name of the run."""
        return f"{Path(self.base).name}-{self.instructions}-{self.seed}"


def plan(bases: list[str], instructions: list[str], seeds: list[int]) -> list[Run]:
    """Every model to score: each base as it is, then the first one tuned on each set of instructions, once a seed."""
    tuned = [Run(bases[0], kind, seed) for kind in instructions for seed in seeds]
    return [Run(base, "none", 0) for base in bases] + tuned


def start(profile: str, base: str, stage: str, first: bool) -> Path:
    """Model folder that a base begins with: the first one's stage of the earlier chapters, or the base itself.

    Raises ValueError for a stage of a base that those chapters did not train.
    """
    if stage == "base" or not first:
        return folders.base(base)
    if not stages.own(profile, base):
        raise ValueError(f"The chapters before trained another base than {base!r}: set start to base, or put theirs "
                         "first in bases.")
    return folders.stage(profile, stage)


def pools(profile: str, frames, languages: list[str], source: str, made: bool, longest: int, seed: int):
    """Instruction rows to draw from, language → frame: English, and the languages of the multilingual set.

    English is Alpaca's seed tasks, which are few, and what is derived from the corpus (`frames`: documents, pairs, dialogues,
    items), or with the source `hub` Alpaca itself; others are MultiAlpaca as released, with `made` what chapter 10 wrote, and
    of the corpus's own language its derived instructions. Of what is derived translations are left out, since no set shall be
    taught a task of the test, and what is answered by a letter, where there is ENOUGH else. Where the published files are not
    at hand, other languages are the corpus's dialogues. Rows of more than `longest`
    characters are left out. Raises ValueError for a language without rows, though not where its file is what lacks.
    """
    lacking = assets.absent(selfinstruct.SEEDS, selfinstruct.RELEASED)
    short = {code: _short(_pool(profile, frames, code, source, made, longest, seed, lacking), longest)
             for code in dict.fromkeys(languages)}
    bare = [code for code, rows in short.items() if rows.empty]
    if bare and not lacking:
        raise ValueError(f"There is no instruction of at most {longest} characters in {', '.join(bare)}: raise "
                         "longest_example, or leave the language out of instruction_languages.")
    if bare:
        print(f"Without the published instructions there are none in {', '.join(bare)}, which is left out.")
    return {code: rows for code, rows in short.items() if len(rows)}


def _pool(profile: str, frames, code: str, source: str, made: bool, longest: int, seed: int, lacking) -> pandas.DataFrame:
    """A language's instructions of every origin that is at hand; derived ones are all but translations."""
    if code == "en" and source == "hub":
        return _rows(pandas.read_parquet(next(assets.fetch("alpaca").rglob("*.parquet"))).to_dict("records"), code)
    learned, path, tasks = corpus.language(profile), written(profile, code), []
    if code == "en" and selfinstruct.SEEDS not in lacking:
        tasks += selfinstruct.seed_tasks([])[0]
    if code in selfinstruct.published() and selfinstruct.RELEASED not in lacking:
        tasks += selfinstruct.released(code)
    if made and path.exists():
        tasks += selfinstruct.read(path)
    if code not in (learned, "en"):
        return _rows([*tasks, *(selfinstruct.spoken(frames[2], code) if lacking else [])], code)
    rows, _ = prompts.instructions(*frames, learned, 2 * DERIVED, DERIVED, longest, seed)
    rows = rows[(rows["language"] == code) & (rows["task"] != "translation")]
    worded = rows[rows["task"].isin(list(prompts.PHRASES))]
    return pandas.concat([_rows(tasks, code), worded if len(worded) >= ENOUGH else rows])


def written(profile: str, language: str) -> Path:
    """Where chapter 10 puts the tasks that it kept in a language."""
    return paths.runs(profile) / MADE / f"{language}.jsonl"


def made(profile: str, longest: int) -> dict[str, pandas.DataFrame]:
    """What chapter 10 kept, language → rows of at most `longest` characters, with their bytes; no bare language."""
    found = {path.stem: _short(_rows(selfinstruct.read(path), path.stem), longest)
             for path in sorted(written(profile, "").parent.glob("*.jsonl")) if path.stem in text.LANGUAGES}
    return {code: rows for code, rows in found.items() if len(rows)}


def sets(found: dict, languages: list[str], count: int, seed: int) -> dict[str, pandas.DataFrame]:
    """English and multilingual instructions of equal size, in the seed's order: set → rows.

    The multilingual rows take those of the languages that `found` has by turns, each the row whose size in bytes is
    nearest to that of the English row in its place. A set without any language in `found` is left out. Raises ValueError
    when a language has too few rows.
    """
    pools = {kind: {code: found[code] for code in codes if code in found}
             for kind, codes in (("en", ["en"]), ("multilingual", languages))}
    pools = {kind: pool for kind, pool in pools.items() if pool}
    few = {code: len(rows) for pool in pools.values() for code, rows in pool.items() if len(rows) < count / len(pool)}
    if few:
        raise ValueError(f"For {count} instructions a set, as many of every language, there are only {few}: lower "
                         "examples, or raise longest_example.")
    if not pools:
        return {}
    wanted = sizes(next(iter(pools.values())), count, seed)
    return {kind: pool["en"].sample(count, random_state=seed).reset_index(drop=True) if kind == "en"
            else matched(pool, wanted, seed) for kind, pool in pools.items()}


def sizes(pool: dict, count: int, seed: int) -> list[int]:
    """Bytes of `count` rows drawn from the languages of a set by turns."""
    drawn = [rows["bytes"].sample(-(-count // len(pool)), random_state=seed) for rows in pool.values()]
    return [size for turn in zip(*drawn) for size in turn][:count]


def matched(found: dict[str, pandas.DataFrame], sizes, seed: int) -> pandas.DataFrame:
    """A row for each of the `sizes` in bytes, from the frames of `found` by turns: the row whose size is nearest.

    No row is taken twice; IndexError when a frame has too few.
    """
    left = {name: rows.sample(frac=1, random_state=seed).reset_index(drop=True) for name, rows in found.items()}
    chosen = []
    for size, name in zip(sizes, itertools.cycle(left)):
        nearest = (left[name]["bytes"] - size).abs().idxmin()
        chosen.append(left[name].loc[nearest])
        left[name] = left[name].drop(nearest)
    return pandas.DataFrame(chosen).reset_index(drop=True)


def unasked(pool: dict[str, pandas.DataFrame], asked: set[str], record, **labels) -> dict[str, pandas.DataFrame]:
    """Instruction rows by language without those that give away what is asked (`corpus.unasked`), counted by language."""
    return {code: corpus.unasked(rows, ["text", "prompt", "reply"], asked, record, language=code, **labels)
            for code, rows in pool.items()}


def sit(exam: exams.Exam, run: Run, folder: Path, out: Path) -> pandas.DataFrame:
    """Everything that a run in `folder` is asked, with its answers, kept in `out` beside the harness' samples.

    A model is not asked again what the same code asked it before.
    """
    return keys.kept(out / run.name / "answers.parquet", keys.of(__file__, run, folder, *exam),
                     lambda: exams.answers(exam, *tuning.ready(folder), run, out))


def note(record, answers: pandas.DataFrame):
    """Every score by model, benchmark, language and over the languages, with n and interval; chance as a fact."""
    for where, rows in contrast.groups(answers, ["base", "instructions", "task", "benchmark", "asked", PARTS]):
        for name in MEASURES[where["task"]]:
            if len(contrast.known(rows, SHARES.get(name))) == len(rows):
                contrast.note(record, name, rows, SCORES[name], [], **where)
    for benchmark, rows in answers[answers["task"] == "choice"].groupby("benchmark", sort=False):
        record.fact("chance", float((1 / rows["choices"].astype(float)).mean()), "share", benchmark=benchmark)
    told = answers[~answers["task"].isin(["choice", "right answer"])]
    record.rows("answers", told.reindex(columns=["base", "instructions", "seed", "benchmark", "language", "item",
                                                 "hypothesis", "invalid"]).to_dict("records"))


def compare(record, answers: pandas.DataFrame, runs: list[Run]):
    """Paired differences on the same items, by language and over them: `<measure>_difference` with label contrast.

    `instructions`: a tuned base against the base as it is. `languages`: multilingual instructions against English ones.
    `base`: each further base against the first, both as they are.
    """
    for name, before, after in contrasts(runs):
        sides = [answers[(answers["base"] == base) & (answers["instructions"] == kind)] for base, kind in (before, after)]
        labels = {"contrast": name, "base": after[0], "instructions": after[1],
                  "against": before[0] if name == "base" else before[1]}
        for task, measures in MEASURES.items():
            rows = sides[1][sides[1]["task"] == task]
            for score in [score for score in measures if score != "invalid"]:
                contrast.compare(record, f"{score}_difference", sides[0], contrast.known(rows, SHARES.get(score)),
                                 SCORES[score], ["task", "benchmark", "asked", PARTS], **labels)


def contrasts(runs: list[Run]) -> list[tuple[str, tuple, tuple]]:
    """What is compared: (contrast, (base, instructions) before, the same after)."""
    first, kinds = runs[0].base, list(dict.fromkeys(run.instructions for run in runs))
    found = [("instructions", (first, "none"), (first, kind)) for kind in kinds if kind != "none"]
    if {"en", "multilingual"} <= set(kinds):
        found.append(("languages", (first, "en"), (first, "multilingual")))
    return found + [("base", (first, "none"), (base, "none"))
                    for base in dict.fromkeys(run.base for run in runs) if base != first]


def note_sets(record, drawn: dict[str, pandas.DataFrame], tokenizer, seed: int):
    """Rows, bytes and tokens of each set of instructions by language, as facts."""
    for kind, rows in drawn.items():
        read = tokenizer((rows["prompt"] + " " + rows["reply"]).tolist(), add_special_tokens=False).input_ids
        rows = rows.assign(tokens=[len(ids) for ids in read])
        for code, part in rows.groupby("language", sort=False):
            labels = {"instructions": kind, "language": code, "seed": seed}
            record.fact("instruction_rows", len(part), "rows", **labels)
            record.fact("instruction_bytes", int(part["bytes"].sum()), "bytes", **labels)
            record.fact("instruction_tokens", int(part["tokens"].sum()), "tokens", **labels)


def bleu(direction: str) -> BLEU:
    """BLEU with a tokenizer that parts the words, or characters, of the language translated into."""
    return BLEU(tokenize=CHARACTERS.get(direction.split("-")[-1], "intl"))


def _counts(rows: pandas.DataFrame) -> pandas.DataFrame:
    """What BLEU counts in each row."""
    found = [pandas.DataFrame(scoring.corpus_counts(bleu(code), part["hypothesis"], part["reference"]).T, part.index)
             for code, part in rows.groupby("language")]
    return pandas.concat(found).sort_index()


# The mean of the languages' scores, where rows are of several.
SCORES = {**{name: contrast.mean(column, "language") for name, column in SHARES.items()},
          "margin": contrast.MARGIN._replace(over="language"),
          "chrf": contrast.CHRF_PLUS._replace(over="language"),
          "bleu": contrast.Score("BLEU", _counts, scoring.of_counts(bleu("en")), "language"),
          **dict.fromkeys(["bits_per_byte", "answer_bits_per_byte"],
                          contrast.ratio("code_length", "bytes", "bits/byte", "language"))}


def _rows(tasks: list[dict], language: str) -> pandas.DataFrame:
    """Tasks of instruction, input (None when empty) and output as task rows."""
    found = [{"task": "dialogue", "language": language, "answer": task["output"],
              "text": f"{task['instruction']}\n{task['input'] or ''}".strip()} for task in tasks]
    return pandas.DataFrame(found, columns=["task", "language", "text", "answer"])


def _short(rows: pandas.DataFrame, longest: int) -> pandas.DataFrame:
    """The rows of at most `longest` characters, with columns prompt and reply as they are tuned on, and bytes of both."""
    rows = rows[rows["text"].str.len() + rows["answer"].astype(str).str.len() <= longest].reset_index(drop=True)
    rows = rows.assign(prompt=[prompts.messages(row)[0]["content"] for row in rows.to_dict("records")],
                       reply=[prompts.answer(row) for row in rows.to_dict("records")])
    return rows.assign(bytes=[len(string.encode()) for string in rows["prompt"] + rows["reply"]])
