"""Continued pretraining: its arms, their streams of text, and the scores before and after."""
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas

from lib.data import corpus
from lib.evaluate import measure
from lib.model import embeddings, folders


class Arm(NamedTuple):
    """Stage an arm starts from, what it trains (see training.Settings), and whether English is replayed."""

    start: str
    method: str
    replay: bool


ARMS = {"main": Arm("extended", "lora", True), "lora": Arm("extended", "lora", True),
        "frozen": Arm("extended", "frozen", True), "full": Arm("extended", "full", True),
        "unextended": Arm("base", "lora", True), "mean-start": Arm("mean-start", "lora", True),
        "no-replay": Arm("extended", "lora", False)}


def starts(profile: str, arms: list[str], folder) -> dict[str, Path]:
    """Folders of the models that arms start from: base, extended and, where the arm asks for it, mean-start.

    That is the extended model with new rows made of sub-tokens alone, whatever start chapter 02 gave them; it is written
    to `folder`.
    """
    found = {stage: folders.stage(profile, stage) for stage in ("base", "extended")}
    if "mean-start" in arms:
        base, extended = (folders.tokenizer(place) for place in found.values())
        model = embeddings.extend(folders.load(found["base"]), base, extended, "mean-of-subtokens")
        found["mean-start"] = folders.save(model, extended, folder / "mean-start-model")
    return found


def streams(documents, language: str) -> dict[str, Sequence[str]]:
    """Training texts of the language, and of English where the corpus has any."""
    train = documents[documents["split"] == "train"]
    found = {code: corpus.column(train.loc[train["language"] == code, "text"]) for code in (language, "en")}
    return {code: texts for code, texts in found.items() if len(texts)}


def score(folder, texts: pandas.DataFrame, **labels) -> pandas.DataFrame:
    """Bits and bytes of every held-out text under the model of a folder (`measure.read`), with the labels."""
    return measure.read(folders.load(folder), folders.tokenizer(folder), texts).assign(**labels)


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
