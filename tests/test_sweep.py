"""Sweeps: what a sweep file may say, which cells it makes, and how they run, fail, resume and are told."""
import json
import os

import house
import nbformat
import pandas
import pytest

from lib.engine import params, paths, run, sweep

HEAD = "profile: smoke\nchapter: 02_tokenizer\nmemory: 0.5\n"
# The swept chapter reads the one before it, counts, and does not like seven.
LAST = '''from lib.engine import paths, statistics
assert records.load(profile, "01_corpus")["chapter"] == "01_corpus"
if rows == 7:
    raise ValueError("No seven.")
record.metric("square", statistics.Estimate(rows ** 2 + seed, rows, rows, 9), "1")
record.write(seconds=0)'''


@pytest.fixture
def small(output, monkeypatch):
    """Two notebooks without code, a folder of parameters and one of output; a function that loads a sweep file."""
    monkeypatch.setattr(paths, "NOTEBOOKS", output / "notebooks")
    monkeypatch.setattr(paths, "PARAMS", output / "params")
    for folder in ("notebooks", "params/smoke", "params/sweeps"):
        (output / folder).mkdir(parents=True)
    source = house.PARAMETERS + '\nrate = 0.1  # rate [0..1]\nseeds = [0]  # seeds'
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    for chapter in house.CHAPTERS:
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), paths.notebook(chapter))
        paths.parameters("smoke", chapter).write_text("profile: smoke\nrows: 2\n")

    def load(text):
        (output / "params/sweeps/tiny.yaml").write_text(HEAD + text)
        return sweep.load(output / "params/sweeps/tiny.yaml")
    return load


def test_a_grid_is_a_cross_product_and_zipped_lists_go_together(small):
    found = small("set: {seed: 4}\ngrid: {rows: [1, 2]}\nzip: {rate: [0.5, 1], seeds: [[0], [1, 2]]}")
    assert [cell.varied for cell in found.cells] == [
        {"rows": rows, "rate": rate, "seeds": seeds} for rows in (1, 2) for rate, seeds in ((0.5, [0]), (1, [1, 2]))]
    assert found.cells[0].parameters == {"profile": "smoke", "seed": 4, "rows": 1, "file": "", "rate": 0.5, "seeds": [0]}
    assert (found.cores, found.resources) == (1, {"mem_mb": 512})


def test_a_cell_is_known_by_what_it_computes(small):
    keys = [cell.key for cell in small("grid: {rows: [1, 2], rate: [1]}").cells]
    assert [cell.key for cell in small("grid: {rate: [1.0], rows: [3, 2, 1]}").cells][:0:-1] == keys
    assert [cell.key for cell in small("set: {rate: 1}\ngrid: {rows: [1, 2]}").cells] == keys
    paths.parameters("smoke", "02_tokenizer").write_text("profile: smoke\nseed: 1\n")
    assert not set(keys) & {cell.key for cell in small("grid: {rows: [1, 2], rate: [1]}").cells}


@pytest.mark.parametrize("text, words", [
    ("gird: {rows: [1]}", ["unknown key `gird`", "`grid`"]),
    ("grid: {row: [1]}", ["unknown key `row` (value 1)", "`rows`"]),
    ("grid: {rows: [1, 10]}", ["`rows` is 10", "[1..9]"]),
    ("grid: {rows: [1, x]}", ["`rows` is 'x'", "whole number"]),
    ("grid: {rows: 1}", ["`rows` is 1", "list"]),
    ("grid: {rows: []}", ["`rows` is []", "list"]),
    ("grid: {seeds: [0, 1]}", ["`seeds` is 0", "has to be a list"]),
    ("grid: [rows]", ["`grid`", "list"]),
    ("grid: {rows: [1, 1]}", ["rows=1", "twice"]),
    ("grid: {rate: [1, 1.0]}", ["twice"]),
    ("grid: {profile: [laptop]}", ["`profile`", "one profile"]),
    ("set: {rows: 0}\ngrid: {seed: [1]}", ["`rows` is 0"]),
    ("zip: {rows: [1, 2], seed: [1]}", ["'rows': 2", "those lists one length"]),
    ("grid: {rows: [1]}\nzip: {rows: [2]}", ["once"]),
    ("cores: 1", ["`grid` names nothing"]),
    ("grid: {rows: [1]}\ncores: 0", ["`cores` is 0", "[1..]"]),
    ("grid: {rows: [1]}\ncores: two", ["`cores` is 'two'"]),
])
def test_a_wrong_line_is_refused_by_name(small, text, words):
    with pytest.raises(params.ParameterError) as refusal:
        small(text)
    assert "params/sweeps/tiny.yaml" in str(refusal.value) and "\n" not in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize("line, words", [("profile: smoke\nchapter: 02_token\ngrid: {rows: [1]}", "02_tokenizer"),
                                         ("profile: smok\nchapter: 02_tokenizer\ngrid: {rows: [1]}", "smoke"),
                                         ("chapter: 02_tokenizer\ngrid: {rows: [1]}", "`profile` is missing"),
                                         ("chapter: 02_tokenizer\nprofile: smoke\nmemory: 4 GB\n", "`memory` is '4 GB'")])
def test_a_wrong_head_is_refused_too(small, output, line, words):
    (output / "params/sweeps/tiny.yaml").write_text(line)
    with pytest.raises(params.ParameterError, match=f"^params/sweeps/tiny.yaml: .*{words}"):
        sweep.load(output / "params/sweeps/tiny.yaml")


def test_a_sweep_or_cluster_that_is_not_there_is_told(small):
    with pytest.raises(params.ParameterError, match="There is no sweep file nothing.yaml"):
        sweep.load("nothing.yaml")
    small("grid: {rows: [1]}")
    with pytest.raises(params.ParameterError, match="no cluster profile"):
        sweep.sweep(paths.PARAMS / "sweeps/tiny.yaml", cluster="slum")


def test_a_cell_that_no_machine_like_this_can_hold_is_refused(small):
    small("cores: 4096\ngrid: {rows: [1]}")
    with pytest.raises(params.ParameterError, match=f"needs 4096 cores.* has {os.cpu_count()} cores"):
        sweep.sweep(paths.PARAMS / "sweeps/tiny.yaml")


def test_the_sweeps_and_clusters_of_the_project_are_right():
    assert all(sweep.load(file).cells for file in sweep.files())
    from snakemake.cli import parse_args
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry
    for name in ("slurm", "kubernetes"):
        _, read = parse_args(sweep._cluster(name))
        settings = ExecutorPluginRegistry().get_plugin(name).get_settings(read)
        assert read.executor == name and read.jobs > 1
        assert "cell" in read.set_resources and set(read.set_resources) - {"cell"} <= set(run.UPSTREAM)
    assert [volume.unparse() for volume in settings.persistent_volumes] == ["companion:/companion"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A house whose second chapter is swept."""
    root = house.build(tmp_path_factory.mktemp("house"))
    house.write(root, "02_tokenizer", LAST)
    (root / "params/sweeps").mkdir()
    return root


def _sweep(root, name, values):
    """`make sweep` over values of `rows`; (exit status, what it printed, the table of cells by rows)."""
    file = root / f"params/sweeps/{name}.yaml"
    file.write_text(f"{HEAD}grid: {{rows: {values}}}\n")
    status, printed = house.call(root, "lib.engine.sweep", str(file))
    return status, printed, pandas.read_csv(root / f"runs/smoke/sweeps/02_tokenizer/{name}.csv").set_index("rows")


def _record(root, table, rows):
    return json.loads((root / table.record[rows]).read_text("utf8"))


def test_a_failed_cell_is_tried_again_and_told_while_the_others_go_on(home):
    status, printed, table = _sweep(home, "rows", [7, 3])
    assert status == 1 and "Traceback" not in printed, printed
    assert "Chapter 01_corpus" in printed and "2 cells of 02_tokenizer in profile smoke, 0 finished before" in printed
    assert "(rows=7) ended without its record" in printed and "Chapter 02_tokenizer stopped in cell 4" in printed
    assert "1/2" in printed and "No seven." in printed
    assert "1 of 2 cells of sweep rows done: runs/smoke/sweeps/02_tokenizer/rows.csv" in printed
    assert table.state.to_dict() == {7: "failed", 3: "done"} and "No seven." in table.error[7]
    record = _record(home, table, 3)
    assert record["parameters"]["rows"] == 3 and record["metrics"][0]["value"] == 9
    assert not (home / "runs/smoke/02_tokenizer/record.json").exists()


def test_only_new_cells_run_whatever_the_order_or_the_name(home):
    before = {path: path.stat().st_mtime_ns for path in home.glob("runs/smoke/sweeps/*/*/runs/smoke/02*/record.json")}
    status, printed, table = _sweep(home, "renamed", [4, 3])
    assert status == 0 and "1 finished before" in printed, printed
    assert before and all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert [_record(home, table, rows)["metrics"][0]["value"] for rows in (4, 3)] == [16, 9]
    status, printed, _ = _sweep(home, "renamed", [3, 4])
    assert status == 0 and "2 finished before" in printed and printed.count("\n") == 2, printed


def test_a_cell_runs_alone_from_its_records_parameters_and_gives_the_same(home, monkeypatch):
    table = pandas.read_csv(home / "runs/smoke/sweeps/02_tokenizer/rows.csv").set_index("rows")
    first = _record(home, table, 3)
    monkeypatch.setattr(paths, "NOTEBOOKS", home / "notebooks")
    monkeypatch.setenv("COMPANION_OUTPUT", str(home))
    cell = sweep.Cell(first["chapter"], first["parameters"], {})
    assert cell.key == table.cell[3]
    cell.record.unlink()
    folder = sweep.prepare(cell, 1)
    status, printed = house.call(home, "lib.engine.sweep", "--cell", str(folder), "--record", "copies/one.json")
    assert status == 0, printed
    second = json.loads((home / "copies/one.json").read_text("utf8"))
    assert second == json.loads(cell.record.read_text("utf8"))
    assert second["metrics"] == first["metrics"] and second["parameters"] == first["parameters"]
