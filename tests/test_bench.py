"""The benchmarks run, and both sides of a comparison do the same work."""
import importlib
import json
import sys

import pytest

from lib.engine import paths
from lib.model import folders


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


@pytest.fixture
def base(byte_tokenizer, tiny_model, tmp_path):
    """A base's folder."""
    return str(folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path / "base"))


def test_scoring_and_generation_are_compared_on_the_same_work(bench, base, fp32, tmp_path):
    bench("scoring").main(["--base", base, "--items", "12", "--json", str(tmp_path / "scoring.json")])
    found = json.loads((tmp_path / "scoring.json").read_text())
    assert found["ours"]["same_choice"] == 1 and found["ours"]["largest_difference"] < 1e-3
    assert 0 < found["bits per byte"]["share_of_body"] and 0 < found["embeddings"]["share_of_body"]
    bench("generation").main(["--base", base, "--prompts", "4", "--tokens", "6", "--json", str(tmp_path / "generation.json")])
    assert json.loads((tmp_path / "generation.json").read_text())["same"] == 4


def test_text_is_read_and_packed_and_told_in_the_page(bench, tmp_path, monkeypatch):
    bench("corpus").main(["--sizes", "0.1", "0.2", "--compared", "50", "--json", str(tmp_path / "corpus.json")])
    found = json.loads((tmp_path / "corpus.json").read_text())
    small, large = found["sizes"]
    assert 0 < small["texts"] < large["texts"] and large["memory"] > 50 and found["compared"]["same"] == 50
    assert {"length", "script", "exact duplicate", "near duplicate"} <= set(large["removed"]) and (tmp_path / "corpus.png").exists()
    bench("packing").main(["--megabytes", "1", "--json", str(tmp_path / "packing.json")])
    table = bench("table")
    monkeypatch.setattr(table, "FOLDER", tmp_path), monkeypatch.setattr(table, "PAGE", tmp_path / "benchmarks.md")
    table.main()
    page = (tmp_path / "benchmarks.md").read_text("utf8")
    assert "50 verdicts the same" in page and "`group_texts`" in page


def test_the_page_of_benchmarks_follows_from_the_kept_results(bench, tmp_path, monkeypatch):
    table = bench("table")
    monkeypatch.setattr(table, "PAGE", tmp_path / "benchmarks.md")
    table.main()
    assert (tmp_path / "benchmarks.md").read_text("utf8") == (paths.ROOT / "docs/benchmarks.md").read_text("utf8")


def test_an_exported_folder_is_compared_with_its_gguf_file(bench, base, fp32, monkeypatch, tmp_path, capsys):
    exported, tokenizer = bench("exported"), folders.tokenizer(base)
    turns = [[{"role": "user", "content": text}] for text in ("Open the file", "Close it")]
    with pytest.raises(SystemExit, match="export it with --gguf"):
        exported.main([base])

    def post(path, content="", messages=(), **_):
        """A server that cuts as the folder does, and answers otherwise."""
        if path == "/tokenize":
            return {"tokens": tokenizer(content)["input_ids"]}
        asked = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return {"prompt": asked} if path == "/apply-template" else {
            "choices": [{"message": {"content": "another"}}], "usage": {"completion_tokens": 1}}

    (tmp_path / "base/model-f16.gguf").touch()
    monkeypatch.setattr(exported, "asked", lambda *_: (["Open the file", "read it"], turns))
    monkeypatch.setattr(exported, "serve", lambda *_: (None, post))
    exported.main([base, "--tokens", "4", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["same_ids"], found["same_prompts"], found["same_answers"]) == (2, 2, 0)
    assert "llama.cpp: 'another'" in capsys.readouterr().out
