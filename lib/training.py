"""Training of every stage: continued pretraining, alignment and instruction tuning, on the Trainer and TRL.

A run lies in its folder: checkpoints while it lasts, then the adapter (or `model/`) and `result.json`. A run that was
killed goes on from its last checkpoint to the same end; one that is finished is not repeated.
"""
import dataclasses
import hashlib
import json
import math
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import numpy
import torch
from tqdm.auto import tqdm
from transformers import (PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments, set_seed)
from trl import SFTConfig, SFTTrainer

from lib import adapters, loss, machine, models, precision, records, spikes

METHODS = ("lora", "frozen", "full")
LOGGED = 100  # points of a loss curve at most
QUICK = 30  # seconds: a log is told nothing of a training that is over so soon


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides a training besides model and data; shares and rates as numbers, lengths in tokens.

    method: `lora` (LoRA on all linear layers, and the new vocabulary rows), `frozen` (embeddings and head only, as in
    the paper's frozen-transformer arm) or `full`. `rows_learning_rate` is for embeddings and head, `learning_rate` for
    all else. `block_length` is also the longest example in `instruct`. `scheduler` is any name the Trainer knows.
    `precision` is one of precision.COMPUTED, for `frozen` and `full`; empty means what is fast on the machine.
    `guard` watches every step for spikes; without one nothing is watched.
    """

    method: str = "lora"
    learning_rate: float = 1e-3
    rows_learning_rate: float = 3e-3
    batch_size: int = 2
    block_length: int = 256
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    warmup: float = 0.05
    scheduler: str = "cosine"
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    beta2: float = 0.99
    checkpoint_steps: int = 50
    seed: int = 0
    precision: str = ""
    guard: spikes.Rule | None = None

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"Training method {self.method!r} is none of {', '.join(METHODS)}.")
        if self.precision and self.method == "lora":
            raise ValueError(f"Precision {self.precision!r} is for the methods frozen and full: leave it out for lora.")


def pretrain(folder: Path, start: Path, blocks: datasets.Dataset, settings: Settings, merge: bool = False) -> dict:
    """Continues pretraining of the model in `start` on packed blocks, in their order; returns result.json.

    The adapter is written to `folder`, and with `merge` the merged model to `folder/model`; methods without adapter
    always write `folder/model`. The result has seconds, tokens, bytes, tokens_per_second, peak_memory (bytes),
    trainable, total, parts (trainable parameters by place) and log (step, tokens, bytes, seconds, loss, grad_norm,
    learning_rate; with a guard every step, and spike, the curves that stood out, and action).
    """
    def build(model, tokenizer):
        columns = blocks.select_columns(["input_ids", "labels"])
        return Pretrainer(model=model, args=TrainingArguments(**_arguments(folder, settings, len(blocks))),
                          train_dataset=columns.with_format("torch"), settings=settings)

    counts = numpy.array([len(ids) for ids in blocks["input_ids"]]), numpy.array(blocks["bytes"])
    return _run(folder, start, blocks, settings, merge, build, lambda trainer: counts)


def instruct(folder: Path, start: Path, examples: datasets.Dataset, settings: Settings, merge: bool = False,
             tokenizer=None) -> dict:
    """Instruction tuning by TRL's SFTTrainer on prompt–completion examples, loss on the answers only, in their order.

    `tokenizer` defaults to the start's own; give one to bring another chat template. Besides what `pretrain` returns,
    the result has answers_truncated (examples longer than `settings.block_length`) and eos_labels (examples whose EOS
    is trained). Raises ValueError when an answer would be cut away entirely or EOS would not be trained.
    """
    def build(model, own):
        words = tokenizer or own
        report.update(answers_truncated=_truncated(examples, words, settings.block_length))
        arguments = SFTConfig(**_arguments(folder, settings, len(examples)), max_length=settings.block_length,
                              packing=False, completion_only_loss=True)
        trainer = Instructor(model=model, args=arguments, train_dataset=examples, processing_class=words,
                             settings=settings)
        report.update(eos_labels=_eos_labels(trainer.train_dataset, words, len(examples) - report["answers_truncated"]))
        return trainer

    def count(trainer):
        ids = list(trainer.train_dataset["input_ids"])
        texts = trainer.processing_class.batch_decode(ids)
        return numpy.array([len(row) for row in ids]), numpy.array([len(text.encode()) for text in texts])

    report = {}
    return _run(folder, start, examples, settings, merge, build, count, report, getattr(tokenizer, "chat_template", ""))


class _Fast:
    """What both trainers share: a learning rate for vocabulary rows, and a step whose batch is split over CPU threads."""

    def __init__(self, *, settings: Settings, **options):
        self.settings, self.pool = settings, None
        super().__init__(**options)
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        self.guard = spikes.Guard(settings.guard) if settings.guard else None
        if self.guard:
            self.add_callback(self.guard)

    def __enter__(self):
        self.threads = torch.get_num_threads()
        if self.pieces() > 1:
            self.pool = ThreadPoolExecutor(self.pieces(), initializer=torch.set_num_threads,
                                           initargs=(self.threads // self.pieces(),))
        return self

    def __exit__(self, *error):
        if self.pool:
            self.pool.shutdown()
            torch.set_num_threads(self.threads)  # parts of it are shared by all threads of the process

    def create_optimizer(self, model=None):
        settings, rows, others = self.settings, [], []
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                (rows if _is_row(name) else others).append(parameter)
        groups = [{"params": others, "lr": settings.learning_rate}, {"params": rows, "lr": settings.rows_learning_rate}]
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, settings.beta2),
                                           weight_decay=settings.weight_decay, fused=True)
        return self.optimizer

    def pieces(self) -> int:
        """Halves of a batch computed side by side on a CPU: two passes of half the threads waste less than every
        operation on all of them. Two, because their sum is the same in either order; one with dropout, whose draws
        come from a single generator."""
        alone = machine.device() != "cpu" or self.settings.lora_dropout
        return 1 if alone else min(2, self.settings.batch_size, torch.get_num_threads())

    def training_step(self, model, inputs, num_items_in_batch=None):
        if self.pool is None:
            loss = super().training_step(model, inputs, num_items_in_batch)
        else:
            loss = self.in_pieces(model, inputs, num_items_in_batch)
        if self.guard:
            self.guard.see(loss, model)
        return loss

    def in_pieces(self, model, inputs, num_items_in_batch):
        """The step with its batch split over the pool."""
        model.train()
        parts = [tensor.chunk(self.pieces()) for tensor in inputs.values()]
        return sum(self.pool.map(lambda *part: self.backward(model, dict(zip(inputs, part)), num_items_in_batch), *parts))

    def backward(self, model, inputs, num_items_in_batch):
        """Adds the gradients of a part of the batch; its share of the mean loss."""
        loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        self.accelerator.backward(loss)
        return loss.detach()


class Pretrainer(_Fast, Trainer):
    """The Trainer on packed blocks; like `Instructor` it is used as a context, which keeps its threads."""


class Instructor(_Fast, SFTTrainer):
    """SFTTrainer with this project's loss: its own reads the head's weight past any trained rows."""

    compute_loss = Trainer.compute_loss


class _Progress(TrainerCallback):
    """Counts tokens, bytes and seconds of the curve; shows a bar to a person, a line now and then to a log."""

    def __init__(self, tokens, sizes, batch_size: int):
        steps = range(0, len(tokens), batch_size)
        self.tokens = numpy.cumsum([tokens[step:step + batch_size].sum() for step in steps])
        self.sizes = numpy.cumsum([sizes[step:step + batch_size].sum() for step in steps])

    def on_train_begin(self, args, state, control, **rest):
        self.before = state.log_history[-1]["seconds"] if state.log_history else 0.0
        self.first, self.started = state.global_step, time.monotonic()
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step", disable=not interactive())

    def on_step_end(self, args, state, control, **rest):
        self.bar.update()

    def on_log(self, args, state, control, logs=None, **rest):
        if "loss" not in logs:
            return
        step, spent = state.global_step, time.monotonic() - self.started
        state.log_history[-1].update(tokens=int(self.tokens[step - 1]), bytes=int(self.sizes[step - 1]),
                                     seconds=round(self.before + spent, 2))
        done = self.tokens[step - 1] - (self.tokens[self.first - 1] if self.first else 0)
        rate = done / spent
        left = (self.tokens[-1] - self.tokens[step - 1]) / rate
        self.bar.set_postfix_str(f"loss {logs['loss']:.3f}, {rate:.0f} tokens/s")
        due = step * 8 // state.max_steps > (step - args.logging_steps) * 8 // state.max_steps
        if due and spent + left > QUICK and not interactive():
            print(f"step {step}/{state.max_steps}: loss {logs['loss']:.3f}, {rate:.0f} tokens/s, {left:.0f} s left",
                  flush=True)

    def on_train_end(self, args, state, control, **rest):
        self.bar.close()


def interactive() -> bool:
    """Whether a person watches: a terminal, or a kernel started by Jupyter (papermill starts none of these)."""
    return sys.stderr.isatty() or "JPY_SESSION_NAME" in os.environ


def _run(folder, start, dataset, settings, merge, build, count, report=None, extra="") -> dict:
    """Trains unless `result.json` has the same key; resumes where a run with the same key stopped."""
    key = _key(start, dataset, settings, extra)
    done = _finished(folder, key, merge)
    if done:
        print(f"{folder.name}: trained before with the same model, data and settings "
              f"({done['tokens']:,} tokens, {done['seconds']:.0f} s), not repeated.")
        return done
    _prepare(folder, key)
    set_seed(settings.seed)
    model, tokenizer = _trainable(start, settings)
    machine.reset_peak_memory()
    trainer = build(model, tokenizer)
    tokens, sizes = count(trainer)
    trainer.add_callback(_Progress(tokens, sizes, settings.batch_size))
    with trainer:
        trainer.train(resume_from_checkpoint=_checkpoint(folder))
    result = {"key": key, **_measured(trainer, tokens, sizes), **_sizes(model), **(report or {})}
    _write(folder, model, trainer.processing_class or tokenizer, merge)
    records.write_json(folder / "result.json", result)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return result


def _trainable(start: Path, settings: Settings):
    """The start's model with what the method trains, in fast forward passes, and its tokenizer."""
    kind = machine.dtype()[0] if settings.method == "lora" else torch.float32
    model = models.load(start, kind)
    if machine.device() == "cpu" and kind == torch.bfloat16:
        model.set_attn_implementation("eager")  # in bf16 the CPU's fused attention is the slower one
    if settings.method == "lora":
        model = adapters.add(model, settings.lora_rank, settings.lora_alpha, settings.lora_dropout)
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = settings.method == "full" or _is_row(name)
    ready = precision.compute(model, settings.precision) if settings.precision else adapters.quicken(model)
    return ready, models.tokenizer(start)


def _arguments(folder: Path, settings: Settings, examples: int) -> dict:
    """Trainer arguments: order of the data kept, fp32 masters, checkpoints at points of the curve."""
    steps = -(-examples // settings.batch_size)
    every = 1 if settings.guard else max(1, -(-steps // LOGGED))
    autocast = settings.method != "lora" and not settings.precision and machine.dtype()[0] == torch.bfloat16
    return dict(output_dir=str(folder / "checkpoints"), per_device_train_batch_size=settings.batch_size,
                num_train_epochs=1, train_sampling_strategy="sequential", learning_rate=settings.learning_rate,
                lr_scheduler_type=settings.scheduler, warmup_steps=settings.warmup,
                max_grad_norm=settings.gradient_clip, seed=settings.seed, logging_steps=every, logging_first_step=False,
                save_strategy="steps", save_steps=-(-settings.checkpoint_steps // every) * every, save_total_limit=1,
                bf16=autocast, fp16=False, activation_checkpointing=False, report_to="none", disable_tqdm=True,
                remove_unused_columns=False, use_cpu=machine.device() == "cpu",
                dataloader_pin_memory=machine.device() == "cuda")


def _key(start: Path, dataset: datasets.Dataset, settings: Settings, extra: str) -> str:
    """sha256 of all that decides the result: settings, start, data, template, and the code that trains."""
    total = hashlib.sha256(json.dumps([dataclasses.asdict(settings), extra, str(machine.dtype()[0])]).encode())
    for name in sorted(dataset.column_names):
        total.update(json.dumps([name, dataset[:][name]]).encode())
    total.update(records.digest(start).encode())
    for module in (loss, adapters, precision, spikes, sys.modules[__name__]):
        total.update(Path(module.__file__).read_bytes())
    return total.hexdigest()


def _finished(folder: Path, key: str, merge: bool) -> dict | None:
    path = folder / "result.json"
    result = json.loads(path.read_text(encoding="utf8")) if path.exists() else {}
    complete = (folder / "model" / "config.json").exists() or not merge
    return result if result.get("key") == key and complete else None


def _prepare(folder: Path, key: str):
    """Empties the folder unless it holds checkpoints of this very run."""
    mark = folder / "checkpoints" / "key"
    if not (mark.exists() and mark.read_text() == key):
        shutil.rmtree(folder, ignore_errors=True)
        mark.parent.mkdir(parents=True)
        mark.write_text(key)


def _checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end: the Trainer writes its state last."""
    found = [path.parent for path in (folder / "checkpoints").glob("checkpoint-*/trainer_state.json")]
    newest = max(found, key=lambda path: int(path.name.split("-")[1]), default=None)
    if newest:
        print(f"{folder.name}: goes on from step {newest.name.split('-')[1]}.")
    return str(newest) if newest else None


def _measured(trainer, tokens, sizes) -> dict:
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    seconds = log[-1]["seconds"]
    fields = ["step", "tokens", "bytes", "seconds", "loss", "grad_norm", "learning_rate"]
    fields += ["spike", "action"] if trainer.guard else []
    return {"seconds": seconds, "tokens": int(tokens.sum()), "bytes": int(sizes.sum()),
            "tokens_per_second": float(tokens.sum() / seconds), "peak_memory": machine.peak_memory(),
            "log": [{field: _known(entry.get(field)) for field in fields} for entry in log]}


def _known(value):
    """The value, or None where a run that diverged has none: JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sizes(model) -> dict:
    """Parameters trained, all parameters of the model itself, and the trained ones by place."""
    parts = dict.fromkeys(("lora", "embed_tokens", "lm_head", "transformer"), 0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            place = next((place for place in ("embed_tokens", "lm_head") if _is_row(name) and place in name), None)
            parts[place or ("lora" if "lora_" in name else "transformer")] += parameter.numel()
    adapted = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name or "trainable_tokens" in name)
    return {"trainable": sum(parts.values()), "parts": parts,
            "total": sum(parameter.numel() for parameter in model.parameters()) - adapted}


def _write(folder: Path, model, tokenizer, merge: bool):
    if hasattr(model, "peft_config"):
        model.save_pretrained(folder, save_embedding_layers=False)
        tokenizer.save_pretrained(folder)
        if merge:
            models.save(models.merged(folder), tokenizer, folder / "model")
    else:
        models.save(model, tokenizer, folder / "model")


def _is_row(name: str) -> bool:
    """Whether a parameter is (part of) the embedding or the output matrix."""
    return ("embed_tokens" in name or "lm_head" in name) and "lora_" not in name


def _truncated(examples, tokenizer, longest: int) -> int:
    """How many examples are over `longest` tokens; ValueError when nothing of an answer would be left."""
    def lengths(row):
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)
        return len(prompt["input_ids"]), len(whole["input_ids"])

    pairs = [lengths(row) for row in examples]
    lost = [index for index, (prompt, _) in enumerate(pairs) if prompt >= longest]
    if lost:
        raise ValueError(f"In {len(lost)} examples the prompt alone fills {longest} tokens, so nothing of the answer is "
                         f"trained (first: example {lost[0]}, {pairs[lost[0]][0]} tokens): raise max_length or leave them out.")
    return sum(whole > longest for _, whole in pairs)


def _eos_labels(dataset, tokenizer, expected: int) -> int:
    """How many examples train their EOS; ValueError when fewer than the `expected` whole ones do."""
    trained = sum(tokenizer.eos_token_id in labels for labels in dataset["labels"])
    if tokenizer.pad_token_id == tokenizer.eos_token_id or trained < expected:
        raise ValueError(f"Only {trained} of {expected} whole answers train {tokenizer.eos_token} (padding is "
                         f"{tokenizer.pad_token}): the chat template must end answers with it, and padding be another.")
    return trained
