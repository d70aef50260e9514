"""A trained model outside its chapters: which one a name means, and its answer to one question."""
import argparse
import functools
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lib.data import prompts
from lib.engine import assets, params, paths
from lib.model import folders
from lib.model.tokenizer import encoded, padded

STAGES = ("base", *folders.STAGES)
HELD = 3  # models that are kept in memory


class Speaker(NamedTuple):
    """A model that can be asked: the name it goes by, its weights, and its tokenizer with the prompt of training."""

    name: str
    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerFast


def place(profile: str, name: str) -> Path:
    """The model folder of a stage, or the folder that the name is.

    Raises params.ParameterError for an unknown profile, FileNotFoundError where there is no such model.
    """
    if name in STAGES:
        _style(profile)
        made = paths.output() / "runs" / profile / folders.STAGES.get(name, "")
        if name != "base" and not (made / "model" / "config.json").exists():
            raise FileNotFoundError(f"The {name} model of profile {profile} is not made yet: `make reproduce "
                                    f"PROFILE={profile}` makes it, from where it stopped.")
        return folders.stage(profile, name)
    folder = Path(name).expanduser()
    if folders.holds(folder):
        return folder
    raise FileNotFoundError(f"{name!r} is neither a stage ({', '.join(STAGES)}) nor a folder that holds a model.")


def dressed(profile: str, name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of `place`; that of a stage in the prompt style of chapter 05, a folder's with its own template."""
    return prompts.dress(folders.tokenizer(place(profile, name)), _style(profile) if name in STAGES else "chat")


def speaker(profile: str, name: str) -> Speaker:
    """The model of `place`, loaded once for as long as its folder stays as it is."""
    folder = place(profile, name)
    return _loaded(profile, name, folder, folder.stat().st_mtime_ns)


@torch.inference_mode()
def answer(speaker: Speaker, question: str, tokens: int = 200, temperature: float = 0.0, streamer=None) -> str:
    """What a model says to a question that stands alone, asked as dialogues are in training and testing.

    Greedy at temperature 0, else sampled. At most `tokens` tokens; a `streamer` of transformers gets them as they come.
    Raises ValueError for a question that the model has no room for.
    """
    _, model, tokenizer = speaker
    asked = prompts.render(tokenizer, prompts.messages({"task": "dialogue", "language": "en", "text": question}))
    inputs = padded(tokenizer, encoded(tokenizer, [asked], chat=True)).to(model.device)
    length, room = inputs.input_ids.shape[1], getattr(model.config, "max_position_embeddings", None)
    if room and length + tokens > room:
        raise ValueError(f"The question takes {length} tokens and its answer up to {tokens}, but {speaker.name} has room "
                         f"for {room}: shorten it, or ask for fewer tokens.")
    settings = folders.generation(model, tokenizer, tokens, **{"do_sample": True, "temperature": temperature} if temperature
                                  else {})
    output = model.generate(**inputs, generation_config=settings, streamer=streamer)
    return prompts.spoken(tokenizer.decode(output[0, length:], skip_special_tokens=True), asked)


def command(parser: argparse.ArgumentParser, arguments: list[str] | None, act) -> int:
    """Runs `act` on a command line's values; an error that is for people is told in a sentence, with status 1.

    A stop by hand gives 130.
    """
    parser.add_argument("--profile", default="laptop")
    values = parser.parse_args(arguments)
    try:
        paths.settle()
        act(values)
    except (ValueError, FileNotFoundError, FileExistsError, assets.AssetError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _style(profile: str) -> str:
    """The prompt style of a profile's instruction tuning."""
    return params.load(profile, folders.STAGES["instructed"])["style"]


@functools.lru_cache(maxsize=HELD)
def _loaded(profile: str, name: str, folder: Path, _modified: int) -> Speaker:
    return Speaker(name, folders.load(folder), dressed(profile, name))
