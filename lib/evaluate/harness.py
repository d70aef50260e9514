"""Tasks through lm-evaluation-harness: the corpus's own choices, and tasks by the harness' names.

Every score comes back item by item, so that intervals and paired tests can be made from it (the study's `contrast`).
"""
import contextlib
import functools
import hashlib
import io
import json
import logging
import sys
from pathlib import Path

import datasets
import lm_eval
import numpy
import pandas
import yaml
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from lib.data import likeness, prompts
from lib.engine import paths, store
from lib.evaluate import packing
from lib.model.tokenizer import encoded, padded, start_token

PROMPTS = ("document", "chat")
SCORED = ["task", "language", "prompt", "item", "choices", "correct", "margin", "hash"]  # columns of `score`
SHIPPED = Path(lm_eval.__file__).parent / "tasks"  # the harness' own tasks, a folder each


def score(model, tokenizer, items, folder, prompt: str = "document", batch_size: int = 8) -> pandas.DataFrame:
    """Choice items through lm-evaluation-harness: DataFrame(task, language, prompt, item, choices, correct, margin, hash, …).

    `items` has id, task, language, question (or text), choices and answer. With prompt `document` the choices
    themselves are scored after the question, as lib/tasks/<task>.yaml says; with `chat` their letters are, after the
    prompt of instruction tuning. `correct` is the task's first metric, and `margin` tells more on few items (`_margin`).
    The harness' samples stay in `folder`. Raises ValueError for another prompt, RuntimeError when the harness answers
    fewer items than it was given.
    """
    if prompt not in PROMPTS:
        raise ValueError(f"Prompt {prompt!r} is unknown: choose one of {', '.join(PROMPTS)}.")
    groups = {f"{task}_{language}_{prompt}": rows for (task, language), rows in items.groupby(["task", "language"])}
    configs = [_task(name, rows, tokenizer, folder, prompt) for name, rows in groups.items()]
    with _quiet():
        lm = _Reader(model, tokenizer, batch_size, chat=prompt == "chat")
        samples = _samples(lm, TaskManager(include_defaults=False), configs, folder) if configs else {}
    scored = [_scored(sample, [one["metric"] for one in config["metric_list"]], prompt)
              for config in configs for sample in samples[config["task"]]]
    scored = pandas.DataFrame(scored, columns=None if scored else SCORED)
    if len(scored) != len(items):
        raise RuntimeError(f"The harness answered {len(scored)} of {len(items)} items: look at {folder}.")
    return scored


def gold(model, tokenizer, rows, batch_size: int = 8) -> pandas.DataFrame:
    """What the right answer to each task row costs behind its prompt of instruction tuning: bits and bytes, a row each.

    It moves long before an answer in words is right. The index is that of the rows.
    """
    turns, replies = zip(*((prompts.messages(row), prompts.answer(row)) for row in rows.to_dict("records")))
    asked = [prompts.render(tokenizer, turn) for turn in turns]
    whole = [before + prompts.around(tokenizer, turn)[0] + reply for before, turn, reply in zip(asked, turns, replies)]
    # Not by the harness' own pairs: those count a line's end before the answer with it.
    pairs = [((before, text), stem, ids[len(stem):]) for before, text, stem, ids in zip(
        asked, whole, encoded(tokenizer, asked, chat=True), encoded(tokenizer, whole, chat=True))]
    with _quiet():
        found = _Reader(model, tokenizer, batch_size, chat=True)._loglikelihood_tokens(pairs)
    return pandas.DataFrame({"bits": [-nats / numpy.log(2) for nats, _ in found],
                             "bytes": [len(reply.encode("utf8")) for reply in replies]}, rows.index)


def named(model, tokenizer, names: list[str], folder, limit: int | None = None, batch_size: int = 8,
          shots: int | None = None, seed: int = 0, own: dict[str, dict] | None = None, folders: list | None = None):
    """Tasks by the harness' own names, or FLORES+ of lib/tasks: task, item, metric, value, choices, answer, reference.

    A row an item and metric; value is empty for measures of a corpus (chrF, BLEU), which are made from answer and
    reference (empty for choices). The data come from the hub, unless `own`, settings by name that replace the task's,
    points at files (`files`). `limit` is the most items of a task, `shots` the demonstrations before each (default: the
    task's own), which the harness draws by `seed` from the split that it keeps for them; samples stay in `folder`.
    `folders` of tasks to look in (of the harness: `SHIPPED`) save the reading of all. Raises ValueError for a name that
    the harness does not know.
    """
    with _quiet():
        samples = _samples(_Reader(model, tokenizer, batch_size), known(names, folders), _settled(names, own), folder,
                           limit, shots, seed)
    return pandas.DataFrame([row for task, found in samples.items() for sample in found
                             for row in _named(task, sample)])


def asked(names: list[str], own: dict[str, dict] | None = None, folders: list | None = None) -> set[str]:
    """Strings of at least `likeness.SECRET` characters in any item that `named` asks with the same arguments."""
    if not names:
        return set()
    with _quiet():
        tasks = known(names, folders).load(_settled(names, own))["tasks"].values()
        return {string for task in tasks for item in task.eval_docs for string in _strings(item)
                if len(string) >= likeness.SECRET}


def files(paths_by_split: dict[str, str]) -> dict:
    """Settings that point a task of the harness at JSON lines, a file a split."""
    return {"dataset_path": "json", "dataset_name": None,
            "dataset_kwargs": {"data_files": dict(paths_by_split), "cache_dir": str(store.passing())}}


def known(names: list[str], folders: list | None = None) -> TaskManager:
    """The harness' manager of its own tasks (or those in `folders`) and lib/tasks; ValueError for an unknown name."""
    manager = _manager(None if folders is None else tuple(folders))
    unknown = sorted(set(names) - set(manager.all_tasks))
    if unknown:
        raise ValueError(f"The harness has no task {', '.join(unknown)}: `lm-eval ls tasks` lists their names.")
    return manager


def task_hash(scored: pandas.DataFrame) -> str:
    """One hash of what was asked (items, prompts, targets): scores compare only where it is the same."""
    return hashlib.sha256("".join(scored["hash"]).encode()).hexdigest()[:16]


class _Reader(HFLM):
    """The harness' view of a model, which reads documents and chats as every other score does (`encoded`).

    Likelihoods are fp32 whatever the model computes in: summed up in bf16 they are even for two options in some items.
    Options are read behind one context, several items a row, where the model can (`packing`).
    """

    def __init__(self, model, tokenizer, batch_size: int, chat: bool = False):
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, softmax_dtype="float32",
                         prefix_token_id=start_token(tokenizer))
        self.chat, self.packs = chat, packing.packs(model)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_) -> list[int]:
        """Ids of a context, with its continuation or without; of a continuation alone when told to add nothing."""
        return encoded(self.tokenizer, [string], self.chat or add_special_tokens is False)[0]

    def tok_batch_encode(self, strings, padding_side="left", left_truncate_len=None, truncation=False):
        """Ids and mask of contexts to go on with; their last `left_truncate_len` tokens if they are longer."""
        inputs = padded(self.tokenizer, encoded(self.tokenizer, strings, self.chat))
        return tuple(inputs[name][:, -(left_truncate_len or 0):] for name in ("input_ids", "attention_mask"))

    def _loglikelihood_tokens(self, requests, disable_tqdm: bool = False, override_bs=None) -> list[tuple[float, bool]]:
        """Of each request, (strings, ids of a context, ids of a continuation), the log-likelihood and greediness."""
        fitting = [number for number, (_, *pair) in enumerate(requests)
                   if self.packs and packing.fits(self.model, *pair, self.max_length)]
        made, numbers = packing.trees([requests[number][1:] for number in fitting])
        answers = {}
        for found, tree in zip(packing.likelihoods(self.model, made, quiet=disable_tqdm), numbers):
            answers |= {fitting[number]: answer for number, answer in zip(tree, found)}
        rest = [number for number in range(len(requests)) if number not in answers]
        others = super()._loglikelihood_tokens([requests[number] for number in rest], disable_tqdm, override_bs)
        answers |= dict(zip(rest, others))
        return [answers[number] for number in range(len(requests))]


def _samples(lm: _Reader, manager: TaskManager, tasks: list, folder, limit: int | None = None, shots: int | None = None,
             seed: int = 0):
    """The harness' samples by task, which stay in `folder`, a file a task.

    `simple_evaluate` without its survey of the machine, which takes seconds a call.
    """
    loaded = manager.load(tasks)
    for task in loaded["tasks"].values():
        task.set_config("num_fewshot", shots if shots is not None else task.get_config("num_fewshot") or 0)
        task.set_fewshot_seed(seed)
    samples = evaluate(lm=lm, task_dict=loaded, limit=limit, bootstrap_iters=0)["samples"]
    for task, found in samples.items():
        _write_lines(folder / f"{task}.samples.jsonl", found)
    return samples


@functools.cache
def _manager(folders: tuple | None) -> TaskManager:
    """The manager of tasks in the folders and in lib/tasks; it reads thousands of files when it is to know all."""
    with _quiet():
        return TaskManager(include_defaults=folders is None, include_path=[*(folders or []), paths.TASKS])


def _task(name: str, rows, tokenizer, folder, prompt: str) -> dict:
    """The harness' configuration of a task: its YAML, pointed at the items, which are written beside the samples."""
    file = paths.TASKS / f"{'chat' if prompt == 'chat' else rows['task'].iloc[0]}.yaml"
    file = file if file.exists() else paths.TASKS / "multiple_choice.yaml"  # a user's own task
    documents = [_document(row, tokenizer, prompt) for row in rows.to_dict("records")]
    data = files({"test": str(_write_lines(folder / f"{name}.items.jsonl", documents))})
    return {**yaml.safe_load(file.read_text("utf8")), **data, "task": name}


def _document(row: dict, tokenizer, prompt: str) -> dict:
    """An item as the harness reads it; a chat item has its rendered prompt and what may follow it too."""
    document = {"id": row["id"], "task": row["task"], "language": row["language"],
                "question": row["text"] if "text" in row else row["question"],
                "choices": list(row["choices"]), "answer": int(row["answer"])}
    if prompt == "chat":
        turns = prompts.messages(row)
        document["prompt"] = prompts.render(tokenizer, turns)
        document["letters"] = [prompts.around(tokenizer, turns)[0] + option for option in prompts.options(row)]
    return document


def _scored(sample: dict, metrics: list[str], prompt: str) -> dict:
    """A sample of the harness as one row of `score`."""
    return {"task": sample["doc"]["task"], "language": sample["doc"]["language"], "prompt": prompt,
            "item": sample["doc"]["id"], "choices": len(sample["doc"]["choices"]), "correct": bool(sample[metrics[0]]),
            **{name: float(sample[name]) for name in metrics}, "margin": _margin(sample),
            "hash": sample["doc_hash"] + sample["prompt_hash"] + sample["target_hash"]}


def _margin(sample: dict) -> float:
    """By how many bits a byte the right option is likelier than the others in the mean, in a sample of the harness: 0 is no
    knowledge. All are divided by the options' mean bytes: each by its own would put the longer one ahead. Where the task asks
    for `acc_mutual_info`, of what the question adds to each (PMI, arXiv 2104.08315).

    Not a number where the sample's target is no place among the options.
    """
    nats = numpy.array([answer[0] for answer in sample["filtered_resps"]])
    count = _options(sample)
    sizes = [max(1, len(option.strip().encode("utf8"))) for _, option in sample["arguments"][:count]]
    told = (nats[:count] - (nats[count:] if len(nats) > count else 0)) / numpy.mean(sizes) / numpy.log(2)
    if not isinstance(sample["target"], int) or count < 2:
        return numpy.nan
    return float(told[sample["target"]] - numpy.delete(told, sample["target"]).mean())


def _settled(names: list[str], own: dict[str, dict] | None) -> list:
    """Tasks as the harness loads them: names, and as members of a group, where known tasks take other settings, `own`."""
    members = [{"task": name, **own[name]} for name in names if name in (own or {})]
    return [name for name in names if name not in (own or {})] + [{"group": "named", "task": members}] * bool(members)


def _strings(value):
    """Every string in a value of lists and mappings."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    yield from [value] if isinstance(value, str) else (string for part in parts for string in _strings(part))


def _options(sample: dict) -> int:
    """How many options a sample has: `acc_mutual_info` asks for each a second time, without the question."""
    return len(sample["filtered_resps"]) // (1 + ("acc_mutual_info" in sample["metrics"]))


def _named(task: str, sample: dict):
    """The rows of a sample of a task of the harness: one a metric."""
    written = isinstance(sample["filtered_resps"][0], str)
    texts = {"answer": sample["filtered_resps"][0], "reference": sample["target"]} if written else {}
    for metric, found in {**{name: sample[name] for name in sample["metrics"]},
                          **({} if written else {"margin": _margin(sample)})}.items():
        value = float(found) if isinstance(found, (bool, int, float)) else None
        yield {"task": task, "item": sample["doc_id"], "metric": metric, "value": value,
               "choices": None if written else _options(sample),
               **{"answer": None, "reference": None, **texts}}


def _write_lines(path, rows):
    """JSON lines, one a row; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows), "utf8")
    return path


@contextlib.contextmanager
def _quiet():
    """Keeps the harness' log and progress bars off a page that is not a terminal; errors still rise."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    with contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO()):
        yield
