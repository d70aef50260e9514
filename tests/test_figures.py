"""Tables and figures come from records alone: no model, no torch, the same numbers each time."""
import os
import re
import shutil
import subprocess
import sys

import pandas
import pytest

from lib import exhibits
from lib.engine import keys, params, paths, records, run, statistics
from lib.exhibits import base, ch03, pages, panels
from lib.exhibits.units import p_value

COMMITTED = paths.ROOT / "figures"
each_committed = pytest.mark.parametrize("profile", [name for name in run.COMMITTED if (COMMITTED / name / "records").exists()])
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
sys.exit(pages.main(sys.argv[1:]))
"""


@pytest.fixture
def carbon_record(tmp_path, monkeypatch):
    """A smoke profile that holds the records of two chapters, with what they took, and of 13_carbon."""
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    for step, seconds, kwh in (("04_alignment", 60.0, 0.001), ("05_sft", 600.0, 0.01)):
        made = records.Record(step, {"profile": "smoke"}, {"revision": "abc", "device": "cpu"})
        made.write(seconds=seconds, kwh=kwh, kwh_low=kwh / 10, kwh_high=5 * kwh, kwh_method="a meter & 100 % luck")
    parameters = {"profile": "smoke", "seed": 0, "country": "IRN", "pue": 1.0, "paper_tokens": 2e9,
                  "paper_parameters": 7e9}
    record = records.Record("13_carbon", parameters, {"revision": "abc", "device": "cpu"})
    record.fact("kwh", 99.0, "kWh", step="05_sft")
    record.fact("intensity", 655.0, "g/kWh", country="IRN")
    record.fact("estimated_kwh", 5000.0, "kWh", low=500.0, high=25000.0)
    record.fact("estimated_co2", 3275.0, "kg", country="IRN")
    record.write(seconds=1.0)
    return tmp_path / "figures/smoke"


def test_the_carbon_statement_says_what_the_records_of_the_chapters_say(carbon_record):
    frame, reading = exhibits.TABLES["P2-T8"].build("smoke")
    assert frame["kWh"].tolist()[:4] == pytest.approx([0.001, 0.01, 0.011, 5000])
    assert frame["kWh low"].tolist()[:3] == pytest.approx([0.0001, 0.001, 0.0011])
    assert frame["kg CO₂"].tolist()[2:] == pytest.approx([0.011 * 0.655, 3275, 232.38])
    assert "2 chapters took 11.0 Wh (between 1.1 and 55) in 11 min" in reading
    assert "232.38 kg" in reading and "3,275 kg (between 330 and 16,000)" in reading


def test_a_table_is_written_in_three_forms_that_hold(carbon_record):
    exhibits.save("P2-T8", "smoke")
    stem = carbon_record / "tables/P2-T8_carbon_statement"
    assert stem.with_suffix(".csv").read_text().startswith("run,devices,kW a device")
    latex = stem.with_suffix(".tex").read_text()
    assert r"05\_sft" in latex and r"\toprule" in latex
    assert "nan" not in stem.with_suffix(".md").read_text()


def test_a_figure_is_drawn_with_its_data_and_the_same_each_time(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    record = records.Record("02_tokenizer", {"profile": "smoke"}, {"revision": "abc", "device": "cpu"})
    record.metric("compression", statistics.Estimate(1.5, 20, 1.4, 1.6), "times the base", arm="multiway", language="fa")
    record.write()
    written = []
    for _ in range(2):
        exhibits.save("P3-F1", "smoke")
        written.append({path.suffix: path.read_bytes() for path in (tmp_path / "figures/smoke").glob("P3-F1*")})
    assert written[0] == written[1] and set(written[0]) == {".pdf", ".png", ".csv"}


@pytest.mark.parametrize("language, word, right", [("fa", "کتاب", True), ("el", "βιβλίο", False), ("hi", "किताब", None)])
def test_a_sentences_tokens_stand_base_above_extended_in_the_order_of_reading(tmp_path, monkeypatch, language, word, right):
    """From right to left where it is read so; not at all in a script that the font has not."""
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    record = records.Record("02_tokenizer", {"profile": "smoke"}, {"revision": "abc", "device": "cpu"})
    for arm, size in (("base", 0), ("continued BPE", 50)):
        record.metric("fertility", statistics.Estimate(2.0, 20, 1.9, 2.1), "tokens/word", arm=arm, size=size, language=language)
        record.fact("new_pieces", size, arm=arm, size=size)
    cut = {"base": [*word, "<bytes>", "<bytes>"], "continued BPE": [word, "<ZWNJ>", f" {word}"], "appended BPE": [word]}
    record.rows("cut", [{"tokenizer": arm, "tokens": len(row), "pieces": " · ".join(row)} for arm, row in cut.items()])
    drawing, _, reading = exhibits.FIGURES["P1-F3"].make("smoke")
    if right is None:
        assert len(drawing.axes) == 1 and "sentence" not in reading
        return
    base_panel, extended, curve = drawing.axes
    assert [text.get_text() for text in extended.texts] == [word, "¬", f"␣{word}"] and not curve.texts
    assert [text.get_text() for text in base_panel.texts] == [*word, "·", "·"]
    places = [text.get_position()[0] for text in extended.texts]
    assert places == sorted(places, reverse=right) and all(0 <= place <= 1 for place in places)
    assert f"the sentence above goes from {len(word) + 2} to 3." in reading


def test_the_index_tells_what_was_made_and_what_was_not(carbon_record):
    kept = pages.keep("smoke")
    made = pages.make("smoke")
    page = pages.index("smoke", made).read_text("utf8")
    assert [path.name for path in kept] == ["04_alignment.json", "05_sft.json", "13_carbon.json"]
    assert "### P2-T8." in page and "- P1-T5." in page and "06_evaluation has no record" in page


RULED = [*exhibits.FIGURES, *exhibits.TABLES]


def test_there_are_few_enough_exhibits_and_every_one_of_the_papers():
    assert len(RULED) == len(set(RULED)) <= 55
    papers = {"P1": (7, 3), "P2": (8, 2), "P3": (6, 5), "P4": (5, 4)}  # their tables and figures
    wanted = {f"{paper}-{kind}{number}" for paper, counts in papers.items() for kind, count in zip("TF", counts)
              for number in range(1, count + 1)}
    assert wanted | {"P1-A1", "P3-A1"} == {id for id in RULED if id.startswith("P")}


@each_committed
@pytest.mark.parametrize("id", RULED)
def test_an_exhibit_is_short_enough_to_be_read(id, profile, tmp_path, monkeypatch):
    """One sentence with a number as reading; a printed table of 40 rows and 12 columns at most."""
    shutil.copytree(COMMITTED / profile / "records", tmp_path / "figures" / profile / "records")
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    exhibit = exhibits.FIGURES.get(id) or exhibits.TABLES[id]
    try:
        first, *_, reading = exhibit.make(profile)
    except (FileNotFoundError, exhibits.Lacking) as error:
        assert "of an earlier version: make it anew by" in str(error) or "has no record" in str(error)
        return
    assert re.search(r"\d", reading) and reading.endswith(".") and ". " not in reading and len(reading) < 400, reading
    if isinstance(first, pandas.DataFrame):
        printed = base.printed_part(first)
        assert printed.shape[0] <= 40 and printed.shape[1] <= 12 and len(first.columns[:12]) and len(printed), printed.shape
        assert "printed" in first.attrs or first.shape[1] <= 12, "say in attrs which columns are printed"


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


def test_a_profile_without_records_gets_no_folder_for_them(output, capsys):
    """Or the repository would seem to hold its run."""
    assert pages.main(["full"]) == 1 and "make reproduce PROFILE=full" in capsys.readouterr().err
    assert not list((output / "figures").rglob("records"))


def test_notebooks_of_changed_code_are_not_kept_in_full_and_others_are_linked(clean_run, tmp_path, monkeypatch):
    """That of the last chapter neither, of which no record is kept."""
    monkeypatch.setattr(pages, "make", lambda profile: pandas.DataFrame(columns=["id", "chapter", "state"]))
    for chapter, dirty in {"01_corpus": False, "02_tokenizer": True, pages.CHAPTER: True}.items():
        _, record = clean_run("full", chapter, dirty=dirty)
        shutil.copy(paths.notebook(chapter), record.with_name("notebook.ipynb"))
    assert pages.main(["full"]) == 0
    assert [path.stem for path in (tmp_path / "figures/full/notebooks").iterdir()] == ["01_corpus"]
    assert "| [01_corpus](notebooks/01_corpus.ipynb) | abc |" in (tmp_path / "figures/full/README.md").read_text("utf8")


def test_an_exhibit_that_lacks_its_data_says_so_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    record = records.Record("06_evaluation", {"profile": "smoke", "stages": ["base"]}, {"revision": "", "device": "cpu"})
    record.metric("bits_per_byte", statistics.mean([1.0, 2.0]), "bits/byte", stage="base", language="el")
    record.write(seconds=1.0)
    assert exhibits.show("P1-T7", "smoke") is None and exhibits.show("P1-F1", "smoke") is None
    printed = capsys.readouterr().out
    assert f"Not made here: {params.LACKS['english']}" in printed and "`test_files`" in printed
    made = pages.make("smoke").set_index("id")
    assert made.loc["P1-T5", "state"] == "made" and made.loc["P1-T7", "state"] == params.LACKS["english"]


def test_what_rests_on_few_items_is_drawn_in_grey():
    rows = pandas.DataFrame({"value": [0.5, 0.6], "low": [0.4, 0.5], "high": [0.6, 0.7], "n": [5, 50], "unit": "share"})
    _, panel = panels.axes()
    panels.errorbars(panel, [0, 1], rows, color="red")
    grey = [line for line in panel.lines if line.get_color() == panels.GREY and line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in grey] == [[0]]


def test_names_beside_points_meet_no_name_and_no_other_point():
    drawing, panel = panels.axes()
    places = {"lora": (0, 0.36), "unextended": (-0.03, 0.34), "mean-start": (-0.028, 0.26), "full": (0.05, 0.39), "base": (0, 0)}
    panel.plot(*zip(*places.values()), "o")
    panel.margins(x=0.25)
    panels.names(panel, places)
    boxes = [note.get_window_extent() for note in panel.texts]
    assert [note.get_text() for note in panel.texts] == list(places)
    assert not any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[number + 1:])
    assert not any(box.contains(*panel.transData.transform(place)) for box in boxes for place in places.values())


def test_arms_that_read_as_much_stand_beside_each_other_and_the_main_run_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    for arms in (["extended", "main"], ["extended", "main", "lora", *(f"arm-{number}" for number in range(9))]):
        record = records.Record("03_pretraining", {"profile": "smoke"}, {})
        for place, arm in enumerate(arms):
            for language, sign in (("fa", -1), ("en", 0.1)):
                value = sign * (1 + place) / 10
                record.metric("bits_per_byte_difference", statistics.Estimate(value, 20, value - 0.1, value + 0.1), "bits/byte",
                              arm=arm, language=language, against="base")
        drawing, frame, _ = ch03.gain_and_loss("smoke")
        told = [note.get_text() for panel in drawing.axes for note in panel.texts if note.get_text()]
        assert told == ["base", *(arm for arm in arms if arm != "main" or len(arms) == 2)] and list(frame["arm"]) == told[1:]


def test_a_tiny_p_is_never_printed_as_zero():
    assert [p_value(p) for p in (0.0123, 0.0004, float("nan"))] == ["0.012", "< 0.001", ""]


@each_committed
def test_the_committed_figures_follow_from_the_committed_records(profile, tmp_path):
    made, kept = tmp_path / "figures" / profile, COMMITTED / profile
    shutil.copytree(kept / "records", made / "records")
    environment = {**os.environ, "COMPANION_OUTPUT": str(tmp_path), "PYTHONPATH": str(paths.ROOT)}
    subprocess.run([sys.executable, "-c", REBUILD, profile], env=environment, check=True, timeout=1200)
    written = {path.relative_to(made): path for path in made.rglob("*.csv")}
    page = (made / "README.md").read_text("utf8")
    absent = [line for line in page.partition("## Not made here")[2].splitlines() if line]
    known = [path.stem for path in (kept / "records").glob("*.json")]
    assert written and all("has no record" in line or "is of an earlier version" in line for line in absent), absent
    assert not any(f" {chapter} has no record" in line for chapter in known for line in absent), absent
    for name, path in written.items():
        # To the last digits only: numpy's vectorised powers differ there between processors.
        pandas.testing.assert_frame_equal(*map(pandas.read_csv, (path, kept / name)), rtol=1e-9, obj=str(name))
