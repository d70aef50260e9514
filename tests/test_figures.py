"""Tables and figures come from records alone: no model, no torch, the same numbers each time."""
import os
import shutil
import subprocess
import sys

import pandas
import pytest

from lib import exhibits
from lib.engine import keys, params, paths, records, statistics
from lib.exhibits import pages
from lib.exhibits.units import p_value

COMMITTED = paths.ROOT / "figures" / "full"
# A finder that refuses them: what needs torch fails here.
REBUILD = """
import sys


class Refuse:
    @staticmethod
    def find_spec(name, *rest):
        if name.split(".")[0] in ("torch", "transformers", "datasets"):
            raise ImportError(f"{name} must not be needed to rebuild tables and figures")


sys.meta_path.insert(0, Refuse)
from lib.exhibits import pages
sys.exit(pages.main(["full"]))
"""


@pytest.fixture
def carbon_record(tmp_path, monkeypatch):
    """A smoke profile that holds only the record of 13_carbon."""
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    parameters = {"profile": "smoke", "seed": 0, "country": "IRN", "pue": 1.0, "paper_tokens": 2e9,
                  "paper_parameters": 7e9}
    record = records.Record("13_carbon", parameters, {"revision": "abc", "device": "cpu"})
    for step, seconds, kwh in (("01_corpus", 60.0, 0.001), ("03_pretraining", 600.0, 0.01)):
        record.fact("seconds", seconds, "s", step=step)
        record.fact("kwh", kwh, "kWh", low=kwh / 10, high=5 * kwh, step=step)
        record.fact("method", "a meter & 100 % luck", step=step)
    record.fact("training_kwh", 0.008, "kWh", step="03_pretraining")
    record.fact("intensity", 655.0, "g/kWh", country="IRN")
    record.fact("estimated_kwh", 5000.0, "kWh", low=500.0, high=25000.0)
    record.fact("estimated_co2", 3275.0, "kg", country="IRN")
    record.write(seconds=1.0)
    return tmp_path / "figures/smoke"


def test_energy_and_carbon_statement_say_what_the_record_says(carbon_record):
    frame, reading = exhibits.TABLES["C13-T1"].build("smoke")
    assert frame["Wh"].tolist() == pytest.approx([1, 10, 11])
    assert frame["Wh low"].tolist() == pytest.approx([0.1, 1, 1.1]) and frame["Wh high"].iloc[-1] == pytest.approx(55)
    assert "11.00 Wh (between 1.1 and 55) in 11.0 min" in reading
    frame, reading = exhibits.TABLES["P2-T8"].build("smoke")
    assert frame["kg CO₂"].tolist() == pytest.approx([0.011 * 0.655, 3275, 232.38])
    assert frame["kWh high"].tolist()[:2] == pytest.approx([0.055, 25000])
    assert "232.38 kg" in reading and "3,275 kg (between 327.5 and 1.638e+04)" in reading


def test_a_table_is_written_in_three_forms_that_hold(carbon_record):
    exhibits.save("C13-T1", "smoke")
    stem = carbon_record / "tables/C13-T1_energy"
    assert stem.with_suffix(".csv").read_text().startswith("chapter,seconds,Wh")
    latex = stem.with_suffix(".tex").read_text()
    assert r"03\_pretraining" in latex and r"meter \& 100 \% luck" in latex and r"\toprule" in latex
    exhibits.save("P2-T8", "smoke")
    assert "nan" not in (carbon_record / "tables/P2-T8_carbon_statement.md").read_text()


def test_a_figure_is_drawn_with_its_data_and_the_same_each_time(carbon_record):
    exhibits.save("C13-F1", "smoke")
    first = {path.suffix: path.read_bytes() for path in carbon_record.glob("C13-F1*")}
    exhibits.save("C13-F1", "smoke")
    assert first == {path.suffix: path.read_bytes() for path in carbon_record.glob("C13-F1*")}
    assert set(first) == {".pdf", ".png", ".csv"}


def test_the_index_tells_what_was_made_and_what_was_not(carbon_record):
    kept = pages.keep("smoke")
    made = pages.make("smoke")
    page = pages.index("smoke", made).read_text("utf8")
    assert [path.name for path in kept] == ["13_carbon.json"]
    assert "![C13-F1." in page and "P2-T8" in page
    assert "- P1-T5." in page and "06_evaluation has no record" in page


@pytest.fixture
def clean_run(tmp_path, monkeypatch):
    """`clean_run(profile, chapter, **environment)`: writes a record as a run of now from a clean tree would."""
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))

    def make(profile, chapter, **environment):
        values = params.load("smoke", chapter) | {"profile": profile}
        made = records.Record(chapter, values, {"revision": "abc", "device": "cpu", "dirty": False, **environment})
        made.content["key"] = keys.of_chapter(chapter, values)
        return made, made.write(seconds=1.0)
    return make


def test_the_index_says_chapter_by_chapter_what_is_stale_and_why(clean_run):
    for chapter in ("01_corpus", "02_tokenizer", "08_phases_and_transfer", "09_curriculum", "10_multialpaca"):
        clean_run("smoke", chapter)
    assert pages.stale("smoke") == {}
    changed, _ = clean_run("smoke", "02_tokenizer", revision="0123456789abcdef")
    changed.content["key"]["lib/model/tokenizer.py"] = "another"
    changed.write(seconds=1.0)
    assert pages.stale("smoke") == {"02_tokenizer": "lib/model/tokenizer.py changed",
                                    "08_phases_and_transfer": "02_tokenizer is stale", "09_curriculum": "02_tokenizer is stale"}
    page = pages.index("smoke", pandas.DataFrame(columns=["id", "chapter", "state"])).read_text("utf8")
    assert "| 02_tokenizer | 0123456789 | cpu | stale: lib/model/tokenizer.py changed |" in page
    assert "| 01_corpus | abc | cpu | up to date |" in page


def test_a_record_without_key_or_of_changed_code_is_stale(clean_run):
    unknown, _ = clean_run("smoke", "01_corpus")
    del unknown.content["key"]
    unknown.write(seconds=1.0)
    clean_run("smoke", "02_tokenizer", dirty=True)
    found = pages.stale("smoke")
    assert found == {"01_corpus": "made before records had a key", "02_tokenizer": "made from code changed since its revision"}


def test_records_of_changed_code_are_not_kept_in_full(clean_run, tmp_path, capsys):
    for profile in ("full", "smoke"):
        clean_run(profile, "01_corpus")
        clean_run(profile, "02_tokenizer", dirty=True)
        clean_run(profile, "03_pretraining", dirty=None)
    assert [path.stem for path in pages.keep("smoke")] == ["01_corpus", "02_tokenizer", "03_pretraining"]
    assert capsys.readouterr().out == ""
    assert [path.stem for path in pages.keep("full")] == ["01_corpus"] == records.available("full")
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and told[0].startswith("The record of 02_tokenizer is not kept in figures/full, because it was "
                                                 "made from code changed since its revision: commit")
    shutil.copy(tmp_path / "runs/full/02_tokenizer/record.json", tmp_path / "figures/full/records/02_tokenizer.json")
    assert records.place("full", "02_tokenizer").is_relative_to(tmp_path / "figures")  # as one kept long ago


def test_an_exhibit_that_lacks_its_data_says_so_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    record = records.Record("06_evaluation", {"profile": "smoke", "stages": ["base"]}, {"revision": "", "device": "cpu"})
    record.metric("bits_per_byte", statistics.mean([1.0, 2.0]), "bits/byte", stage="base", language="el")
    record.write(seconds=1.0)
    assert exhibits.show("C06-T2", "smoke") is None and exhibits.show("P1-F1", "smoke") is None
    printed = capsys.readouterr().out
    assert "Not made here: the corpus has too few translation pairs" in printed and "`test_files`" in printed
    made = pages.make("smoke").set_index("id")
    assert made.loc["P1-T5", "state"] == "made" and made.loc["P1-T7", "state"] == params.LACKS["english"]


def test_a_tiny_p_is_never_printed_as_zero():
    assert [p_value(p) for p in (0.0123, 0.0004, float("nan"))] == ["0.012", "< 0.001", ""]


@pytest.mark.skipif(not (COMMITTED / "records").exists(), reason="no run is committed yet")
def test_the_committed_figures_follow_from_the_committed_records(tmp_path):
    shutil.copytree(COMMITTED / "records", tmp_path / "figures/full/records")
    environment = {**os.environ, "COMPANION_OUTPUT": str(tmp_path), "PYTHONPATH": str(paths.ROOT)}
    subprocess.run([sys.executable, "-c", REBUILD], env=environment, check=True, timeout=300)
    written = {path.relative_to(tmp_path / "figures/full"): path for path in (tmp_path / "figures/full").rglob("*.csv")}
    page = (tmp_path / "figures/full/README.md").read_text("utf8")
    absent = [line for line in page.partition("## Not made here")[2].splitlines() if line]
    known = [path.stem for path in (COMMITTED / "records").glob("*.json")]
    assert written and all(line.endswith("has no record.") for line in absent), absent
    assert not any(f" {chapter} has no record" in line for chapter in known for line in absent), absent
    for name, path in written.items():
        # To the last digits only: numpy's vectorised powers differ there between processors.
        pandas.testing.assert_frame_equal(*map(pandas.read_csv, (path, COMMITTED / name)), rtol=1e-9, obj=str(name))
