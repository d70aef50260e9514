"""Where the repository lies: `repository-code` of CITATION.cff says it once, for badges, notebooks, README, book and citations.

    python -m lib.engine.repository     writes it into the files that name it
"""
import re
import sys
from pathlib import Path

import yaml

from lib.engine import paths

HOST = "https://github.com/"  # what Colab opens notebooks from
BRANCH = "main"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
# Owner and name in the badges' links; the address that a notebook's first code cell clones, and that BibTeX has.
OPENED, CLONED = r"(?<=research\.google\.com/github/)[^/\s]+/[^/\s]+(?=/)", r"(?<=clone --depth 1 )\S+(?= companion)"
CITED = r"(?<=url    = {)[^}]+"
SHOWN = re.escape(HOST) + rf"[^/\s]+/[^/\s]+(?=/blob/{BRANCH}/lib/)"  # where the source stands that a notebook shows


def url() -> str:
    """The address as CITATION.cff has it; ValueError for one that Colab cannot open."""
    found = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text(encoding="utf8")).get("repository-code")
    if not re.fullmatch(re.escape(HOST) + r"[\w.-]+/[\w.-]+", str(found)):
        raise ValueError(f"`repository-code` of CITATION.cff is {found!r}: Colab opens {HOST}<owner>/<name>.")
    return found


def badge(chapter: str) -> str:
    """The link, as Markdown, that opens a chapter's notebook in Colab."""
    place = f"{url().removeprefix(HOST)}/blob/{BRANCH}/notebooks/{chapter}.ipynb"
    return f"[![Open in Colab]({BADGE})](https://colab.research.google.com/github/{place})"


def told(text: str) -> str:
    """A text, or a notebook's file, with this address in its badges, in what it clones, shows and how it is cited."""
    return re.sub(f"{CLONED}|{CITED}|{SHOWN}", url(), re.sub(OPENED, url().removeprefix(HOST), text))


def files() -> list[Path]:
    """The files that name the address."""
    return [paths.ROOT / "README.md", paths.ROOT / "docs/citing.md", *sorted(paths.NOTEBOOKS.glob("*.ipynb")),
            *sorted(paths.ROOT.glob("figures/*/notebooks/*.ipynb"))]


def main() -> int:
    """Rewrites the files that name another address than CITATION.cff; 0 when that is possible."""
    try:
        texts = {file: told(file.read_text(encoding="utf8")) for file in files()}
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    changed = [file for file, text in texts.items() if text != file.read_text(encoding="utf8")]
    for file in changed:
        file.write_text(texts[file], encoding="utf8")
    print(f"{len(changed)} of {len(texts)} files rewritten to {url()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
