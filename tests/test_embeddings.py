"""New rows get the start that was asked for; old rows and ties stay."""
import copy

import numpy
import pytest
import torch

from lib.model import dictionary, embeddings, tokenizer


@pytest.fixture(scope="module", params=["byte_tokenizer", "sentencepiece_tokenizer"])
def pair(request, persian):
    base = request.getfixturevalue(request.param)
    return base, tokenizer.extend(base, persian, 30, "Arabic")


def matrices(model):
    return model.get_input_embeddings().weight.detach(), model.get_output_embeddings().weight.detach()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("start", embeddings.STARTS)
def test_old_rows_stay_and_the_tie_too(pair, tiny_model, tied, start):
    base, extended = pair
    model = tiny_model(base, tied)
    before = [matrix.clone() for matrix in matrices(model)]
    embeddings.extend(model, base, extended, start)
    assert all(torch.equal(old, new[:len(base)]) for old, new in zip(before, matrices(model)))
    assert embeddings.tied(model) == tied
    assert len(extended) == model.config.vocab_size == matrices(model)[0].shape[0] == matrices(model)[1].shape[0]


@pytest.mark.parametrize("tied", [True, False])
def test_mean_of_subtokens_in_each_matrix(pair, tiny_model, tied):
    base, extended = pair
    model = embeddings.extend(tiny_model(base, tied), base, extended)
    for matrix in matrices(model):
        for row, ids in zip(range(len(base), len(extended)), tokenizer.subtokens(base, extended)):
            torch.testing.assert_close(matrix[row], matrix[ids].mean(0))


def test_global_mean_and_random(pair, tiny_model):
    base, extended = pair
    model = embeddings.extend(tiny_model(base, False), base, extended, "global-mean")
    for matrix in matrices(model):
        torch.testing.assert_close(matrix[len(base):], matrix[:len(base)].mean(0).expand(30, -1))
    first, again, other = (matrices(embeddings.extend(tiny_model(base), base, extended, "random", seed))[0][len(base):]
                           for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.std().item() == pytest.approx(matrices(model)[0][:len(base)].std().item(), rel=0.2)


def test_english_logits_of_old_tokens_stay(pair, tiny_model, english):
    base, extended = pair
    model = tiny_model(base)
    ids = torch.tensor(tokenizer.encode(base, english[:1]))
    before = model(ids).logits
    after = embeddings.extend(copy.deepcopy(model), base, extended)(ids).logits
    torch.testing.assert_close(before, after[..., :len(base)])


def test_padded_base_and_added_pad_token(pair, tiny_model):
    base, extended = pair
    padded = tiny_model(base)
    padded.resize_token_embeddings(len(base) + 100)
    assert embeddings.extend(padded, base, extended).config.vocab_size == len(extended)
    model, grown = tiny_model(base), copy.deepcopy(base)
    grown.add_special_tokens({"pad_token": "<|new pad|>"})
    embeddings.extend(model, grown, grown)
    torch.testing.assert_close(matrices(model)[0][-1], matrices(model)[0][:-1].mean(0))


def test_saved_and_loaded(pair, tiny_model, tmp_path):
    base, extended = pair
    model = embeddings.extend(tiny_model(base), base, extended)
    model.save_pretrained(tmp_path)
    assert torch.equal(matrices(type(model).from_pretrained(tmp_path))[0], matrices(model)[0])


def test_refusals_say_the_way_out(pair, tiny_model, byte_tokenizer, sentencepiece_tokenizer):
    base, extended = pair
    model = tiny_model(base)
    with pytest.raises(ValueError, match="mean-of-subtokens, global-mean, random"):
        embeddings.extend(model, base, extended, "zero")
    with pytest.raises(ValueError, match="another id"):
        embeddings.extend(model, byte_tokenizer, sentencepiece_tokenizer)
    model.config.quantization_config = {"quant_method": "bitsandbytes"}
    with pytest.raises(ValueError, match="quantised"):
        embeddings.extend(model, base, extended)


@pytest.mark.parametrize("start", embeddings.STARTS)
def test_nothing_to_add_changes_nothing(byte_tokenizer, tiny_model, start):
    model = embeddings.extend(tiny_model(byte_tokenizer), byte_tokenizer, byte_tokenizer, start)
    assert all(torch.equal(a, b) for a, b in zip(matrices(model), matrices(tiny_model(byte_tokenizer))))


def test_dictionary_learns_which_words_translate(byte_tokenizer, persian):
    """Two words that always stand together are ambiguous; a third sentence with one of them settles both."""
    extended = tokenizer.extend(byte_tokenizer, ["سلام دنیا " * 50, "کتاب " * 50, *persian], 30, "Arabic")
    pairs = [("the book", "کتاب"), ("the world", "دنیا"), ("book world", "کتاب دنیا")]
    matrix, seen = dictionary.learn(pairs, byte_tokenizer, extended)
    piece = tokenizer.encode(extended, [" کتاب"])[0]
    assert len(piece) == 1 and seen[piece[0] - len(byte_tokenizer)] == pytest.approx(2)
    best = matrix[piece[0] - len(byte_tokenizer)].toarray()[0].argmax()
    assert best in tokenizer.encode(byte_tokenizer, [" book"])[0]
    sums = numpy.asarray(matrix.sum(1)).ravel()
    assert numpy.allclose(sums[seen > 0], 1) and numpy.allclose(sums[seen == 0], 0)


def test_translations_move_known_pieces_only(pair, tiny_model, persian, english):
    base, extended = pair
    model = tiny_model(base, False)
    plain = embeddings.extend(copy.deepcopy(model), base, extended)
    none = embeddings.extend(copy.deepcopy(model), base, extended, "translations")
    moved = embeddings.extend(copy.deepcopy(model), base, extended, "translations", 0, [(english[0], persian[0])])
    seen = sorted({row for row in tokenizer.encode(extended, [" " + persian[0]])[0] if row >= len(base)})
    rest = [row for row in range(len(base), len(extended)) if row not in seen]
    for before, same, after in zip(matrices(plain), matrices(none), matrices(moved)):
        assert torch.equal(before, same) and torch.equal(before[rest], after[rest])
        assert seen and not torch.isclose(before[seen], after[seen]).all(1).any()
