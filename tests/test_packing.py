"""Options read behind one context, several items a row, have the likelihoods that the model's plain passes give them."""
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
)

from lib.evaluate import harness, packing

SIZES = dict(vocab_size=420, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=200)
READ = {"llama": LlamaConfig(**SIZES), "tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
        "mistral": MistralConfig(**SIZES, sliding_window=150),
        "gemma3": Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=150),
        "gpt2": GPT2Config(vocab_size=420, n_embd=32, n_layer=2, n_head=4, n_positions=200)}
NOT = {"soft cap": Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=5.0),
       "mamba": MambaConfig(vocab_size=420, hidden_size=32, num_hidden_layers=2, state_size=4)}


def model(config, spread: float = 0.3):
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config).eval()
    for parameter in made.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=spread)  # so that the likelihoods of options lie far apart
    return made


def requests(longest: int = 60) -> list:
    """Items of one to five options and contexts of many lengths, some options the beginning of others."""
    draw, made = torch.Generator().manual_seed(1), []
    for number in range(25):
        stem = torch.randint(4, 420, (int(torch.randint(1, longest, (), generator=draw)),), generator=draw).tolist()
        options = [torch.randint(4, 420, (1 + option,), generator=draw).tolist() for option in range(1 + number % 5)]
        made += [((str(number), str(at)), stem, branch) for at, branch in enumerate([*options, options[-1][:1]])]
    return made


def told(config, tokenizer, packs: bool, asked: list, spread: float = 0.3):
    reader = harness._Reader(model(config, spread), tokenizer, 4)
    reader.packs = reader.packs and packs
    return reader.packs, reader._loglikelihood_tokens(asked, disable_tqdm=True)


@pytest.mark.parametrize("name", READ)
def test_packed_likelihoods_are_the_harness_own(name, byte_tokenizer, fp32):
    (packed, ours), (plain, theirs) = (told(READ[name], byte_tokenizer, packs, requests()) for packs in (True, False))
    assert packed and not plain
    assert [value for value, _ in ours] == pytest.approx([value for value, _ in theirs], abs=1e-3, rel=1e-5)
    assert [said for _, said in ours] == [said for _, said in theirs]


@pytest.mark.parametrize("name", NOT)
def test_what_cannot_be_packed_is_read_plainly(name, byte_tokenizer, fp32):
    packed, found = told(NOT[name], byte_tokenizer, True, requests(20)[:12])
    assert not packed and len(found) == 12


def test_only_a_context_too_long_for_the_model_is_left_to_the_harness(byte_tokenizer, fp32, monkeypatch):
    reader, seen, read = harness._Reader(model(READ["llama"]), byte_tokenizer, 4), [], packing.likelihoods
    asked = [*requests()[:5], (("a", "b"), [number % 400 + 4 for number in range(260)], [5, 6]), *requests()[5:9]]
    expected = HFLM._loglikelihood_tokens(reader, asked, True)
    monkeypatch.setattr(packing, "likelihoods", lambda model, trees, **rest: seen.extend(trees) or read(model, trees, **rest))
    found = reader._loglikelihood_tokens(asked, True)
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-3)
    assert [said for _, said in found] == [said for _, said in expected]
    assert sum(len(tree.branches) for tree in seen) == 9 and max(len(tree.stem) for tree in seen) < 100


def test_one_context_of_many_items_makes_no_endless_row():
    pairs = [([1], [number, 2, 3]) for number in range(500)] + [([4, 5], [6])]
    made, numbers = packing.trees(pairs)
    assert max(tree.size() for tree in made) <= packing.ROW + 1
    assert [number for tree in numbers for number in tree] == list(range(501))
    assert [(tree.stem, branch) for tree in made for branch in tree.branches] == pairs


def test_rows_are_full_and_nothing_is_lost():
    trees = [packing.Tree([1] * (1 + size % 90), [[1, 2], [3]]) for size in range(500)]
    batches = list(packing._batches(trees, 1024))
    rows = [row for batch in batches for row in batch]
    assert sorted(number for row in rows for number in row) == list(range(500))
    used = [sum(trees[number].size() for number in row) for row in rows]
    assert max(used) <= packing.ROW and sum(used) / (packing.ROW * len(rows)) > 0.95


def test_in_bf16_the_sums_are_fp32(byte_tokenizer, fp32):
    read = model(READ["llama"]).to(torch.bfloat16)
    trees = [packing.Tree([5, 6, 7], [[8], [9], [10, 11]])]
    values = [value for value, _ in packing.likelihoods(read, trees, quiet=True)[0]]
    exact = [value for value, _ in packing.likelihoods(model(READ["llama"]), trees, quiet=True)[0]]
    assert values == pytest.approx(exact, rel=0.05)
    assert any(value != float(torch.tensor(value).bfloat16()) for value in values)
