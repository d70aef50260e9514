"""Number formats: near fp32 in what they say, smaller on disk, quiet, and clear where they cannot run."""
import logging

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from peft import PeftModel
from peft.utils.integrations import dequantize_module_weight

from lib.model import adapters, folders, formats


@pytest.fixture(scope="module")
def folder(byte_tokenizer, tmp_path_factory):
    """A 2-layer Llama of width 64, weights large enough for logits to differ."""
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(byte_tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.08, tie_word_embeddings=True))
    return folders.save(model, byte_tokenizer, tmp_path_factory.mktemp("precision") / "model")


def logits(model):
    with torch.inference_mode():
        return model(input_ids=torch.arange(10, 74)[None]).logits.float()


def test_formats_say_nearly_the_same(folder):
    whole = logits(formats.load(folder, "fp32"))
    error = {kind: float((logits(formats.load(folder, kind)) - whole).norm() / whole.norm())
             for kind in ("bf16", "int8", "nf4")}
    assert 0 < error["bf16"] < error["nf4"] and 0 < error["int8"] < 0.05 and error["nf4"] < 0.3, error


def test_formats_get_smaller_and_size_is_that_of_the_saved_file(folder, tmp_path):
    loaded = {kind: formats.load(folder, kind) for kind in formats.KINDS}
    size = {kind: formats.size(model) for kind, model in loaded.items()}
    assert size["fp32"] == 2 * size["bf16"] and size["bf16"] > size["int8"] > size["nf4"]
    for kind in ("fp32", "bf16"):
        loaded[kind].save_pretrained(tmp_path / kind)
        assert (tmp_path / kind / "model.safetensors").stat().st_size == pytest.approx(size[kind], abs=4096)


def test_cost_has_speed_with_interval_size_and_memory(folder, byte_tokenizer):
    model = formats.load(folder, "nf4")
    cost = formats.cost(model, byte_tokenizer, ["The answer", "Open the file and", "A language"], new_tokens=4)
    speed = cost.tokens_per_second
    assert speed.n == 3 and 0 < speed.low <= speed.value <= speed.high
    assert cost.size == formats.size(model) and cost.peak_memory > cost.size
    with pytest.raises(ValueError, match="one prompt"):
        formats.cost(model, byte_tokenizer, [])


def test_running_is_quiet(folder, byte_tokenizer, caplog, recwarn):
    with caplog.at_level(logging.WARNING):
        for kind in ("int8", "nf4"):
            formats.cost(formats.load(folder, kind), byte_tokenizer, ["The answer"], new_tokens=2)
    assert not [record.message for record in caplog.records if record.name.startswith("bitsandbytes")]
    assert len(recwarn) < 5, [str(warning.message) for warning in recwarn]


def test_a_format_that_cannot_run_says_so(folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="'int4' is unknown: choose one of fp32, bf16, int8, nf4"):
        formats.load(folder, "int4")
    with pytest.raises(FileNotFoundError, match="no model"):
        formats.load(tmp_path, "nf4")

    def lacking(model):
        raise NotImplementedError("no kernel for this device\nlong story")

    monkeypatch.setattr(formats, "_probed", lacking)
    with pytest.raises(formats.NotAvailable, match="int8 was not run, because bitsandbytes .*: no kernel for this device$"):
        formats.load(folder, "int8")


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
                                   RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"),
                                   ValueError("not enough memory to quantise")])
def test_too_little_memory_is_not_a_missing_format(folder, monkeypatch, error):
    def fails(model):
        raise error

    monkeypatch.setattr(formats, "_probed", fails)
    kind = torch.OutOfMemoryError if isinstance(error, torch.OutOfMemoryError) else MemoryError
    with pytest.raises(kind, match=r"^nf4 weights of model do not fit into the memory of cpu.*: end other programs, or "
                                   "take a smaller base or fewer bits[.]$") as caught:
        formats.load(folder, "nf4")
    assert not isinstance(caught.value, formats.NotAvailable) and caught.value.__cause__ is error


def dequantised(model, folder):
    """The folder's model, in training mode, with the weights that the quantised model multiplies by."""
    plain = folders.load(folder).train()
    for name, module in model.named_modules():
        if type(getattr(module, "weight", None)).__name__ in ("Params4bit", "Int8Params"):
            plain.get_submodule(name).weight.data = dequantize_module_weight(module).to(plain.dtype)
    return plain


def adapter_gradients(model, quick):
    """Gradients of LoRA adapters on a model, all of whose parameters are drawn alike whatever the model."""
    adapted = adapters.add(model, 4, 8).train()
    torch.manual_seed(2)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.arange(10, 74).view(2, 32)
    (adapters.quicken(adapted) if quick else adapted)(input_ids=ids, labels=ids).loss.backward()
    return {name: parameter.grad for name, parameter in adapted.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_adapters_on_quantised_weights_learn_as_on_the_dequantised_ones(kind, folder, caplog, fp32):
    with caplog.at_level(logging.WARNING):
        model = formats.load(folder, kind, training=True)
        expected = adapter_gradients(dequantised(model, folder), quick=True)
        for quick in (True, False):
            found = adapter_gradients(formats.load(folder, kind, training=True), quick)
            assert found.keys() == expected.keys() and any(float(gradient.norm()) for gradient in found.values())
            for name, gradient in expected.items():
                # On a GPU LLM.int8 rounds what goes into a layer too; here, in training, it does not.
                assert float((found[name] - gradient).norm() / gradient.norm()) < 1e-5, (name, quick)
    assert not [record.message for record in caplog.records if record.name.startswith("bitsandbytes")]


@pytest.mark.parametrize("adapted", [False, True], ids=["plain", "adapted"])
def test_unpacked_weights_say_what_the_packed_ones_say(adapted, folder, tmp_path, fp32):
    if adapted:
        adapters.add(folders.load(folder), 4, 8).save_pretrained(tmp_path / "adapter")
    model, ids = formats.load(tmp_path / "adapter" if adapted else folder, "nf4"), torch.arange(10, 74).view(2, 32)
    model = model.get_base_model() if adapted else model
    expected = dequantised(formats.load(folder, "nf4", training=True), folder)  # in training no CPU packs the weights
    if adapted:
        expected = PeftModel.from_pretrained(expected, tmp_path / "adapter").get_base_model()
    with torch.inference_mode():
        passes = [model(input_ids=ids).logits, formats.unpacked(model)(input_ids=ids).logits]
        truth = expected(input_ids=ids).logits
    # On CPUs with AVX512-BF16 bitsandbytes packs for a kernel that multiplies in bf16, and packing rounds scales to bf16.
    for found in passes:
        if has_avx512bf16():
            assert float((found - truth).norm() / truth.norm()) < 0.01
        else:
            torch.testing.assert_close(found, truth, atol=1e-5, rtol=1e-5)
    kinds = {type(module.weight).__name__ for module in model.modules() if hasattr(module, "weight")}
    assert "Params4bit" not in kinds
    kept = formats.load(folder, "int8")
    assert formats.unpacked(kept) is kept and any(type(module).__name__ == "Linear8bitLt" for module in kept.modules())


def test_a_pass_in_training_mode_leaves_weights_that_can_be_trained(folder):
    model = formats.load(folder, "nf4", training=True)
    assert model.training
    states = model.get_input_embeddings()(torch.arange(10, 20)[None]).detach().requires_grad_()
    model(inputs_embeds=states).logits.sum().backward()
    assert float(states.grad.norm()) > 0
