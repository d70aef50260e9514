"""Tiny tokenizers and models, built here in milliseconds: the unit tests need no network and no downloaded file.

The fixtures live for the whole session: copy a tokenizer (`copy.deepcopy`) before changing it.
"""
import gc
import os
import sys

import pytest

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the tests' numbers are those of a CPU, also where there is a GPU
sys.modules.setdefault("rfc3987_syntax", None)  # nbformat's grammar of URLs takes seconds to build, and nothing needs it
ENGLISH = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind it at all.",
    "It’s a small tokenizer — trained on “a few” English lines, curly quotes included…",
    "A language model reads the text and predicts the next word of the sentence.",
    "Open the file, read the lines, write the words, and close the file again.",
    "The answer to the question is yes or no, and the reason is in the text.",
] * 4
PERSIAN = [
    "می‌خواهم کتاب‌های تازه را بخوانم و درباره‌ی آن‌ها بنویسم.",
    "زبان فارسی را مردم ایران، افغانستان و تاجیکستان می‌نویسند؛ آیا شما هم می‌خوانید؟",
    "این پرونده را باز کنید، خط‌ها را بخوانید و پرونده را ببندید.",
    "کتاب خوب را باید دو بار خواند، یک بار برای لذت و یک بار برای یاد گرفتن.",
    "امروز هوا خوب است و ما به باغ می‌رویم تا گل‌ها را ببینیم.",
] * 4
CHAT_TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
                 " + '<|im_end|>\n' }}{% endfor %}"
                 "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
LLAMA_TEMPLATE = ("{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' +"
                  " message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}"
                  "{% endif %}{% endfor %}")


def pytest_collection_modifyitems(config, items):
    """What takes longest begins first, so that no process waits for it alone in the end; faults are made on demand."""
    if "faults" not in config.getoption("-m"):
        items[:] = [item for item in items if item.get_closest_marker("faults") is None]
    items.sort(key=lambda item: item.get_closest_marker("chain") is None)


def pytest_collection_finish():
    """Libraries are no garbage: nobody searches their million objects whenever a training frees its memory."""
    gc.freeze()


@pytest.fixture(autouse=True)
def reach(monkeypatch):
    """Nothing asks the network what it reaches; what a test fetches it has to lay out itself."""
    monkeypatch.setenv("COMPANION_REACH", "pip apt files")


@pytest.fixture(autouse=True)
def records_apart(monkeypatch):
    """No test reads the records that another one began and never wrote."""
    from lib.engine import records
    monkeypatch.setattr(records, "_open", {})
    monkeypatch.setattr(records, "refused", set())


@pytest.fixture(scope="session")
def english() -> list[str]:
    """A few English lines."""
    return list(ENGLISH)


@pytest.fixture(scope="session")
def persian() -> list[str]:
    """A few Persian lines with ZWNJ and Persian punctuation."""
    return list(PERSIAN)


@pytest.fixture(scope="session")
def byte_tokenizer():
    """Byte-level BPE of about 400 English pieces with a ChatML template; pad is not EOS (like SmolLM2 or Llama-3)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    backend.train_from_iterator(ENGLISH, trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>", unk_token="<|endoftext|>",
        pad_token="<|pad|>", chat_template=CHAT_TEMPLATE, clean_up_tokenization_spaces=False)


@pytest.fixture(scope="session")
def sentencepiece_tokenizer():
    """SentencePiece-style BPE of 450 English pieces with byte fallback and no pad token (like Llama-2)."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaTokenizer
    backend = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=450, special_tokens=special, show_progress=False)
    backend.train_from_iterator(ENGLISH, trainer)
    model = json.loads(backend.to_str())["model"]
    return LlamaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]],
                          chat_template=LLAMA_TEMPLATE)


@pytest.fixture(scope="session")
def tiny_model():
    """`tiny_model(tokenizer, tied=True, width=32)`: a 2-layer Llama over the tokenizer's ids, always the same.

    Weights in 4 bits need a width of 64.
    """
    def build(tokenizer, tied: bool = True, width: int = 32):
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=tied,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id)).eval()
    return build


@pytest.fixture
def fp32(monkeypatch):
    """Models are computed in fp32 whatever the machine would choose: for tests of equality, which bf16 would blur."""
    import torch

    from lib.engine import machine
    monkeypatch.setattr(machine, "dtype", lambda: (torch.float32, "rounding would hide an error"))


@pytest.fixture
def output(tmp_path, monkeypatch):
    """An empty folder that holds `runs/` and `figures/` for one test."""
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    return tmp_path
