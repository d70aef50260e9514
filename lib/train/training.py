"""Training of every stage: continued pretraining, alignment and instruction tuning, on the Trainer and TRL.

A run lies in its folder: checkpoints while it lasts, then the adapter (or `model/`) and `result.json`. A run that was
killed goes on from its last checkpoint to the same end; one that is finished is not repeated.
"""
import argparse
import contextlib
import dataclasses
import datetime
import importlib.util
import io
import math
import os
import pickle
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import accelerate
import datasets
import numpy
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast, TrainerCallback, set_seed

from lib.engine import energy, keys, launch, machine, paths, records, store
from lib.model import adapters, folders, formats
from lib.train import spikes, trainers

METHODS = ("lora", "frozen", "full")
KEPT = (keys.PRESENTATION, "lib/engine/")  # code that trains nothing
QUICK = 30  # seconds: a log is told nothing of a training that is over so soon
COMPILED = 1e16  # weights × tokens from which compiling pays: some minutes of a large GPU
CHECKPOINTS = 2  # that are kept: a torn one costs steps, and not the run
PATIENCE = datetime.timedelta(minutes=30)  # that processes wait for the main one to load, tokenise or save


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides a training besides model and data; shares and rates as numbers, lengths in tokens.

    method: `lora` (LoRA on all linear layers, and the new vocabulary rows), `frozen` (embeddings and head only, as in
    the paper's frozen-transformer arm) or `full`. `rows_learning_rate` is for embeddings and head, `learning_rate` for
    all else. `block_length` is also the longest example in `instruct`. `scheduler` is any name the Trainer knows.
    `batch_size` is that of all processes together. `precision` is one of formats.COMPUTED, for `frozen` and `full`;
    empty means what is fast on the machine. `bits` are those of a frozen weight under `lora` (QLoRA, Dettmers et al.
    2023): 16 for the machine's own format, 8, or 4. `guard` watches every step for spikes; without one nothing is
    watched. `milestones` are shares of the training at which its adapter is kept (`milestone`). `rows_first` is the share of
    the steps in which embeddings and head are trained alone, before all else goes through the whole schedule. Blocks of the
    streams that are `distilled` teach what the start would have said after each of their tokens, and not the text (Learning
    without Forgetting, Li & Hoiem 2016, arXiv 1606.09282).
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
    bits: int = 16
    guard: spikes.Rule | None = None
    milestones: tuple[float, ...] = ()
    rows_first: float = 0.0
    distilled: tuple[str, ...] = ()

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"Training method {self.method!r} is none of {', '.join(METHODS)}.")
        if self.precision and self.method == "lora":
            raise ValueError(f"Precision {self.precision!r} is for the methods frozen and full: leave it out for lora.")
        if self.distilled and self.method != "lora":
            raise ValueError(f"{self.method} changes the weights that would teach {', '.join(self.distilled)}: choose lora, or "
                             "leave `distilled` out.")
        if self.bits not in formats.BITS or self.bits < 16 and self.method != "lora":
            raise ValueError(f"Weights of {self.bits} bits cannot be trained by {self.method}: choose lora, and one of "
                             f"{', '.join(map(str, formats.BITS))} bits.")


class Job(NamedTuple):
    """A training as it is handed to the processes that do it: kind (`pretrain` or `instruct`) and its arguments."""

    kind: str
    folder: Path
    start: Path
    dataset: datasets.Dataset
    settings: Settings
    merge: bool = False
    tokenizer: PreTrainedTokenizerFast | None = None

    def save(self, place: Path, **more):
        """Writes the job, and `more` values beside it, into a folder."""
        place.mkdir(parents=True, exist_ok=True)
        (place / "job.pickle").write_bytes(pickle.dumps((self, more)))

    @staticmethod
    def load(place: Path) -> tuple["Job", dict]:
        """The job that `save` wrote, and the values beside it."""
        return pickle.loads((place / "job.pickle").read_bytes())


def pretrain(folder: Path, start: Path, blocks: datasets.Dataset, settings: Settings, merge: bool = False) -> dict:
    """Continues pretraining of the model in `start` on packed blocks, in their order; returns result.json.

    The adapter is written to `folder`, and with `merge` the merged model to `folder/model`; methods without adapter
    always write `folder/model`. The result has seconds, tokens, bytes, tokens_per_second, peak_memory (bytes, of one
    process), memory (bytes of it that the training added), trainable, total, parts (trainable parameters by place),
    energy (of all of it, loading and writing too, as `energy.stop` says; at the mean power of its last attempt for what
    was resumed) and log (step, tokens, bytes, seconds, loss, grad_norm, learning_rate; with a guard every step, and
    spike, the curves that stood out, and action).

    It runs where `launch.current()` says. Raises ValueError when the processes cannot share a batch evenly, or for a
    guard over several of them; RuntimeError when one of them failed, with what it said.
    """
    return _run(Job("pretrain", folder, start, blocks, settings, merge))


def instruct(folder: Path, start: Path, examples: datasets.Dataset, settings: Settings, merge: bool = False,
             tokenizer=None) -> dict:
    """Instruction tuning by TRL's SFTTrainer on prompt–completion examples, loss on the answers only, in their order.

    `tokenizer` defaults to the start's own; give one to bring another chat template. Besides what `pretrain` returns
    and raises, the result has answers_truncated (examples longer than `settings.block_length`), eos_labels (examples that
    train the token their answer ends with, `prompts.end`) and padding (its share of whole batches, which on a CPU is left
    out of most). Raises ValueError when an answer would be cut away entirely or that token would not be trained.
    """
    return _run(Job("instruct", folder, start, examples, settings, merge, tokenizer))


class _Progress(TrainerCallback):
    """Counts tokens, bytes and seconds of the curve; shows a bar to a person, a line now and then to a log."""

    def __init__(self, tokens, sizes, batch_size: int):
        steps = range(0, len(tokens), batch_size)
        self.tokens, self.sizes = (numpy.add.reduceat(counts, steps).cumsum() for counts in (tokens, sizes))

    def on_train_begin(self, args, state, control, **rest):
        self.before = state.log_history[-1]["seconds"] if state.log_history else 0.0
        self.first, self.started = state.global_step, time.monotonic()
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step",
                        disable=not (machine.interactive() and state.is_world_process_zero))

    def on_step_end(self, args, state, control, **rest):
        self.bar.update()
        control.should_log |= state.global_step == state.max_steps  # the seconds are those of the last step that is logged

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
        if due and spent + left > QUICK and not machine.interactive():
            print(f"step {step}/{state.max_steps}: loss {logs['loss']:.3f}, {rate:.0f} tokens/s, {left:.0f} s left",
                  flush=True)

    def on_train_end(self, args, state, control, **rest):
        self.bar.close()


class _Checkpoints(TrainerCallback):
    """Seals every checkpoint once all of it is written, and keeps the newest; the Trainer's own count goes by the clock."""

    def on_save(self, args, state, control, **rest):
        if state.is_world_process_zero:
            home = Path(args.output_dir)
            store.seal(home / f"checkpoint-{state.global_step}")
            for old in _sealed(home)[:-CHECKPOINTS]:
                shutil.rmtree(old)


class _Milestones(TrainerCallback):
    """Keeps the adapter as it is after some shares of the steps."""

    def __init__(self, job: Job):
        self.job = job

    def on_step_end(self, args, state, control, model=None, **rest):
        for share in self.job.settings.milestones:
            if state.is_world_process_zero and state.global_step == max(1, round(share * state.max_steps)):
                model.save_pretrained(milestone(self.job.folder, share), save_embedding_layers=False)


def milestone(folder: Path, share: float) -> Path:
    """Where a training kept its adapter after a share of its steps; the tokenizer is that of `folder`."""
    return folder / f"at-{share:g}"


def _run(job: Job) -> dict:
    """Trains unless `result.json` has the same key; resumes where a run with the same key stopped.

    The running chapter's energy rests on the result either way.
    """
    launched, folder = launch.current(), job.folder
    _watched(job.settings, launched)
    parts = launched.accumulation(job.settings.batch_size)
    key = keys.of(__file__, job.settings, Path(job.start), job.dataset, getattr(job.tokenizer, "chat_template", ""),
                  without=KEPT)
    done = _finished(folder, key, job.merge)
    if done:
        print(f"{folder.name}: trained before with the same model, data and settings "
              f"({done['tokens']:,} tokens, {done['seconds']:.0f} s), not repeated.")
        energy.rest_on(folder, done.get("energy", {}), done["tokens"])
        return done
    launched.check()
    _prepare(folder, key, launched.format)
    with energy.metered(folder.name) as spent:
        if launched.config is None:
            train(job, key, accumulation=parts)
        else:
            job.save(folder / "job", key=key, accumulation=parts)
            launch.run(launched, "lib.train.training", folder / "job")
            shutil.rmtree(folder / "job")
    return _metered(folder, spent)


def _metered(folder: Path, spent: dict) -> dict:
    """Writes what the training took into its result. What attempts before this one did counts at this one's power."""
    result = records.read(folder / "result.json")
    here = 1 - result.pop("resumed") / result["seconds"]
    result["energy"] = energy.times(spent, 1 / here) if here else spent  # no step here: what the steps took is not known
    records.write_json(folder / "result.json", result, sealed=True)
    energy.rest_on(folder, result["energy"], result["tokens"], spent)
    return result


def train(job: Job, key: str, processes: int = 1, accumulation: int = 1):
    """The training itself, in one process or in each of several, of which the main one writes the result."""
    set_seed(job.settings.seed)
    held = machine.reset_peak_memory()
    model, tokenizer = _trainable(job.start, job.settings)
    parts = _sizes(model)
    machine.reset_peak_memory()  # what loading took besides is none of the training's
    build = trainers.pretrainer if job.kind == "pretrain" else trainers.instructor
    trainer, tokens, sizes, report = build(job, model, tokenizer, processes, accumulation)
    if processes == 1 and not job.settings.precision and _pays(parts["total"] * tokens.sum()):
        adapters.compile_layers(model)
    progress = _Progress(tokens, sizes, job.settings.batch_size)
    trainer.add_callback(progress)
    trainer.add_callback(_Checkpoints())
    if hasattr(model, "peft_config"):
        trainer.add_callback(_Milestones(job))
    if processes > 1:
        accelerate.utils.set_seed(job.settings.seed, device_specific=True)  # or all would drop out the same units
    with trainer:
        trainer.train(resume_from_checkpoint=_checkpoint(job.folder))
    peak = machine.device_peak()
    result = {"key": key, **_measured(trainer, tokens, sizes), "peak_memory": peak, "memory": peak - held, **parts,
              **report, "resumed": progress.before}
    weights = trainers.weights(trainer)
    trainer.accelerator.wait_for_everyone()  # behind the last checkpoint of every process
    trainer.accelerator.end_training()
    if trainer.is_world_process_zero():
        (job.folder / store.SUMS).unlink(missing_ok=True)
        _write(job.folder, trainer.model, trainer.processing_class or tokenizer, job.merge, weights)
        store.seal(job.folder, without=("checkpoints", "job"))
        records.write_json(job.folder / "result.json", result, sealed=True)
        shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)


def _watched(settings: Settings, launched: launch.Launch):
    """ValueError when a guard would have to watch several processes, or weights in shards to teach."""
    if settings.distilled and launched.format:
        raise ValueError(f"{launched.name} holds weights in shards, which cannot teach {', '.join(settings.distilled)} beside "
                         "the training: set `replayed` to corpus, or leave `accelerate` out of launch.yaml.")
    if settings.guard and launched.processes > 1:
        raise ValueError(f"A guard watches the gradient of one process, and {launched.name} has {launched.processes}: "
                         "train without a guard, or under `with launch.using(launch.Launch()):`.")


def _trainable(start: Path, settings: Settings):
    """The start's model with what the method trains, in fast forward passes, and its tokenizer."""
    kind, stored = machine.dtype()[0] if settings.method == "lora" else torch.float32, formats.BITS[settings.bits]
    model = formats.load(start, stored, training=True) if stored else folders.load(start, kind)
    if machine.device() == "cpu" and kind == torch.bfloat16:
        model.set_attn_implementation("eager")  # in bf16 the CPU's fused attention is the slower one
    if settings.distilled and not adapters.plain(model):
        raise ValueError(f"{model.config.model_type} bends its logits, and cannot teach {', '.join(settings.distilled)} beside "
                         "the training: set `replayed` to corpus.")
    if settings.method == "lora":
        model = adapters.add(model, settings.lora_rank, settings.lora_alpha, settings.lora_dropout)
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = settings.method == "full" or trainers.matrix(name) is not None
    ready = formats.compute(model, settings.precision) if settings.precision else adapters.quicken(model)
    return ready, folders.tokenizer(start)


def _pays(work: float) -> bool:
    """Whether compiling the layers for so much work can be done here and saves more than the minute it takes."""
    able = machine.device() == "cuda" and importlib.util.find_spec("triton") and shutil.which("cc")
    return bool(able) and work >= COMPILED


def _finished(folder: Path, key: str, merge: bool) -> dict | None:
    """The result of the training with this key, if it was finished; the folder becomes a link to a sweep's."""
    for place in paths.twins(folder):
        path, complete = place / "result.json", (place / "model" / "config.json").exists() or not merge
        if wrong := store.spoiled(place) if path.exists() else ():
            print(f"{store.told(wrong)}, so {folder.name} is trained again.")
            continue
        result = records.read(path) if path.exists() and complete else {}
        if result.get("key") == key:
            if place != folder:
                _empty(folder)
                folder.symlink_to(os.path.relpath(place, folder.parent))
            return result


def _empty(folder: Path):
    """Removes a run's folder, or the link to that of a sweep's cell."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _prepare(folder: Path, key: str, kind: str):
    """Empties the folder unless it holds checkpoints of this very run, of a kind that can be read here; what is left of
    those that are not whole goes too."""
    mark, words = folder / "checkpoints" / "key", f"{key} {kind}".strip()
    found = mark.read_text() if mark.exists() else ""
    if found != words:
        if found.startswith(key):
            print(f"{folder.name}: its checkpoints are of another kind of launch, {found[len(key) + 1:] or 'plain'} "
                  f"instead of {kind or 'plain'}, so it begins anew.")
        _empty(folder)
        store.atomically(mark, lambda temporary: temporary.write_text(words))
    for place in mark.parent.glob("checkpoint-*"):
        wrong = store.spoiled(place)
        if wrong or not (place / store.SUMS).exists():
            print(f"{folder.name}: {store.told(wrong) if wrong else f'{place.name} was not written to its end'}, so an "
                  "earlier checkpoint serves, or the beginning.")
            shutil.rmtree(place)


def _sealed(home: Path) -> list[Path]:
    """The checkpoints that were written to their end, the newest last."""
    found = [path.parent for path in home.glob(f"checkpoint-*/{store.SUMS}")]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def _checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end."""
    newest = next(iter(_sealed(folder / "checkpoints")[::-1]), None)
    if newest:
        print(f"{folder.name}: goes on from step {newest.name.split('-')[1]}.")
    return str(newest) if newest else None


def _measured(trainer, tokens, sizes) -> dict:
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    seconds = log[-1]["seconds"]
    fields = ["step", "tokens", "bytes", "seconds", "loss", "grad_norm", "learning_rate"]
    fields += ["spike", "action"] if trainer.guard else []
    return {"seconds": seconds, "tokens": int(tokens.sum()), "bytes": int(sizes.sum()),
            "tokens_per_second": float(tokens.sum() / seconds),
            "log": [{field: records.known(entry.get(field)) for field in fields} for entry in log]}


def _sizes(model) -> dict:
    """Parameters trained, all parameters of the model itself, and the trained ones by place."""
    parts = dict.fromkeys(("lora", "embed_tokens", "lm_head", "transformer"), 0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts[trainers.matrix(name) or ("lora" if "lora_" in name else "transformer")] += parameter.numel()
    total = sum(_count(parameter) for name, parameter in model.named_parameters()
                if not ("lora_" in name or "trainable_tokens" in name))
    return {"trainable": sum(parts.values()), "parts": parts, "total": total}


def _count(parameter) -> int:
    """Weights of a parameter, also of one that holds them packed in 4 bits."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else math.prod(state.shape)


def _write(folder: Path, model, tokenizer, merge: bool, weights: dict | None = None):
    """Writes adapter or model, with other `weights` than the model's own where it has only parts of them."""
    if hasattr(model, "peft_config"):
        model.save_pretrained(folder, save_embedding_layers=False, state_dict=weights)
        tokenizer.save_pretrained(folder)
        if merge:
            folders.save(folders.merged(folder), tokenizer, folder / "model")
    else:
        folders.save(model if weights is None else trainers.whole(model, weights), tokenizer, folder / "model")


def main(arguments: list[str] | None = None):
    """One of the processes that `launch.run` starts: `python -m lib.train.training <folder>/job`."""
    parser = argparse.ArgumentParser(description="Train as one process of a launch.")
    parser.add_argument("job", type=Path)
    parser.add_argument("--parent", type=int, help="end with this process")
    given = parser.parse_args(arguments)
    state = accelerate.PartialState(cpu=machine.device() == "cpu", timeout=PATIENCE)
    if state.is_main_process and given.parent:
        threading.Thread(target=launch.end_with, args=[given.parent], daemon=True).start()
    with contextlib.redirect_stdout(sys.stdout if state.is_main_process else io.StringIO()):
        job, more = Job.load(given.job)
        train(job, more["key"], state.num_processes, more["accumulation"])


if __name__ == "__main__":
    main()
