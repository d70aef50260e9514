import copy
import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from lib.engine import assets, records
from lib.model import adapters, folders


def gemma(tokenizer, new_rows=0, **options):
    """A 2-layer Gemma 3 of width 32, a sliding and a full layer: scaled embeddings, tied head, random weights."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(Gemma3TextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=8, sliding_window=8, initializer_range=0.3,
        max_position_embeddings=512, layer_types=["sliding_attention", "full_attention"],
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        **options))
    model.config.base_vocab_size = len(tokenizer) - new_rows
    return model.eval()


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A model `big` in two packages and a main one with its checksum, as `assets.fetch` unpacks them."""
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    contents = {"big/SHA256SUMS": f"{hashlib.sha256(b'GGUF').hexdigest()}  big.gguf\n".encode(),
                "big-part1/big.gguf.part00": b"GG", "big-part2/big.gguf.part01": b"UF"}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(assets, "registry", lambda: dict.fromkeys(["big-part2", "big", "other", "big-part1"]))
    monkeypatch.setattr(assets, "fetch", lambda name: tmp_path / name)
    monkeypatch.setattr(folders, "EMBEDDED", ("big",))
    return tmp_path


@pytest.mark.parametrize("tied", [True, False])
def test_saved_model_is_the_model(tied, byte_tokenizer, tiny_model, tmp_path):
    model, ids = tiny_model(byte_tokenizer, tied), torch.arange(40)[None]
    folder = folders.save(model, byte_tokenizer, tmp_path / "model")
    loaded = folders.load(folder, torch.float32)
    assert torch.equal(loaded(input_ids=ids).logits, model(input_ids=ids).logits)
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float32}
    assert folders.tokenizer(folder).get_vocab() == byte_tokenizer.get_vocab()


def test_save_refuses_a_tokenizer_of_another_length(byte_tokenizer, tiny_model, tmp_path):
    model = tiny_model(byte_tokenizer, True)
    longer = copy.deepcopy(byte_tokenizer)
    longer.add_tokens(["کتاب"])
    with pytest.raises(ValueError, match=f"{len(longer)}.*{len(byte_tokenizer)}"):
        folders.save(model, longer, tmp_path / "model")


def test_padding_is_never_eos(byte_tokenizer, sentencepiece_tokenizer, tmp_path):
    for name, tokenizer in (("byte", copy.deepcopy(byte_tokenizer)), ("pieces", copy.deepcopy(sentencepiece_tokenizer))):
        tokenizer.pad_token = tokenizer.eos_token
        tokenizer.save_pretrained(tmp_path / name)
        loaded = folders.tokenizer(tmp_path / name)
        assert loaded.pad_token_id not in (None, loaded.eos_token_id) and len(loaded) == len(tokenizer)
    assert folders.tokenizer(tmp_path / "pieces").pad_token == "<unk>"


def test_base_without_any_spare_token_gets_one_and_a_row(byte_tokenizer, tiny_model, tmp_path, capsys):
    from transformers import PreTrainedTokenizerFast
    bare = PreTrainedTokenizerFast(tokenizer_object=copy.deepcopy(byte_tokenizer.backend_tokenizer), eos_token="<|im_end|>",
                                   chat_template="<|endoftext|><|im_start|><|pad|>")
    model = tiny_model(byte_tokenizer, True)
    model.save_pretrained(tmp_path / "base")
    bare.save_pretrained(tmp_path / "base")
    tokenizer, loaded = folders.tokenizer(tmp_path / "base"), folders.load(tmp_path / "base")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert loaded.get_input_embeddings().weight.shape[0] == len(tokenizer) == loaded.config.vocab_size
    folders.save(loaded, tokenizer, tmp_path / "again")


def test_ends_are_those_of_tokenizer_template_and_generation_settings(byte_tokenizer, tiny_model, tmp_path):
    words, model = copy.deepcopy(byte_tokenizer), tiny_model(byte_tokenizer)
    words.eos_token = "<|endoftext|>"
    model.generation_config.eos_token_id = [7, 9]
    expected = sorted([7, 9, words.eos_token_id, words.convert_tokens_to_ids("<|im_end|>")])
    assert folders.ends(model, words) == expected
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    place = tmp_path / "generation_config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"temperature": 0.6, "repetition_penalty": 2.0}))
    loaded = folders.load(tmp_path)
    assert loaded.generation_config.eos_token_id == expected and not loaded.generation_config.repetition_penalty
    folders.save(loaded, words, tmp_path / "again")  # a temperature without sampling cannot be saved


def test_only_a_row_too_few_is_refused(byte_tokenizer, tiny_model, tmp_path):
    model = tiny_model(byte_tokenizer)
    model.resize_token_embeddings(512)
    assert folders.load(folders.save(model, byte_tokenizer, tmp_path / "model")).config.vocab_size == 512


def test_a_hub_models_small_files_come_first(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(assets, "hub", lambda name, patterns: asked.append(patterns) or tmp_path)
    for weights in (False, True):
        folders.base("org/name@main", weights)
    assert "*.safetensors" not in asked[0] and set(asked[1]) - set(asked[0]) == {"*.safetensors"}


def test_unknown_bases_and_missing_stages_say_what_to_do(output, tmp_path):
    with pytest.raises(ValueError, match="smollm2-135m"):
        folders.base("smollm")
    with pytest.raises(FileNotFoundError, match="pretrained model of profile laptop is not made yet"):
        folders.stage("laptop", "pretrained")
    with pytest.raises(ValueError, match="extended"):
        folders.stage("laptop", "extendet")
    with pytest.raises(FileNotFoundError, match="no model"):
        folders.load(tmp_path)


def test_local_folder_is_a_base(byte_tokenizer, tiny_model, tmp_path):
    folder = folders.save(tiny_model(byte_tokenizer, True), byte_tokenizer, tmp_path / "own")
    assert folders.base(str(folder)) == folder


def test_base_stage_is_the_one_of_the_tokenizer_chapter(output, byte_tokenizer, tiny_model, tmp_path):
    folder = folders.save(tiny_model(byte_tokenizer, True), byte_tokenizer, tmp_path / "own")
    records.write_json(output / "runs" / "laptop" / "02_tokenizer" / "record.json", {"parameters": {"base": str(folder)}})
    assert folders.stage("laptop", "base") == folder


def test_saving_again_replaces_the_folder(byte_tokenizer, tiny_model, tmp_path):
    model = tiny_model(byte_tokenizer, True)
    folders.save(model, byte_tokenizer, tmp_path / "model")
    (tmp_path / "model" / "old.txt").write_text("x")
    folders.save(model, byte_tokenizer, tmp_path / "model")
    assert not (tmp_path / "model" / "old.txt").exists()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["vocab_size"] == len(byte_tokenizer)


def test_parts_of_an_embedded_model_are_joined_verified_and_converted_once(parts, byte_tokenizer, tiny_model, monkeypatch):
    seen = []

    def dequantised(gguf, name):
        seen.append((gguf.name, gguf.read_bytes()))
        return tiny_model(byte_tokenizer, True), byte_tokenizer

    monkeypatch.setattr(folders, "_dequantised", dequantised)
    folder = folders.base("big")
    assert folders.base("big") == folder and seen == [("big.gguf", b"GGUF")]
    assert [path.name for path in folder.parent.iterdir()] == ["big"]
    assert folders.load(folder).config.vocab_size == len(byte_tokenizer)


def test_the_toy_is_small_always_the_same_and_leaves_the_generator_alone(byte_tokenizer, tiny_model, monkeypatch, tmp_path):
    folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path / "cache/models/smollm2-135m")
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(5)
    expected, made = torch.rand(1), []
    for _ in range(2):
        torch.manual_seed(5)
        made.append(folders.load(folders.base("toy")))
        assert torch.equal(torch.rand(1), expected)
        shutil.rmtree(tmp_path / "cache/models/toy")
    assert made[0].config.hidden_size == 64 and made[0].config.vocab_size == len(byte_tokenizer)
    for first, second in zip(made[0].parameters(), made[1].parameters()):
        assert torch.equal(first, second)


def test_a_process_that_was_faster_has_made_the_embedded_model(parts, byte_tokenizer, tiny_model, monkeypatch):
    def dequantised(gguf, name):
        model = tiny_model(byte_tokenizer, True)
        folders.save(model, byte_tokenizer, parts / "cache/models/big")
        (parts / "cache/models/big/theirs").touch()
        return model, byte_tokenizer

    monkeypatch.setattr(folders, "_dequantised", dequantised)
    assert (folders.base("big") / "theirs").exists()


def test_damaged_parts_are_refused_with_the_way_out(parts):
    (parts / "big-part2/big.gguf.part01").write_bytes(b"UX")
    with pytest.raises(assets.AssetError, match="big, joined from 2 packages, has sha256 .*delete"):
        folders.base("big")
    assert not any((parts / "cache/models").iterdir())


@pytest.mark.parametrize("options", [{}, {"final_logit_softcapping": 2.0}])
@pytest.mark.parametrize("new", [0, 20])
def test_fast_passes_are_right_for_gemma(options, new, byte_tokenizer):
    """Scaled embeddings, tied head, caps on logits: loss and gradients equal the plain ones, new rows included."""
    ids, last = torch.arange(60).reshape(2, 30), len(byte_tokenizer)
    ids[:, ::3] = torch.arange(last - 20, last).reshape(2, 10)
    results = []
    for prepare in (lambda model: model, adapters.quicken):
        torch.manual_seed(0)
        model = prepare(adapters.add(gemma(byte_tokenizer, new, **options), 4, 8)).train()
        value = model(input_ids=ids, labels=ids).loss
        value.backward()
        results.append({"loss": value.detach(), **{name: parameter.grad for name, parameter in model.named_parameters()
                                                   if parameter.requires_grad}})
    assert sum("trainable_tokens" in name for name in results[0]) == (1 if new else 0)
    for name, expected in results[0].items():
        torch.testing.assert_close(results[1][name], expected, msg=name)


def test_adapted_gemma_is_itself_after_merging_and_saving(byte_tokenizer, tmp_path):
    start, ids = folders.save(gemma(byte_tokenizer, 20), byte_tokenizer, tmp_path / "start"), torch.arange(380, 400)[None]
    adapted = adapters.add(folders.load(start, torch.float32), 4, 8)
    with torch.no_grad():
        for parameter in adapted.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter) if parameter.requires_grad else 0)
    expected = adapted.eval()(input_ids=ids).logits
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    assert not torch.allclose(expected, folders.load(start, torch.float32)(input_ids=ids).logits, atol=1e-2)
    folder = folders.save(folders.merged(tmp_path / "adapter"), byte_tokenizer, tmp_path / "merged")
    torch.testing.assert_close(folders.load(folder, torch.float32)(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)
