"""Talk to a trained model: in the terminal, or in a notebook, where answers stand side by side.

    make chat
    python -m lib.release.chat --stage instructed --beside base --temperature 0.7

    from lib.release import chat
    chat.talk("سلام! پایتخت ایران کدام است؟")
"""
import argparse
import html
import importlib.util
import os
import sys

import transformers
from IPython.display import HTML
from transformers import TextStreamer

from lib.engine import assets, store
from lib.engine.markup import printable
from lib.release import models
from lib.release.models import Speaker
from lib.train import training

CELL = 'dir="auto" style="white-space: pre-wrap; text-align: start; vertical-align: top"'
# What is typed runs in the direction of its own script, as `dir="auto"` does it elsewhere.
TYPED = "<style>.companion-question input {unicode-bidi: plaintext; text-align: start}</style>"


class Stream(TextStreamer):
    """Prints an answer as it comes, word by word, without characters that would command the terminal."""

    def __init__(self, tokenizer):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)

    def on_finalized_text(self, text: str, stream_end: bool = False):
        """Prints the next words."""
        super().on_finalized_text(printable(text), stream_end)


def converse(speakers: list[Speaker], tokens: int = 200, temperature: float = 0.0):
    """Asks for questions and prints the answers, until an empty line, Ctrl-D or Ctrl-C.

    Each question stands alone, as in training. Ctrl-C in an answer ends only that.
    """
    print("Ask in any language; each question stands alone. An empty line or Ctrl-D ends.")
    while question := _question():
        for speaker in speakers:
            # A line of its own: the name would else decide the direction of the answer behind it.
            print(f"[{speaker.name}]" if len(speakers) > 1 else "")
            try:
                models.answer(speaker, question, tokens, temperature, Stream(speaker.tokenizer))
            except ValueError as error:
                print(error)
            except KeyboardInterrupt:
                print(" … stopped.")
    print("Goodbye.")


def talk(question: str, profile: str = "laptop", stages: tuple[str, ...] = ("base", "instructed"), tokens: int = 80,
         temperature: float = 0.0) -> HTML:
    """Answers of several stages (or models' folders) to a question, side by side, each in the direction of its script.

    All of it is text: markup in a question or an answer is shown, not followed.
    """
    found = {name: models.answer(models.speaker(profile, name), question, tokens, temperature) for name in stages}
    heads = "".join(f'<th style="text-align: start">{html.escape(name)}</th>' for name in found)
    cells = "".join(f"<td {CELL}>{html.escape(printable(text)) or '<i>no words</i>'}</td>" for text in found.values())
    return HTML(f'<p dir="auto">{html.escape(printable(question))}</p><table><tr>{heads}</tr><tr>{cells}</tr></table>')


def invite(profile: str):
    """The `box` of a chapter's notebook, base beside adapted; where nobody could type into it, a sentence and no more."""
    if not (training.interactive() or "COLAB_RELEASE_TAG" in os.environ):
        print("Nobody is here to talk to the model: open this notebook in Jupyter, or use `make chat`.")
    elif not importlib.util.find_spec("ipywidgets"):
        print("Talking here needs the package ipywidgets: `pip install ipywidgets`, or use `make chat`.")
    else:
        return box(profile=profile)


def box(**manner):
    """A text box and below it what `talk` shows of the question in it, or why it cannot; takes the arguments of `talk` but
    the question."""
    import ipywidgets
    asked = ipywidgets.Text(placeholder="Ask, and press Enter", continuous_update=False, layout={"width": "100%"})
    shown = ipywidgets.HTML(TYPED)
    asked.add_class("companion-question")

    def ask(change):
        question = change["new"].strip()
        try:
            shown.value = TYPED + (talk(question, **manner).data if question else "")
        except (ValueError, FileNotFoundError, store.SpoiledError, assets.AssetError) as error:
            shown.value = TYPED + f"<p>{html.escape(str(error))}</p>"

    asked.observe(ask, "value")
    return ipywidgets.VBox([asked, shown])


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when the talk has ended, 1 when there is no such model."""
    parser = argparse.ArgumentParser(description="Talk to a trained model.")
    parser.add_argument("--stage", default="instructed", help="a stage, a model's folder, or a base")
    parser.add_argument("--beside", action="append", default=[], help="another one that answers before it, e.g. base")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 for the likeliest words, else they are drawn")
    parser.add_argument("--tokens", type=int, default=200, help="length limit of an answer")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    return models.command(parser, arguments, _act)


def _act(values: argparse.Namespace):
    speakers = [models.speaker(values.profile, name) for name in (*values.beside, values.stage)]
    transformers.set_seed(values.seed)
    converse(speakers, values.tokens, values.temperature)


def _question() -> str:
    """The next line, stripped; empty when there is none any more."""
    try:
        return input("\n› ").strip()
    except (EOFError, KeyboardInterrupt):
        print()
        return ""


if __name__ == "__main__":
    sys.exit(main())
