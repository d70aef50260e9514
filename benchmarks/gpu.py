"""On a GPU: training tokens a second and memory of this project beside the Trainer, on a Llama of 7 billion random weights.

LoRA of rank 8 on every linear layer, blocks of 512 tokens, bf16, and NF4 weights where bitsandbytes is installed. Before
that it compares the fast forward passes with PEFT's own. Nothing is downloaded. Results are written after every part.

    python benchmarks/gpu.py --json figures/bench/gpu.json
    python benchmarks/gpu.py --toy                     # two layers, any machine: does it run?
"""
import argparse
import functools
import gc
import importlib.metadata
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import datasets  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, Trainer, TrainingArguments  # noqa: E402

from benchmarks import throughput  # noqa: E402
from lib.engine import machine, records  # noqa: E402
from lib.model import adapters  # noqa: E402
from lib.train import trainers, training  # noqa: E402

TOY = dict(hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, vocab_size=300)
CHECKED = dict(hidden_size=1024, intermediate_size=2752, num_hidden_layers=4, num_attention_heads=8, vocab_size=2000)
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")
GIVEN = ("batch", "length", "rank", "steps")
NEW = 100  # rows that are trained in the comparison of gradients


def blocks(rows: int, length: int) -> datasets.Dataset:
    """Blocks of the bytes of this project's own source, so that there is something to learn."""
    text = b"".join(path.read_bytes() for path in sorted(throughput.TEXT.rglob("*.py")))
    cut = [list(text[start:start + length]) for start in range(0, rows * length, length)]
    return datasets.Dataset.from_dict({"input_ids": cut, "labels": cut})


def random_model(folder: Path, **sizes):
    """Writes a Llama of random bf16 weights; without `sizes` the one of 7 billion, as LlamaConfig has it."""
    with torch.device(machine.device()):
        AutoModelForCausalLM.from_config(LlamaConfig(**sizes), dtype=torch.bfloat16).save_pretrained(folder)


def adapted(folder: Path, nf4: bool, rank: int):
    """The model on the GPU with adapters, its frozen weights in bf16 or NF4."""
    torch.manual_seed(0)
    quantised = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                   bnb_4bit_compute_dtype=torch.bfloat16)
    options = {"quantization_config": quantised} if nf4 else {}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map=machine.device(), **options)
    return adapters.add(model, rank, 2 * rank)


def plain(folder, rows, given, nf4=False, **options):
    """transformers' Trainer on PEFT's model, mixed precision in bf16."""
    return Trainer(model=adapted(folder, nf4, given.rank), train_dataset=rows.with_format("torch"),
                   args=TrainingArguments(**throughput.arguments({"bf16": True, **options}, given.batch)))


def ours(folder, rows, given, nf4=False, compiled=False):
    settings = training.Settings(learning_rate=1e-3, beta2=0.999, batch_size=given.batch)
    model = adapters.quicken(adapted(folder, nf4, given.rank))
    return trainers.Pretrainer(model=adapters.compile_layers(model) if compiled else model, settings=settings,
                               args=TrainingArguments(**throughput.arguments({}, given.batch)),
                               train_dataset=rows.with_format("torch"))


def difference(tied: bool, sizes: dict) -> dict:
    """Relative error of all gradients in bf16 against fp32, by PEFT's passes and by the fast ones, and of the losses."""
    torch.manual_seed(0)
    config = LlamaConfig(**sizes, tie_word_embeddings=tied)
    with torch.device(machine.device()):
        start = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        ids = torch.randint(0, sizes["vocab_size"], (4, 64))
    start.config.base_vocab_size = sizes["vocab_size"] - NEW
    exact = gradients(start, torch.float32, lambda model: model, ids)
    found = {"PEFT": gradients(start, torch.bfloat16, lambda model: model, ids),
             "ours": gradients(start, torch.bfloat16, adapters.quicken, ids)}
    return {name: {"gradient": float((vector - exact[1]).norm() / exact[1].norm()), "loss": loss - exact[0]}
            for name, (loss, vector) in found.items()}


def gradients(start, dtype, prepare, ids):
    """Loss and all gradients, as one vector, of adapters that are not zero on a copy of the model in a format."""
    copy = type(start)(start.config).to(ids.device, dtype)
    copy.load_state_dict(start.state_dict())
    torch.manual_seed(1)
    model = adapters.add(copy, 8, 16)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    loss = prepare(model).train()(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.item(), torch.cat([part.grad.flatten().float() for part in model.parameters() if part.requires_grad])


def measured(build, weights: float, best: float, given) -> dict:
    """Rate, share of the matmul peak and memory of a trainer; what went wrong where it could not be run."""
    try:
        trainer = build()
        row = throughput.run(trainer, given.batch * given.length)
        return {**row, "share_of_peak": row["tokens_per_second"] * weights / best, "memory": machine.device_peak()}
    except (torch.OutOfMemoryError, RuntimeError, ImportError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"}


def contenders(folder, rows, given) -> dict:
    """What is run by name; the compiled Trainer and NF4 last, as they take longest and need most."""
    ready = functools.partial
    found = {"Trainer": ready(plain, folder, rows, given), "ours, not compiled": ready(ours, folder, rows, given)}
    if given.toy:
        return found
    return {**found, "ours": ready(ours, folder, rows, given, compiled=True),
            "Trainer, NF4": ready(plain, folder, rows, given, nf4=True),
            "ours, NF4, not compiled": ready(ours, folder, rows, given, nf4=True),
            "ours, NF4": ready(ours, folder, rows, given, nf4=True, compiled=True),
            "Trainer, compiled": ready(plain, folder, rows, given, torch_compile=True)}


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true", help="two small layers instead of 7 billion weights")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", nargs="*", help="contenders to run; all by default")
    parser.add_argument("--json", type=Path, help="file for the results")
    given = parser.parse_args(arguments)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    best = throughput.peak(torch.bfloat16, *(() if given.toy else (8192, 8192)))
    results = {"device": machine.device_name(), "peak": best, **{name: vars(given)[name] for name in GIVEN},
               "versions": {name: importlib.metadata.version(name) for name in PACKAGES}}
    print(f"{results['device']}, matmul peak {best / 1e12:.3g} TFLOP/s, {given.steps} steps of {given.batch} × "
          f"{given.length} tokens", flush=True)
    for tied in (True, False):
        results["error of bf16, " + ("tied" if tied else "untied")] = difference(tied, TOY if given.toy else CHECKED)
    print(json.dumps({name: value for name, value in results.items() if name.startswith("error")}, indent=1))
    compare(given, results, best)


def compare(given, results: dict, best: float):
    """Runs every contender on the same folder and prints and keeps each as it ends."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        random_model(Path(folder), **(TOY if given.toy else {}))
        weights = throughput.flops(adapted(folder, False, given.rank))
        for name, build in contenders(folder, blocks(given.batch * given.steps, given.length), given).items():
            if given.only and name not in given.only:
                continue
            gc.collect()
            torch.cuda.empty_cache()
            results[name] = measured(build, weights, best, given)
            show(name, results)
            if given.json:
                given.json.parent.mkdir(parents=True, exist_ok=True)
                records.write_json(given.json, results)


def show(name: str, results: dict):
    row, beside = results[name], results.get("Trainer, NF4" if "NF4" in name else "Trainer", {})
    if "error" in row:
        return print(f"{name:24}not run: {row['error']}", flush=True)
    ratio = row["tokens_per_second"] / beside.get("tokens_per_second", float("nan"))
    gap = torch.tensor(row["losses"]).sub(torch.tensor(beside.get("losses", row["losses"]))).mean()
    print(f"{name:24}{row['tokens_per_second']:9.0f} tokens/s {row['share_of_peak']:5.0%} of peak {ratio:5.2f} × "
          f"{row['memory'] / 2**30:6.1f} GiB  loss {row['losses'][0]:.3f} → {row['losses'][-1]:.3f} ({gap:+.4f})", flush=True)


if __name__ == "__main__":
    main()
