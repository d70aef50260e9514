"""Stability of pretraining from scratch: a toy trained at rates that hold and diverge, guarded or not, in formats.

PolyLM's first runs spiked until rate and number format were changed (arXiv 2307.06018, section 3.3). A random start of
300,000 parameters by default shows the same curves in seconds, and no more than that: a toy at demonstration scale.
"""
import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy
import pandas
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from lib.data import mixture
from lib.engine import launch
from lib.evaluate import measure
from lib.model import folders
from lib.study import contrast
from lib.train import spikes, training

SAMPLE = 400  # beginnings of so many texts a stream, and so many characters of each, make the vocabulary
BYTES = 6  # of text a token at most: a small vocabulary has short pieces
CURVES = ("step", "loss", "grad_norm", "learning_rate")
# Number formats that are compared at one rate: before, after.
FORMATS = [("fp32", "bf16"), ("fp32", "bf16-fp32-residual"), ("bf16", "bf16-fp32-residual")]


class Run(NamedTuple):
    """A training: its peak learning rate, number format (precision.COMPUTED), what is done on a spike, and its seed."""

    rate: float
    precision: str
    on_spike: str
    seed: int

    @property
    def name(self) -> str:
        """What the run is called in print; runs that differ by seed alone share it."""
        return f"{self.rate:g} {self.precision}" + (f" {self.on_spike}" if self.on_spike != "none" else "")

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return f"{self.name.replace(' ', '-')}-{self.seed}"


def plan(rates: list[float], remedies: list[str], precisions: list[str], precision_rate: float, seeds: list[int]):
    """Every run: each rate in fp32, the last again with each remedy, fp32 and further formats at one rate; by seed."""
    cases = [(rate, "fp32", "none") for rate in rates]
    cases += [(rates[-1], "fp32", remedy) for remedy in remedies]
    cases += [(precision_rate, precision, "none") for precision in ("fp32", *precisions)]
    return [Run(*case, seed) for case in dict.fromkeys(cases) for seed in seeds]


def vocabulary(base: PreTrainedTokenizerFast, streams: dict[str, list[str]], size: int) -> PreTrainedTokenizerFast:
    """A tokenizer like the base, special tokens included, with `size` pieces learned on beginnings of the texts alone.

    A toy with the base's own vocabulary would spend nearly all its time on the output matrix.
    """
    return base.train_new_from_iterator([text[:SAMPLE] for texts in streams.values() for text in texts[:SAMPLE]], size)


def blocks(streams: dict[str, list[str]], tokenizer, steps: int, batch: int, length: int, seed: int):
    """Packed blocks for so many steps, all streams in equal shares, in the seed's order; fewer where text runs short.

    Neighbours of one document are far apart, since steps of one document each would be spikes of their own.
    """
    shares = dict.fromkeys(streams, 1 / len(streams))
    drawn = mixture.documents(streams, shares, BYTES * steps * batch * length, seed)
    packed = mixture.blocks(drawn, tokenizer, length).shuffle(seed=seed)
    return packed.select(range(min(len(packed), steps * batch)))


def start(folder: Path, tokenizer, layers: int, hidden: int, heads: int, length: int, seed: int) -> Path:
    """Writes a Llama with random weights, standard deviation 0.02, to `folder`."""
    set_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=length, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id))
    return folders.save(model, tokenizer, folder)


def train(run: Run, folder: Path, start: Path, blocks, rule: spikes.Rule, **common) -> dict:
    """Trains all parameters in `folder` at the run's rate, watched by the rule; `common` are further fields of Settings.

    In this process, since only there a guard can watch a step.
    """
    settings = training.Settings(method="full", learning_rate=run.rate, rows_learning_rate=run.rate, seed=run.seed,
                                 precision=run.precision, guard=dataclasses.replace(rule, on_spike=run.on_spike), **common)
    with launch.using(launch.Launch()):
        return training.pretrain(folder / run.folder, start, blocks, settings)


def score(run: Run, folder: Path, texts: list[str], length: int) -> pandas.DataFrame:
    """Bits and bytes of every held-out text, read `length` tokens at a time in the machine's format, with the run."""
    model, tokenizer = folders.load(folder), folders.tokenizer(folder)
    found = measure.bits_per_byte(model, tokenizer, texts, window=length, context=length // 4)
    return found.assign(run=run.name, **run._asdict())


def note(record, run: Run, result: dict):
    """The run's curves, every spike with what was done, and their counts."""
    log, labels = result["log"], {"run": run.name, **run._asdict()}
    # Five digits of a number: a curve has many.
    curves = {name: [row[name] and float(f"{row[name]:.5g}") for row in log] for name in CURVES}
    record.rows("stability", [{**labels, **curves}])
    met = [row for row in log if row["spike"]]
    record.rows("spikes", [{**labels, **{name: row[name] for name in (*CURVES, "spike", "action")}} for row in met])
    record.fact("stability_steps", len(log), "steps", **labels)
    record.fact("stability_spikes", len(met), "steps", **labels)
    for action in ("skip", "lower"):
        record.fact(f"stability_{action}", sum(action in row["action"] for row in met), "steps", **labels)


def compare(record, scores: pandas.DataFrame, plan: list[Run]):
    """Bits per byte of every run, seeds pooled, and paired differences over the same texts.

    Every run is set against the first one; what differs in format only also against fp32 and bf16 at its rate. Runs
    whose weights are not finite have no score, and that is a fact.
    """
    cases = {run.name: run for run in plan}
    lost = set(scores.loc[~numpy.isfinite(scores["bits"]), "run"])
    sound = scores[~scores["run"].isin(lost)]
    contrast.note(record, "stability_bits_per_byte", sound, contrast.BITS, ["run"])
    for name in [name for name in cases if name in lost]:
        record.fact("stability_lost", "weights are not finite", run=name)
    for before, after in _contrasts(cases):
        if not {before, after} & lost:
            contrast.between(record, "stability_difference", sound, contrast.BITS, [], "run", before, after)


def _contrasts(cases: dict[str, Run]) -> list[tuple[str, str]]:
    """Pairs of run names (before, after), each once."""
    names = list(cases)
    pairs = [(names[0], name) for name in names[1:]]
    for name, run in cases.items():
        pairs += [(other, name) for other, by in cases.items() if by.rate == run.rate and by.on_spike == run.on_spike
                  and (by.precision, run.precision) in FORMATS]
    return list(dict.fromkeys(pairs))
