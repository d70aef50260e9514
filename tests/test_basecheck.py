"""Bases of every kind, from the first look to an answer after tuning; what cannot work is refused in one sentence."""
import copy
import dataclasses
import json

import datasets
import pytest
import sentencepiece
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

from lib.data import prompts
from lib.evaluate import measure
from lib.model import basecheck, embeddings, folders, tokenizer
from lib.train import training

pytestmark = pytest.mark.usefixtures("fp32")
SENTENCES = {"en": "The quick brown fox reads the file.", "fa": "می‌خواهم کتاب‌های تازه را بخوانم."}
TURNS = [{"role": "user", "content": "Read the file?"}]
# The end of Qwen3's template: an empty thought is put before an answer, and asked for unless thinking is on.
EMPTY = "{{ '<think>\n\n</think>\n\n' }}"
THINKING = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
            "{% if message['role'] == 'assistant' and loop.last %}" + EMPTY + "{% endif %}"
            "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
            "{% if enable_thinking is defined and enable_thinking is false %}" + EMPTY + "{% endif %}{% endif %}")


def configured(folder, **changes):
    """Changes values of a folder's config.json."""
    place = folder / "config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))
    return folder


def saved(model, words, folder):
    """A folder as a publisher leaves it: model and tokenizer, whatever these say."""
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


class Kinds:
    """A tiny base of every kind that is to work; each method writes one to a folder and returns it."""

    def __init__(self, words, tiny_model, lines):
        self.words, self.tiny_model, self.lines = copy.deepcopy(words), tiny_model, lines

    def plain(self, folder):
        return saved(self.tiny_model(self.words), self.words, folder)

    def wrongly_tied(self, folder):
        return configured(saved(self.tiny_model(self.words, tied=False), self.words, folder), tie_word_embeddings=True)

    def wrongly_untied(self, folder):
        return configured(self.plain(folder), tie_word_embeddings=False)

    def twice_the_same(self, folder):
        model = self.tiny_model(self.words, tied=False)
        model.lm_head.weight.data.copy_(model.get_input_embeddings().weight)
        return saved(model, self.words, folder)

    def multimodal(self, folder):
        torch.manual_seed(0)
        text = {"vocab_size": len(self.words), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8, "query_pre_attn_scalar": 8,
                "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"],
                "eos_token_id": self.words.eos_token_id, "pad_token_id": 0, "bos_token_id": 1}
        vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                  "image_size": 16, "patch_size": 4}
        config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4,
                                           image_token_index=3, boi_token_index=1, eoi_token_index=2)
        return saved(transformers.Gemma3ForConditionalGeneration(config), self.words, folder)

    def gpt2(self, folder):
        return self.other(folder, transformers.GPT2LMHeadModel, transformers.GPT2Config, n_embd=32, n_layer=2, n_head=2)

    def pythia(self, folder):
        return self.other(folder, transformers.GPTNeoXForCausalLM, transformers.GPTNeoXConfig, hidden_size=32,
                          intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)

    def other(self, folder, model, config, **sizes):
        torch.manual_seed(0)
        ids = {f"{name}_token_id": getattr(self.words, f"{name}_token_id") for name in ("bos", "eos", "pad")}
        return saved(model(config(vocab_size=len(self.words), **ids, **sizes)), self.words, folder)

    def sentencepiece_alone(self, folder):
        folder.mkdir()
        with open(folder / "tokenizer.model", "wb") as file:
            train(file, self.lines, "bpe")
        words = folders.tokenizer(folder)
        self.tiny_model(words).save_pretrained(folder)
        return folder

    def ends_turns_otherwise(self, folder):
        self.words.eos_token, self.words.unk_token = "<|endoftext|>", None
        return saved(self.tiny_model(self.words), self.words, folder)

    def pads_with_the_end_of_turns(self, folder):
        self.words.pad_token = "<|im_end|>"
        return self.ends_turns_otherwise(folder)

    def without_template(self, folder):
        self.words.chat_template = None
        return self.plain(folder)

    def padded(self, folder):
        model = self.tiny_model(self.words)
        model.resize_token_embeddings(512)
        return saved(model, self.words, folder)

    def thinking(self, folder):
        self.words.chat_template = THINKING
        return self.plain(folder)

    def always_thinking(self, folder):
        self.words.chat_template = THINKING.replace("enable_thinking", "no_such_switch")
        return self.plain(folder)


def train(file, lines, kind, **options):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=file, vocab_size=420 if kind == "bpe" else 330, model_type=kind,
        byte_fallback=True, minloglevel=2, **{"normalization_rule_name": "identity", **options})


@pytest.fixture
def kinds(byte_tokenizer, tiny_model, english):
    return Kinds(byte_tokenizer, tiny_model, english)


EVERY = [name for name in vars(Kinds) if not name.startswith("_") and name != "other"]


@pytest.mark.parametrize("kind", EVERY)
def test_every_kind_goes_from_the_first_look_to_an_answer(kind, kinds, persian, tmp_path):
    folder = getattr(kinds, kind)(tmp_path / "base")
    verdicts = basecheck.inspect(str(folder), SENTENCES).set_index("check")["verdict"]
    assert {*verdicts[["a sentence in en", "a sentence in fa"]]} == {"comes back exactly"}
    old = folders.tokenizer(folder)
    new = tokenizer.extend(old, persian, 20, "Arabic")
    before, ids = folders.load(folder), torch.tensor(tokenizer.encode(old, [SENTENCES["en"]]))
    model = embeddings.extend(folders.load(folder), old, new)
    start = folders.save(model, new, tmp_path / "extended")
    loaded = folders.load(start)
    assert embeddings.tied(loaded) == embeddings.tied(before) == loaded.config.tie_word_embeddings
    assert torch.equal(loaded(input_ids=ids).logits[..., :len(old)], before(input_ids=ids).logits[..., :len(old)])
    assert type(transformers.AutoModelForCausalLM.from_pretrained(start)) is type(loaded)

    words = prompts.dress(folders.tokenizer(start), "chat")
    answered = {"prompt": TURNS, "completion": [{"role": "assistant", "content": "yes"}]}
    examples = datasets.Dataset.from_list([answered] * 96)
    settings = training.Settings("full", 1e-2, 1e-2, batch_size=2, block_length=160)
    assert training.instruct(tmp_path / "full", start, examples, settings, tokenizer=words)["eos_labels"] == 96
    asked = prompts.render(words, TURNS)
    assert measure.generate(folders.load(tmp_path / "full"), words, [asked], 40) == ["yes"]  # it has learned to stop
    settings = dataclasses.replace(settings, method="lora")
    parts = training.instruct(tmp_path / "lora", start, examples.select(range(4)), settings, True, words)["parts"]
    assert bool(parts["embed_tokens"]) and bool(parts["lm_head"]) != embeddings.tied(before) and not parts["transformer"]
    merged, adapted = folders.load(tmp_path / "lora" / "model"), folders.load(tmp_path / "lora")
    torch.testing.assert_close(merged(input_ids=ids).logits, adapted(input_ids=ids).logits)
    assert embeddings.tied(merged) == embeddings.tied(before)


def checked(folder):
    return basecheck.inspect(str(folder), SENTENCES).set_index("check")


@pytest.mark.parametrize("kind, check, found, verdict", [
    ("plain", "embeddings and head", "one matrix for both", "stays so"),
    ("wrongly_tied", "embeddings and head", "a matrix each", "config.json says one matrix for both, and is corrected"),
    ("wrongly_untied", "embeddings and head", "one matrix for both", "says a matrix each, and is corrected"),
    ("multimodal", "model", "Gemma3ForCausalLM", "the part of Gemma3Config that reads and writes text"),
    ("sentencepiece_alone", "tokenizer", "SentencePiece BPE, 420 tokens", "can learn"),
    ("padded", "rows of the matrices", "512 rows for 400 tokens", "112 spare rows"),
    ("without_template", "chat template", "no chat template", "alpaca"),
    ("ends_turns_otherwise", "end of an answer", "<|im_end|> by the template", "at any of <|endoftext|> <|im_end|>"),
    ("pads_with_the_end_of_turns", "padding", "<|pad|>", "no end"),
    ("thinking", "thoughts", "<think>", "none are asked for"),
    ("always_thinking", "a prompt and its answer", "▸<think>\n\n</think>\n\nYes", "token by token")])
def test_the_table_says_what_was_found_and_done(kind, check, found, verdict, kinds, tmp_path):
    row = checked(getattr(kinds, kind)(tmp_path / "base")).loc[check]
    assert found in row["found"] and verdict in row["verdict"]


def without(folder, weight):
    """Takes a weight out of a folder's file."""
    weights = load_file(folder / "model.safetensors")
    del weights[weight]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def shortened(file):
    file.write_bytes(file.read_bytes()[:-100])


def holed(folder):
    """Gives the last piece an id that leaves others out."""
    place = folder / "tokenizer.json"
    state = json.loads(place.read_text("utf8"))
    vocabulary = state["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.get)] += 5
    place.write_text(json.dumps(state), "utf8")


@pytest.mark.parametrize("spoil, sentence", [
    (lambda folder: configured(folder, quantization_config={"quant_method": "gptq"}), "weights are quantised"),
    (lambda folder: configured(folder, model_type="t5"), "t5 is no causal language model"),
    (lambda folder: configured(folder, model_type="no-such-model"), "no-such-model"),
    (lambda folder: configured(folder, hidden_size=64), "have another shape than its config.json says"),
    (lambda folder: without(folder, "model.norm.weight"), r"are missing.* \(1, model.norm.weight first"),
    (lambda folder: without(folder, "model.embed_tokens.weight"), "lm_head.weight first"),
    (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
    (lambda folder: shortened(folder / "model.safetensors"), "is damaged .*fetch it again"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "it has no tokenizer"),
    (holed, "ids with holes")])
def test_what_cannot_work_is_refused_in_a_sentence(spoil, sentence, kinds, tmp_path):
    folder = kinds.plain(tmp_path / "base")
    spoil(folder)
    with pytest.raises(ValueError, match=f"cannot be a base here: .*{sentence}") as refusal:
        checked(folder)
    assert len(str(refusal.value).splitlines()) == 1 and "tiktoken" not in str(refusal.value)


def test_an_encoder_is_refused(byte_tokenizer, tmp_path):
    config = transformers.RobertaConfig(vocab_size=len(byte_tokenizer), hidden_size=32, num_hidden_layers=2,
                                        num_attention_heads=2, intermediate_size=64)
    encoder = transformers.RobertaForMaskedLM(config)
    with pytest.raises(ValueError, match="it reads what stands behind a token too"):
        checked(saved(encoder, byte_tokenizer, tmp_path / "base"))


@pytest.mark.parametrize("model", [tokenizers.models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0),
                                   tokenizers.models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]")])
def test_other_tokenizers_than_bpe_are_refused(model, kinds, tmp_path):
    folder = kinds.plain(tmp_path / "base")
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(model), eos_token="a").save_pretrained(folder)
    with pytest.raises(ValueError, match=f"this one is {type(model).__name__}"):
        checked(folder)


def test_what_small_files_tell_is_told_before_the_weights_are_fetched(kinds, tmp_path, monkeypatch):
    folder = configured(kinds.plain(tmp_path / "base"), quantization_config={"quant_method": "awq", "bits": 4})
    monkeypatch.setattr(folders, "base", lambda name, weights=True: pytest.fail("fetched") if weights else folder)
    with pytest.raises(ValueError, match="org/name@main cannot be a base here: its weights are quantised"):
        basecheck.inspect("org/name@main", SENTENCES)
