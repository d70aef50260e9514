"""Records: written whole or not at all, read back as tables, found where a reader expects them."""
import json

import pytest

from lib.engine import paths, records
from lib.engine.statistics import Estimate


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
