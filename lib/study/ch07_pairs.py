"""What probes read off the arms of chapter 04: whether translation pairs help, and whether a stronger base does."""
from pathlib import Path

import pandas

from lib.engine import keys, paths, records
from lib.evaluate import probes
from lib.model import folders
from lib.study import ch07_stages as stages
from lib.study import contrast

CHAPTER, ARMS, ALIGNED = "04_alignment", ("no-pairs", "pairs"), "aligned"


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


def probed(models, stages: list[str], once: list[str], first: int) -> list[tuple[str, int, str]]:
    """Which (base, seed, stage) of the models (base, seed) are probed: with the first seed every stage, with the others what
    has just read pairs, of a base that is trained with each seed."""
    return [(base, seed, stage) for base, seed in models for stage in stages
            if seed == first or (stage == ALIGNED and base not in once)]


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


def note_strength(record, weak: pandas.DataFrame, strong: pandas.DataFrame, *bases: str):
    """`probe_strength_difference`: the second base's `aligned` models minus the first's, the arm with pairs, as many trainings
    of each."""
    weak, strong = (rows[(rows["trained_on"] == rows["language"]) & (rows["stage"] == stage)].assign(base=base)
                    for rows, stage, base in zip((weak, strong), (ARMS[1], ALIGNED), bases))
    contrast.between(record, "probe_strength_difference", pandas.concat([weak, strong]), contrast.CORRECT,
                     ["language", stages.TASKS], "base", *bases)
