"""Parameters: what a user writes wrong is refused before anything runs, in one sentence that helps."""
import nbformat
import pytest

from lib.engine import chapter as frame
from lib.engine import params, paths, records

CELL = '''profile = "laptop"  # which params/<profile> and runs/<profile> to use
seed = 0  # seed of every generator [0..2147483647]
rate = 1.0e-3  # learning rate [0..1]
start = "mean"  # how new rows start [mean | random]
sizes = [0, 1000]  # vocabulary sizes to try [0..64000]
model = None  # folder of a model
scale = None  # how much, or null: what fits [0..1]
replay = True  # whether English is replayed'''


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A function that writes `params/smoke/02_tiny.yaml` and loads it."""
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params/smoke").mkdir(parents=True)
    cell = nbformat.v4.new_code_cell(CELL, metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), paths.notebook("02_tiny"))

    def load(text):
        paths.parameters("smoke", "02_tiny").write_text(text, encoding="utf8")
        return params.load("smoke", "02_tiny")
    return load


def test_the_cell_gives_the_defaults(chapter):
    assert params.defaults("02_tiny") == {"profile": "laptop", "seed": 0, "rate": 1e-3, "start": "mean",
                                          "sizes": [0, 1000], "model": None, "scale": None, "replay": True}


def test_a_file_lies_over_the_defaults_and_an_int_serves_as_a_float(chapter):
    values = chapter("profile: smoke\nrate: 1\nsizes: []\nmodel: a/b\nscale: 1")
    assert values["rate"] == 1.0 and isinstance(values["rate"], float)
    assert (values["sizes"], values["model"], values["seed"], values["scale"]) == ([], "a/b", 0, 1.0)


def test_what_the_user_wrote_is_told_from_defaults(chapter):
    values = chapter("profile: smoke\nstart: mean\nrate: 0.5")
    assert params.written("smoke", "02_tiny", values) == {"profile", "start", "rate"}
    assert params.written("elsewhere", "02_tiny", values | {"seed": 3}) == {"profile", "rate", "seed"}


def test_a_default_gives_way_in_a_sentence_and_a_users_value_is_an_error(chapter, capsys, monkeypatch):
    record = records.Record("02_tiny", chapter("profile: smoke\nrate: 0.5"), {})
    assert frame.without(record, "start", "random", "pairs") == "random"
    assert capsys.readouterr().out == f"{params.lack('pairs')} So `start` is 'random'.\n"
    assert frame.without(record, "rate", 0.5, "english") == 0.5
    with pytest.raises(params.ParameterError, match=r"`rate` is 0.5, but the corpus has too little English.*take `rate` out"):
        frame.without(record, "rate", 0.0, "english")


@pytest.mark.parametrize("line, words", [
    ("sede: 1", ["unknown key `sede`", "value 1", "`seed`"]),
    ("SIZE: 1", ["unknown key `SIZE`", "`sizes`"]),
    ("seed: text", ["`seed`", "'text'", "whole number"]),
    ("seed: 1.5", ["`seed`", "1.5", "whole number"]),
    ("seed: true", ["`seed`", "True"]),
    ("seed:", ["`seed`", "nothing"]),
    ("seed: -1", ["`seed`", "-1", "[0..2147483647]"]),
    ("rate: 1e-3", ["`rate`", "'1e-3'", "1.0e-3"]),
    ("rate: .nan", ["`rate`", "finite"]),
    ("start: men", ["`start`", "'men'", "mean, random"]),
    ("sizes: 3", ["`sizes`", "list"]),
    ("sizes: [1, x]", ["`sizes`", "'x'"]),
    ("sizes: [1, 99999]", ["`sizes`", "99999", "[0..64000]"]),
    ("replay: 1", ["`replay`", "true/false"]),
    ("model: {a: b}", ["`model`", "dict"]),
    ("scale: 2", ["`scale`", "2", "[0..1]"]),
    ("scale: text", ["`scale`", "'text'", "a single value"]),
    ("seed: 1\nseed: 2", ["valid YAML", "`seed` stands twice"]),
    ("a: [", ["valid YAML"]),
])
def test_a_wrong_line_is_refused_by_name(chapter, line, words):
    with pytest.raises(params.ParameterError) as refusal:
        chapter(f"profile: smoke\n{line}\n")
    assert "params/smoke/02_tiny.yaml" in str(refusal.value) and "\n" not in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize("text", ["", "seed: 1", "profile: laptop"])
def test_a_file_must_name_its_own_profile(chapter, text):
    with pytest.raises(params.ParameterError, match="`profile`.*has to be 'smoke'"):
        chapter(text)


def test_a_missing_file_and_an_unknown_chapter_are_named(chapter):
    chapter("profile: smoke")
    with pytest.raises(params.ParameterError, match="profile 'smok'.*profiles that have one: smoke"):
        params.load("smok", "02_tiny")
    with pytest.raises(params.ParameterError, match="no chapter '02_tny'.*`02_tiny`"):
        params.load("smoke", "02_tny")


def test_a_parameters_cell_with_a_computed_value_is_refused(chapter):
    notebook = nbformat.read(paths.notebook("02_tiny"), 4)
    notebook.cells[0].source += "\nhalf = seed / 2"
    nbformat.write(notebook, paths.notebook("02_tiny"))
    with pytest.raises(params.ParameterError, match="only `name = literal"):
        chapter("profile: smoke")


def test_names_that_papermill_injected_are_seen():
    assert params.injected({"In": ["", "seed = 1", "# Parameters\nseed = 3\nrato = 1\n"]}) == {"seed": 3, "rato": 1}
    assert params.injected({}) == {}
