"""A trained model outside its chapters: which one a name means, and its answer to one question."""
import argparse
import functools
from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lib.data import prompts
from lib.engine import assets, params, run
from lib.model import folders
from lib.model.tokenizer import encoded, padded

STAGES = ("base", *folders.STAGES)
HELD = 3  # models that are kept in memory
PENALTY = 1.2  # by which a token said before becomes less likely (Keskar et al. 2019, CTRL, arXiv 1909.05858, section 4.1)


class Speaker(NamedTuple):
    """A model that can be asked: the name it goes by, its weights, and its tokenizer with the prompt of training."""

    name: str
    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerFast


def dressed(profile: str, name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of `folders.named`; a stage's in the prompt style of chapter 05, another's with its own template."""
    style = params.load(profile, folders.STAGES["instructed"])["style"] if name in STAGES else "chat"
    return prompts.dress(folders.tokenizer(folders.named(profile, name)), style)


def speaker(profile: str, name: str) -> Speaker:
    """The model of `folders.named`, loaded once for as long as its folder stays as it is."""
    folder = folders.named(profile, name)
    return _loaded(profile, name, folder, folder.stat().st_mtime_ns)


@torch.inference_mode()
def answer(speaker: Speaker, question: str, tokens: int = 200, temperature: float = 0.0, streamer=None,
           penalty: float = PENALTY) -> str:
    """What a model says to a question that stands alone, asked as dialogues are in training and testing.

    Greedy at temperature 0, else sampled; what was said before is avoided by `penalty`, 1 for not at all, since the likeliest
    words of a small model go in circles. At most `tokens` tokens; a `streamer` of transformers gets them as they come.
    Raises ValueError for a question that the model has no room for.
    """
    _, model, tokenizer = speaker
    asked = prompts.render(tokenizer, prompts.messages({"task": "dialogue", "language": "en", "text": question}))
    inputs = padded(tokenizer, encoded(tokenizer, [asked], chat=True)).to(model.device)
    length, room = inputs.input_ids.shape[1], getattr(model.config, "max_position_embeddings", None)
    if room and length + tokens > room:
        raise ValueError(f"The question takes {length} tokens and its answer up to {tokens}, but {speaker.name} has room "
                         f"for {room}: shorten it, or ask for fewer tokens.")
    sampled = {"do_sample": True, "temperature": temperature} if temperature else {}
    settings = folders.generation(model, tokenizer, tokens, repetition_penalty=penalty, **sampled)
    output = model.generate(**inputs, generation_config=settings, streamer=streamer)
    return prompts.spoken(tokenizer.decode(output[0, length:], skip_special_tokens=True), asked)


def command(parser: argparse.ArgumentParser, arguments: list[str] | None, act) -> int:
    """Runs `act` on a command line's values: its exit status, as `run.told` gives it."""
    parser.add_argument("--profile", default="laptop")
    values = parser.parse_args(arguments)
    return run.told(lambda: act(values), ValueError, FileNotFoundError, FileExistsError, assets.AssetError)


@functools.lru_cache(maxsize=HELD)
def _loaded(profile: str, name: str, folder: Path, _modified: int) -> Speaker:
    return Speaker(name, folders.load(folder), dressed(profile, name))
