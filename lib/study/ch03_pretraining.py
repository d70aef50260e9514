"""Continued pretraining: its arms, their streams of text, and the scores before and after."""
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas

from lib.data import corpus, text
from lib.engine import keys, records
from lib.evaluate import measure
from lib.model import embeddings, folders
from lib.study import contrast, tuning
from lib.train import training


class Arm(NamedTuple):
    """Stage an arm starts from, what it trains (see training.Settings), how many times the replay it reads, and of what; and
    in which share of its steps new rows are trained alone, at first (Persian-Phi, arXiv 2512.07454)."""

    start: str = "extended"
    method: str = "lora"
    replay: int = 1
    replayed: str = "corpus"
    rows_first: float = 0.0


ARMS = {"main": Arm(), "lora": Arm(), "frozen": Arm(method="frozen"), "full": Arm(method="full"), "unextended": Arm("base"),
        "mean-start": Arm("mean-start"), "no-replay": Arm(replay=0), "more-replay": Arm(replay=3),
        "generated-replay": Arm(replayed="generated"), "distilled-replay": Arm(replayed="distilled"),
        "rows-first": Arm(rows_first=0.2)}
STREAMS = {"corpus": "en", "generated": "generated", "distilled": "en"}  # of what is replayed
MILESTONES = (0.25, 0.5)
FULL = 1.0  # an adapter as it was trained
HARM = 0.03  # bits/byte that English from outside may lose to a part of an adapter that is chosen


def starts(profile: str, arms: list[str], folder) -> dict[str, Path]:
    """Folders of the models that arms start from: base, extended and, where the arm asks for it, mean-start.

    That is the extended model with new rows made of sub-tokens alone, whatever start chapter 02 gave them; it is written
    to `folder`.
    """
    found = {stage: folders.stage(profile, stage) for stage in ("base", "extended")}
    if "mean-start" in arms:
        base, extended = (folders.tokenizer(place) for place in found.values())
        model = embeddings.extend(folders.load(found["base"], folders.SAVED), base, extended, "mean-of-subtokens")
        found["mean-start"] = folders.save(model, extended, folder / "mean-start-model")
    return found


def streams(documents, language: str) -> dict[str, Sequence[str]]:
    """Training texts of the language, and of English where the corpus has any."""
    train = documents[documents["split"] == "train"]
    found = {code: corpus.column(train.loc[train["language"] == code, "text"]) for code in (language, "en")}
    return {code: texts for code, texts in found.items() if len(texts)}


def score(folder, texts: pandas.DataFrame, out: Path, scale: float = FULL, **labels) -> pandas.DataFrame:
    """Bits and bytes of every text under the model of a folder (`measure.read`), its adapter, if any, times `scale`.

    They are kept in `out`, by the labels: a model does not read again what the same code had it read before.
    """
    file = out / f"{'-'.join(map(str, [*labels.values(), scale]))}.parquet"
    return keys.kept(file, keys.of(__file__, folder, texts, scale, labels),
                     lambda: measure.read(*tuning.ready(folder, scale=scale), texts).assign(scale=scale, **labels))


def shares(arm: str, language: str, replay: float, replayed: str) -> dict[str, float]:
    """Shares of bytes of the language and of what is replayed in an arm, in the main run that of `replayed`.

    Raises ValueError when nothing would be left of the language.
    """
    english, stream = replay * ARMS[arm].replay, STREAMS[kind(arm, replayed)]
    if english >= 1:
        raise ValueError(f"The arm {arm} reads {ARMS[arm].replay} times the replay of {replay}, which leaves nothing: "
                         "lower `replay`.")
    return {language: 1 - english, stream: english} if english else {language: 1.0}


def kind(arm: str, replayed: str) -> str:
    """What an arm replays: one of STREAMS, in the main run `replayed`."""
    return replayed if arm == "main" else ARMS[arm].replayed


def settings(arm: str, replayed: str) -> dict:
    """What of training.Settings an arm has for its own."""
    return {"method": ARMS[arm].method, "rows_first": ARMS[arm].rows_first, "milestones": MILESTONES * (arm == "main"),
            "distilled": ("en",) * (kind(arm, replayed) == "distilled")}


def own_text(base: Path, mixtures: list[tuple[dict[str, float], int]], seed: int, folder: Path) -> dict[str, Sequence[str]]:
    """What the base itself writes, as much as the largest of the mixtures (shares, bytes) replays: a stream, or none.

    Replaying a model's own samples needs no text that it was trained on (Sun et al. 2020, LAMOL, arXiv 1909.03329). They
    are kept in `folder`, since sampling takes as long as training.
    """
    size = math.ceil(max(shares.get("generated", 0) * budget for shares, budget in mixtures))
    if not size:
        return {}
    file = folder / f"generated-{corpus.digest(base, size, seed)}.parquet"
    if not file.exists():
        texts = measure.sample(folders.load(base), folders.tokenizer(base), size, seed=seed)
        records.write_frame(file, pandas.DataFrame({"text": texts}))
    return {"generated": corpus.column(records.read_frame(file, "delete it, and it is sampled again")["text"])}


def in_parts(arm: str) -> bool:
    """Whether an arm trains an adapter of the extended model, of which parts are scored too."""
    return arm in ARMS and ARMS[arm][:2] == ("extended", "lora")


def batches(blocks: dict[tuple[str, int], object], main: int, arm: int) -> dict[tuple[str, int], int]:
    """Blocks of a training step of each run (arm, seed), whose packed text is given.

    The arms of a seed read as many bytes; one with other tokens has more blocks of them, and reads more at a step, so that all
    take as many steps as the shortest.
    """
    shortest = {seed: min(len(packed) for (name, number), packed in blocks.items() if name != "main" and number == seed)
                for name, seed in blocks if name != "main"}
    return {(name, seed): main if name == "main" else round(arm * len(packed) / shortest[seed])
            for (name, seed), packed in blocks.items()}


def scored_at(arm: str, scales: list[float], own: float | None) -> list[float]:
    """The scales that a run is scored at: as trained, the main run at one that is given for the stage's model (`own`),
    `in_parts` at all."""
    return sorted({FULL, *[own] * (arm == "main" and own is not None), *scales * in_parts(arm)})


def counted(parts: pandas.DataFrame, own: float) -> pandas.Series:
    """Which rows count as the model's: as trained, of the main run at its `own` scale."""
    return parts["scale"] == parts["arm"].map({"main": own}).fillna(FULL)


def note_scales(record, rows: pandas.DataFrame, base: pandas.DataFrame):
    """Differences of scaled adapters from the base, and from the adapter as it is, by arm, scale, language and split."""
    by = ["arm", "scale", "language", "split"]
    whole = rows[rows["scale"] == FULL]
    for (arm, scale), part in rows.groupby(["arm", "scale"], sort=False):
        same = whole[whole["arm"] == arm]
        for against, before in (("base", base), ("as trained", same)):
            if against == "base" or scale != FULL:
                contrast.compare(record, "bits_per_byte_scaled_difference", before.assign(arm=arm, scale=scale), part,
                                 contrast.BITS, by, against=against)


def chosen(record, language: str, own: float | None) -> float:
    """How much of the main run's adapter goes into the stage's model: `own`, or without it what the curve of `note_scales`
    says, that of the most gain among the scales that cost English HARM at most; where none does, of the least cost.

    Gain and cost are on text from outside, where there is any. The record has the scale as a fact, with the reason. It is
    chosen on the texts that it is scored on, which flatters it a little.
    """
    scale, reason = own, "given"
    if own is None:
        found = pandas.DataFrame(record.content["metrics"]).query(
            "metric == 'bits_per_byte_scaled_difference' and arm == 'main' and against == 'base'")
        found = found.sort_values("split").drop_duplicates(["scale", "language"])  # `outside` comes before `test`
        curve = found.pivot(index="scale", columns="language", values="value")
        cost = curve.get("en", 0 * curve[language])
        fit = cost <= HARM
        scale = float(curve.loc[fit, language].idxmin() if fit.any() else cost.idxmin())
        reason = (f"the most gain of {len(curve)} scales where English loses at most {HARM} bits/byte" if fit.any() else
                  f"English loses more than {HARM} bits/byte at each of {len(curve)} scales, here the least")
    record.fact("adapter_scale", scale, "of the adapter", arm="main", reason=reason)
    return scale


def continuations(start: Path, run: Path, prompts: list[str], length: int) -> pandas.DataFrame:
    """Greedy continuations, `length` tokens at most, of the same prompts before, during (MILESTONES) and after a training.

    DataFrame(share of the steps, prompt, continuation).
    """
    places = {0.0: start, **{share: training.milestone(run, share) for share in MILESTONES}, 1.0: run}
    found = []
    for share, place in places.items():
        model, tokenizer = folders.load(place), folders.tokenizer(start)
        texts = measure.generate(model, tokenizer, prompts, length, chat=False)
        found += zip([share] * len(prompts), prompts, texts)
    return pandas.DataFrame(found, columns=["share", "prompt", "continuation"])


def beginnings(texts: pandas.DataFrame, language: str, count: int = 5, words: int = 5) -> list[str]:
    """Different first words of held-out texts in a language, to be gone on with; in scripts without spaces first letters."""
    strings = texts.loc[texts["language"] == language, "text"].str.split("\n").str[0]
    long = strings[strings.map(lambda string: len(text.words(string)) > words)]
    found = (" ".join(string.split()[:words]) if " " in string else string[:2 * words] for string in long)
    return list(dict.fromkeys(found))[:count]


def cost(record, arm: str, seed: int, result: dict):
    """What a run cost and trained, as facts, and its curve with the loss in bits per byte."""
    units = {"tokens": "tokens", "bytes": "bytes", "seconds": "s", "tokens_per_second": "tokens/s",
             "peak_memory": "bytes", "trainable": "parameters", "total": "parameters"}
    for fact, unit in units.items():
        record.fact(fact, result[fact], unit, arm=arm, seed=seed)
    for part, count in result["parts"].items():
        record.fact(f"trainable_{part}", count, "parameters", arm=arm, seed=seed)
    log = pandas.DataFrame(result["log"])
    spent = log[["tokens", "bytes"]].diff().fillna(log[["tokens", "bytes"]])
    log["bits_per_byte"] = log["loss"] / math.log(2) * spent["tokens"] / spent["bytes"]
    record.rows("loss", log.assign(arm=arm, seed=seed).to_dict("records"))
