"""Energy: the meter works on any machine, grids are looked up and never guessed, an estimate scales as it says."""
import time

import pytest

from lib.engine import energy, records


@pytest.fixture
def spent(tmp_path, monkeypatch):
    """A smoke profile whose pretraining took 400 s of a 500 s chapter at 36 W."""
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    monkeypatch.setattr(records, "_open", {})
    for chapter, seconds, kwh in (("01_corpus", 100.0, 0.001), ("03_pretraining", 500.0, 0.005)):
        record = records.Record(chapter, {"profile": "smoke"}, {"revision": "", "device": "cpu"})
        if chapter == "03_pretraining":
            record.fact("tokens", 1000, "tokens", arm="lora")
            record.fact("seconds", 400.0, "s", arm="lora")
        record.write(seconds=seconds, kwh=kwh, kwh_method="a meter")
    return "smoke"


def test_the_meter_names_its_method_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    meter = energy.start("test")
    time.sleep(0.2)
    found = energy.stop(meter)
    assert found["kwh"] is None or found["kwh"] > 0
    assert "codecarbon" in found["kwh_method"]
    assert list(tmp_path.iterdir()) == []


def test_a_grid_weighs_a_kwh():
    assert energy.co2(2, "IRN") == pytest.approx(2 * energy.intensity("IRN") / 1000)
    assert energy.intensity("FRA") < energy.intensity("IRN")
    assert energy.grid("IRN").startswith("Iran 20")


@pytest.mark.parametrize("country", ["Iran", "IR", "XXX", ""])
def test_an_unknown_country_is_refused(country):
    with pytest.raises(ValueError, match="alpha-3"):
        energy.co2(1, country)


def test_training_takes_its_share_of_the_chapter(spent):
    assert energy.ledger(spent)["kwh"].sum() == pytest.approx(0.006)
    rows = energy.training(spent)[["step", "tokens", "kwh"]].values.tolist()
    assert rows == [["03_pretraining", 1000, pytest.approx(0.004)]]


def test_an_estimate_grows_with_tokens_and_parameters():
    assert energy.scaled(1, tokens=10, parameters=100, to_tokens=20, to_parameters=300) == pytest.approx(6)


def test_nothing_is_scaled_without_the_size_of_the_model(spent):
    with pytest.raises(ValueError, match="how many parameters"):
        energy.parameters(spent)
