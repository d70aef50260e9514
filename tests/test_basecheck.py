"""Bases of every kind, from the first look to an answer after tuning; what cannot work is refused in one sentence."""
import copy
import dataclasses
import json

import datasets
import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from lib import basecheck, embeddings, evaluation, models, prompts, tokenizer, training

pytestmark = pytest.mark.usefixtures("fp32")
SENTENCES = {"en": "The quick brown fox reads the file.", "fa": "می‌خواهم کتاب‌های تازه را بخوانم."}
TURNS = [{"role": "user", "content": "Read the file?"}]
# The end of Qwen3's template: an empty thought is put before an answer, and asked for unless thinking is on.
THINKING = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' "
            "and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ message['content'] + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
            "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}")


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
        from transformers import Gemma3Config, Gemma3ForConditionalGeneration
        torch.manual_seed(0)
        text = {"vocab_size": len(self.words), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8, "query_pre_attn_scalar": 8,
                "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"],
                "eos_token_id": self.words.eos_token_id, "pad_token_id": 0, "bos_token_id": 1}
        vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                  "image_size": 16, "patch_size": 4}
        model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=3,
                                                            boi_token_index=1, eoi_token_index=2))
        return saved(model, self.words, folder)

    def sentencepiece_alone(self, folder):
        folder.mkdir()
        with open(folder / "tokenizer.model", "wb") as file:
            train(file, self.lines, "bpe")
        words = models.tokenizer(folder)
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


def train(file, lines, kind, **options):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=file, vocab_size=420 if kind == "bpe" else 330, model_type=kind,
        byte_fallback=True, minloglevel=2, **{"normalization_rule_name": "identity", **options})


@pytest.fixture
def kinds(byte_tokenizer, tiny_model, english):
    return Kinds(byte_tokenizer, tiny_model, english)


EVERY = [name for name in vars(Kinds) if not name.startswith("_")]


@pytest.mark.parametrize("kind", EVERY)
def test_every_kind_goes_from_the_first_look_to_an_answer(kind, kinds, persian, tmp_path):
    folder = getattr(kinds, kind)(tmp_path / "base")
    verdicts = basecheck.inspect(str(folder), SENTENCES).set_index("check")["verdict"]
    assert {*verdicts[["a sentence in en", "a sentence in fa"]]} == {"comes back exactly"}
    old = models.tokenizer(folder)
    new = tokenizer.extend(old, persian, 20, "Arabic")
    before, ids = models.load(folder), torch.tensor(tokenizer.encode(old, [SENTENCES["en"]]))
    model = embeddings.extend(models.load(folder), old, new)
    start = models.save(model, new, tmp_path / "extended")
    loaded = models.load(start)
    assert embeddings.tied(loaded) == embeddings.tied(before) == loaded.config.tie_word_embeddings
    assert torch.equal(loaded(input_ids=ids).logits[..., :len(old)], before(input_ids=ids).logits[..., :len(old)])
    assert type(AutoModelForCausalLM.from_pretrained(start)) is type(loaded)

    words = prompts.dress(models.tokenizer(start), "chat")
    examples = datasets.Dataset.from_list([{"prompt": TURNS, "completion": [{"role": "assistant", "content": "yes"}]}] * 96)
    settings = training.Settings("full", 1e-2, 1e-2, batch_size=2, block_length=160)
    assert training.instruct(tmp_path / "full", start, examples, settings, tokenizer=words)["eos_labels"] == 96
    asked = prompts.render(words, TURNS)
    assert evaluation.generate(models.load(tmp_path / "full"), words, [asked], 40) == ["yes"]  # it has learned to stop
    settings = dataclasses.replace(settings, method="lora")
    training.instruct(tmp_path / "lora", start, examples.select(range(4)), settings, True, words)
    merged, adapted = models.load(tmp_path / "lora" / "model"), models.load(tmp_path / "lora")
    torch.testing.assert_close(merged(input_ids=ids).logits, adapted(input_ids=ids).logits)
    assert embeddings.tied(merged) == embeddings.tied(before)
