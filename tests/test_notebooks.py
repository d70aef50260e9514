"""Notebooks keep the contract of a chapter, and every parameter file fits its notebook."""
import ast
import builtins
import json
import re

import nbformat
import pytest

from lib.engine import params, paths, run

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
PROFILES = ("smoke", "laptop", "night", "full", "colab", "paper")
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
LONGEST, SHORT = 15, 10  # lines of a cell of the run, and of one that explains
SECTIONS = ["Question", "A small example", "The real run", "What we saw", "Exercises", "Reading"]
GLOSSARY = (paths.ROOT / "docs/glossary.md").read_text(encoding="utf8")


def _cells(path):
    return nbformat.read(path, as_version=4).cells


def _code(path):
    return [cell for cell in _cells(path) if cell.cell_type == "code"]


def _section(path, title):
    """The cells from a heading to the next section."""
    found, inside = [], False
    for cell in _cells(path):
        heading = re.match(r"## (.+)", cell.source) if cell.cell_type == "markdown" else None
        inside = inside if not heading or heading[1] not in SECTIONS else heading[1] == title
        found += [cell] * inside
    return found


def _prose(path, title=None):
    cells = _section(path, title) if title else _cells(path)
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def _stored(source):
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


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
    assert [cell.metadata.get("tags") for cell in cells[1:4:2]] == [["bootstrap"], ["parameters"]]
    assert f'chapter.begin("{path.stem}", globals())' in _code(path)[2].source
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
    for profile in ("smoke", "laptop", "night"):
        assert all(run.minutes(profile, chapter) for chapter in run.UPSTREAM)


@each
def test_no_name_of_a_module_is_taken_twice(path):
    tree = ast.parse("\n".join(cell.source for cell in _code(path)))
    imported = {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
                for alias in node.names}
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert not imported & stored


@each
def test_it_teaches_in_the_order_of_the_contract(path):
    headings = re.findall(r"^## (.+)$", _prose(path), re.M)
    assert [heading for heading in headings if heading in SECTIONS] == SECTIONS
    assert "lesson.peek(" in "".join(cell.source for cell in _code(path))
    saw = [cell.source for cell in _section(path, "What we saw") if cell.cell_type == "code"]
    assert saw and saw[0] == f'exhibits.readings(profile, "{path.stem}")'


@each
def test_the_small_example_runs_by_itself_and_leaves_the_run_alone(path, monkeypatch):
    """Plain Python on data typed in the notebook: no corpus, no model, no parameter, nothing noted."""
    imports = _code(path)[2].source.partition("record = ")[0]
    example = [cell.source for cell in _section(path, "A small example") if cell.cell_type == "code"]
    assert example
    space = {"display": lambda *_: None}
    exec(imports, space)
    given = dict(space)
    for source in example:
        assert len(source.splitlines()) <= SHORT, source
        exec(source, space)
    taken = set().union(*map(_stored, example)) & {*params.defaults(path.stem), *given, "record"}
    assert not taken, f"{taken} have another meaning in the run"


@each
def test_exercises_change_parameters_that_exist_and_are_answered_by_the_record(path):
    items = re.split(r"^\d\. ", _prose(path, "Exercises"), flags=re.M)[1:]
    record = json.loads((paths.ROOT / f"figures/night/records/{path.stem}.json").read_text(encoding="utf8")) if (
        path.stem != "14_paper") else {"metrics": [], "facts": [], "rows": {"exhibits": []}}
    names = {row["metric"] for row in record["metrics"]} | {row["fact"] for row in record["facts"]} | set(record["rows"])
    assert 2 <= len(items) <= 4
    for item in items:
        spans = re.findall(r"`([^`]+)`", item)
        name, equals, value = spans[0].partition(" = ")
        assert equals, item
        changed = params.defaults(path.stem) | {name: ast.literal_eval(value)}
        assert params.check(path.stem, changed, "the exercise") == changed != params.defaults(path.stem), item
        assert names & set(spans), f"no number of the record is named in {item}"


@each
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)]+)\)", _prose(path))
    assert sum(link.startswith("https://") for link in re.findall(r"\]\(([^)]+)\)", _prose(path, "Reading"))) >= 3
    for link in links:
        assert re.match(r"https?://\S+$", link) or (paths.NOTEBOOKS / link.partition("#")[0]).exists(), link
    for text, number in re.findall(r"\[arXiv (\S+)\]\(https://arxiv.org/abs/([^)]+)\)", _prose(path)):
        assert text == number and re.fullmatch(r"\d{4}\.\d{4,5}", number)


def _terms(text, pattern):
    """Terms between double stars as they are compared: small, in the singular."""
    return [" ".join(term.lower().split()).removesuffix("s") for term in re.findall(pattern, text, re.M)]


@each
def test_every_term_in_bold_is_in_the_glossary(path):
    missing = {*_terms(_prose(path), r"\*\*([^*]+)\*\*")} - {*_terms(GLOSSARY, r"^\*\*([^*]+)\*\*: ")}
    assert not missing


def test_the_glossary_names_a_term_once_in_alphabetical_order_with_the_chapter_that_explains_it():
    terms, explained = re.findall(r"^\*\*([^*]+)\*\*: ", GLOSSARY, re.M), {}
    assert [term.lower() for term in terms] == sorted({term.lower() for term in terms}) and len(terms) > 40
    for path in NOTEBOOKS:
        for term in _terms(_prose(path), r"\*\*([^*]+)\*\*"):
            assert explained.setdefault(term, path.stem[:2]) == path.stem[:2], f"{term} is explained twice"
    entries = re.split(r"\n\n(?=\*\*)", GLOSSARY)[1:]
    for (term,), entry in zip((_terms(entry, r"^\*\*([^*]+)\*\*: ") for entry in entries), entries, strict=True):
        assert f"({explained.get(term)})" in entry, f"{entry}: explained in {explained.get(term)}"
