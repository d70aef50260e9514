"""Notebooks keep the contract of a chapter, and every parameter file fits its notebook."""
import ast
import builtins
import re

import nbformat
import pytest

from lib.engine import params, paths, run

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
PROFILES = ("smoke", "laptop", "full", "colab", "paper")
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
LONGEST = 15


def _cells(path):
    return nbformat.read(path, as_version=4).cells


def _code(path):
    return [cell for cell in _cells(path) if cell.cell_type == "code"]


def test_every_chapter_has_its_notebook():
    assert [path.stem for path in NOTEBOOKS] == list(run.UPSTREAM)


@each
def test_it_is_valid_stripped_and_runs_on_the_python3_kernel(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    for cell in _code(path):
        assert not cell.outputs and cell.execution_count is None, cell.source


@each
def test_it_begins_with_title_table_parameters_and_frame(path):
    cells = _cells(path)
    assert re.match(rf"# {path.stem[:2]}\b", cells[0].source), cells[0].source
    assert "| reads | writes | time |" in cells[0].source
    assert [cell.metadata.get("tags") for cell in cells].count(["parameters"]) == 1
    assert cells[1].metadata.get("tags") == ["parameters"]
    assert f'chapter.begin("{path.stem}", globals())' in _code(path)[1].source
    assert "chapter.finish(record)" in _code(path)[-1].source


@each
def test_every_parameter_is_a_literal_with_a_comment(path):
    stated = params.stated(path.stem).model_fields
    assert list(stated)[:2] == ["profile", "seed"] and stated["profile"].default == "laptop"
    for name, parameter in stated.items():
        default = list(parameter.default.values()) if isinstance(parameter.default, dict) else parameter.default
        values = default if isinstance(default, list) else [default]
        assert parameter.description, f"{name} has no comment"
        assert all(value is None or isinstance(value, (str, bool, int, float)) for value in values), name
    assert params.check(path.stem, params.defaults(path.stem), path.name) == params.defaults(path.stem)


@each
def test_logic_stays_in_lib_and_cells_stay_short(path):
    for cell in _code(path):
        kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
        assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda}, cell.source
        if "parameters" not in cell.metadata.get("tags", []):
            assert len(cell.source.splitlines()) <= LONGEST, cell.source


@each
def test_a_sentence_comes_before_every_code_cell(path):
    cells = _cells(path)
    for before, cell in zip(cells, cells[1:]):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown" and before.source.strip(), cell.source


@each
def test_no_name_is_used_before_it_is_given(path):
    known = {"display", *dir(builtins)}
    for cell in _code(path):
        names = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
        imported = {(alias.asname or alias.name).split(".")[0] for node in ast.walk(ast.parse(cell.source))
                    if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
        known |= imported | {node.id for node in names if isinstance(node.ctx, ast.Store)}
        missing = {node.id for node in names if isinstance(node.ctx, ast.Load)} - known
        assert not missing, f"{missing} in\n{cell.source}"


@each
def test_every_import_is_used(path):
    tree = ast.parse("\n".join(cell.source for cell in _code(path)))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {(alias.asname or alias.name).split(".")[0] for node in ast.walk(tree)
                if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
    assert not imported - used


@each
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_fits(path, profile):
    values = params.load(profile, path.stem)
    if profile == "laptop":
        assert values == params.defaults(path.stem)
        written = paths.parameters(profile, path.stem).read_text(encoding="utf8")
        # Behind a # are the defaults that give way where a corpus lacks what they ask for.
        assert {key.removeprefix("# ") for key in re.findall(r"^((?:# )?\w+): ", written, re.M)} == set(values)


def test_no_parameter_file_stands_without_its_notebook():
    known = {path.stem for path in NOTEBOOKS}
    assert {file.stem for file in params.files()} == known
    assert {file.parent.name for file in params.files()} == set(PROFILES)


def test_the_papers_values_stand_in_their_profile():
    """Llama-2-7B with a pinned revision, as the papers' scripts have it."""
    text = " ".join(file.read_text(encoding="utf8") for file in paths.PARAMS.glob("paper/*.yaml"))
    assert re.search(r"meta-llama/Llama-2-7b-hf@[0-9a-f]{40}", text)
    pretraining = params.load("paper", "03_pretraining")
    assert (pretraining["lora_rank"], pretraining["lora_alpha"], pretraining["block_length"]) == (8, 32, 512)
    assert pretraining["learning_rate"] == pytest.approx(2e-4)


def test_the_announced_minutes_cover_every_chapter():
    for profile in ("smoke", "laptop", "full"):
        assert all(run.minutes(profile, chapter) for chapter in run.UPSTREAM)


@each
def test_no_name_of_a_module_is_taken_twice(path):
    tree = ast.parse("\n".join(cell.source for cell in _code(path)))
    imported = {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
                for alias in node.names}
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert not imported & stored
