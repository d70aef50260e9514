import copy
import json

import pytest
import torch
from safetensors.torch import load_file

from lib import models, records


@pytest.mark.parametrize("tied", [True, False])
def test_saved_model_is_the_model(tied, byte_tokenizer, tiny_model, tmp_path):
    model, ids = tiny_model(byte_tokenizer, tied), torch.arange(40)[None]
    folder = models.save(model, byte_tokenizer, tmp_path / "model")
    loaded = models.load(folder, torch.float32)
    assert torch.equal(loaded(input_ids=ids).logits, model(input_ids=ids).logits)
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float32}
    assert models.tokenizer(folder).get_vocab() == byte_tokenizer.get_vocab()


def test_save_refuses_a_tokenizer_of_another_length(byte_tokenizer, tiny_model, tmp_path):
    model = tiny_model(byte_tokenizer, True)
    longer = copy.deepcopy(byte_tokenizer)
    longer.add_tokens(["کتاب"])
    with pytest.raises(ValueError, match=f"{len(longer)}.*{len(byte_tokenizer)}"):
        models.save(model, longer, tmp_path / "model")


def test_padding_is_never_eos(byte_tokenizer, sentencepiece_tokenizer, tmp_path):
    for name, tokenizer in (("byte", copy.deepcopy(byte_tokenizer)), ("pieces", copy.deepcopy(sentencepiece_tokenizer))):
        tokenizer.pad_token = tokenizer.eos_token
        tokenizer.save_pretrained(tmp_path / name)
        loaded = models.tokenizer(tmp_path / name)
        assert loaded.pad_token_id not in (None, loaded.eos_token_id) and len(loaded) == len(tokenizer)
    assert models.tokenizer(tmp_path / "pieces").pad_token == "<unk>"


def test_base_without_any_spare_token_gets_one_and_a_row(byte_tokenizer, tiny_model, tmp_path, capsys):
    from transformers import PreTrainedTokenizerFast
    bare = PreTrainedTokenizerFast(tokenizer_object=copy.deepcopy(byte_tokenizer.backend_tokenizer), eos_token="<|im_end|>",
                                   chat_template="<|endoftext|><|im_start|><|pad|>")
    model = tiny_model(byte_tokenizer, True)
    model.save_pretrained(tmp_path / "base")
    bare.save_pretrained(tmp_path / "base")
    tokenizer, loaded = models.tokenizer(tmp_path / "base"), models.load(tmp_path / "base")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert loaded.get_input_embeddings().weight.shape[0] == len(tokenizer) == loaded.config.vocab_size
    models.save(loaded, tokenizer, tmp_path / "again")


def test_unknown_bases_and_missing_stages_say_what_to_do(output, tmp_path):
    with pytest.raises(ValueError, match="smollm2-135m"):
        models.base("smollm")
    with pytest.raises(FileNotFoundError, match="03_pretraining first"):
        models.stage("laptop", "pretrained")
    with pytest.raises(ValueError, match="extended"):
        models.stage("laptop", "extendet")
    with pytest.raises(FileNotFoundError, match="no model"):
        models.load(tmp_path)


def test_local_folder_is_a_base(byte_tokenizer, tiny_model, tmp_path):
    folder = models.save(tiny_model(byte_tokenizer, True), byte_tokenizer, tmp_path / "own")
    assert models.base(str(folder)) == folder


def test_base_stage_is_the_one_of_the_tokenizer_chapter(output, byte_tokenizer, tiny_model, tmp_path):
    folder = models.save(tiny_model(byte_tokenizer, True), byte_tokenizer, tmp_path / "own")
    records.write_json(output / "runs" / "laptop" / "02_tokenizer" / "record.json", {"parameters": {"base": str(folder)}})
    assert models.stage("laptop", "base") == folder


def test_saving_again_replaces_the_folder(byte_tokenizer, tiny_model, tmp_path):
    model = tiny_model(byte_tokenizer, True)
    models.save(model, byte_tokenizer, tmp_path / "model")
    (tmp_path / "model" / "old.txt").write_text("x")
    models.save(model, byte_tokenizer, tmp_path / "model")
    assert not (tmp_path / "model" / "old.txt").exists()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["vocab_size"] == len(byte_tokenizer)
