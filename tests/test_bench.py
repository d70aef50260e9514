"""The benchmarks run, and both sides of a comparison do the same work."""
import importlib
import json
import sys

import pytest

from lib.engine import paths


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(paths.ROOT), *sys.path])
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_the_gpu_benchmark_runs_small_on_any_machine(bench, tmp_path, capsys):
    bench("gpu").main(["--toy", "--steps", "2", "--batch", "2", "--length", "32", "--json", str(tmp_path / "gpu.json")])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert "not run" not in capsys.readouterr().out
    assert found["ours, not compiled"]["losses"] == pytest.approx(found["Trainer"]["losses"], abs=1e-3)
    for tied in ("tied", "untied"):
        errors = found[f"error of bf16, {tied}"]
        assert 0 < errors["ours"]["gradient"] < 1.2 * errors["PEFT"]["gradient"] < 0.1
