"""Talk to a trained model in the terminal.

    make chat
    python -m lib.release.chat --stage instructed --beside base --temperature 0.7
"""
import argparse
import sys

import transformers
from transformers import TextStreamer

from lib.engine.markup import printable
from lib.release import models
from lib.release.models import Speaker


class Stream(TextStreamer):
    """Prints an answer as it comes, word by word, without characters that would command the terminal."""

    def __init__(self, tokenizer):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)

    def on_finalized_text(self, text: str, stream_end: bool = False):
        """Prints the next words."""
        super().on_finalized_text(printable(text), stream_end)


def converse(speakers: list[Speaker], tokens: int = 200, temperature: float = 0.0, penalty: float = models.PENALTY):
    """Asks for questions and prints the answers, until an empty line, Ctrl-D or Ctrl-C.

    Each question stands alone, as in training. Ctrl-C in an answer ends only that.
    """
    print("Ask in any language; each question stands alone. An empty line or Ctrl-D ends.")
    while question := _question():
        for speaker in speakers:
            # A line of its own: the name would else decide the direction of the answer behind it.
            print(f"[{speaker.name}]" if len(speakers) > 1 else "")
            try:
                models.answer(speaker, question, tokens, temperature, Stream(speaker.tokenizer), penalty)
            except ValueError as error:
                print(error)
            except KeyboardInterrupt:
                print(" … stopped.")
    print("Goodbye.")


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when the talk has ended, 1 when there is no such model."""
    parser = argparse.ArgumentParser(description="Talk to a trained model.")
    parser.add_argument("--stage", default="instructed", help="a stage, a model's folder, or a base")
    parser.add_argument("--beside", action="append", default=[], help="another one that answers before it, e.g. base")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 for the likeliest words, else they are drawn")
    parser.add_argument("--penalty", type=float, default=models.PENALTY, help="on words said before, 1 for none")
    parser.add_argument("--tokens", type=int, default=200, help="length limit of an answer")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    return models.command(parser, arguments, _act)


def _act(values: argparse.Namespace):
    speakers = [models.speaker(values.profile, name) for name in (*values.beside, values.stage)]
    transformers.set_seed(values.seed)
    converse(speakers, values.tokens, values.temperature, values.penalty)


def _question() -> str:
    """The next line, stripped; empty when there is none any more."""
    try:
        return input("\n› ").strip()
    except (EOFError, KeyboardInterrupt):
        print()
        return ""


if __name__ == "__main__":
    sys.exit(main())
