"""The faults in full, hours of them: `make test ARGS="-m faults"`."""
import pytest

from tests.faults import __main__ as faults
from tests.faults import resources, spoiled

pytestmark = pytest.mark.faults


def test_fifty_kills_give_the_metrics_of_an_undisturbed_run_and_every_spoiled_file_is_noticed(tmp_path, monkeypatch):
    made = faults.Kills(50, tmp_path)
    reports = [made.part(name) for name in made.PARTS]
    assert sum(report["survived"] for report in reports) == 50 and not any(report["wrong"] for report in reports)
    for name in ("COMPANION_OUTPUT", "COMPANION_CACHE", "COMPANION_DATA"):
        monkeypatch.setenv(name, "")  # `survey` sets them
    found = spoiled.survey(tmp_path / "whole")
    assert found["noticed"] == found["tried"]


def test_the_machines_faults_end_in_a_result_or_a_sentence(tmp_path):
    for name, outcome, _ in resources.survey(tmp_path)["rows"]:
        assert not any(word in outcome for word in ("TRACEBACK", "NOTHING TOLD", "LEFT")), name
