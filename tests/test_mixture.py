import tracemalloc

import datasets
import pyarrow
import pytest

from lib.data import corpus, mixture


def drawn_from(streams, *rest, **more):
    return list(mixture.documents(streams, *rest, **more))


@pytest.fixture
def streams(persian, english):
    return {"fa": [f"{number} {line}" for number in range(40) for line in persian],
            "en": [f"{number} {line}" for number in range(40) for line in english]}


def size(drawn, name):
    return sum(len(text.encode()) for stream, text in drawn if stream == name)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_shares_of_bytes_are_exact(streams, share):
    drawn = drawn_from(streams, {"fa": 1 - share, "en": share}, 20000, seed=0)
    assert size(drawn, "en") / (size(drawn, "en") + size(drawn, "fa")) == pytest.approx(share, abs=0.01)
    assert size(drawn, "en") + size(drawn, "fa") == pytest.approx(20000, rel=0.01)


def test_shares_hold_all_along(streams):
    half = drawn_from(streams, {"fa": 0.7, "en": 0.3}, 20000, seed=0)
    half = half[:len(half) // 2]
    assert size(half, "en") / (size(half, "en") + size(half, "fa")) == pytest.approx(0.3, abs=0.03)


def test_same_seed_same_documents(streams):
    drawn = [drawn_from(streams, {"fa": 0.9, "en": 0.1}, 9000, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_short_stream_is_read_again_and_said_so(streams, capsys):
    drawn = drawn_from({"fa": streams["fa"], "en": ["a line of English\n"]}, {"fa": 0.5, "en": 0.5}, 4000, seed=0)
    assert size(drawn, "en") == 2000 and "en" in capsys.readouterr().out


def test_bad_shares_and_empty_streams_are_refused(streams):
    with pytest.raises(ValueError, match="1.1"):
        drawn_from(streams, {"fa": 1.0, "en": 0.1}, 1000, seed=0)
    with pytest.raises(ValueError, match="'de'"):
        drawn_from(streams, {"fa": 0.5, "de": 0.5}, 1000, seed=0)


def test_long_documents_are_read_in_parts():
    text = "".join(f"line {number} of a long document\n" for number in range(2000))
    drawn = drawn_from({"en": [text]}, {"en": 1.0}, 10000, seed=0)
    assert len(drawn) > 1 and max(len(part) for _, part in drawn) <= mixture.EXCERPT


@pytest.mark.parametrize("name", ["byte_tokenizer", "sentencepiece_tokenizer"])
def test_blocks_hold_whole_texts_with_eos_between(name, request, persian, capsys):
    tokenizer = request.getfixturevalue(name)
    documents = [("fa", line) for line in persian]
    packed = mixture.blocks(documents, tokenizer, 32)
    left = int(capsys.readouterr().out.split(" tokens left")[0].split()[-1])
    ids = [token for row in packed["input_ids"] for token in row]
    expected = [token for _, line in documents for token in [*tokenizer(line)["input_ids"], tokenizer.eos_token_id]]
    assert ids == expected[:len(ids)] and len(expected) - len(ids) == left < 32
    assert packed["labels"] == packed["input_ids"]


def test_bytes_of_blocks_add_up_to_the_text(byte_tokenizer, persian):
    ids = byte_tokenizer(persian[0])["input_ids"]
    packed = mixture.blocks([("fa", persian[0])] * 3, byte_tokenizer, len(ids) + 1)
    assert packed["bytes"] == [len(persian[0].encode())] * 3


def test_streams_share_no_block(byte_tokenizer, persian, english):
    documents = [pair for lines in zip(persian, english) for pair in zip(("fa", "en"), lines)]
    for row in mixture.blocks(documents, byte_tokenizer, 16):
        text = byte_tokenizer.decode(row["input_ids"], skip_special_tokens=True)
        assert any(letter in "ابپتدرمنهی" for letter in text) == (row["stream"] == "fa")


def test_a_column_of_a_data_set_is_drawn_from_as_a_list_is(streams, byte_tokenizer):
    columns = {name: corpus.column(texts) for name, texts in streams.items()}
    shares = {"fa": 0.8, "en": 0.2}
    assert drawn_from(columns, shares, 40000, seed=1) == drawn_from(streams, shares, 40000, seed=1)


def test_memory_does_not_grow_with_the_text(byte_tokenizer, english, tmp_path):
    datasets.Dataset.from_dict({"text": [" ".join(english)] * 4000}).save_to_disk(tmp_path)
    column, peaks = datasets.load_from_disk(tmp_path)["text"], []
    plain = pyarrow.default_memory_pool()
    for size in (100_000, 1_000_000, 4_000_000):
        pool = pyarrow.proxy_memory_pool(plain)
        pyarrow.set_memory_pool(pool)
        tracemalloc.start()
        packed = mixture.blocks(mixture.documents({"en": column}, {"en": 1.0}, size, seed=0), byte_tokenizer, 128)
        peaks.append(tracemalloc.get_traced_memory()[1] + pool.max_memory())
        tracemalloc.stop()
        pyarrow.set_memory_pool(plain)
    assert packed.cache_files and packed.data.nbytes > 8_000_000
    assert peaks[2] < peaks[1] + 1_000_000


def test_too_little_text_is_refused(byte_tokenizer):
    with pytest.raises(ValueError, match="budget"):
        mixture.blocks([("en", "short")], byte_tokenizer, 512)


ODD = ["two  spaces and\ttabs \n a line\n\n  and more ", " before\u00a0 after ", "۱۲ ۳۴ 56 78% (a) _b /c 'tis it's", "é e\u0301 日本 語 🙂 🙂x می\u200cروم  ", "<|endoftext|> x<|endoftext|>"]


@pytest.mark.parametrize("name", ["byte_tokenizer", "sentencepiece_tokenizer"])
def test_blocks_hold_the_tokens_of_each_text_and_every_byte_of_it_once(name, request, persian):
    tokenizer = request.getfixturevalue(name)
    texts = [*ODD, *persian, " ".join(ODD)]
    ids = [token for text in texts for token in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]
    packed = mixture.blocks([("fa", text) for text in texts], tokenizer, 16)
    assert [token for row in packed["input_ids"] for token in row] == ids[:len(packed) * 16]
    alone = [mixture.blocks([("fa", text)], tokenizer, 1)["bytes"][:] for text in texts]
    assert [sum(sizes) for sizes in alone] == [len(text.encode()) for text in texts]
    assert sum(packed["bytes"]) == sum(sum(alone, [])[:len(packed) * 16])
    assert all(sizes[-1] == 0 for sizes in alone), "the end of a text brings no byte of it"


def test_a_token_brings_the_bytes_that_it_stands_for(byte_tokenizer, sentencepiece_tokenizer):
    for tokenizer in (byte_tokenizer, sentencepiece_tokenizer):
        packed = mixture.blocks([("fa", "می\u200cروم 🙂")], tokenizer, 1)
        decoded = [tokenizer.decode(row) for row in packed["input_ids"]]
        whole = [(size, text) for size, text in zip(packed["bytes"], decoded) if text.strip() and "\ufffd" not in text]
        assert [size for size, text in whole[1:-1]] == [len(text.encode()) for _, text in whole[1:-1]]

