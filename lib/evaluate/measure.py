"""Scores of a model: bits per byte, retrieval of translations, generations with chrF, and tasks of the harness.

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
import torch
import yaml
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows
from torch.nn import functional
from tqdm import tqdm

from lib.data import likeness, minimal, prompts, public
from lib.engine import params, paths, store
from lib.evaluate import packing, scoring
from lib.model import folders
from lib.model.tokenizer import encoded, padded, start_token

PROMPTS = ("document", "chat")
SCORED = ["task", "language", "prompt", "item", "choices", "correct", "margin", "hash"]  # columns of `harness`
TRANSLATED = ["direction", "prompt", "item", "source", "reference", "hypothesis", "invalid"]  # columns of `translate`
HELD = ["language", "register", "split", "text"]  # columns of `held_out`
SHIPPED = Path(lm_eval.__file__).parent / "tasks"  # the harness' own tasks, a folder each


@torch.inference_mode()
def bits_per_byte(model, tokenizer, texts, window: int = 512, context: int = 128, batch_tokens: int = 1024):
    """DataFrame(bytes, characters, tokens, item, bits), one row a text; the score is `statistics.ratio(bits, bytes)`.

    Comparable between vocabularies but not between languages. A long text is read in windows of `window` tokens; each
    token is scored once, after at least `context` tokens where there are as many, the first after what `start_token`
    names. `batch_tokens` bounds memory only.
    """
    nats, tokens = numpy.zeros(len(texts)), encoded(tokenizer, texts)
    windows = [(*pair, number) for number, (start, *ids) in enumerate(tokens)
               for pair in get_rolling_token_windows(ids, start, window, min(context, window))]
    for batch in _batches(windows, batch_tokens, "bits per byte"):
        inputs, targets, numbers = zip(*batch)
        numpy.add.at(nats, list(numbers), _nats(model, inputs, targets))
    sizes = [(len(string.encode("utf8")), len(string), len(ids) - 1) for string, ids in zip(texts, tokens)]
    frame = pandas.DataFrame(sizes, columns=["bytes", "characters", "tokens"])
    return frame.assign(item=range(len(texts)), bits=nats / numpy.log(2))


@torch.inference_mode()
def embed(model, tokenizer, texts, batch_tokens: int = 1024) -> numpy.ndarray:
    """Mean of each text's hidden states at every layer: array [layers + 1, texts, width], layer 0 the embeddings.

    A start token is read first and left out of the mean, because the first position of a causal model is an
    attention sink with an outsized state (Xiao et al. 2023, arXiv 2309.17453).
    """
    pooled, sequences = [None] * len(texts), zip(encoded(tokenizer, texts), range(len(texts)))
    for batch in _batches(sequences, batch_tokens, "embeddings"):
        ids, numbers = zip(*batch)
        states = model.get_decoder()(_padded(ids).to(model.device), output_hidden_states=True).hidden_states
        for row, number in enumerate(numbers):
            pooled[number] = torch.stack([layer[row, 1:len(ids[row])].float().mean(0) for layer in states]).cpu()
    return torch.stack(pooled, 1).numpy()


def retrieval(model, tokenizer, english, target) -> pandas.DataFrame:
    """Is a sentence's nearest neighbour its translation? DataFrame(layer, direction, item, correct).

    Cosine of mean-pooled states, every layer, both directions (`from english`, `into english`). Raises ValueError unless
    both lists have the same length, two at least.
    """
    if len(english) != len(target) or len(english) < 2:
        raise ValueError(f"Retrieval needs two or more pairs, got {len(english)} English and {len(target)} sentences.")
    return nearest(embed(model, tokenizer, english), embed(model, tokenizer, target))


def nearest(english, target) -> pandas.DataFrame:
    """`retrieval` from vectors [layers, items, width] whose items are paired by position."""
    similarity = unit(english) @ unit(target).transpose(0, 2, 1)
    items = numpy.arange(english.shape[1])
    frames = [pandas.DataFrame({"layer": layer, "direction": direction, "item": items,
                                "correct": scores.argmax(axis) == items})
              for layer, scores in enumerate(similarity)
              for direction, axis in (("from english", 1), ("into english", 0))]
    return pandas.concat(frames, ignore_index=True)


def unit(vectors) -> numpy.ndarray:
    """Vectors [… items, width] of length one, their mean taken off first (Libovický et al. 2020).

    The mean is what all sentences of a language share.
    """
    vectors = vectors - vectors.mean(-2, keepdims=True)
    return vectors / numpy.maximum(numpy.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


@torch.inference_mode()
def generate(model, tokenizer, asked, max_new_tokens: int, chat: bool = True, batch_tokens: int = 8192) -> list[str]:
    """Greedy answers to prompts, in their order; those of like length share a batch, padded on the left.

    Prompts are rendered chats, or with `chat` false documents to go on with (`encoded`). An answer ends at one of
    `folders.ends` or after `max_new_tokens`, and is what `prompts.spoken` leaves of it. `batch_tokens`, of prompts and
    answers, bounds memory only.
    """
    settings = folders.generation(model, tokenizer, max_new_tokens)
    answers, rows = [""] * len(asked), zip(encoded(tokenizer, asked, chat), range(len(asked)))
    for batch in _batches(rows, batch_tokens, "generating", max_new_tokens):
        ids, numbers = zip(*batch)
        inputs = padded(tokenizer, ids).to(model.device)
        output = model.generate(**inputs, generation_config=settings)[:, inputs.input_ids.shape[1]:]
        for number, ids in zip(numbers, output):
            answers[number] = prompts.spoken(tokenizer.decode(ids, skip_special_tokens=True), asked[number])
    return answers


@torch.inference_mode()
def sample(model, tokenizer, size: int, length: int = 256, batch: int = 64, seed: int = 0) -> list[str]:
    """Texts of at most `length` tokens that a model writes by itself, `size` bytes of UTF-8 in all, the same for a seed.

    Drawn from the 95 % likeliest tokens (nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751), each text after the
    token that begins one.
    """
    torch.manual_seed(seed)
    settings = folders.generation(model, tokenizer, length, do_sample=True, top_k=0, top_p=0.95)
    begun, texts, written = torch.full((batch, 1), start_token(tokenizer), device=model.device), [], 0
    with tqdm(total=size, desc="sampling", unit="B", unit_scale=True, disable=None) as bar:
        while written < size:
            drawn = model.generate(begun, attention_mask=torch.ones_like(begun), generation_config=settings)[:, 1:]
            new = list(filter(None, map(str.strip, tokenizer.batch_decode(drawn, skip_special_tokens=True))))
            if not new:
                raise ValueError(f"The model writes nothing by itself: {batch} texts of {length} tokens are empty.")
            texts, grown = texts + new, sum(len(string.encode("utf8")) for string in new)
            written += grown
            bar.update(grown)
    return texts


def harness(model, tokenizer, items, folder, prompt: str = "document", batch_size: int = 8) -> pandas.DataFrame:
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


def answer(model, tokenizer, rows, max_new_tokens: int, shown=None) -> pandas.DataFrame:
    """Greedy answers to task rows in the prompt of instruction tuning, judged: a row each, as `scoring.judge` gives it.

    With `shown`, rows for one-shot, each is asked as a document instead (`prompts.document`), behind the row of its
    setting if `shown` has one. Only the first line of an answer counts, but of a summary.
    """
    asked = [_asked(tokenizer, row, shown) for row in rows.to_dict("records")]
    answers = generate(model, tokenizer, asked, max_new_tokens, chat=shown is None)
    lines = [found if task == "summary" else found.split("\n")[0].strip() for found, task in zip(answers, rows["task"])]
    return scoring.judge(rows, lines)


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


def choose(items, tasks, count: int, longest: int, seed: int = 0) -> pandas.DataFrame:
    """At most `count` test items of each task and language with at most `longest` characters in question (or choice).

    Without `tasks` every one is asked that the corpus has, and what is left out is told. Raises ValueError for a named
    task that has no such item.
    """
    test = items[(items["split"] == "test") & items["task"].isin(tasks or set(items["task"]))]
    read = [len(row.question or max(row.choices, key=len)) for row in test.itertuples()]
    short = test[numpy.array(read, int) <= longest]
    missing = ", ".join(sorted(set(tasks or test["task"]) - set(short["task"])))
    if tasks and missing:
        raise ValueError(f"No test item of {missing} has at most {longest} characters: raise longest_item, "
                         f"or choose among the corpus's tasks {', '.join(sorted(set(items['task'])))}.")
    if missing:
        print(f"Left out is {missing}, which has no test item of at most {longest} characters.")
    if not tasks and set(short["task"]) <= set(minimal.TASKS):
        print(params.lack("tests"))
    return short.sample(frac=1, random_state=seed).groupby(["task", "language"]).head(count)


def held_out(documents, language: str, size: int, excerpt: int = 1500, seed: int = 0, split: str = "test"):
    """Beginnings, `excerpt` characters at most, of test documents in a language: about `size` UTF-8 bytes in all.

    DataFrame(language, register, split, text). Many short texts rather than few long ones, since the interval rests on
    their number. Raises ValueError without any.
    """
    test = documents[(documents["split"] == split) & (documents["language"] == language)]
    if test.empty:
        raise ValueError(f"There is no {split} document in {language!r}: the corpus needs a held-out split of it.")
    texts = test.sample(frac=1, random_state=seed).reindex(columns=HELD)
    texts = texts.assign(text=texts["text"].str.slice(0, excerpt))
    before = texts["text"].map(lambda string: len(string.encode("utf8"))).cumsum().shift(fill_value=0)
    return texts[before < size].reset_index(drop=True)


def tested(documents, language: str) -> str:
    """The split that a language is tested on: English on text from outside, where the corpus has any, else on `test`.

    English of the training text's own kind would call it kept where a model has only learned to read manuals.
    """
    outside = documents["language"][documents["split"] == public.OUTSIDE]
    return public.OUTSIDE if language == "en" and "en" in set(outside) else "test"


def texts(documents, language: str, size: int, excerpt: int = 1500, seed: int = 0) -> pandas.DataFrame:
    """`held_out` texts of the language and of English (`tested`), where there are any."""
    known = set(zip(documents["language"], documents["split"]))
    wanted = dict.fromkeys([(language, "test"), _english(documents, language)])
    return pandas.concat([held_out(documents, code, size, excerpt, seed, split) for code, split in wanted
                          if code == language or (code, split) in known], ignore_index=True)


def _english(documents, language: str) -> tuple[str, str]:
    """Language and split of English as `texts` reads it; where English is what is learned, what is held out of it."""
    return "en", "test" if language == "en" else tested(documents, "en")


def controls(documents, language: str, size: int, excerpt: int = 1500, seed: int = 0) -> pandas.DataFrame:
    """The sets that `texts` leaves: the language from outside, and held-out English of the training text's kind."""
    rows = documents[documents["language"].isin([language, "en"]) & documents["split"].isin(["test", public.OUTSIDE])]
    left = {*zip(rows["language"], rows["split"])} - {(language, "test"), _english(documents, language)}
    found = [held_out(documents, code, size, excerpt, seed, split) for code, split in sorted(left)]
    return pandas.concat([pandas.DataFrame(columns=HELD), *found], ignore_index=True)


def read(model, tokenizer, texts: pandas.DataFrame, window: int = 512) -> pandas.DataFrame:
    """`bits_per_byte` of a frame's texts with its other columns beside it; an item is the text's row, unless it has items."""
    scores = bits_per_byte(model, tokenizer, texts["text"].tolist(), window)
    return scores.assign(**texts.drop(columns="text").reset_index(drop=True))


def sentences(pairs, count: int, longest: int, seed: int = 0) -> pandas.DataFrame:
    """At most `count` test pairs whose sides have at most `longest` characters (told if none); no two share a sentence.

    They are from outside the corpus where there are any.
    """
    test = pairs[pairs["split"] == (public.OUTSIDE if public.OUTSIDE in set(pairs["split"]) else "test")]
    sizes = [max(map(len, pair)) for pair in zip(test["english"], test["target"])]
    short = test[numpy.array(sizes, int) <= longest]
    if len(test) and short.empty:
        print(f"None of {len(test)} held-out pairs has at most {longest} characters: raise longest_pair to have any.")
    return short.drop_duplicates("english").drop_duplicates("target").sample(frac=1, random_state=seed).head(count)


def translate(model, tokenizer, pairs, language: str, prompt: str, max_new_tokens: int) -> pandas.DataFrame:
    """Greedy translations of pairs (columns id, english, target) in both directions, one row a pair and direction.

    DataFrame with the columns TRANSLATED, empty without pairs. `document` asks as a translation document begins, `chat`
    as instruction tuning does (`answer`).
    """
    if pairs.empty:
        return pandas.DataFrame(columns=TRANSLATED)
    rows = pandas.DataFrame([{"id": pair["id"], "benchmark": "", "setting": direction, "category": "", "flags": (),
                              **prompts.translation(pair["english"], pair["target"], direction)}
                             for direction in prompts.directions(language) for pair in pairs.to_dict("records")])
    judged = answer(model, tokenizer, rows, max_new_tokens, None if prompt == "chat" else rows[:0])
    return judged.rename(columns={"setting": "direction"}).assign(prompt=prompt, source=rows["text"])[TRANSLATED]


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


def _asked(tokenizer, row: dict, shown) -> str:
    """The text that asks for a row's answer: a chat, or a document with the first row of its setting in `shown`."""
    if shown is None:
        return prompts.render(tokenizer, prompts.messages(row))
    same = [one for one in shown.to_dict("records") if (one["task"], one["setting"]) == (row["task"], row["setting"])]
    return prompts.document(row, *same[:1])


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
    """A sample of the harness as one row of `harness`."""
    return {"task": sample["doc"]["task"], "language": sample["doc"]["language"], "prompt": prompt,
            "item": sample["doc"]["id"], "choices": len(sample["doc"]["choices"]), "correct": bool(sample[metrics[0]]),
            **{name: float(sample[name]) for name in metrics}, "margin": _margin(sample),
            "hash": sample["doc_hash"] + sample["prompt_hash"] + sample["target_hash"]}


def _margin(sample: dict) -> float:
    """By how many bits a byte the right option is likelier than the others in the mean, in a sample of the harness: 0 is no
    knowledge. Where the task asks for `acc_mutual_info`, of what the question adds to each (PMI, arXiv 2104.08315).

    Not a number where the sample's target is no place among the options.
    """
    nats = numpy.array([answer[0] for answer in sample["filtered_resps"]])
    count = _options(sample)
    sizes = [max(1, len(option.strip().encode("utf8"))) for _, option in sample["arguments"][:count]]
    told = (nats[:count] - (nats[count:] if len(nats) > count else 0)) / sizes / numpy.log(2)
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


def _batches(rows, batch_tokens: int, title: str, more: int = 0):
    """Rows (ids, …) longest first, in batches whose padded size, with `more` tokens a row, stays within `batch_tokens`;
    one row at least."""
    rows = sorted(rows, key=lambda row: -len(row[0]))
    with tqdm(total=len(rows), desc=title, disable=None) as bar:
        while rows:
            size = max(1, batch_tokens // (len(rows[0][0]) + more))
            yield rows[:size]
            bar.update(len(rows[:size]))
            rows = rows[size:]


def _nats(model, inputs, targets) -> list[float]:
    """Summed negative log-likelihood of each row's targets, which are the last tokens to predict of its input."""
    logits = model(_padded(inputs).to(model.device)).logits
    # Row by row: the loss in fp32 of a whole batch would take several times the memory of its logits.
    return [functional.cross_entropy(row[len(ids) - len(wanted):len(ids)].float(),
                                     torch.tensor(wanted, device=row.device), reduction="sum").item()
            for row, ids, wanted in zip(logits, inputs, targets)]


def _padded(sequences) -> torch.Tensor:
    """Ids padded on the right, where a causal model's earlier positions cannot see the padding: no mask is needed."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in sequences], batch_first=True)
