"""Training tokens per second of this project beside the Trainer and TRL's SFTTrainer, and their losses.

Same model, LoRA adapters, data, batch and machine; every run trains the same steps from the same weights. New
vocabulary rows are left out, because SFTTrainer's loss cannot take them. Prints a table, the ratios and the share of the
machine's own matmul peak.

    python benchmarks/throughput.py                    # 16 × 128 tokens, 6 steps
    python benchmarks/throughput.py --steps 50         # the loss difference over 50 steps too
"""
import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import datasets  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

from lib.data import mixture
from lib.engine import machine, records
from lib.model import adapters, folders, formats
from lib.train import trainers, training  # noqa: E402

TEXT = Path(__file__).resolve().parent.parent / "lib"


class Clock(TrainerCallback):
    """Seconds of every step; the first one is left out of the rate, as it allocates."""

    def on_train_begin(self, args, state, control, **rest):
        self.times = [time.perf_counter()]

    def on_step_end(self, args, state, control, **rest):
        self.times.append(time.perf_counter())

    def seconds(self) -> float:
        steps = [after - before for before, after in zip(self.times, self.times[1:])]
        return statistics.median(steps[1:] or steps)


def peak(dtype, size: int = 1536, tokens: int = 2048, rounds: int = 10) -> float:
    """Best FLOP/s of a square linear layer of `size` in `dtype`."""
    place, times = machine.device(), []
    states, weight = (torch.randn(rows, size, dtype=dtype, device=place) for rows in (tokens, size))
    for _ in range(rounds):
        formats.wait()
        started = time.perf_counter()
        torch.nn.functional.linear(states, weight)
        formats.wait()
        times.append(time.perf_counter() - started)
    return 2 * tokens * size * size / min(times[1:])


def flops(model) -> float:
    """FLOP a token of forward and backward: 2 a weight each way, and LoRA's weights once more for their gradients."""
    causal = model.get_base_model()
    head = causal.get_input_embeddings().weight.numel()
    lora = sum(parameter.numel() for name, parameter in model.named_parameters() if "lora_" in name)
    table = 0 if causal.config.tie_word_embeddings else head
    frozen = sum(parameter.numel() for parameter in causal.parameters()) - lora - table
    return 4 * frozen + 6 * lora


def adapted(folder: Path, dtype, rank: int):
    """The model with LoRA as PEFT makes it; `dtype` None loads it as the library does by default."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, **({} if dtype is None else {"dtype": dtype}))
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"))


def run(trainer, tokens: int) -> dict:
    """Trains and returns tokens/s (of the median step), the losses of the steps, and peak memory in bytes."""
    clock = Clock()
    trainer.add_callback(clock)
    machine.reset_peak_memory()
    with contextlib.redirect_stdout(io.StringIO()), trainer if hasattr(trainer, "__enter__") else contextlib.nullcontext():
        trainer.train()
    return {"tokens_per_second": tokens / clock.seconds(), "memory": machine.peak_memory(),
            "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]}


def arguments(options, batch_size: int) -> dict:
    return dict(per_device_train_batch_size=batch_size, num_train_epochs=1, train_sampling_strategy="sequential",
                learning_rate=1e-3, warmup_steps=0.1, logging_steps=1, save_strategy="no", report_to="none",
                disable_tqdm=True, seed=0, use_cpu=machine.device() == "cpu", dataloader_pin_memory=False,
                output_dir=tempfile.mkdtemp(), **options)


def plain(folder, blocks, batch_size, rank, dtype, **options):
    """transformers' Trainer as it comes."""
    return Trainer(model=adapted(folder, dtype, rank), args=TrainingArguments(**arguments(options, batch_size)),
                   train_dataset=blocks.with_format("torch"))


def sft(folder, blocks, batch_size, rank, dtype, **options):
    """TRL's SFTTrainer as it comes, on the same packed blocks."""
    return SFTTrainer(model=adapted(folder, dtype, rank), args=SFTConfig(max_length=None, **arguments(options, batch_size)),
                      train_dataset=blocks, processing_class=folders.tokenizer(folder))


def ours(folder, blocks, batch_size, rank):
    """This project's trainer, in the machine's own format, with the optimizer settings of the others."""
    model = adapted(folder, machine.dtype()[0], rank)
    if machine.device() == "cpu" and machine.dtype()[0] == torch.bfloat16:
        model.set_attn_implementation("eager")
    settings = training.Settings(learning_rate=1e-3, beta2=0.999, batch_size=batch_size)
    return trainers.Pretrainer(model=adapters.quicken(model), args=TrainingArguments(**arguments({}, batch_size)),
                                train_dataset=blocks.with_format("torch"), settings=settings)


def packed(folder: Path, blocks: int, length: int) -> datasets.Dataset:
    """Blocks of this project's own source code, which every clone has."""
    texts = [path.read_text(encoding="utf8") for path in sorted(TEXT.rglob("*.py"))]
    with contextlib.redirect_stdout(io.StringIO()):
        drawn = mixture.documents({"code": texts}, {"code": 1.0}, 8 * blocks * length, seed=0)
        rows = mixture.blocks(drawn, folders.tokenizer(folder), length)
    return rows.select(range(blocks)).select_columns(["input_ids", "labels"])


CONTENDERS = {
    "Trainer": lambda *given: plain(*given, None),
    "SFTTrainer": lambda *given: sft(*given, None),
    "SFTTrainer, no checkpointing": lambda *given: sft(*given, None, gradient_checkpointing=False),
    "Trainer, fp32": lambda *given: plain(*given, torch.float32),
    "SFTTrainer, fp32, no checkpointing": lambda *given: sft(*given, torch.float32, gradient_checkpointing=False, bf16=False),
    "ours": ours,
}
HALF = ["SFTTrainer", "SFTTrainer, no checkpointing"]  # compute in bf16, which takes an hour without instructions for it


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="smollm2-135m", help="base model, as in the parameter files")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", nargs="*", choices=list(CONTENDERS), help="by default all that suit the machine")
    parser.add_argument("--json", type=Path, help="file for the results")
    given = parser.parse_args(arguments)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder, (dtype, reason) = folders.base(given.base), machine.dtype()
    blocks, best = packed(folder, given.batch * given.steps, given.length), peak(dtype)
    print(f"{machine.describe()['device']}, {str(dtype)[6:]} ({reason}), matmul peak {best / 1e9:.0f} GFLOP/s, "
          f"{given.steps} steps of {given.batch} × {given.length} tokens")
    results, slow = {}, HALF if machine.device() == "cpu" and dtype == torch.float32 else []
    if slow and not given.only:
        print(f"Left out for want of bf16 instructions: {'; '.join(slow)}.")
    for name in given.only or [name for name in CONTENDERS if name not in slow]:
        trainer = CONTENDERS[name](folder, blocks, given.batch, given.rank)
        results[name] = run(trainer, given.batch * given.length)
        results[name]["share_of_peak"] = results[name]["tokens_per_second"] * flops(trainer.model) / best
        show(name, results)
    if given.json:
        about = {"device": machine.device_name(), "dtype": str(dtype)[6:], "peak": best}
        about |= {name: vars(given)[name] for name in ("batch", "length", "rank", "steps")}
        records.write_json(given.json, about | results)


def show(name: str, results: dict):
    row, against = results[name], ""
    if name == "ours":
        for other, found in list(results.items())[:-1]:
            gap = statistics.mean(a - b for a, b in zip(row["losses"], found["losses"]))
            against += (f"\n  {row['tokens_per_second'] / found['tokens_per_second']:.2f} × {other}, "
                        f"mean loss difference {gap:+.4f} nats over {len(row['losses'])} steps")
    print(f"{name:36}{row['tokens_per_second']:8.1f} tokens/s {row['share_of_peak']:6.0%} of peak "
          f"{row['memory'] / 2**30:6.1f} GiB  last loss {row['losses'][-1]:.3f}{against}", flush=True)


if __name__ == "__main__":
    main()
