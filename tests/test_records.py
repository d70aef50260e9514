"""Records: written whole or not at all, read back as tables, found where a reader expects them."""
import json
from pathlib import Path

import pytest

from lib import exhibits
from lib.engine import params, paths, records, run
from lib.engine.statistics import Estimate
from lib.exhibits import pages


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    return tmp_path


def _record(chapter="03_pretraining", **measured):
    record = records.Record(chapter, {"profile": "smoke", "seed": 0}, {"revision": "abc", "device": "cpu"})
    record.metric("bits_per_byte", Estimate(1.5, 12, 1.4, 1.6), "bits/byte", stage="base", language="fa")
    record.fact("tokens", 100, "tokens", arm="lora")
    record.rows("loss", [{"step": 1, "loss": 2.0}])
    return record.write(**measured)


def test_every_metric_comes_back_with_n_and_interval(output):
    _record(seconds=1.0)
    row = records.metrics("smoke").iloc[0]
    assert (row["chapter"], row["value"], row["n"], row["low"], row["high"]) == ("03_pretraining", 1.5, 12, 1.4, 1.6)
    assert records.facts("smoke").iloc[0]["value"] == 100
    assert records.rows("smoke", "03_pretraining", "loss")["loss"].tolist() == [2.0]
    assert records.rows("smoke", "03_pretraining", "nothing").empty


def test_a_record_is_readable_before_it_is_written(output):
    record = records.Record("01_corpus", {"profile": "smoke"}, {})
    record.fact("documents", 3, "documents")
    assert records.available("smoke") == ["01_corpus"] and len(records.facts("smoke")) == 1
    assert not (output / "runs/smoke/01_corpus/record.json").exists()


def test_a_failed_write_leaves_the_old_record(output):
    path = _record(seconds=1.0)
    record = records.Record("03_pretraining", {"profile": "smoke"}, {})
    record.metric("loss", Estimate(float("inf"), 1, 0, 0), "nats")
    with pytest.raises(ValueError):
        record.write()
    assert json.loads(path.read_text())["measured"] == {"seconds": 1.0}


def test_a_measurement_that_failed_is_null(output):
    record = records.Record("01_corpus", {"profile": "smoke"}, {})
    record.fact("kwh", float("nan"), "kWh")
    assert json.loads(record.write().read_text())["facts"][0]["value"] is None


def test_a_run_comes_before_the_committed_record(output):
    committed = paths.figures("smoke") / "records/03_pretraining.json"
    records.write_json(committed, {"chapter": "03_pretraining", "metrics": [], "facts": [], "rows": {}})
    assert records.place("smoke", "03_pretraining") == committed
    assert records.place("smoke", "03_pretraining") != _record() == records.place("smoke", "03_pretraining")


def test_a_missing_record_names_chapter_and_command(output):
    with pytest.raises(FileNotFoundError, match="03_pretraining has no record.*make reproduce PROFILE=smoke"):
        records.load("smoke", "03_pretraining")


def test_a_digest_sees_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("x")
    before = records.digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert records.digest(tmp_path) != before


@pytest.mark.parametrize("estimate", [Estimate(float("nan"), 3, 0, 1), Estimate(0.5, 3, float("nan"), 1)])
def test_a_metric_that_is_no_number_is_refused_where_it_is_noted(output, estimate):
    record = records.Record("03_pretraining", {"profile": "smoke"}, {})
    with pytest.raises(ValueError, match="bits_per_byte with {'arm': 'lora'} is not a number"):
        record.metric("bits_per_byte", estimate, "bits/byte", arm="lora")


def test_a_record_of_before_trainings_were_counted_still_loads(output):
    path = _record()
    content = json.loads(path.read_text())
    assert content["metrics"][0]["trainings"] == 1
    del content["metrics"][0]["trainings"]
    records.write_json(path, content)
    assert records.metrics("smoke")["trainings"].isna().all()


OLD = json.loads(Path(__file__).with_name("old_records.json").read_text("utf8"))  # the first of each chapter that was kept, cut short


@pytest.mark.parametrize("content", OLD, ids=lambda content: content["chapter"])
def test_a_record_of_an_earlier_version_is_read_or_refused_with_the_command_that_remakes_it(output, content):
    chapter = content["chapter"]
    place = records.write_json(output / f"runs/full/{chapter}/record.json", content)
    assert len(records.metrics("full")) == len(content["metrics"]) and len(records.facts("full")) == len(content["facts"])
    assert run.why(place, params.load("full", chapter), []) == ["made before records had a key"]
    assert run.minutes("full", chapter) == content["measured"]["seconds"] / 60
    reason = "made from code changed since its revision" if content["environment"]["dirty"] else "made before records had a key"
    assert pages.stale("full") == {chapter: reason}
    made = 0
    for exhibit in [one for one in (exhibits.FIGURES | exhibits.TABLES).values() if one.chapter == chapter]:
        try:
            made += bool(exhibit.make("full"))
        except FileNotFoundError as error:  # it reads another chapter too
            assert "has no record in profile full: run it first" in str(error)
        except exhibits.Lacking as error:
            assert str(error)
    assert made or chapter in REMADE


# Chapters whose first records show nothing that a table or figure of today is made of.
REMADE = ("05_sft", "13_carbon")


@pytest.mark.parametrize("spoil, reason", [
    (lambda content: [], "is no record, or of another version"), (lambda content: content | {"metrics": {}}, r"\['metrics'\] are of another kind"),
    (lambda content: content | {"facts": [1]}, "its rows are of another kind"), (lambda content: content | {"rows": {"loss": 3}}, "its rows are of")])
def test_what_is_no_record_is_refused_with_the_command_that_remakes_it(output, spoil, reason):
    place = records.write_json(output / "runs/smoke/02_tokenizer/record.json", spoil(OLD[1]))
    with pytest.raises(records.RecordError, match=reason + ".*make it anew by `python -m lib.engine.run 02_tokenizer --profile smoke`"):
        records.load("smoke", "02_tokenizer")
    assert "runs/smoke/02_tokenizer/record.json is no record" in run.why(place, {}, [])[0]


def test_a_parameter_that_an_earlier_version_did_not_have_names_the_command(output):
    del OLD[0]["parameters"]["script"]
    records.write_json(output / "runs/smoke/01_corpus/record.json", OLD[0])
    with pytest.raises(records.RecordError, match="record.json has no 'script', so another version .*lib.engine.run 01_corpus --profile smoke"):
        records.load("smoke", "01_corpus")["parameters"]["script"]


def test_a_record_of_a_chapter_that_is_no_more_is_old(output):
    content = OLD[1] | {"chapter": "02_vocabulary", "key": {"a": "b"}}
    records.write_json(output / "runs/smoke/02_vocabulary/record.json", content)
    assert pages.stale("smoke") == {"02_vocabulary": "there is no chapter 02_vocabulary any more"}
