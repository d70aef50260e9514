"""What stands before a text: one start token before a document, what the template writes before a chat, on every path."""
import copy

import datasets
import pandas
import pytest

from lib.data import mixture, prompts
from lib.evaluate import harness, measure, packing
from lib.model import folders
from lib.model.tokenizer import start_token
from lib.train import trainers, training

KINDS = ["adds none, template none", "adds one, template one", "adds one, template none"]
ITEMS = pandas.DataFrame([{"id": "a", "task": "emoji_mcq", "language": "en", "question": "The dog", "answer": 0,
                           "choices": ["the file", "yes or no"]}])


@pytest.fixture(params=KINDS)
def tokenizer(request, byte_tokenizer, sentencepiece_tokenizer):
    """Like SmolLM2 (no BOS before a text), like Gemma (the tokenizer adds one, the template writes one), and between."""
    if request.param == KINDS[0]:
        return byte_tokenizer
    found = copy.deepcopy(sentencepiece_tokenizer)
    found.add_bos_token, found.pad_token = True, found.unk_token
    if request.param == KINDS[2]:
        found.chat_template = found.chat_template.replace("bos_token + ", "")
    return found


@pytest.fixture
def rendered(tokenizer):
    return tokenizer(prompts.render(tokenizer, prompts.messages(ITEMS.loc[0])), add_special_tokens=False).input_ids


def plain(tokenizer, text):
    return [start_token(tokenizer), *tokenizer(text, add_special_tokens=False).input_ids]


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request, tokenizer, tiny_model):
    return tiny_model(tokenizer, request.param)


@pytest.fixture
def seen(model, monkeypatch):
    """Ids of every row that the model reads at once, plain ones without what is padded on either side, or packed."""
    rows, read, decode = [], model.forward, model.get_decoder().forward

    def forward(input_ids=None, attention_mask=None, **rest):
        for number, ids in enumerate(input_ids.tolist() if input_ids.shape[1] > 1 else []):
            kept = attention_mask[number].bool().tolist() if attention_mask is not None else [True] * len(ids)
            rows.append([token for token, keep in zip(ids, kept) if keep])
        return read(input_ids=input_ids, attention_mask=attention_mask, **rest)

    def decoder(input_ids=None, attention_mask=None, **rest):
        rows.extend(input_ids.tolist() if attention_mask is not None and attention_mask.dim() == 4 else [])
        return decode(input_ids=input_ids, attention_mask=attention_mask, **rest)
    monkeypatch.setattr(model, "forward", forward)
    monkeypatch.setattr(model.get_decoder(), "forward", decoder)
    return rows


@pytest.fixture(params=[True, False], ids=["packed", "alone"])
def packed(request, monkeypatch):
    monkeypatch.setattr(packing, "packs", lambda model: request.param)


def beginning(rows, ids):
    return bool(rows) and all(row[:len(ids)] == ids for row in rows)


def asked(rows, tokenizer):
    """The rows that hold the question; others are of a choice alone, which say what the question adds to it."""
    return [row for row in rows if plain(tokenizer, ITEMS.loc[0, "question"])[-1] in row]


def test_a_choice_as_a_document_stands_behind_the_start_token(model, tokenizer, seen, packed, tmp_path):
    harness.score(model, tokenizer, ITEMS, tmp_path)
    assert beginning(asked(seen, tokenizer), plain(tokenizer, "The dog:"))


def test_a_choice_as_a_chat_stands_as_its_template_renders_it(model, tokenizer, seen, packed, rendered, tmp_path):
    harness.score(model, tokenizer, ITEMS, tmp_path, "chat")
    assert beginning(asked(seen, tokenizer), rendered)


def test_a_document_is_gone_on_with_behind_the_start_token(model, tokenizer, seen):
    pairs = pandas.DataFrame({"id": ["p"], "english": ["The file."], "target": ["پرونده."]})
    measure.translate(model, tokenizer, pairs, "fa", "document", 2)
    asked = [prompts.pair_prompt("The file.", "en-fa"), prompts.pair_prompt("پرونده.", "fa-en")]
    assert sorted(seen) == sorted(plain(tokenizer, text) for text in asked)


def test_a_chat_is_answered_as_its_template_renders_it(model, tokenizer, seen, rendered):
    measure.answer(model, tokenizer, ITEMS.assign(text=ITEMS["question"], benchmark="b", setting="en", category="",
                                                  flags=[[]]), 2)
    assert beginning(seen, rendered)


def test_a_scored_text_stands_behind_the_start_token(model, tokenizer, seen):
    measure.bits_per_byte(model, tokenizer, ["The dog"])
    assert seen == [plain(tokenizer, "The dog")[:-1]]


def test_a_chat_is_trained_as_it_is_asked(tokenizer, rendered, tiny_model, tmp_path, monkeypatch):
    rows, loss = [], trainers.Instructor.compute_loss
    monkeypatch.setattr(trainers.Instructor, "compute_loss", lambda self, model, inputs, **rest: (
        rows.extend(inputs["input_ids"].tolist()), loss(self, model, inputs, **rest))[1])
    start = folders.save(tiny_model(tokenizer), tokenizer, tmp_path / "start")
    examples = datasets.Dataset.from_list([prompts.example(ITEMS.loc[0])])
    training.instruct(tmp_path / "run", start, examples, training.Settings(block_length=400, batch_size=1, method="full"))
    assert beginning(rows, rendered)


def test_a_packed_document_stands_as_it_is_scored(tokenizer):
    ids = mixture.blocks([("en", "The dog"), ("en", "The dog")], tokenizer, 1)["input_ids"]
    assert " ".join(map(str, plain(tokenizer, "The dog"))) in " ".join(str(token) for row in ids for token in row)
