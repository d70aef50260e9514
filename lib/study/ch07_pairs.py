"""Whether translation pairs make classes easier to read off a model: the arms of chapter 04, probed."""
from pathlib import Path

import pandas

from lib.engine import keys, paths, records
from lib.evaluate import probes
from lib.model import folders
from lib.study import ch07_stages as stages
from lib.study import contrast

CHAPTER, ARMS = "04_alignment", ("no-pairs", "pairs")


def arms(profile: str, record) -> dict[tuple[str, int], Path]:
    """(arm, seed) → what chapter 04 trained: as much text without pairs and with them. Nothing unless all of it is there.

    The record notes the adapters that are read.
    """
    seeds = records.load(profile, CHAPTER)["parameters"]["seeds"]
    found = {(arm, seed): paths.runs(profile) / CHAPTER / f"{arm}-{seed}" for seed in seeds for arm in ARMS}
    weights = [folder / "adapter_model.safetensors" for folder in found.values()]
    if not all(map(Path.exists, weights)):
        return {}
    for file in weights:
        record.input(file)
    return found


def probe(folder: Path, fitted: pandas.DataFrame, probed: pandas.DataFrame, out: Path) -> pandas.DataFrame:
    """`probes.score` of a model that is opened for it; kept in `out`, and not made again from the same."""
    return keys.kept(out, keys.of(__file__, folder, fitted, probed),
                     lambda: probes.score(folders.load(folder), folders.tokenizer(folder), fitted, probed))


def note(record, scores: pandas.DataFrame, base: str):
    """`probe_accuracy` of the arms, a stage each, on the language they are fitted on, and the paired difference of them."""
    own = scores[scores["trained_on"] == scores["language"]].assign(base=base)
    contrast.note(record, "probe_accuracy", own, contrast.CORRECT, ["base", "stage", "language", stages.TASKS])
    contrast.between(record, "probe_accuracy_difference", own, contrast.CORRECT, ["language", stages.TASKS], "stage", *ARMS,
                     base=base)
