"""The book: a site of the notebooks as they were executed, a profile's tables and figures with their data, and the docs.

    python -m lib.exhibits.book night    builds book/night/html/index.html (`make book` installs what that needs)

Its pages lie as the files do in the repository, so that links between them hold. Nothing is executed.
"""
import argparse
import json
import re
import shutil
import sys
from pathlib import Path

import pandas

from lib.engine import markup, paths, records, run
from lib.exhibits import executed

CONF = paths.ROOT / "docs" / "book"
LEDGER = "C14-T3_ledger"
BADGE = "[![Open in Colab]"
COPIED = ("CITATION.cff", "CONTRIBUTING.md", *(f"docs/{file.name}" for file in sorted((paths.ROOT / "docs").glob("*.md"))))


def layout(profile: str, folder: Path) -> list[str]:
    """Lays the pages out in a folder, which is emptied first; returns the chapters that have no finished run."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in COPIED:
        _write(folder / name, (paths.ROOT / name).read_text(encoding="utf8"))
    lacking = []
    for chapter in run.chapters():
        content, finished = notebook(profile, chapter)
        lacking += [] if finished else [chapter]
        _write(folder / f"notebooks/{chapter}.ipynb", json.dumps(content, ensure_ascii=False))
    for name in {profile, *run.COMMITTED}:
        exhibits(name, folder / "figures" / name)
    shutil.copytree(paths.ROOT / "figures/bench", folder / "figures/bench")  # what docs/benchmarks.md shows
    _write(folder / "index.md", index(profile, folder))
    return lacking


def notebook(profile: str, chapter: str) -> tuple[dict, bool]:
    """The chapter's notebook as a page, and whether it was executed to its end; else it has no outputs, and says so."""
    found = executed.find(profile, chapter)
    content = found or records.read(paths.notebook(chapter))
    cells = [cell for cell in content["cells"] if "bootstrap" not in cell["metadata"].get("tags", [])]
    parts = _paragraphs("".join(cells[0]["source"]))
    if not found:
        parts.insert(1, f":::{{note}}\nThis chapter has no finished run in the profile `{profile}`, so no outputs.\n:::")
    return content | {"cells": [cells[0] | {"source": "\n\n".join(parts)}, *cells[1:]]}, bool(found)


def exhibits(profile: str, folder: Path):
    """The tables and figures of a profile, as its last chapter left them: its index, pictures, data, and a page a table."""
    places = [place / "figures" / profile for place in (paths.output(), paths.ROOT)]
    source = next((place for place in places if (place / "README.md").exists()), None)
    if not source:
        return _write(folder / "README.md", f"# Tables and figures of the profile `{profile}`\n\nNone are made yet: "
                      f"`make figures PROFILE={profile}` makes them from the records.\n")
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("records", "notebooks"))
    for file in sorted(folder.glob("tables/*.csv")):
        file.with_suffix(".md").write_text(table(file), encoding="utf8")
    names = [f"tables/{file.stem}" for file in sorted(folder.glob("tables/*.csv")) if file.stem != LEDGER]
    told = (folder / "README.md").read_text(encoding="utf8").replace("[md](", "[table](")
    told = re.sub(r"\[(\w+)\]\(notebooks/\S+?\)", r"\1", told)  # the chapters' pages are those of the book's own profile
    _write(folder / "README.md", f"{told}\n{_tree('', names)}")


def table(file: Path) -> str:
    """The page of a table: title and reading from its Markdown, all rows from its CSV, each text in its own direction."""
    title, reading = re.match(r"\*\*(.+?)\*\* ?(.*)", file.with_suffix(".md").read_text(encoding="utf8")).groups()
    rows = markup.frame(pandas.read_csv(file, dtype=str)).replace("<details>", "<details open>", 1)
    return f"# {title}\n\n{reading}\n\n{rows}\n\n[csv]({file.name})\n"


def index(profile: str, folder: Path) -> str:
    """The first page: the README, and what the book holds."""
    results = [f"figures/{name}/{page}" for name in dict.fromkeys([profile, *run.COMMITTED])
               for page in ("README", f"tables/{LEDGER}") if (folder / f"figures/{name}/{page}.md").exists()]
    docs = [name.removesuffix(".md") for name in COPIED if name.endswith(".md")]
    return "\n\n".join([*_paragraphs((paths.ROOT / "README.md").read_text(encoding="utf8")),
                      _tree("Chapters", [f"notebooks/{chapter}" for chapter in run.chapters()]),
                      _tree("Results", results), _tree("More", sorted(docs, key=lambda name: name != "docs/glossary"))])


def _paragraphs(text: str) -> list[str]:
    """A text's paragraphs without that of its badge, for which the book has a button."""
    return [part for part in text.split("\n\n") if not part.startswith(BADGE)]


def _tree(caption: str, names: list[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}" if caption else "", "", *names, "```", ""])


def _write(place: Path, text: str):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf8")


def main(arguments: list[str] | None = None) -> int:
    """Builds the book of a profile; Sphinx's status, or 1 where it is not installed."""
    parser = argparse.ArgumentParser(description="Build a site from executed notebooks.")
    parser.add_argument("profile")
    profile = parser.parse_args(arguments).profile
    try:
        from sphinx.cmd import build
    except ModuleNotFoundError:
        print("The book's packages are not installed: `make book` installs them.", file=sys.stderr)
        return 1
    folder = paths.output() / "book" / profile
    lacking = layout(profile, folder / "pages")
    status = build.main(["--quiet", "-c", str(CONF), str(folder / "pages"), str(folder / "html")])
    print(f"{paths.shown(folder / 'html/index.html')}" + (f"; without outputs: {', '.join(lacking)}." if lacking else "."))
    return status


if __name__ == "__main__":
    sys.exit(main())
