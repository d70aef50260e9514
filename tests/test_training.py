import copy
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import datasets
import pytest
import torch
from safetensors.torch import load_file
from transformers import BloomConfig, BloomForCausalLM, Gemma2Config, Gemma2ForCausalLM, TrainerCallback

from lib.data import prompts
from lib.engine import energy, launch, machine, paths, records
from lib.model import adapters, folders, loss
from lib.train import trainers, training

pytestmark = pytest.mark.usefixtures("fp32")
SETTINGS = training.Settings(learning_rate=1e-2, rows_learning_rate=1e-2, batch_size=2, block_length=32, lora_rank=4,
                             lora_alpha=8, lora_dropout=0.1, checkpoint_steps=3)


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def start(request, tmp_path, byte_tokenizer, tiny_model):
    """A model folder whose last 20 rows count as new."""
    return made(tmp_path / "start", byte_tokenizer, tiny_model, request.param)


def made(folder, tokenizer, tiny_model, tied=True):
    model = tiny_model(tokenizer, tied)
    model.config.base_vocab_size = len(tokenizer) - 20
    return folders.save(model, tokenizer, folder)


@pytest.fixture
def blocks(byte_tokenizer):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, len(byte_tokenizer), (24, 32), generator=generator)
    ids[:, ::2] = len(byte_tokenizer) - 1 - ids[:, ::2] % 20  # every block has new tokens
    return datasets.Dataset.from_dict({"input_ids": ids.tolist(), "labels": ids.tolist(), "bytes": [90] * 24,
                                       "stream": ["fa"] * 24})


@pytest.fixture
def examples():
    turns = [("What is it?", "A fox."), ("Who reads?", "The model reads."), ("Say yes.", "yes"), ("Say no.", "no")]
    return datasets.Dataset.from_list([{"prompt": [{"role": "user", "content": question}],
                                        "completion": [{"role": "assistant", "content": answer}]}
                                       for question, answer in turns])


class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **rest):
        if state.global_step == 8:
            raise KeyboardInterrupt


def logits(model, ids):
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def test_time_and_curve_end_with_the_last_step(start, blocks, tmp_path, monkeypatch):
    """However rarely a step is logged: here every third."""
    monkeypatch.setattr(trainers, "LOGGED", 4)
    result = training.pretrain(tmp_path / "run", start, blocks.select(range(22)), SETTINGS)
    assert result["log"][-1]["step"] == 11 and result["log"][-1]["tokens"] == result["tokens"]


def test_a_run_stopped_behind_its_last_step_has_the_energy_of_what_was_left(tmp_path, monkeypatch):
    monkeypatch.setattr(training.energy, "rest_on", lambda *_: None)
    records.write_json(tmp_path / "result.json", {"seconds": 9.0, "resumed": 9.0, "tokens": 5})
    spent = {"seconds": 1.0, "kwh": 0.001, "kwh_low": 0.0005, "kwh_high": 0.002}
    assert training._metered(tmp_path, spent)["energy"] == spent


def test_adapter_and_merged_model_agree_and_old_rows_stay(start, blocks, tmp_path):
    result = training.pretrain(tmp_path / "run", start, blocks, SETTINGS, merge=True)
    ids = torch.tensor(blocks["input_ids"][:2])
    merged, before = folders.load(tmp_path / "run" / "model"), folders.load(start)
    torch.testing.assert_close(logits(folders.load(tmp_path / "run"), ids), logits(merged, ids), atol=1e-5, rtol=1e-5)
    old = before.config.base_vocab_size
    for trained, base in zip((merged.get_input_embeddings(), merged.get_output_embeddings()),
                             (before.get_input_embeddings(), before.get_output_embeddings())):
        assert torch.equal(trained.weight[:old], base.weight[:old])
        assert not torch.equal(trained.weight[old:], base.weight[old:])
    assert result["tokens"] == 24 * 32 and result["bytes"] == 24 * 90


def test_training_sees_the_model_that_is_saved(start, blocks, tmp_path):
    training.pretrain(tmp_path / "run", start, blocks, SETTINGS)
    adapted, ids = folders.load(tmp_path / "run"), torch.tensor(blocks["input_ids"][:2])
    plain = adapted(input_ids=ids, labels=ids).loss
    torch.testing.assert_close(adapters.quicken(adapted)(input_ids=ids, labels=ids).loss, plain)


def test_fast_loss_and_gradients_are_the_plain_ones(start, blocks):
    ids = torch.tensor(blocks["input_ids"][:2])
    ids[0, :9] = loss.IGNORED
    batch = {"input_ids": ids.clamp(min=0), "labels": ids}
    gradients = []
    for prepare in (lambda model: model, adapters.quicken):
        torch.manual_seed(0)
        model = prepare(adapters.add(folders.load(start), 4, 8)).train()
        value = model(**batch).loss
        value.backward()
        gradients.append({"loss": value.detach(), **{name: parameter.grad for name, parameter in model.named_parameters()
                                                     if parameter.requires_grad}})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.fixture
def taught(blocks):
    """The same blocks, every other one in words that the base knows already."""
    old = [[4 + token % 90 for token in row] if number % 2 else row for number, row in enumerate(blocks["input_ids"])]
    streams = ["en" if number % 2 else "fa" for number in range(len(old))]
    return datasets.Dataset.from_dict({"input_ids": old, "labels": old, "bytes": blocks["bytes"], "stream": streams})


@pytest.mark.parametrize("halved", [True, False], ids=["two halves", "whole batches"])
def test_distilled_blocks_get_the_gradient_of_what_the_start_says(start, taught, halved, tmp_path, monkeypatch):
    """As Kullback and Leibler's divergence of plain logits has it, new rows and all."""
    if not halved:
        monkeypatch.setattr(trainers.Pretrainer, "pieces", lambda self: 1)
    ids, count = torch.tensor(taught["input_ids"][:4]), 4 * 31
    base = folders.load(start)
    model = adapters.add(copy.deepcopy(base), 4, 8).train()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.02  # an adapter that has learned something
    plain, fast = copy.deepcopy(model), adapters.quicken(model)
    said, asked = plain(input_ids=ids).logits[:, :-1].log_softmax(2), base(input_ids=ids).logits[:, :-1]
    old = base.config.base_vocab_size
    target = asked[1::2, :, :old].detach().softmax(2)
    told = -said[::2].gather(2, ids[::2, 1:, None]).sum() - (target * said[1::2, :, :old]).sum()
    (told / count).backward()
    settings = replace(SETTINGS, lora_dropout=0.0, batch_size=4, distilled=("en",), checkpoint_steps=100)
    job = training.Job("pretrain", tmp_path / "run", start, taught, settings)
    trainer, *_ = trainers.pretrainer(job, fast, None, 1, 1)
    with trainer:
        seen = trainer.training_step(fast, trainer.data_collator([trainer.train_dataset[row] for row in range(4)]),
                                     num_items_in_batch=torch.tensor(count))
    for (name, parameter), (_, other) in zip(plain.named_parameters(), fast.named_parameters()):
        if parameter.requires_grad:
            torch.testing.assert_close(other.grad, parameter.grad, msg=name, atol=1e-6, rtol=1e-4)
    text = -said.gather(2, ids[:, 1:, None]).sum() / count  # what the curve shows is the text's own loss
    torch.testing.assert_close(seen, text.detach())


def test_what_is_distilled_stays_as_it_was(start, taught, tmp_path):
    """With as many steps on the same text, the start's distribution is kept better than by learning that text."""
    ids, base = torch.tensor(taught["input_ids"][1::2]), folders.load(start)
    apart = {}
    for name, streams in {"learned": (), "distilled": ("en",)}.items():
        training.pretrain(tmp_path / name, start, taught, replace(SETTINGS, distilled=streams))
        said = logits(folders.load(tmp_path / name), ids).log_softmax(2)
        apart[name] = torch.nn.functional.kl_div(said, logits(base, ids).log_softmax(2), log_target=True, reduction="batchmean")
    assert apart["distilled"] < 0.75 * apart["learned"]


def test_what_cannot_be_distilled_is_refused(tmp_path, byte_tokenizer, blocks):
    with pytest.raises(ValueError, match="full changes the weights that would teach en"):
        training.Settings(method="full", distilled=("en",))
    sharded = launch.Launch(paths.accelerate("fsdp"))
    with pytest.raises(ValueError, match="fsdp holds weights in shards"):
        training._watched(replace(SETTINGS, distilled=("en",)), sharded)
    bent = Gemma2ForCausalLM(Gemma2Config(vocab_size=len(byte_tokenizer), hidden_size=32, intermediate_size=64,
                                          num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
                                          head_dim=16))
    folder = folders.save(bent, byte_tokenizer, tmp_path / "gemma2")
    with pytest.raises(ValueError, match="gemma2 bends its logits, and cannot teach en"):
        training.pretrain(tmp_path / "run", folder, blocks, replace(SETTINGS, distilled=("en",)))


def test_a_long_training_is_compiled_to_the_same_adapter(start, blocks, tmp_path, monkeypatch):
    settings, compiled = replace(SETTINGS, lora_dropout=0.0), adapters.compile_layers
    training.pretrain(tmp_path / "plain", start, blocks, settings)
    monkeypatch.setattr(training, "_pays", lambda work: True)
    monkeypatch.setattr(adapters, "compile_layers", lambda model: compiled(model, "aot_eager"))
    training.pretrain(tmp_path / "compiled", start, blocks, settings)
    plain, fast = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("plain", "compiled"))
    assert plain.keys() == fast.keys()
    for name, weight in plain.items():
        torch.testing.assert_close(fast[name], weight, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("device, work, expected", [("cuda", 1e17, True), ("cuda", 1e12, False), ("cpu", 1e17, False)])
def test_only_long_trainings_on_a_gpu_are_compiled(device, work, expected, monkeypatch):
    monkeypatch.setattr(machine, "device", lambda: device)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/cc")
    assert training._pays(work) is expected


def test_full_head_gets_its_gradient(start, blocks):
    ids = torch.tensor(blocks["input_ids"][:2])
    plain, fast = folders.load(start), adapters.quicken(folders.load(start))
    for model in (plain, fast):
        model(input_ids=ids, labels=ids).loss.backward()
    torch.testing.assert_close(fast.get_output_embeddings().weight.grad, plain.get_output_embeddings().weight.grad)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_do_not_matter(chunk):
    hidden, head, labels = torch.randn(20, 8), torch.randn(30, 8), torch.randint(0, 30, (20,))
    labels[3] = loss.IGNORED
    expected = torch.nn.functional.cross_entropy(hidden @ head.t(), labels, reduction="sum")
    torch.testing.assert_close(loss.cross_entropy(hidden, labels, [head[:11], head[11:]], chunk), expected)


def test_a_batch_without_labels_costs_nothing():
    assert loss.cross_entropy(torch.randn(3, 8, requires_grad=True), torch.full((3,), -100), [torch.randn(5, 8)]) == 0


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def weights_after(folder, start, blocks, monkeypatch, pieces):
    """Weights after 12 steps of full training with batches in so many pieces, and which threads added to each gradient."""
    threads, build = {}, trainers.pretrainer

    def watched(job, model, *rest):
        for name, parameter in model.named_parameters():
            parameter.register_post_accumulate_grad_hook(
                lambda parameter, name=name: threads.setdefault(name, set()).add(threading.get_ident()))
        return build(job, model, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(trainers, "pretrainer", watched)
        patch.setattr(trainers._Fast, "pieces", lambda self: pieces)
        training.pretrain(folder, start, blocks, replace(SETTINGS, method="full", learning_rate=1e-3))
    return folders.load(folder / "model").state_dict(), threads


def test_a_batch_in_pieces_learns_the_same_and_no_two_threads_add_into_one_gradient(byte_tokenizer, tiny_model, blocks,
                                                                                   tmp_path, monkeypatch, two_threads):
    start = made(tmp_path / "start", byte_tokenizer, tiny_model)
    whole, _ = weights_after(tmp_path / "whole", start, blocks, monkeypatch, 1)
    first, threads = weights_after(tmp_path / "first", start, blocks, monkeypatch, 2)
    again, _ = weights_after(tmp_path / "again", start, blocks, monkeypatch, 2)
    assert all(len(found) < 2 for found in threads.values()), threads
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], whole[name]) for name in first)  # two sums of other parts
    for name in first:
        torch.testing.assert_close(first[name], whole[name], atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("method", training.METHODS)
def test_stopped_and_resumed_run_equals_an_uninterrupted_one(method, byte_tokenizer, tiny_model, blocks, tmp_path, monkeypatch):
    start, settings = made(tmp_path / "start", byte_tokenizer, tiny_model), replace(SETTINGS, method=method)
    whole = training.pretrain(tmp_path / "whole", start, blocks, settings, merge=True)
    with monkeypatch.context() as patch:
        patch.setattr(training._Progress, "on_step_end", Stop.on_step_end)
        with pytest.raises(KeyboardInterrupt):
            training.pretrain(tmp_path / "broken", start, blocks, settings, merge=True)
    (tmp_path / "broken" / "checkpoints" / "checkpoint-99").mkdir()  # what a kill while saving leaves
    resumed = training.pretrain(tmp_path / "broken", start, blocks, settings, merge=True)
    assert [row["loss"] for row in resumed["log"]] == [row["loss"] for row in whole["log"]]
    assert [row["tokens"] for row in resumed["log"]] == [row["tokens"] for row in whole["log"]]
    ids = torch.tensor(blocks["input_ids"][:2])
    assert torch.equal(*(logits(folders.load(tmp_path / name / "model"), ids) for name in ("whole", "broken")))
    assert not (tmp_path / "broken" / "checkpoints").exists()


def test_a_chapter_knows_what_its_trainings_took_made_kept_or_failed(byte_tokenizer, tiny_model, blocks, tmp_path, monkeypatch):
    start = made(tmp_path / "start", byte_tokenizer, tiny_model)
    meter = energy.begin("03_pretraining")
    spent = training.pretrain(tmp_path / "run", start, blocks, SETTINGS)["energy"]
    found = energy.finish(meter)
    assert 0 < spent["kwh_low"] < spent["kwh"] < spent["kwh_high"] and 0 < spent["seconds"]
    assert found["parts"][1]["kwh"] == spent["kwh"] and found["kwh"] >= spent["kwh"]
    meter = energy.begin("03_pretraining")
    assert training.pretrain(tmp_path / "run", start, blocks, SETTINGS)["energy"] == spent
    kept = energy.finish(meter)
    assert kept["parts"][1] == found["parts"][1] and kept["seconds"] > spent["seconds"]
    ended = []
    with monkeypatch.context() as patch:
        patch.setattr(energy, "stop", lambda meter, stop=energy.stop: ended.append(stop(meter)) or ended[-1])
        patch.setattr(training._Progress, "on_step_end", Stop.on_step_end)
        with pytest.raises(KeyboardInterrupt):
            training.pretrain(tmp_path / "broken", start, blocks, SETTINGS)
    assert len(ended) == 1 and ended[0]["kwh"] > 0
    resumed = training.pretrain(tmp_path / "broken", start, blocks, SETTINGS)
    assert "resumed" not in resumed and resumed["energy"]["seconds"] > resumed["seconds"]


def test_killed_process_resumes(byte_tokenizer, tiny_model, blocks, tmp_path):
    start = made(tmp_path / "start", byte_tokenizer, tiny_model)
    blocks.save_to_disk(tmp_path / "blocks")
    script = ("import os, signal, datasets; from lib.train import training; from tests.test_training import SETTINGS\n"
              "def die(self, args, state, control, **rest):\n"
              "    if state.global_step == 8: os.kill(os.getpid(), signal.SIGKILL)\n"
              "training._Progress.on_step_end = die\n"
              f"from pathlib import Path; folder = Path({str(tmp_path)!r})\n"
              "training.pretrain(folder / 'run', folder / 'start', datasets.load_from_disk(folder / 'blocks'), SETTINGS)")
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == -9
    assert list((tmp_path / "run" / "checkpoints").glob("checkpoint-*"))
    resumed = training.pretrain(tmp_path / "run", start, blocks, SETTINGS)
    whole = training.pretrain(tmp_path / "whole", start, blocks, SETTINGS)
    assert resumed["log"][-1]["loss"] == whole["log"][-1]["loss"]


def test_second_call_skips_and_a_change_does_not(byte_tokenizer, tiny_model, blocks, tmp_path, capsys):
    start = made(tmp_path / "start", byte_tokenizer, tiny_model)
    first = training.pretrain(tmp_path / "run", start, blocks, SETTINGS)
    assert training.pretrain(tmp_path / "run", start, blocks, SETTINGS) == json.loads(json.dumps(first))
    assert "not repeated" in capsys.readouterr().out
    assert training.pretrain(tmp_path / "run", start, blocks, replace(SETTINGS, seed=1))["key"] != first["key"]
    assert training.pretrain(tmp_path / "run", start, blocks.select(range(12)), SETTINGS)["tokens"] == 12 * 32


def test_frozen_trains_embeddings_only(byte_tokenizer, tiny_model, blocks, tmp_path):
    start = made(tmp_path / "start", byte_tokenizer, tiny_model, tied=False)
    result = training.pretrain(tmp_path / "run", start, blocks, replace(SETTINGS, method="frozen"))
    rows = len(byte_tokenizer) * 32
    assert result["parts"] == {"lora": 0, "embed_tokens": rows, "lm_head": rows, "transformer": 0}
    before, after = folders.load(start).state_dict(), folders.load(tmp_path / "run" / "model").state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"model.embed_tokens.weight", "lm_head.weight"}


def test_rows_have_a_learning_rate_of_their_own(byte_tokenizer, tiny_model, blocks, tmp_path):
    start = made(tmp_path / "start", byte_tokenizer, tiny_model)
    training.pretrain(tmp_path / "run", start, blocks, replace(SETTINGS, rows_learning_rate=0.0), merge=True)
    before, after = folders.load(start).state_dict(), folders.load(tmp_path / "run" / "model").state_dict()
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    assert not torch.equal(before["model.layers.0.mlp.up_proj.weight"], after["model.layers.0.mlp.up_proj.weight"])


def test_rows_can_be_trained_alone_before_all_else_goes_through_the_whole_schedule(start, blocks, tmp_path):
    settings = replace(SETTINGS, rows_first=0.5, warmup=0.0, milestones=(0.5,))
    result = training.pretrain(tmp_path / "run", start, blocks, settings)
    assert result["tokens"] == training.pretrain(tmp_path / "plain", start, blocks, SETTINGS)["tokens"]
    before, half, after = (model.state_dict() for model in (
        folders.load(start, torch.float32), folders.merged(training.milestone(tmp_path / "run", 0.5)), folders.merged(tmp_path / "run")))
    linear, rows = "model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight"
    assert torch.equal(half[linear], before[linear]) and not torch.equal(half[rows], before[rows])
    assert (after[linear] - before[linear]).abs().max() > 1e-4
    rates = [row["learning_rate"] for row in result["log"]]
    assert rates[0] == 0 and max(rates) == pytest.approx(SETTINGS.learning_rate, rel=0.3)


def test_no_new_rows_trains_adapters_only(byte_tokenizer, tiny_model, blocks, tmp_path):
    start = folders.save(tiny_model(byte_tokenizer, True), byte_tokenizer, tmp_path / "start")
    result = training.pretrain(tmp_path / "run", start, blocks, SETTINGS)
    assert result["parts"]["embed_tokens"] == 0 and result["trainable"] == result["parts"]["lora"] > 0


def test_instruct_trains_answers_and_eos(start, examples, tmp_path, byte_tokenizer, monkeypatch):
    seen = []
    plain = trainers.Instructor.compute_loss
    monkeypatch.setattr(trainers.Instructor, "compute_loss",
                        lambda self, model, inputs, **rest: (seen.append(inputs), plain(self, model, inputs, **rest))[1])
    settings = replace(SETTINGS, block_length=128)
    result = training.instruct(tmp_path / "run", start, examples, settings)
    assert result["eos_labels"] == 4 and result["answers_truncated"] == 0
    labels = seen[0]["labels"][0]
    answer = byte_tokenizer.decode(labels[labels != loss.IGNORED])
    assert answer.startswith("A fox.") and "<|im_end|>" in answer and "What" not in answer
    assert byte_tokenizer.pad_token_id != byte_tokenizer.eos_token_id


def test_instruct_loss_is_the_answers_loss(start, examples, tmp_path):
    result = training.instruct(tmp_path / "run", start, examples, replace(SETTINGS, block_length=128, learning_rate=0.0,
                                                                         rows_learning_rate=0.0, lora_dropout=0.0))
    model, words = folders.load(start), folders.tokenizer(start)
    total, count = 0.0, 0
    for row in examples.select(range(2)):
        prompt = words.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
        ids = torch.tensor([words.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)["input_ids"]])
        scores = logits(model, ids)[0, len(prompt) - 1:-1]
        total += torch.nn.functional.cross_entropy(scores, ids[0, len(prompt):], reduction="sum").item()
        count += len(scores)
    assert result["log"][0]["loss"] == pytest.approx(total / count, rel=1e-4)


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_examples_without_padding_teach_what_padded_ones_do(kind, byte_tokenizer, tiny_model, tmp_path, monkeypatch):
    """Bloom takes no positions, so its batches stay padded."""
    torch.manual_seed(0)
    bloom = BloomConfig(vocab_size=len(byte_tokenizer), hidden_size=32, n_layer=2, n_head=4)
    model = tiny_model(byte_tokenizer) if kind == "llama" else BloomForCausalLM(bloom)
    start = folders.save(model, byte_tokenizer, tmp_path / "start")
    rows = datasets.Dataset.from_list([prompts.example({"task": "qa", "language": "en", "text": "What?" * count, "answer": 0,
                                                        "choices": ["yes " * count, "no"]}) for count in (1, 20, 2, 1, 12, 3)])
    settings, seen = replace(SETTINGS, block_length=400, lora_dropout=0.0, batch_size=4), []
    read = trainers.Trainer.compute_loss
    monkeypatch.setattr(trainers.Trainer, "compute_loss", lambda self, model, inputs, **rest: (
        seen.append(inputs["input_ids"].numel()) if torch.is_grad_enabled() else None, read(self, model, inputs, **rest))[1])
    found = training.instruct(tmp_path / "run", start, rows, settings)
    computed = sum(seen)
    monkeypatch.setattr(trainers, "_unpadded", lambda inputs: None)
    padded = training.instruct(tmp_path / "padded", start, rows, settings)
    assert 0.2 < found["padding"] == padded["padding"] < 0.8
    assert computed == (found["tokens"] if kind == "llama" else sum(seen) - computed)
    assert [row["loss"] for row in found["log"]] == pytest.approx([row["loss"] for row in padded["log"]], rel=1e-4)
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("run", "padded"))
    for name, weight in other.items():
        torch.testing.assert_close(one[name], weight, atol=1e-3, rtol=1e-2, msg=name)


def test_a_row_of_examples_predicts_nothing_across_them():
    inputs = {"input_ids": torch.tensor([[5, 6, 7], [8, 9, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
              "labels": torch.tensor([[5, 6, 7], [8, 9, -100]])}
    row = trainers._unpadded(inputs)
    assert row["input_ids"].tolist() == [[5, 6, 7, 8, 9]] and row["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert row["labels"].tolist() == [[-100, 6, 7, -100, 9]]
    assert trainers._unpadded({**inputs, "attention_mask": torch.ones(2, 3)}) is None


def test_a_fully_cut_answer_is_refused_and_a_cut_one_counted(start, examples, tmp_path):
    with pytest.raises(ValueError, match="raise max_length"):
        training.instruct(tmp_path / "run", start, examples, replace(SETTINGS, block_length=8))
    lengths = sorted(len(folders.tokenizer(start).apply_chat_template(row["prompt"] + row["completion"], return_dict=True)["input_ids"])
                     for row in examples)
    result = training.instruct(tmp_path / "run", start, examples, replace(SETTINGS, block_length=lengths[-1] - 1))
    assert result["answers_truncated"] >= 1


def test_template_that_does_not_end_answers_is_refused(start, examples, tmp_path):
    words = copy.deepcopy(folders.tokenizer(start))
    words.chat_template = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    with pytest.raises(ValueError, match="ends an answer with no special token"):
        training.instruct(tmp_path / "run", start, examples, replace(SETTINGS, block_length=128), tokenizer=words)


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="frozen"):
        training.Settings(method="lorra")
    for method, bits in (("full", 8), ("lora", 5)):
        with pytest.raises(ValueError, match=f"Weights of {bits} bits cannot be trained by {method}: choose lora"):
            training.Settings(method=method, bits=bits)


@pytest.mark.parametrize("bits", [8, 4])
def test_quantised_weights_stay_and_their_adapter_learns(bits, byte_tokenizer, tiny_model, blocks, tmp_path):
    start = folders.save(tiny_model(byte_tokenizer, width=64), byte_tokenizer, tmp_path / "start")
    settings = replace(SETTINGS, bits=bits, lora_dropout=0.0)
    result = training.pretrain(tmp_path / "run", start, blocks, settings)
    whole = training.pretrain(tmp_path / "whole", start, blocks, replace(settings, bits=16))
    assert (result["total"], result["trainable"]) == (whole["total"], whole["trainable"])
    assert result["log"][-1]["loss"] < result["log"][0]["loss"] and 0 < result["memory"] < result["peak_memory"]
    first = result["log"][0]["loss"], whole["log"][0]["loss"]
    assert first[0] != first[1] and first[0] == pytest.approx(first[1], rel=0.05)


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_adapters_are_tuned_in_fp32_whatever_the_weights(bits, byte_tokenizer, tiny_model, examples, tmp_path):
    start = folders.save(tiny_model(byte_tokenizer, width=64), byte_tokenizer, tmp_path / "start")
    training.instruct(tmp_path / "run", start, examples, replace(SETTINGS, bits=bits, block_length=128))
    saved = load_file(tmp_path / "run" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert any(float(tensor.abs().max()) > 0 for name, tensor in saved.items() if "lora_B" in name)


def test_only_new_rows_get_a_gradient_from_the_head(start, blocks):
    model = adapters.quicken(adapters.add(folders.load(start), 4, 8))
    parts = adapters._head(model.get_base_model())
    assert [len(part) for part in parts] == [model.config.base_vocab_size, 20]
    assert [part.requires_grad for part in parts] == [False, True]


def test_adapters_of_a_bf16_model_are_fp32(start):
    model = adapters.add(folders.load(start, torch.bfloat16), 4, 8)
    assert {parameter.dtype for parameter in model.parameters() if parameter.requires_grad} == {torch.float32}
    assert adapters.quicken(model)(input_ids=torch.arange(9)[None]).logits.dtype == torch.bfloat16
