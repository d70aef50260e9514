"""Talk to trained models in a notebook, where their answers stand side by side.

    from lib.release import beside
    beside.talk("سلام! پایتخت ایران کدام است؟")
"""
import html
import importlib.util
import os

from IPython.display import HTML

from lib.engine import assets, machine, store
from lib.engine.markup import printable

CELL = 'dir="auto" style="white-space: pre-wrap; text-align: start; vertical-align: top"'
# What is typed runs in the direction of its own script, as `dir="auto"` does it elsewhere.
TYPED = "<style>.companion-question input {unicode-bidi: plaintext; text-align: start}</style>"


def talk(question: str, profile: str = "laptop", stages: tuple[str, ...] = ("base", "instructed"), tokens: int = 80,
         **manner) -> HTML:
    """Answers of several stages (or models' folders) to a question, side by side, each in the direction of its script.

    `manner` are temperature and penalty as in `models.answer`. All of it is text: markup in a question or an answer is
    shown, not followed.
    """
    from lib.release import models  # which takes as long to import as a chapter takes to begin
    found = {name: models.answer(models.speaker(profile, name), question, tokens, **manner) for name in stages}
    heads = "".join(f'<th style="text-align: start">{html.escape(name)}</th>' for name in found)
    cells = "".join(f"<td {CELL}>{html.escape(printable(text)) or '<i>no words</i>'}</td>" for text in found.values())
    return HTML(f'<p dir="auto">{html.escape(printable(question))}</p><table><tr>{heads}</tr><tr>{cells}</tr></table>')


def invite(profile: str):
    """The `box` of a chapter's notebook, base beside adapted; where nobody could type into it, a sentence and no more."""
    if not (machine.interactive() or "COLAB_RELEASE_TAG" in os.environ):
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
