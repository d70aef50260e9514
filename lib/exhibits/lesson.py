"""What a notebook teaches with: the library's own source, and text cut into coloured tokens."""
import html
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence

from IPython.display import Markdown

from lib.engine import paths, repository
from lib.engine.markup import Markup, rightward

# Paul Tol's pale colours, told apart by colour-blind readers behind black letters; grey is what does not count.
COLOURS, GREY = ("#BBCCEE", "#CCDDAA", "#FFCCCC", "#CCEEFF", "#EEEEBB"), "#DDDDDD"
SIGNS = {"\n": "⏎", "\u200c": "¬", "<ZWNJ>": "¬"}  # for what cannot be seen: the sign of word processors for a ZWNJ
TAG = re.compile("<[^<>]*>")
BOX = "display:inline-block;margin:1px;padding:1px 4px;border-radius:3px;color:#000;text-align:center;background:{}"


def peek(function: Callable) -> Markdown:
    """The source of a function or class of the library, highlighted, with a link to its file in the repository.

    An executed notebook lies elsewhere than the one it was made from, and a book's page has no files beside it.
    """
    function = inspect.unwrap(function)
    file, (lines, first) = inspect.getsourcefile(function), inspect.getsourcelines(function)
    name = paths.shown(file)
    link = f"{repository.url()}/blob/{repository.BRANCH}/{name}#L{first}"
    return Markdown(f"[{name}, line {first}]({link})\n\n```python\n{textwrap.dedent(''.join(lines)).rstrip()}\n```")


def tokens(pieces: Sequence[str], below: Sequence = (), counted: Sequence[bool] = ()) -> Markup:
    """Pieces of a text as coloured boxes, each line in its own direction, every space and ZWNJ visible.

    `below` each piece stands a small note (an id, a label); those that are not `counted` are grey.
    """
    notes = [f"<br><small>{html.escape(str(note))}</small>" for note in below] or [""] * len(pieces)
    lines = [[]]
    for place, (piece, note) in enumerate(zip(pieces, notes, strict=True)):
        colour = COLOURS[place % len(COLOURS)] if not counted or counted[place] else GREY
        lines[-1].append((piece, f'<bdi style="{BOX.format(colour)}">{html.escape(visible(piece))}{note}</bdi>'))
        lines.extend([[]] * ("\n" in piece and place + 1 < len(pieces)))
    return Markup("".join(_line(*zip(*line)) for line in lines), " | ".join(map(visible, pieces)))


def _line(pieces: Sequence[str], boxes: Sequence[str]) -> str:
    """Boxes side by side, from the right where the text is read so; what stands in <…> does not decide."""
    side = "rtl" if rightward(TAG.sub("", "".join(pieces))) else "ltr"
    return f'<bdi dir="{side}" style="display:block;line-height:2">{"".join(boxes)}</bdi>'


def visible(piece: str) -> str:
    """A piece with signs for what cannot be seen: ␣ for the space before a word, ¬ for ZWNJ, ⏎ for a line's end."""
    for unseen, sign in SIGNS.items():
        piece = piece.replace(unseen, sign)
    return piece.replace(" ", "␣")
