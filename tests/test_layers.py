"""The house: imports run downwards only, and the project speaks of nothing but itself."""
import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lib.engine import paths

FOREIGN = re.compile(r"/tmp/|/work/|\.\./shared|pypi\.org|deb\.debian\.org|download\.pytorch\.org|files\.pythonhosted"
                     r"|snapshot\.debian", re.IGNORECASE)


def _tracked():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=paths.ROOT,
                            capture_output=True, text=True, check=True)
    return [paths.ROOT / name for name in listed.stdout.splitlines() if (paths.ROOT / name).is_file()]


@pytest.mark.parametrize("command", [["lint-imports", "--no-cache"],
                                     ["ruff", "check", "--no-cache", "lib", "tests", "benchmarks"]])
def test_imports_run_downwards_and_lines_are_clean(command):
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([program, *command[1:]], cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_nothing_speaks_of_another_place():
    allowed = {"tests/test_layers.py", ".ci/run"}
    found = [f"{path.relative_to(paths.ROOT)}: {match[0]}" for path in _tracked()
             if path.suffix in {".py", ".md", ".ipynb", ".yaml", ".yml", ".toml", ".cff", ".csv", ".json", ""}
             and path.relative_to(paths.ROOT).as_posix() not in allowed
             for match in FOREIGN.finditer(path.read_text(encoding="utf8", errors="replace"))]
    assert not found, found


def test_functions_stay_short():
    long = [f"{path.name}:{node.lineno} {node.name}" for path in (paths.ROOT / "lib").rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf8")))
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60]
    assert not long, long
