"""The extended tokenizer: old text keeps its ids, Persian gets shorter, nothing is lost on the way."""
import copy
import json
import random

import pytest
import regex
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lib.model import tokenizer

SIZE = 40
KINDS = ("byte_tokenizer", "sentencepiece_tokenizer")


@pytest.fixture(scope="module", params=KINDS)
def base(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def extended(base, persian):
    return tokenizer.extend(base, persian, SIZE, "Arabic")


def new_pieces(base, extended):
    return extended.convert_ids_to_tokens(list(range(len(base), len(extended))))


def test_english_keeps_its_ids(base, extended, english):
    assert tokenizer.encode(extended, english) == tokenizer.encode(base, english)
    assert all(extended.get_vocab()[token] == row for token, row in base.get_vocab().items())


def test_persian_gets_shorter_and_comes_back_exactly(base, extended, persian):
    before, after = tokenizer.counts(base, persian), tokenizer.counts(extended, persian)
    assert tokenizer.compression(before, after).low > 2
    assert tokenizer.fertility(after).value < tokenizer.fertility(before).value / 2
    assert after.exact.all() and (after.zwnj_kept == after.zwnj).all() and after.zwnj.sum() > 0


def test_every_new_token_is_reachable_and_used(base, extended, persian):
    assert len(extended) == len(base) + SIZE
    assert tokenizer.reachable(base, extended).value == 1
    assert tokenizer.used(base, extended, persian).value > 0.9


def test_only_pieces_of_the_script(base, extended, persian):
    mixed = [text + " the tokenizer, the tokenizer «الف» tokenizerها" for text in persian]
    for piece in new_pieces(base, tokenizer.extend(base, mixed, SIZE, "Arabic")):
        text = tokenizer._decode(piece)[0] if "Ġ" in base.get_vocab() else piece
        assert regex.fullmatch(r"[ ▁]?[\p{scx=Arabic}\u200c]*", text), piece


def test_zwnj_becomes_one_token(extended):
    assert "<ZWNJ>" in "".join(tokenizer.cut(extended, "می‌خواهم"))
    assert "<bytes>" not in tokenizer.cut(extended, "می‌خواهم")


def test_template_special_tokens_and_padding_stay(base, extended):
    chat = [{"role": "user", "content": "hello"}]
    assert extended.apply_chat_template(chat, tokenize=False) == base.apply_chat_template(chat, tokenize=False)
    assert extended.special_tokens_map == base.special_tokens_map
    assert (extended.pad_token_id, extended.eos_token_id) == (base.pad_token_id, base.eos_token_id)
    assert extended("a").input_ids == base("a").input_ids


def test_saved_and_loaded_gives_the_same_ids(extended, persian, english, tmp_path):
    extended.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert len(loaded) == len(extended)
    assert loaded(persian + english).input_ids == extended(persian + english).input_ids
    assert loaded.decode(tokenizer.encode(loaded, persian)[0]) == persian[0]


def test_smaller_size_is_the_beginning_of_a_larger_one(base, extended, persian):
    steps = tokenizer.learn(base, persian, SIZE, "Arabic")
    small = tokenizer.grow(base, steps, 15)
    assert len(small) == len(base) + 15
    assert small.get_vocab().items() <= extended.get_vocab().items()
    assert small.get_vocab() == tokenizer.extend(base, persian, 15, "Arabic").get_vocab()


def test_size_zero_is_a_copy(base, persian):
    assert tokenizer.extend(base, persian, 0, "Arabic").get_vocab() == base.get_vocab()


def test_the_same_corpus_gives_the_same_tokenizer(base, extended, persian):
    again = tokenizer.extend(base, persian, SIZE, "Arabic")
    assert again.backend_tokenizer.to_str() == extended.backend_tokenizer.to_str()


def test_first_merge_is_the_most_frequent_pair(sentencepiece_tokenizer):
    steps = tokenizer.learn(sentencepiece_tokenizer, ["بابا با آب"] * 3, 20, "Arabic")
    assert steps[:3] == [("ب",), ("ا",), ("آ",)]
    assert steps[3] == ("ب", "ا")


@pytest.mark.parametrize("way", ["bpe", "sentencepiece"])
def test_appended_ways_keep_the_text(base, persian, way):
    appended = (tokenizer.append_bpe(base, persian, SIZE, "Arabic") if way == "bpe"
                else tokenizer.append_sentencepiece(base, persian, 60))
    counted = tokenizer.counts(appended, persian)
    assert counted.exact.all() and len(base) < len(appended)
    assert tokenizer.compression(tokenizer.counts(base, persian), counted).value > 1


def test_default_sentencepiece_has_no_piece_with_zwnj(base, extended, persian):
    appended = tokenizer.append_sentencepiece(base, persian, 60)
    assert not any(tokenizer.ZWNJ in appended.decode([row]) for row in range(len(base), len(appended)))


@pytest.mark.parametrize("size", [10, 500])
def test_sentencepiece_gives_what_it_can_of_a_script_of_many_characters(base, size):
    draw = random.Random(0)
    texts = ["".join(draw.choices([chr(0x4e00 + at) for at in range(1500)], k=60)) for _ in range(100)]
    appended = tokenizer.append_sentencepiece(base, texts, size)
    assert len(appended) == len(base) + size and tokenizer.counts(appended, texts).exact.all()


def test_sentencepiece_reads_lines_of_any_length(base):
    assert len(tokenizer.append_sentencepiece(base, ["สวัสดี" * 400] * 2, 60)) > len(base)


def test_a_small_text_gives_fewer_pieces(base):
    steps = tokenizer.learn(base, ["Привет, мир"] * 2, 500, "Cyrillic")
    assert len(base) < len(tokenizer.grow(base, steps, 500)) < len(base) + 20


def test_characters_are_whole_without_a_space_before_them(base):
    grown = tokenizer.extend(base, ["你好世界" * 5, "你们好", "世界很大"] * 3, 40, "Han")
    counted = tokenizer.counts(grown, ["你好"])
    assert counted.words.tolist() == [2] and counted.whole.tolist() == [2]
    assert ("fertility", "tokens/character") in tokenizer.target_measures(counted, counted, "character")


def test_measures_carry_n_and_interval(base, extended, persian):
    found = tokenizer.target_measures(tokenizer.counts(base, persian), tokenizer.counts(extended, persian))
    assert {name for name, _ in found} == {"fertility", "bytes_per_token", "words_kept_whole", "compression",
                                           "round_trip", "zwnj_kept"}
    assert all(estimate.low <= estimate.value <= estimate.high and estimate.n for estimate in found.values())
    assert found["round_trip", "share"].n == len(persian)


def test_texts_without_zwnj_have_no_share_of_it(base, english):
    counted = tokenizer.counts(base, english)
    assert ("zwnj_kept", "share") not in tokenizer.target_measures(counted, counted)


def test_subtokens_spell_the_new_pieces(base, extended):
    for piece, ids in zip(new_pieces(base, extended), tokenizer.subtokens(base, extended)):
        assert ids and max(ids) < len(base)
        assert base.decode(ids) == extended.decode(extended.convert_tokens_to_ids([piece]))


def test_unknown_script_and_other_models_are_refused(byte_tokenizer, persian):
    with pytest.raises(ValueError, match="no script 'Parsi'"):
        tokenizer.extend(byte_tokenizer, persian, 5, "Parsi")
    unigram = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram([("a", -1.0), ("b", -2.0)])))
    with pytest.raises(ValueError, match="Unigram"):
        tokenizer.extend(unigram, persian, 5, "Arabic")


def sentencepiece_folder(folder, lines, **options):
    """A folder with a trained `tokenizer.model` and nothing else; options are SentencePiece's."""
    import sentencepiece
    settings = {"model_type": "bpe", "vocab_size": 420, "byte_fallback": True, "normalization_rule_name": "identity"}
    with open(folder / "tokenizer.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=file, minloglevel=2,
                                                 **{**settings, **options})
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


@pytest.mark.parametrize("prefix", [True, False])
def test_a_sentencepiece_model_alone_is_converted_to_the_same_ids(prefix, english, persian, tmp_path):
    expected = sentencepiece_folder(tmp_path, english, add_dummy_prefix=prefix)
    config = {"tokenizer_class": "LlamaTokenizer", "chat_template": "{{ 'x' }}", "add_bos_token": True,
              "added_tokens_decoder": {"420": {"content": "<|extra|>", "special": True}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    converted = tokenizer.from_sentencepiece(tmp_path)
    assert tokenizer.encode(converted, english + persian) == expected.encode(english + persian)
    assert converted("a").input_ids[0] == expected.bos_id() and converted.eos_token_id == expected.eos_id()
    assert (converted.chat_template, converted.convert_tokens_to_ids("<|extra|>")) == ("{{ 'x' }}", 420)
    extended = tokenizer.extend(converted, persian, SIZE, "Arabic")
    assert len(extended) == 421 + SIZE and tokenizer.counts(extended, persian).exact.all()


@pytest.mark.parametrize("options", [{"model_type": "unigram", "vocab_size": 330},
                                     {"normalization_rule_name": "nmt_nfkc"}])
def test_a_sentencepiece_model_that_would_cut_otherwise_is_refused(options, english, tmp_path):
    sentencepiece_folder(tmp_path, english, **options)
    with pytest.raises(ValueError, match="no SentencePiece BPE.*put a BPE's tokenizer.json beside it"):
        tokenizer.from_sentencepiece(tmp_path)


def test_a_tiktoken_file_is_refused_in_our_words(tmp_path):
    (tmp_path / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    with pytest.raises(ValueError, match="no SentencePiece BPE"):
        tokenizer.from_sentencepiece(tmp_path)


def test_other_scripts_too(base):
    russian = ["Открыть файл, прочитать строки и закрыть файл снова."] * 5
    extended = tokenizer.extend(base, russian, 20, "Cyrillic")
    assert len(extended) == len(base) + 20 and tokenizer.counts(extended, russian).exact.all()


def test_special_tokens_outside_the_model_vocabulary(byte_tokenizer, persian):
    state = json.loads(byte_tokenizer.backend_tokenizer.to_str())
    token = {"id": len(byte_tokenizer), "content": "<|extra|>", "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
    state["added_tokens"].append(token)
    base = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))
    extended = tokenizer.extend(base, persian, 10, "Arabic")
    assert extended.convert_tokens_to_ids("<|extra|>") == token["id"]
    assert min(tokenizer.encode(extended, ["می"])[0][-1:]) < len(extended) == len(base) + 10


def test_a_text_starts_behind_the_bos_that_its_tokenizer_adds_or_eos(byte_tokenizer, sentencepiece_tokenizer):
    adding = copy.deepcopy(sentencepiece_tokenizer)
    adding.add_bos_token = True
    assert tokenizer.start_token(byte_tokenizer) == byte_tokenizer.eos_token_id
    assert tokenizer.start_token(adding) == adding.bos_token_id
