"""Any language: small texts of six languages go through the chapters, with translation pairs and without."""
import shutil
import time

import pytest

import languages
from lib import assets, models, params, paths

CHAPTERS = ("01_corpus", "02_tokenizer", "03_pretraining", "04_alignment", "05_sft", "06_evaluation", "09_curriculum")


@pytest.fixture(scope="module")
def base(byte_tokenizer, tiny_model, tmp_path_factory):
    return models.save(tiny_model(byte_tokenizer, width=64), byte_tokenizer, tmp_path_factory.mktemp("base") / "model")


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("code", languages.LANGUAGES)
def test_chain(code, pairs, base, tmp_path, monkeypatch, output):
    (tmp_path / "own.txt").write_text("\n".join(" ".join([a[1], b[1]]) if code == "zh" else a[1] for a, b in zip(
        languages.sentences(code, 300), languages.sentences(code, 300, 3))), "utf8")
    monkeypatch.setattr(assets, "fetch", lambda name: tmp_path)
    script = languages.LANGUAGES[code][0]
    languages.profile("mine", tmp_path, base, _01={"language": code, "script": script, "sources": ["two-sided"] * pairs, "corpus_files": [str(tmp_path / "own.txt")]},
      _09={"tokenizers": ["extended"]})
    monkeypatch.setattr(paths, "PARAMS", tmp_path)
    for chapter in CHAPTERS + ("08_phases_and_transfer",) * (not pairs):
        began = time.monotonic()
        print("=====", code, pairs, chapter, flush=True)
        languages.execute("mine", chapter)
        print("-----", round(time.monotonic() - began, 1), flush=True)
