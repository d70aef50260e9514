"""Parameters for a language of your own, sized to its text, to this machine and to the hours that there are.

    python -m lib.study.plan --language ckb --corpus texts/ --hours 2     writes params/ckb/ and says what to expect
    python -m lib.study.plan --dry-run paper                              what a profile's trainings ask of rented GPUs

The machine is measured by training the base on some of the text, for about a minute. The hours are those of chapters 01
to 06, which make a model and score it; the later ones keep the doses of `laptop`.
"""
import argparse
import contextlib
import io
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import transformers
import yaml

from lib.data import corpus, files, mixture, sources, text
from lib.engine import machine, params, paths, run
from lib.engine.params import ParameterError
from lib.model import embeddings, folders, tokenizer
from lib.study import doses
from lib.train import training

SAMPLE = 2_000_000  # bytes of the text that vocabulary and machine are tried on
TRIED = (500, 1000, 2000, 4000, 8000, 16000, 32000)  # sizes of a vocabulary
READINGS = 100  # tokens of training a new piece, on average: about what `laptop` and `full` give each of theirs
EPOCHS = 4  # up to which text read again teaches nearly as much as new text (Muennighoff et al. 2023, arXiv 2305.16264)
PAUSE = 300  # seconds of training that a broken run may lose
HELD_OUT = 2_000_000  # bytes that are enough to test on
TRIAL = 40  # seconds that the trial takes on the clock, after two steps
FEWEST = 20  # steps of a training below which there is nothing to see
STARTING, TESTING = 240, 120  # seconds that chapters 01 to 06 start and load, and their fixed tests take at LAPTOP's rate
SHARES = {"03_pretraining": 0.65, "04_alignment": 0.1, "05_sft": 0.08}  # of the time; the rest prepares and tests
EXAMPLE = 100  # tokens of an instruction with its answer
READING = 3  # how many times faster text is scored than trained on
LATER = [chapter for chapter in run.UPSTREAM if chapter >= "07"]
LAPTOP = 844  # tokens/s of the machine whose minutes stand in params/minutes.yaml
Chosen = dict[str, tuple[object, str]]  # parameter → its value and why


class Text(NamedTuple):
    """A user's text: language, script, files, bytes in all, and some of it from everywhere."""

    language: str
    script: str
    files: list[Path]
    size: int
    sample: list[str]


class Machine(NamedTuple):
    """What was measured: tokens/s of training in steps of `batch` × `length`, peak memory in GiB (NaN if not measured), the
    base's parameters, and on held-out text with so many new pieces bytes a token, tokens a word, and the base's."""

    rate: float
    memory: float
    batch: int
    length: int
    parameters: int
    pieces: int
    bytes_per_token: float
    fertility: float
    before: float


def survey(language: str, places: list[Path], script: str = "") -> Text:
    """The text in files, or in the files of folders. Raises SourceError for what cannot be read, or holds no text."""
    kinds = (".txt", *files.ROWS)
    found = [file for place in map(Path, places) for file in (sorted(place.rglob("*")) if place.is_dir() else [place])
             if not place.is_dir() or file.is_file() and files.kind(file) in kinds]
    if not found:
        raise sources.SourceError(f"{', '.join(map(str, places))} holds no file of the kinds {', '.join(kinds)}.")
    units = corpus.merge(sources.own(file.absolute(), language) for file in found).units
    size = sum(len(unit[language].encode()) for unit in units)
    every = -(-size // SAMPLE)
    sample = [unit[language] for number, unit in enumerate(units) if number % every == 0]
    script = script or (text.script(language) if language in text.LANGUAGES else text.writing(sample))
    return Text(language, script, found, size, sample)


def measure(base: str, found: Text, rate: float = 0.0) -> Machine:
    """Tries vocabulary and training on the sample; with a `rate` given nothing is trained."""
    folder = folders.base(base)
    old, held = folders.tokenizer(folder), found.sample[::10]
    learned = [line for place, line in enumerate(found.sample) if place % 10] or held
    size = vocabulary(sum(len(line.encode()) for line in learned) / 5)
    new = tokenizer.grow(old, tokenizer.learn(old, learned, size, found.script), size)
    counted, before = (tokenizer.counts(each, held) for each in (new, old))
    batch, length = (8, 128) if machine.device() == "cpu" else (8, 512)
    model, memory = embeddings.extend(folders.load(folder), old, new), math.nan
    if not rate:
        with tempfile.TemporaryDirectory() as scratch:
            start = folders.save(model, new, Path(scratch) / "start")
            rate, memory = _trial(start, learned, batch, length)
    return Machine(rate, memory, batch, length, model.num_parameters(), len(new) - len(old),
                   counted.bytes.sum() / counted.tokens.sum(), tokenizer.fertility(counted).value,
                   tokenizer.fertility(before).value)


def _trial(start: Path, texts: list[str], batch: int, length: int) -> tuple[float, float]:
    """(tokens/s, peak memory in GiB) of training a model: two steps, then as many as fill TRIAL seconds."""
    drawn = mixture.documents({"text": texts}, {"text": 1.0}, 60 * 8 * batch * length, seed=0)
    settings = training.Settings(batch_size=batch, block_length=length)
    with contextlib.redirect_stdout(io.StringIO()):  # its bookkeeping is none of the plan's
        blocks = mixture.blocks(drawn, folders.tokenizer(start), length)
        steps = 2
        for name in ("first", "second"):
            result = training.pretrain(start.parent / name, start, blocks.select(range(min(len(blocks), steps * batch))),
                                       settings)
            first, *_, last = result["log"]
            rate = (last["tokens"] - first["tokens"]) / max(last["seconds"] - first["seconds"], 1e-3)
            steps = round(min(50, TRIAL * rate / (batch * length)))
            if steps < 3:
                break
    return rate, result["peak_memory"] / 2**30


def vocabulary(tokens: float) -> int:
    """The largest size of TRIED whose pieces are read READINGS times each, on average, in so many tokens."""
    return max((size for size in TRIED if size * READINGS <= tokens), default=TRIED[0])


class Budget(NamedTuple):
    """What there is to spend on training: seconds, bytes a second, bytes that the main run could read in its share of
    them, bytes of the text to learn from, and bytes that the main run reads."""

    seconds: float
    a_second: float
    affordable: float
    text: float
    main: float

    @staticmethod
    def of(hours: float, text: float, here: Machine) -> "Budget":
        """That of hours and so many bytes to learn from; ValueError where these are next to nothing."""
        whole, a_second = 3600 * hours, here.rate * here.bytes_per_token
        seconds = max(whole / 2, whole - STARTING - TESTING * LAPTOP / here.rate)
        affordable = SHARES["03_pretraining"] * seconds * a_second
        main = min(affordable, EPOCHS * text)
        if main < 2 * FEWEST * here.length * here.bytes_per_token:
            raise ValueError(f"{hours:g} hours here and {text:,.0f} bytes to learn from make a training of {main:,.0f} bytes, "
                             f"less than {FEWEST} steps: give more of what there is less of.")
        return Budget(seconds, a_second, affordable, text, main)

    def share(self, chapter: str) -> float:
        """Bytes that a chapter's trainings can read in its share of the time."""
        return SHARES[chapter] * self.seconds * self.a_second


def choose(base: str, found: Text, here: Machine, hours: float, pairs: Sequence[Path] = ()) -> dict[str, Chosen]:
    """Chapter → its parameters, each with the reason for its value. ValueError for hours in which nothing is learned."""
    held = min(0.1, max(0.005, round(HELD_OUT / found.size, 3)))
    budget = Budget.of(hours, found.size * (1 - 1.5 * held), here)
    size = vocabulary(min(budget.main, budget.text) / here.bytes_per_token)
    steps = budget.main / here.bytes_per_token / here.length  # of one block
    batch = max(size for size in (2, 4, here.batch) if size == 2 or steps >= 200 * size)
    rate, why = ((1e-3, "half of what `full` has, as your text is read more than once") if here.parameters < 5e8 else
                 (2e-4, "as the Llama-Persian paper has it, of a 7B"))
    step = {"batch_size": (batch, f"the largest of 2, 4 and {here.batch} that leaves pretraining 200 steps"),
            "block_length": (here.length, "the blocks that the machine was measured with")}
    read = int(max(2000, min(200_000, 0.01 * READING * budget.seconds * budget.a_second, held * found.size)))
    scored = {"text_bytes": (read, "held-out text: scoring a model on it takes a hundredth of the time at most")}
    return {"01_corpus": _corpus(found, held, pairs), "02_tokenizer": _vocabulary(base, size),
            "03_pretraining": _pretraining(budget, here, batch) | step | {
                "learning_rate": (rate, why), "rows_learning_rate": (rate, "new rows learn as fast as adapters")} | scored,
            "04_alignment": _alignment(budget, here, bool(pairs), rate) | step | scored,
            "05_sft": _instructions(budget.seconds * here.rate, rate),
            "06_evaluation": _tests(budget.seconds * here.rate) | scored, **_later(base, size)}


def _pretraining(budget: Budget, here: Machine, batch: int) -> Chosen:
    bound = "the hours allow" if budget.main == budget.affordable else f"{EPOCHS} readings of your text give"
    every = round(PAUSE * here.rate / (batch * here.length))
    return {"budget_bytes": (int(budget.main), f"{budget.main / here.bytes_per_token:,.0f} tokens, all that {bound}; each text "
                                               f"is read {budget.main / budget.text:.1f} times"),
            "main_runs": (max(1, min(3, int(budget.affordable // budget.main))),
                          "trainings with a seed each, three if the hours allow: they tell luck from effect"),
            "checkpoint_steps": (max(10, every), f"about {PAUSE // 60} minutes are lost at most when a run is broken off")}


def _alignment(budget: Budget, here: Machine, paired: bool, rate: float) -> Chosen:
    least = 2 * FEWEST * here.length * here.bytes_per_token
    size = max(least, min(budget.share("04_alignment") / (1 + paired), budget.main / 4))
    slower = "a fifth of pretraining's: what was learned is not to be unlearned"
    return {"budget_bytes": (int(size), f"{SHARES['04_alignment']:.0%} of the time for all arms, at most a quarter of "
                                        f"pretraining, at least {FEWEST} steps"),
            "learning_rate": (rate / 5, slower), "rows_learning_rate": (rate / 5, slower)}


def _instructions(tokens: float, rate: float) -> Chosen:
    share = SHARES["05_sft"]
    return {"examples": (int(min(3000, max(40, share * tokens / EXAMPLE))),
                         f"{share:.0%} of the time at {EXAMPLE} tokens each, 3,000 at most; the text may give fewer"),
            "learning_rate": (rate / 2, "half of pretraining's, as there are few examples")}


def _corpus(found: Text, held: float, pairs: Sequence[Path]) -> Chosen:
    own = {"pair_files": ([_named(file) for file in pairs], "translations, with which chapter 04 aligns")} if pairs else {}
    return {"language": (found.language, "the code that you gave"),
            "script": (found.script, "a text goes whose letters are mostly of another one"),
            "sources": ([], "your text alone; a source with English (docs/own.md) would keep more of the base's English"),
            "corpus_files": ([_named(file) for file in found.files], f"{found.size / 1e6:.1f} MB"), **own,
            "test_share": (held, f"a tenth, or {HELD_OUT / 1e6:.0f} MB where that is less"),
            "validation_share": (held / 2, "half as much, for choices made on the way")}


def _vocabulary(base: str, size: int) -> Chosen:
    return {"base": (base, "the base that you gave"),
            "size": (size, f"the largest of {', '.join(map(str, TRIED))} whose pieces are read {READINGS} times on average"),
            "sizes": (sorted({0, size // 4, size // 2, size}), "what a half and a quarter of it would give"),
            "compared_sizes": ([size // 2], "one comparison with pieces that are only appended")}


def _tests(tokens: float) -> Chosen:
    items = int(min(500, max(24, 1e-4 * tokens)))
    return {"items": (items, f"of each task, as the time allows: 50 % right is known to ± {98 / math.sqrt(items):.0f} points")}


def _later(base: str, size: int) -> dict[str, Chosen]:
    """The later chapters on this base; what is not named is the notebook's own value, which is that of `laptop`."""
    bases = {"bases": ([base], "the base that you gave")}
    own = {"07_base_strength": {**bases, "new_pieces": ([size], "as in chapter 02")},
           "10_multialpaca": {"teacher": (base, "the base teaches itself; a better one teaches better")},
           "11_multilingual_benchmark": bases, "12_rank_and_precision": bases}
    return {chapter: own.get(chapter, {}) for chapter in LATER}


def _named(file: Path) -> str:
    """A file as a parameter names it: from the repository, else whole."""
    whole = Path(file).absolute()
    return whole.relative_to(paths.ROOT).as_posix() if whole.is_relative_to(paths.ROOT) else str(whole)


def write(name: str, chosen: dict[str, Chosen], head: str):
    """Writes a profile, checked before the first file. ParameterError for a name that is taken or no name of a folder."""
    folder = paths.PARAMS / name
    if Path(name).name != name or not name or folder.exists():
        raise ParameterError(f"The profile {name!r} is there already, or no name for a folder: give another --name, or remove "
                             f"{paths.shown(folder)}.")
    for chapter, values in chosen.items():
        params.check(chapter, {"profile": name, **{key: value for key, (value, _) in values.items()}}, f"the plan of {chapter}")
    folder.mkdir(parents=True)
    for chapter, values in chosen.items():
        lines = [f"# {head} What is not named here is as in params/laptop.", f"profile: {name}"]
        lines += [f"{key}: {_yaml(value)}  # {why}" for key, (value, why) in values.items()]
        paths.parameters(name, chapter).write_text("\n".join(lines) + "\n", encoding="utf8")


def _yaml(value) -> str:
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).removesuffix("...\n").strip()


def minutes(chosen: dict[str, Chosen], found: Text, here: Machine) -> dict[str, float]:
    """What chapters 01 to 06 should take: their trainings at the measured rate, their tests by rule of thumb."""
    given = {chapter: {key: value for key, (value, _) in values.items()} for chapter, values in chosen.items()}
    slow, megabytes, arms = LAPTOP / here.rate, found.size / 1e6, 1 + ("pair_files" in given["01_corpus"])
    third, tuned = given["03_pretraining"], given["05_sft"]["examples"] * EXAMPLE / here.rate / 60
    a_minute = 60 * here.rate * here.bytes_per_token
    scored = third["text_bytes"] / a_minute / READING
    return {"01_corpus": 0.3 + megabytes / 45, "02_tokenizer": 0.7 + megabytes / 25 + 0.2 * slow,
            "03_pretraining": 0.7 + third["main_runs"] * third["budget_bytes"] / a_minute + (2 + third["main_runs"]) * scored,
            "04_alignment": 0.7 + arms * given["04_alignment"]["budget_bytes"] / a_minute + (arms - 0.8) * slow + 4 * scored,
            "05_sft": 0.7 + tuned + 0.5 * slow,
            "06_evaluation": 1 + 4 * scored + 4 * given["06_evaluation"]["items"] / 600 * slow}


def tell(name: str, chosen: dict[str, Chosen], found: Text, here: Machine, hours: float):
    """Says what was measured, what was written, and what to expect of it, also where that is more than the hours."""
    took, third = minutes(chosen, found, here), chosen["03_pretraining"]
    unit, later = text.unit(found.script), sum(run.minutes("laptop", chapter) or 0 for chapter in LATER) * LAPTOP / here.rate
    memory = "" if math.isnan(here.memory) else f", {here.memory:.1f} GiB of memory"
    print(f"Text: {found.size / 1e6:.1f} MB in {len(found.files)} file{'s' * (len(found.files) > 1)}, script {found.script}.\n"
          f"Machine: {here.rate:,.0f} tokens/s of training{memory}, {here.parameters / 1e6:,.0f} million weights.\n"
          f"Vocabulary: with {here.pieces:,} new pieces {here.fertility:.2f} tokens a {unit} instead of {here.before:.2f}, "
          f"{here.bytes_per_token:.1f} bytes a token; {chosen['02_tokenizer']['size'][0]:,} are planned.\n"
          f"Main training, {third['main_runs'][0]} × {third['budget_bytes'][0] / 1e6:.1f} MB: {third['budget_bytes'][1]}.")
    for chapter, value in took.items():
        print(f"  {chapter:16} {run.span(value):>7}")
    over = "That is more than you gave, for loading and tests: give more hours, or a smaller base.\n"
    over = over if sum(took.values()) > 80 * hours else ""
    print(f"Chapters 01 to 06 should take {run.span(sum(took.values()))}, give or take a third; 07 to 14 about "
          f"{run.span(later)} more.\n{over}No plan knows how much is learned: chapters 03 and 06 measure it.\n"
          f"Written: {paths.shown(paths.PARAMS / name)}. Next: make reproduce PROFILE={name}, or without the later chapters\n"
          f"  .venv/bin/python -m lib.engine.run {' '.join(took)} --profile {name}")


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when the plan is written or told."""
    parser = argparse.ArgumentParser(description="Plan a profile for a language, or look at one before it is run.")
    parser.add_argument("--language", help="its code, e.g. ckb")
    parser.add_argument("--corpus", nargs="+", type=Path, help="files of text, or folders of them")
    parser.add_argument("--pairs", nargs="*", type=Path, default=[], help="files of translation pairs with English")
    parser.add_argument("--base", default="smollm2-135m", help="base model, as in 02_tokenizer")
    parser.add_argument("--hours", type=float, default=2.0, help="for chapters 01 to 06")
    parser.add_argument("--script", default="", help="Unicode script; by default the language's, or the text's")
    parser.add_argument("--name", help="of the profile; the language's code by default")
    parser.add_argument("--rate", type=float, default=0.0, help="tokens/s of training, instead of measuring them")
    parser.add_argument("--dry-run", metavar="PROFILE", help="tell memory, hours and kWh of this profile's trainings")
    parser.add_argument("--watts", type=float, default=doses.WATTS, help="of a GPU, for --dry-run")
    values = parser.parse_args(arguments)
    if not values.dry_run and not (values.language and values.corpus):
        parser.error("give --language and --corpus, or --dry-run")
    return run.told(lambda: doses.tell(values.dry_run, values.rate, values.watts) if values.dry_run else _plan(values),
                    ValueError, FileNotFoundError, RuntimeError)


def _plan(values: argparse.Namespace):
    transformers.utils.logging.disable_progress_bar()
    name, found = values.name or values.language, survey(values.language, values.corpus, values.script)
    here = measure(values.base, found, values.rate)
    chosen = choose(values.base, found, here, values.hours, values.pairs)
    write(name, chosen, f"Planned for {values.hours:g} hours, {here.rate:,.0f} tokens/s and {found.size / 1e6:.1f} MB of text.")
    tell(name, chosen, found, here, values.hours)


if __name__ == "__main__":
    sys.exit(main())
