"""What the pages in docs/ say of the program is what it says itself."""
import ast
import re

import pytest

from lib.engine import paths

ROWS = re.findall(r"^\| (.+?) \| .+ \|$", (paths.ROOT / "docs/troubleshooting.md").read_text(encoding="utf8"), re.M)
SENTENCES = [row.strip("`") for row in ROWS if row.startswith("`")]


def _sentences() -> list[str]:
    """Every text in the library with … for what is filled in, and the Makefile."""
    nodes = [node for file in (paths.ROOT / "lib").rglob("*.py") for node in ast.walk(ast.parse(file.read_text(encoding="utf8")))]
    whole = ["".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
             for node in nodes if isinstance(node, ast.JoinedStr)]
    plain = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [*whole, *plain, (paths.ROOT / "Makefile").read_text(encoding="utf8")]


@pytest.fixture(scope="module")
def said():
    return "\n\0".join(_sentences())


@pytest.mark.parametrize("sentence", SENTENCES)
def test_an_error_in_the_troubleshooting_is_one_that_the_program_tells(sentence, said):
    pattern = r"[^\0]*".join(re.escape(part) for part in sentence.split("…"))
    assert re.search(pattern, said), sentence


def test_the_troubleshooting_rests_on_the_programs_own_sentences():
    assert len(SENTENCES) >= 15
