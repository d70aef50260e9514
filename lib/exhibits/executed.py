"""Notebooks as a run left them: found for the book, and kept small beside the figures, where a repository's pages show them."""
import base64
import io
import json
import re
from pathlib import Path

from PIL import Image

from lib.engine import paths, records, run, store

COLOURS = 256  # of a picture that is kept
# A line that a later one of its training or bar outdates; what such a bar left at its end (`100%|`) is none either.
PROGRESS = re.compile(r"step (\d+)/(?!\1:)\d+: .*|.*\d%\|.*")
LINKS = ("](../", "](../../../")  # to the repository's root, from `notebooks/` and from where the kept ones lie


def find(profile: str, chapter: str) -> dict:
    """The notebook of the chapter's finished run, this machine's or else the one that was kept; empty if there is none."""
    places = kept(profile, chapter), paths.ROOT / "figures" / profile / "notebooks" / f"{chapter}.ipynb"
    found = (_linked(records.read(place), *LINKS[::-1]) for place in places if place.exists())
    return _of_run(profile, chapter) or next(found, {})


def kept(profile: str, chapter: str) -> Path:
    """Where the small copy of a notebook lies, beside the record that it made."""
    return records.committed(profile, chapter).parents[1] / "notebooks" / f"{chapter}.ipynb"


def keep(profile: str, chapters: list[str]) -> list[str]:
    """Writes `figures/<profile>/notebooks/` for those of the chapters that ran here to their end; returns them.

    Pictures have COLOURS colours, and what papermill noted of times and this machine's folders is left out. A notebook
    that ran with other parameters than its record names stays out (`lib.engine.handover` runs some with fewer trainings).
    """
    found = {chapter: content for chapter in chapters if (content := _of_run(profile, chapter))}
    for chapter, content in found.items():
        _write(kept(profile, chapter), small(_linked(content, *LINKS)))
    return list(found)


def retell(profile: str):
    """Gives every kept notebook of a profile the prose of today's chapter, where its code is still the same."""
    for place in sorted(kept(profile, "").parent.glob("*.ipynb")):
        content = _linked(records.read(place), *LINKS[::-1])
        _write(place, _linked(_retold(content, place.stem), *LINKS))


def small(content: dict) -> dict:
    """A notebook without what papermill noted, and with smaller pictures."""
    cells = [cell | {"metadata": _without(cell["metadata"])} for cell in content["cells"]]
    for cell in cells:
        cell.update({"outputs": [_smaller(output) for output in cell["outputs"]]} if "outputs" in cell else {})
    return content | {"cells": cells, "metadata": _without(content["metadata"])}


def _retold(content: dict, chapter: str) -> dict:
    """The notebook with its chapter's prose of today, unless its code is another; outputs and code stay as they are."""
    source = paths.notebook(chapter)
    now = {cell["id"]: cell for cell in records.read(source)["cells"]} if source.exists() else {}
    ran = [cell for cell in content["cells"] if cell["cell_type"] == "code" and cell.get("id") in now
           and "parameters" not in cell["metadata"].get("tags", ())]  # the record has those with which it ran
    if not ran or any("".join(cell["source"]) != "".join(now[cell["id"]]["source"]) for cell in ran):
        return content
    cells = [now.get(cell.get("id"), cell) if cell["cell_type"] == "markdown" else cell for cell in content["cells"]]
    return content | {"cells": cells}


def _write(place: Path, content: dict):
    place.parent.mkdir(exist_ok=True)
    text = json.dumps(content, ensure_ascii=False, indent=1)
    store.atomically(place, lambda temporary: temporary.write_text(text + "\n", encoding="utf8"))


def _of_run(profile: str, chapter: str) -> dict:
    """The notebook that made this machine's record of the chapter; empty when it stopped, or another did."""
    record, notebook = (run.record(profile, chapter).with_name(name) for name in ("record.json", run.EXECUTED))
    content = records.read(notebook) if notebook.exists() else {}
    ran = content.get("metadata", {}).get("papermill", {})
    named = records.made(record)["parameters"] if record.exists() else ran.get("parameters", {})
    same = all(named.get(name) == value for name, value in ran.get("parameters", {}).items())
    return _quiet(content) if content and same and not ran.get("exception") else {}


def _quiet(content: dict) -> dict:
    """The notebook without its lines of progress."""
    cells = [cell | {"outputs": _printed(cell["outputs"])} if "outputs" in cell else cell for cell in content["cells"]]
    return content | {"cells": cells}


def _printed(outputs: list[dict]) -> list[dict]:
    """The outputs without lines of progress, and without those that said nothing else."""
    kept = []
    for output in outputs:
        if output["output_type"] == "stream":
            lines = "".join(output["text"]).split("\n")
            output = output | {"text": "\n".join(line for line in lines if not PROGRESS.fullmatch(line))}
        if output["output_type"] != "stream" or output["text"].strip():
            kept.append(output)
    return kept


def _linked(content: dict, before: str, after: str) -> dict:
    """The notebook with its links to the repository's root as another folder has them."""
    cells = [cell | {"source": "".join(cell["source"]).replace(before, after)} if cell["cell_type"] == "markdown" else cell
             for cell in content["cells"]]
    return content | {"cells": cells}


def _without(metadata: dict) -> dict:
    return {name: value for name, value in metadata.items() if name != "papermill"}


def _smaller(output: dict) -> dict:
    """An output whose picture, if it has one, is of few colours, unless that takes more bytes. They cover all that it has,
    since the most frequent ones alone would give a thin line the colour of another."""
    picture = output.get("data", {}).get("image/png")
    if not picture:
        return output
    made, drawn = io.BytesIO(), Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    drawn.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(made, "png", optimize=True)
    return output | {"data": output["data"] | {"image/png": min(picture, base64.b64encode(made.getvalue()).decode(), key=len)}}
