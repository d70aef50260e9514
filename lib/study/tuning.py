"""Task tuning: a model is fine-tuned on task rows and scored on task rows, both with the prompt of `prompts`."""
from pathlib import Path

import datasets
import pandas

from lib.data import prompts
from lib.engine import machine
from lib.evaluate import benchmarks, harness, measure
from lib.model import folders
from lib.train import training

KEPT = ["benchmark", "setting", "task", "language", "category"]


def tune(folder: Path, start: Path, rows: pandas.DataFrame, settings: training.Settings, style: str = "chat",
         merge: bool = False) -> dict:
    """Fine-tunes the model in `start` on task rows in their order, loss on the answers only; returns result.json.

    `style` is the prompt (`prompts.dress`), which the tokenizer in `folder` keeps. Not repeated when the same was done
    before. Raises ValueError for an empty frame, or a prompt longer than `settings.block_length` tokens.
    """
    if rows.empty:
        raise ValueError(f"There is no row to tune {folder.name} on: take more examples, or longer ones.")
    tokenizer = prompts.dress(folders.tokenizer(start), style)
    examples = datasets.Dataset.from_list([prompts.example(row) for row in rows.to_dict("records")])
    return training.instruct(folder, start, examples, settings, merge, tokenizer)


def ready(folder: Path, style: str | None = None, scale: float = 1.0):
    """The model of a folder and its tokenizer, which keeps the prompt of `style` if one is named.

    It is in `machine.dtype()`, tuned or not. An adapter is merged times `scale`, in fp32: the harness ties weights anew
    and finds none below an adapter.
    """
    adapted, tokenizer = (Path(folder) / "adapter_config.json").exists(), folders.tokenizer(folder)
    model = folders.merged(folder, scale).eval().to(machine.dtype()[0]) if adapted else folders.load(folder)
    return model, prompts.dress(tokenizer, style) if style else tokenizer


def score(model, tokenizer, rows: pandas.DataFrame, out: Path, prompt: str | None = "chat", max_new_tokens: int = 0,
          batch_size: int = 8) -> pandas.DataFrame:
    """Scores a model that is `ready` on task rows, a row an item: item, benchmark, setting, task, language, category, …

    Choice rows by the likelihood of their options through the harness (`prompt` as in `harness.score`, None to
    leave it out; its samples in `out`): columns flagged, choices, chance (of the item), correct, margin, hash. With
    `max_new_tokens` every row is answered too, read by `scoring.judge`: columns hypothesis, invalid, and generated (a
    choice's correctness), exact and f1 or ROUGE. Rows of text tasks without `max_new_tokens` are left out. Raises
    ValueError when nothing is left.
    """
    choices = rows[~rows["task"].isin(list(prompts.PHRASES)) & (prompt is not None)]
    if choices.empty and not max_new_tokens:
        raise ValueError("Only choice tasks have a likelihood score: set max_new_tokens to have texts generated.")
    scored = _described(choices if not max_new_tokens else rows)
    if len(choices):
        found = harness.score(model, tokenizer, choices, Path(out), prompt, batch_size)
        found = found.assign(chance=1 / found["choices"])[["item", "choices", "chance", "correct", "margin", "hash"]]
        scored = scored.merge(found, on="item", how="left", validate="one_to_one")
    if max_new_tokens:
        told = measure.answer(model, tokenizer, rows, max_new_tokens)
        told = told.drop(columns=[*KEPT, "flagged"]).rename(columns={"correct": "generated"})
        scored = scored.merge(told, on="item", how="left", validate="one_to_one")
    return scored


def _described(rows: pandas.DataFrame) -> pandas.DataFrame:
    """What an item is: its id, place, and whether the benchmark's file has a flag on it."""
    described = rows.rename(columns={"id": "item"})[["item", *KEPT]]
    return described.assign(flagged=benchmarks.flagged(rows)).reset_index(drop=True)
