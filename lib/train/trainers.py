"""The trainers behind every stage: the Trainer and TRL's SFTTrainer with this project's loss, rates and CPU threads.

They may be one process or one of several under Accelerate. `Settings.batch_size` is that of all of them together.
"""
import functools
import inspect
from concurrent.futures import ThreadPoolExecutor

import datasets
import numpy
import torch
from accelerate.utils import parse_flag_from_env
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from transformers import AutoModelForCausalLM, PrinterCallback, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

from lib.data import prompts
from lib.engine import machine
from lib.model import adapters, loss
from lib.train import spikes

LONGEST = 1024  # tokens of a row of examples: in longer ones attention costs more than padding
LOGGED = 100  # points of a loss curve at most
MATRICES = {"embed_tokens": {"embed_tokens", "embed_in", "wte", "word_embeddings"}, "lm_head": {"lm_head", "embed_out"}}


class _Fast:
    """What both trainers share: a learning rate for vocabulary rows, and a step whose batch is split over CPU threads."""

    def __init__(self, *, settings, **options):
        self.settings, self.pool = settings, None
        super().__init__(**options)
        self.remove_callback(PrinterCallback)
        self.guard, self.watched = spikes.Guard(settings.guard) if settings.guard else None, 0.0
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
        if self.accelerator.is_fsdp2:
            _show_tied(self.model)
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                (rows if matrix(name) else others).append(parameter)
        groups = [{"params": others, "lr": settings.learning_rate, "waits": settings.rows_first},
                  {"params": rows, "lr": settings.rows_learning_rate, "waits": 0.0}]
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, settings.beta2),
                                           weight_decay=settings.weight_decay, fused=True)
        return self.optimizer

    def create_scheduler(self, num_training_steps, optimizer=None):
        """The Trainer's schedule; what waits for the rows has a rate of 0 meanwhile, then the whole schedule in fewer steps."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        for place, group in enumerate(scheduler.optimizer.param_groups if self.settings.rows_first else ()):
            if first := round(group["waits"] * num_training_steps):
                course, stretch = scheduler.lr_lambdas[place], num_training_steps / max(1, num_training_steps - first)
                scheduler.lr_lambdas[place] = functools.partial(_late, course, first, stretch)
                scheduler._last_lr[place] = group["lr"] = 0.0
        return scheduler

    def pieces(self) -> int:
        """Halves of a batch computed side by side on a CPU: two passes of half the threads waste less than every
        operation on all of them. One with dropout, whose draws come from a single generator, and in one of several
        processes, whose gradients meet as they are added up behind one pass."""
        alone = machine.device() != "cpu" or self.settings.lora_dropout or self.args.world_size > 1
        return 1 if alone else min(2, self.args.per_device_train_batch_size, torch.get_num_threads())

    def training_step(self, model, inputs, num_items_in_batch=None):
        if "taught" in inputs:
            inputs = {**inputs, "teacher": self.teacher(inputs)}
        if self.pool is None:
            self.gather_head()
            loss = super().training_step(model, inputs, num_items_in_batch)
        else:
            loss = self.in_pieces(model, inputs, num_items_in_batch)
        if self.guard:
            self.watch(loss, model)
        return loss

    def teacher(self, inputs):
        """Hidden states of the start itself for the blocks of a batch that are taught, zeros for the others.

        Computed before the batch is halved, since the adapters are switched off for all threads at once.
        """
        taught, ids = inputs["taught"], inputs["input_ids"].to(self.model.device)
        states = torch.zeros(*ids.shape, self.model.config.hidden_size, dtype=self.model.dtype, device=ids.device)
        if taught.any():
            states[taught] = adapters.untrained(self.model, ids[taught]).to(states.dtype)
        return states

    def gather_head(self):
        """Makes the output matrix whole where FSDP has it in shards: the loss reads it without calling its layer."""
        head = self.model.get_output_embeddings() if self.accelerator.is_fsdp2 else None
        if isinstance(head, FSDPModule):
            head.unshard()

    def watch(self, loss, model):
        """Shows the guard a whole step: the loss of all its parts, and their gradient."""
        self.watched += loss
        if self.accelerator.sync_gradients:
            self.guard.see(self.watched, model)
            self.watched = 0.0

    def in_pieces(self, model, inputs, num_items_in_batch):
        """The step with its batch split over the pool; its gradients are added in the order of the pieces.

        Each thread has gradients of its own, since two must not add into one `.grad`: they take the trained weights'
        memory once more.
        """
        model.train()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        parts = [tensor.chunk(self.pieces()) for tensor in inputs.values()]
        done = list(self.pool.map(
            lambda *part: self.gradients(model, dict(zip(inputs, part)), num_items_in_batch, trained), *parts))
        while trained:
            parameter, found = trained.pop(), [gradients.pop() for _, gradients in done]
            found = [gradient for gradient in (parameter.grad, *found) if gradient is not None]
            parameter.grad = functools.reduce(torch.add, found) if found else None
        return sum(loss for loss, _ in done)

    def gradients(self, model, inputs, num_items_in_batch, trained: list) -> tuple:
        """A part's share of the mean loss, and of the gradients of what is trained: None where it was not needed."""
        loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        return loss.detach(), list(torch.autograd.grad(loss, trained, allow_unused=True))

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()  # the state that marks a whole checkpoint is written behind this


class Pretrainer(_Fast, Trainer):
    """The Trainer on packed blocks; like `Instructor` it is used as a context, which keeps its threads."""


class Instructor(_Fast, SFTTrainer):
    """SFTTrainer with this project's loss, since its own reads the head's weight past any trained rows.

    Adapters on quantised weights keep their fp32, which it would take from them: all formats are trained alike.
    """

    def __init__(self, *, model, **options):
        formats = {name: parameter.dtype for name, parameter in model.named_parameters() if parameter.requires_grad}
        super().__init__(model=model, **options)
        for name, parameter in self.model.named_parameters():
            if name in formats:
                parameter.data = parameter.data.to(formats[name])
        able = machine.device() == "cpu" and self.args.world_size == 1 and not self.settings.lora_dropout
        self.unpads = None if able else False

    def training_step(self, model, inputs, num_items_in_batch=None):
        if self.unpads is None:
            self.unpads = self.agrees(model, {name: tensor[:2] for name, tensor in inputs.items()})
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model, inputs, **options):
        """The Trainer's loss, of a batch of little text without its padding where the model gives the same for both."""
        row = _unpadded(inputs) if self.unpads else None
        return Trainer.compute_loss(self, model, inputs if row is None else row, **options)

    @torch.no_grad()
    def agrees(self, model, inputs) -> bool | None:
        """Whether examples and the row of them have one loss, as they have in a model that is told positions and hands on
        no state; None where they have no padding to leave out, which does not tell."""
        if "position_ids" not in inspect.signature(model.get_decoder().forward).parameters:
            return False
        row = _unpadded(inputs)
        if row is None:
            return None
        model.train()  # some quantised weights are packed for reading alone in a pass of evaluation mode
        padded, plain = (Trainer.compute_loss(self, model, dict(part)) for part in (inputs, row))
        return torch.allclose(padded, plain, rtol=1e-4 if model.dtype == torch.float32 and not self.args.bf16 else 2e-3)


def pretrainer(job, model, tokenizer, processes: int, accumulation: int):
    """The trainer on blocks, tokens and bytes of every block, and nothing to report."""
    columns = job.dataset.select_columns(["input_ids", "labels"])
    if job.settings.distilled:
        columns = columns.add_column("taught", [name in job.settings.distilled for name in job.dataset["stream"]])
    columns = _filled(columns, job.settings.batch_size) if processes > 1 else columns
    trainer = Pretrainer(model=model, args=_arguments(TrainingArguments, job, processes, accumulation),
                         train_dataset=columns.with_format("torch"), settings=job.settings)
    counts = numpy.array([len(ids) for ids in job.dataset["input_ids"]]), numpy.array(job.dataset["bytes"])
    return trainer, *counts, {}


def instructor(job, model, tokenizer, processes: int, accumulation: int):
    """The trainer on examples, tokens and bytes of every example, and what became of their ends."""
    words, settings = job.tokenizer or tokenizer, job.settings
    cut = _truncated(job.dataset, words, settings.block_length)
    options = _arguments(SFTConfig, job, processes, accumulation, max_length=settings.block_length, packing=False,
                         completion_only_loss=True)
    trainer = Instructor(model=model, args=options, train_dataset=job.dataset, processing_class=words,
                         settings=settings)
    trained = _eos_labels(trainer.train_dataset, words, len(job.dataset) - cut)
    ids = list(trainer.train_dataset["input_ids"])
    sizes = numpy.array([len(text.encode()) for text in words.batch_decode(ids)])
    if processes > 1:
        trainer.train_dataset = _filled(trainer.train_dataset, settings.batch_size)
    tokens = numpy.array([len(row) for row in ids])
    report = {"answers_truncated": cut, "eos_labels": trained, "padding": _padding(tokens, settings.batch_size)}
    return trainer, tokens, sizes, report


def weights(trainer) -> dict | None:
    """The trained weights put together by name where processes hold parts of them (all must call), else None.

    Of a model with adapters those alone. DeepSpeed's are those it computed with, without its masters' last digits.
    """
    if trainer.is_deepspeed_enabled:
        return trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_fsdp_enabled:
        options = StateDictOptions(full_state_dict=True, cpu_offload=True,
                                   ignore_frozen_params=hasattr(trainer.model, "peft_config"))
        return get_model_state_dict(trainer.model, options=options)
    return None


def whole(model, weights: dict):
    """A model like this one of these weights, in the memory that they have already."""
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(model.config)
    made.load_state_dict(weights, assign=True)
    made.tie_weights()
    made.generation_config = model.generation_config
    return made


def matrix(name: str) -> str | None:
    """`embed_tokens` or `lm_head` for a parameter that is (part of) that matrix, whatever its architecture calls it."""
    layers = set() if "lora_" in name else set(name.split("."))
    return next((place for place, names in MATRICES.items() if layers & names), None)


def _late(course, first: int, stretch: float, step: int) -> float:
    """The factor of a rate whose schedule begins after the `first` steps and ends with the others'."""
    return 0.0 if step < first else course((step - first) * stretch)


def _show_tied(model):
    """Lets Accelerate see that embedding and head are tied, so that it keeps them in one shard: it asks whether their
    weights are one object, and those of layers with trained rows are put together anew for everyone who asks."""
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    if model.config.tie_word_embeddings and hasattr(layers[1], "token_adapter"):
        vars(layers[0])["weight"] = vars(layers[1])["weight"] = torch.empty(0)


def _arguments(kind, job, processes: int, accumulation: int, **more):
    """Arguments of a trainer (`kind` is their class): order of the data kept, checkpoints at points of the curve.

    Each of the processes computes its share of a batch in `accumulation` parts. Masters of what is trained are fp32.
    """
    settings = job.settings
    steps = -(-len(job.dataset) // settings.batch_size)
    every = 1 if settings.guard else max(1, -(-steps // LOGGED))
    # DeepSpeed wants one format in all of the model, and keeps the masters itself.
    mixed = not settings.precision and (settings.method != "lora" or parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"))
    made = kind(output_dir=str(job.folder / "checkpoints"), num_train_epochs=1, train_sampling_strategy="sequential",
                per_device_train_batch_size=settings.batch_size // (processes * accumulation),
                gradient_accumulation_steps=accumulation, learning_rate=settings.learning_rate,
                lr_scheduler_type=settings.scheduler, warmup_steps=settings.warmup,
                max_grad_norm=settings.gradient_clip, seed=settings.seed, logging_steps=every, logging_first_step=False,
                save_strategy="steps", save_steps=-(-settings.checkpoint_steps // every) * every,
                bf16=mixed and machine.dtype()[0] == torch.bfloat16, fp16=False, activation_checkpointing=False,
                report_to="none", disable_tqdm=True, remove_unused_columns=False, use_cpu=machine.device() == "cpu",
                ddp_find_unused_parameters=False, dataloader_pin_memory=machine.device() == "cuda", **more)
    made._n_gpu = min(made.n_gpu, 1)  # the Trainer would give every GPU it sees a whole batch
    return made


def _filled(dataset: datasets.Dataset, batch: int) -> datasets.Dataset:
    """The dataset made up to whole batches with rows that train nothing, so that every process has as many parts.

    Accelerate would take rows from the beginning once more.
    """
    missing = -len(dataset) % batch
    if not missing:
        return dataset
    row = {**dataset[-1], "labels": [loss.IGNORED] * len(dataset[-1]["labels"])}
    rows = datasets.Dataset.from_dict({name: [value] * missing for name, value in row.items()}, dataset.features)
    return datasets.concatenate_datasets([dataset, rows])


def _unpadded(inputs: dict) -> dict | None:
    """A batch's examples one behind another in a single row, each at its own positions, which is how transformers' masks
    tell them apart; None for a batch without padding, or one of more than LONGEST tokens."""
    real = inputs["attention_mask"].bool()
    if real.all() or real.sum() > LONGEST:
        return None
    places = real.cumsum(1) - 1
    labels = inputs["labels"].masked_fill(places == 0, loss.IGNORED)  # nothing of the example before predicts a first token
    parts = {"input_ids": inputs["input_ids"], "labels": labels, "position_ids": places}
    return {name: part[real][None] for name, part in parts.items()}


def _padding(tokens: numpy.ndarray, batch: int) -> float:
    """The share of padding in batches of examples of so many tokens, as long as their longest each."""
    parts = [tokens[start:start + batch] for start in range(0, len(tokens), batch)]
    return 1 - tokens.sum() / sum(part.max() * len(part) for part in parts)


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
    """How many examples train the end of their answer; ValueError when fewer than the `expected` whole ones do."""
    end = prompts.end(tokenizer)
    trained = sum(end in labels for labels in dataset["labels"])
    if tokenizer.pad_token_id == end or trained < expected:
        raise ValueError(f"Only {trained} of {expected} whole answers train {tokenizer.decode([end])} (padding is "
                         f"{tokenizer.pad_token}): the chat template must end answers with it, and padding be another.")
    return trained
