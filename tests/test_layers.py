"""The house: imports run downwards only, and the project speaks of nothing but itself."""
import ast
import re
import subprocess

import pytest

from lib import paths

# A module may import only what stands before it.
ORDER = """paths reach statistics machine params launch records levels factors assets text architecture audit claims tables plots files sources tokenizer
dictionary embeddings prompts schedule mixture loss adapters corpus items scoring novelty journal selfinstruct benchmarks derived tasks models basecheck precision spikes trainers training evaluation stability teacher tuning pretraining
alignment stages multilingual similarity phases curriculum carbon grid chapter paper run sweep""".split()
# Exhibits are made from records alone, so nothing that knows a model or a text may reach them.
PRESENTATION = {"paths", "statistics", "params", "records", "levels", "architecture", "audit", "claims", "tables", "plots"}
FOREIGN = re.compile(r"/tmp/|/work/|\.\./shared|pypi\.org|deb\.debian\.org|download\.pytorch\.org|files\.pythonhosted"
                     r"|snapshot\.debian", re.IGNORECASE)


def _modules():
    return sorted({path.relative_to(paths.ROOT / "lib").parts[0].removesuffix(".py")
                   for path in (paths.ROOT / "lib").rglob("*.py")} - {"__init__"})


def _imported(module):
    files = [paths.ROOT / f"lib/{module}.py", *(paths.ROOT / "lib" / module).glob("*.py")]
    trees = [ast.parse(file.read_text(encoding="utf8")) for file in files if file.exists()]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    nodes = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    whole = {alias.name for node in nodes if node.module == "lib" for alias in node.names}
    parts = {node.module.split(".")[1] for node in nodes if (node.module or "").startswith("lib.")}
    return (whole | parts) - {module}


def _tracked():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=paths.ROOT,
                            capture_output=True, text=True)
    return [paths.ROOT / name for name in listed.stdout.splitlines() if (paths.ROOT / name).is_file()]


@pytest.mark.parametrize("module", _modules())
def test_imports_run_downwards(module):
    assert module in ORDER, f"lib/{module}.py has no place in the order yet"
    upwards = {name for name in _imported(module) if ORDER.index(name) >= ORDER.index(module)}
    assert not upwards, f"lib/{module}.py imports {upwards}, which stand above it"


@pytest.mark.parametrize("module", ["tables", "plots"])
def test_exhibits_know_records_only(module):
    assert _imported(module) <= PRESENTATION


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
