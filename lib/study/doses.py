"""What the trainings of a profile ask of GPUs, told before anyone rents one: memory, tokens, hours, kWh.

Rates and memory are scaled from `figures/bench/gpu.json`, measured with a Llama of 7 billion weights on one H100: work
goes with weights × tokens. Bytes become tokens as the committed run's extended tokenizer cut Persian.
"""
from typing import NamedTuple

import pandas
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from lib.engine import launch, params, paths, records, run
from lib.model import folders
from lib.study import ch07_stages, ch11_multilingual, ch12_grid
from lib.study.ch03_pretraining import ARMS

WATTS = 700  # an H100's rated power; the machine around it and its cooling come on top
GIB, LLAMA = 2**30, "llama-2-7b"
# Bytes a trained weight takes beside the model: fp32 master, which every GPU has, and gradient and Adam's two moments.
MASTER, SHARED = 4, 12
FULL = 1.5  # work of a step in which all weights are trained, against one in which frozen ones need no gradient


class Training(NamedTuple):
    """Trainings of a kind: chapter, what they train (see training.Settings), how many, tokens of each, tokens of a row, rows
    of a step, and the largest rank of their adapters."""

    chapter: str
    method: str
    runs: int
    tokens: float
    length: int
    batch: int
    rank: int


def trainings(profile: str) -> list[Training]:
    """Every training of a profile's chapters, toys apart; an example counts with a token for each character that it may have,
    about the most that it takes with its prompt."""
    names = [name for name in run.UPSTREAM if {"warmup", "seed"} <= set(params.defaults(name))]
    third, fourth, fifth, seventh, eighth, ninth, eleventh, twelfth = (params.load(profile, name) for name in names)
    arms = [("lora", third["main_runs"], third["budget_bytes"])]
    arms += [(ARMS[arm].method, len(third["seeds"]), third["arm_budget_bytes"]) for arm in third["arms"]]
    runs = ch07_stages.plan(*map(seventh.get, ("bases", "stages", "methods", "trained_on", "seeds")))
    tuned = [one.method for one in runs if one.trained_on == "both"]
    alone = seventh | {"examples": seventh["examples_alone"] or seventh["examples"]}
    phases, size = eighth["phase_count"] * len(eighth["seeds"]), bytes_per_token()
    sets = ch11_multilingual.plan(*map(eleventh.get, ("bases", "instructions", "seeds")))
    grid = ch12_grid.plan(*map(twelfth.get, ("bases", "instructions", "ranks", "bits", "seeds", "crossed")))
    tried = len(twelfth["rates"]) * (len(twelfth["rates"]) > 1)
    more, languages = len(seventh["seeds_alone"]), sum(code != "none" for code in seventh["trained_on"])
    staged = (len(seventh["bases"]) - seventh["reuse"]) * len(seventh["seeds"]) + more * (not seventh["reuse"])
    found = [*(_read(names[0], third, runs, budget / size, method) for method, runs, budget in arms),
            _read(names[1], fourth, len(fourth["arms"]) * len(fourth["seeds"]), fourth["budget_bytes"] / size),
            *(_read(names[1], fourth, 4 * len(fourth["factorial_seeds"]), each / size) for each in fourth["factorial_bytes"]),
            _tuned(names[2], fifth, len(fifth["starts"])),
            _read(names[2], fifth | {"block_length": fifth["max_length"]}, len(fifth["orders"]) * len(fifth["order_seeds"]),
                  fifth["order_bytes"] / size),
            _read(names[3], seventh, staged, (seventh["stage_bytes"] + seventh["pair_bytes"]) / size),
            _tuned(names[3], seventh | {"examples": seventh["stage_examples"]}, staged),
            *(_tuned(names[3], seventh, tuned.count(method), method) for method in dict.fromkeys(tuned)),
            _tuned(names[3], alone, languages * (len(seventh["seeds"]) + more)),
            _read(names[4], eighth, phases, eighth["budget_bytes"] / size), _tuned(names[4], eighth, phases),
            _read(names[5], ninth, len(ninth["arms"]) * len(ninth["seeds"]), ninth["budget_tokens"]),
            _tuned(names[6], eleventh, sum(one.instructions != "none" for one in sets)),
            _tuned(names[7], twelfth, tried * len({(one.base, one.rank) for one in grid if one.rank})),
            _tuned(names[7], twelfth, sum(one.rank > 0 for one in grid))]
    return [training for training in found if training.runs]


def _read(chapter: str, given: dict, runs: int, tokens: float, method: str = "lora") -> Training:
    return Training(chapter, method, runs, tokens, given["block_length"], given["batch_size"], given["lora_rank"])


def _tuned(chapter: str, given: dict, runs: int, method: str = "lora") -> Training:
    batch, rank = given.get("instruction_batch_size", given["batch_size"]), max(given.get("ranks", [given.get("lora_rank")]))
    tokens = given["examples"] * min(given["max_length"], given["longest_example"])
    return Training(chapter, method, runs, tokens, given["max_length"], batch, rank)


def bytes_per_token() -> float:
    """Of Persian, under the largest vocabulary of the committed run."""
    found = records.metrics("night", "02_tokenizer").query("metric == 'bytes_per_token' and arm == 'continued BPE'")
    return float(found.sort_values("size")["value"].iloc[-1])


def shape(base: str, pieces: int = 0):
    """The model of a base with so many new rows, without its weights; assets.AssetError where it cannot be fetched.

    A Llama-2-7B asks no hub, which wants a login for it: it is what LlamaConfig describes.
    """
    known = LLAMA in base.lower()
    config = LlamaConfig() if known else AutoConfig.from_pretrained(folders.base(base, weights=False))
    config.vocab_size += pieces
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def trained(model, method: str, rank: int, pieces: int) -> int:
    """How many weights a method trains: adapters and new rows, all rows, or all."""
    matrices = {layer.weight for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    if method != "lora":
        return model.num_parameters() if method == "full" else sum(matrix.numel() for matrix in matrices)
    linear = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear) and layer.weight not in matrices]
    return rank * sum(sum(layer.weight.shape) for layer in linear) + sum(pieces * matrix.shape[1] for matrix in matrices)


def needs(profile: str, rate: float = 0.0, watts: float = WATTS) -> pandas.DataFrame:
    """A row a chapter and what is trained: runs, tokens of all, most memory of a GPU in GiB, hours on the profile's GPUs, kWh.

    `rate` is tokens/s of a GPU training the base with adapters, instead of the scaled one.
    """
    base, pieces = (params.load(profile, "02_tokenizer")[name] for name in ("base", "size"))
    bench, launched, model = records.read(paths.ROOT / "figures/bench/gpu.json"), launch.load(profile), shape(base, pieces)
    gpus, weights = launched.processes, model.num_parameters()
    measured = bench["ours" if gpus == 1 else "ours, not compiled"]  # as the trainings do it
    known = shape(LLAMA).num_parameters()
    rate = rate or measured["tokens_per_second"] * known / weights
    activation = (measured["memory"] - 2 * known) / (bench["batch"] * bench["length"]) * weights / known
    rows = []
    for kind in trainings(profile):
        count = trained(model, kind.method, kind.rank, pieces)
        stored = (2 if kind.method == "lora" else 4) * weights + (MASTER * (kind.method == "lora") + SHARED / gpus) * count
        tokens, work = kind.runs * kind.tokens, FULL if kind.method == "full" else 1
        hours, rows_at_once = tokens * work / rate / gpus / 3600, launched.at_once or -(-kind.batch // gpus)
        rows.append({"chapter": kind.chapter, "trains": kind.method, "runs": kind.runs, "million tokens": tokens / 1e6,
                     "GiB a GPU": (stored + activation * kind.length * rows_at_once) / GIB,
                     "hours": hours, "kWh": hours * gpus * watts / 1000})
    sums = {"runs": "sum", "million tokens": "sum", "GiB a GPU": "max", "hours": "sum", "kWh": "sum"}
    return pandas.DataFrame(rows).groupby(["chapter", "trains"], sort=False, as_index=False).agg(sums)


def tell(profile: str, rate: float = 0.0, watts: float = WATTS):
    """Prints `needs`, its sums, and what it leaves out."""
    found, gpus = needs(profile, rate, watts), launch.load(profile).processes
    print(found.to_string(index=False, float_format=_digits))
    total = found[["million tokens", "hours", "kWh"]].sum().map(_digits)
    print(f"In all {total['million tokens']} million tokens: {total['hours']} hours on {gpus} GPU{'s' * (gpus > 1)} with "
          f"{found['GiB a GPU'].max():.0f} GiB or more, {total['kWh']} kWh at {watts:g} W each.\n"
          "Scaled from one measured GPU (docs/benchmarks.md) with 8 × 512 tokens at once: fewer at once, or a slow link "
          "between GPUs, take longer. An example of instructions counts with a token a character. Loading, tests, toys and "
          "what a machine draws beside its GPUs come on top.")


def _digits(value: float) -> str:
    return f"{value:,.{1 if value > 1 else 3}f}"
