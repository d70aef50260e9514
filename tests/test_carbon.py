"""Energy: the meter works on any machine, grids are looked up and never guessed, an estimate scales as it says."""
import math
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from lib.engine import energy, records

READING = {"seconds": 100.0, "kwh": 0.01, "kwh_low": 0.001, "kwh_high": 0.05, "kwh_method": "a meter"}


def took(factor, **more):
    return {name: factor * value for name, value in READING.items() if name != "kwh_method"} | more


@pytest.fixture
def spent(tmp_path, monkeypatch):
    """A smoke profile of an old record without parts, and of a pretraining that took 4 of its chapter's 5 parts."""
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    records.Record("01_corpus", {"profile": "smoke"}, {}).write(seconds=100.0, kwh=0.001, kwh_method="a meter")
    record = records.Record("03_pretraining", {"profile": "smoke"}, {})
    record.rows("energy", [{"of": "the rest", **took(1)}, {"of": "lora-0", "tokens": 1000, **took(3)},
                           {"of": "lora-1", "tokens": 500, **took(1)}])
    record.write(seconds=7.0, kwh=0.05, kwh_method="a meter")
    return "smoke"


@pytest.fixture
def fake_meter(monkeypatch):
    """Every metering says READING."""
    monkeypatch.setattr(energy, "start", lambda name: None)
    monkeypatch.setattr(energy, "stop", lambda meter: dict(READING))


def busy_cell(_=None) -> float:
    """kWh of a second of work of this process and of half a second of a child's."""
    with energy.metered("cell") as spent:
        began = time.process_time()
        child = subprocess.Popen([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"])
        while time.process_time() - began < 1:
            pass
        child.wait()
    return spent["kwh"]


def test_cells_side_by_side_take_what_they_take_one_after_the_other(monkeypatch):
    monkeypatch.setenv("CODECARBON_FORCE_MODE_CPU_LOAD", "true")
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), busy_cell) as pool:  # the first cell of a process is cold
        alone = sum(pool.submit(busy_cell).result() for _ in range(2))
        together = sum(pool.map(busy_cell, range(2)))
    assert together == pytest.approx(alone, rel=0.15)


def test_the_meter_names_its_method_and_bounds_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with energy.metered("test") as found:
        began = time.process_time()
        while time.process_time() - began < 0.1:
            pass
    assert found["kwh"] is None or 0 < found["kwh_low"] < found["kwh"] < found["kwh_high"]
    assert "codecarbon" in found["kwh_method"] and found["seconds"] > 0.1
    assert list(tmp_path.iterdir()) == []


def test_a_meter_is_stopped_when_its_block_fails(monkeypatch):
    stopped = []
    monkeypatch.setattr(energy, "start", lambda name: name)
    monkeypatch.setattr(energy, "stop", lambda meter: stopped.append(meter) or dict(READING))
    with pytest.raises(KeyboardInterrupt), energy.metered("test") as found:
        raise KeyboardInterrupt
    assert stopped == ["test"] and found == READING


def test_a_chapter_takes_its_last_run_and_every_training_that_it_rests_on(fake_meter, tmp_path):
    """Its run of 100 s made a training that took 40 s of it, and kept one of 400 s from before."""
    meter = energy.begin("03_pretraining")
    energy.rest_on(tmp_path / "made", took(0.4), 10, took(0.4))
    energy.rest_on(tmp_path / "kept", took(4), 20)
    energy.rest_on(tmp_path / "kept", took(4), 20)  # asked for twice, needed once
    found = energy.finish(meter)
    assert [part["of"] for part in found["parts"]] == ["the rest", "made", "kept"]
    assert [found[name] for name in energy.SPENT] == pytest.approx([500.0, 0.05, 0.005, 0.25])
    assert found["parts"][0]["seconds"] == pytest.approx(60)
    assert len(energy.finish(energy.begin("04_alignment"))["parts"]) == 1


def test_what_is_not_known_is_not_summed(fake_meter, tmp_path):
    meter = energy.begin("03_pretraining")
    energy.rest_on(tmp_path / "old", {}, 10)
    assert energy.finish(meter)["kwh"] is None


def test_a_grid_weighs_a_kwh():
    assert energy.co2(2, "IRN") == pytest.approx(2 * energy.intensity("IRN") / 1000)
    assert energy.intensity("FRA") < energy.intensity("IRN")
    assert energy.grid("IRN").startswith("Iran 20")


@pytest.mark.parametrize("country", ["Iran", "IR", "XXX", ""])
def test_an_unknown_country_is_refused(country):
    with pytest.raises(ValueError, match="alpha-3"):
        energy.co2(1, country)


def test_the_ledger_sums_what_a_chapter_rests_on_and_leaves_blank_what_old_records_do_not_know(spent):
    found = energy.ledger(spent).set_index("step")
    assert found["kwh"].to_dict() == pytest.approx({"01_corpus": 0.001, "03_pretraining": 0.05})
    assert found["seconds"].to_dict() == pytest.approx({"01_corpus": 100, "03_pretraining": 500})
    assert found["kwh_high"].isna().to_dict() == {"01_corpus": True, "03_pretraining": False}
    rows = energy.training(spent)[["step", "tokens", "kwh", "kwh_low"]].values.tolist()
    assert rows == [["03_pretraining", 1500, pytest.approx(0.04), pytest.approx(0.004)]]


def test_an_estimate_grows_with_tokens_and_parameters():
    assert energy.scaled(1, tokens=10, parameters=100, to_tokens=20, to_parameters=300) == pytest.approx(6)
    assert math.isnan(energy.scaled(0, tokens=0, parameters=100, to_tokens=20, to_parameters=300))


def test_nothing_is_scaled_without_the_size_of_the_model(spent):
    with pytest.raises(ValueError, match="how many parameters"):
        energy.parameters(spent)
