"""Training text by shares: documents drawn from named streams, packed into blocks of tokens.

A stream is a column of a data set (`corpus.column`) or any other sequence of texts. It is read piece by piece and blocks
are written to disk as they are filled, so memory holds a few numbers an excerpt, whatever the size of the text.
"""
import functools
import heapq
import itertools
import random
import re
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import datasets
import numpy
import pyarrow
import regex
from datasets.arrow_dataset import Column
from datasets.arrow_writer import ArrowWriter
from tokenizers import Tokenizer

from lib.engine import pool, store

EXCERPT = 4000  # characters; longer documents are read in parts, so that a small budget still reads many of them
BATCH, WRITTEN = 100, 200  # texts that are read or tokenised at a time, blocks that are written at a time
KNOWN, EMPTY = 2 ** 18, numpy.zeros(0, numpy.int32)  # words whose tokens are kept
# Where a space begins a word, and words of all kinds to try whether a tokenizer cuts there.
SEAM, UNEVEN = regex.compile(r"(?<=\S)(?= \S)"), re.compile(r"\s\s|^\s|\s\Z")
KINDS = ["a", "Z", "ب", "é", "漢", "1", "۲", ".", "'s", "(", "_", "/", "،", "\u200c", "🙂"]
ROW = datasets.Features({"input_ids": datasets.List(datasets.Value("int32")), "labels": datasets.List(datasets.Value("int32")),
                         "bytes": datasets.Value("int64"), "stream": datasets.Value("string")})


def documents(streams: dict[str, Sequence[str]], shares: dict[str, float], budget_bytes: int, seed: int):
    """`budget_bytes` of UTF-8 text as an iterator of (stream, text), each stream with its share of the bytes all along.

    Each stream is shuffled by `seed`, long documents cut into excerpts, and read again when it runs out (and said so);
    its last text is cut where its share ends. Raises ValueError for shares that do not add up to 1 or an empty stream.
    """
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"Shares {shares} add up to {sum(shares.values()):.3f}: they must add up to 1.")
    drawn = [_draw(name, streams.get(name, []), round(share * budget_bytes), seed)
             for name, share in shares.items() if share > 0]
    return ((name, text) for _, name, text in heapq.merge(*drawn, key=lambda row: row[0]))


def blocks(documents: Iterable[tuple[str, str]], tokenizer, length: int) -> datasets.Dataset:
    """Packs documents into blocks of `length` tokens, EOS after each document; streams never share a block.

    Columns input_ids, labels, bytes (of the text in the block) and stream, in a temporary file that goes with the process.
    Prints the streams' shares and how many tokens were left over. Raises ValueError when not one block can be filled.
    """
    file = Path(tempfile.mkdtemp(dir=store.passing())) / "blocks.arrow"
    sizes, buffers = Counter(), {}
    with ArrowWriter(features=ROW, path=str(file), writer_batch_size=1000) as writer:
        filled = _filled(documents, tokenizer, length, buffers)
        while rows := list(itertools.islice(filled, WRITTEN)):
            names, ids, read = zip(*rows)
            starts = numpy.arange(len(ids) + 1, dtype=numpy.int32) * length
            ids = pyarrow.ListArray.from_arrays(starts, numpy.concatenate(ids))
            writer.write_table(pyarrow.table({"input_ids": ids, "labels": ids, "bytes": read, "stream": names}))
            for name, size in zip(names, read):
                sizes[name] += size
        left = sum(len(ids) for ids, _ in buffers.values())
        if not sizes:
            raise ValueError(f"{left} tokens do not fill one block of {length}: raise the budget or shorten the blocks.")
        count, _ = writer.finalize()
    total = sum(sizes.values())
    parts = ", ".join(f"{name} {size / total:.1%}" for name, size in sorted(sizes.items()))
    print(f"{count:,} blocks of {length} tokens, {total:,} bytes: {parts}; {left} tokens left over.")
    return datasets.Dataset.from_file(str(file))


def _draw(name: str, texts: Sequence[str], quota: int, seed: int):
    """(position, stream, text) rows of one stream worth `quota` bytes; position runs from 0 to 1 with its bytes."""
    excerpts, available = _excerpts(texts)
    if not available:
        raise ValueError(f"Stream {name!r} has no text: check the corpus, or set its share to 0.")
    if available < quota:
        print(f"Stream {name} has {available:,} bytes and is read {quota / available:.1f} times.")
    return _rows(name, texts, excerpts, quota, seed)


def _rows(name: str, texts: Sequence[str], excerpts: numpy.ndarray, quota: int, seed: int):
    order, taken = numpy.arange(len(excerpts)), 0
    for epoch in itertools.count():
        random.Random(f"{seed}/{name}/{epoch}").shuffle(order)
        for text, start, end in _read(texts, excerpts, order):
            part = text[start:end].encode()[:quota - taken].decode(errors="ignore")
            if not part:
                return
            yield taken / quota, name, part
            taken += len(part.encode())


def _read(texts: Sequence[str], excerpts: numpy.ndarray, order: numpy.ndarray):
    """Text, start and end of the excerpts, in this order."""
    for first in range(0, len(order), BATCH):
        numbers, starts, ends = excerpts[order[first:first + BATCH]].T.tolist()
        yield from zip(texts[numbers] if isinstance(texts, Column) else [texts[number] for number in numbers], starts, ends)


def _excerpts(texts: Sequence[str]) -> tuple[numpy.ndarray, int]:
    """Where excerpts lie, array [excerpts, 3] of text, start and end in characters, and their bytes in all."""
    found, size = array("q"), 0
    for first in range(0, len(texts), BATCH):
        for number, text in enumerate(texts[first:first + BATCH], first):
            for start, end in _parts(text):
                found.extend((number, start, end))
                size += len(text[start:end].encode())
    return numpy.frombuffer(found, numpy.int64).reshape(-1, 3) if found else numpy.zeros((0, 3), int), size


def _parts(text: str):
    """Start and end of parts of about EXCERPT characters, cut at line ends."""
    start = end = 0
    for line in text.splitlines(keepends=True) if len(text) > EXCERPT else [text]:
        if end > start and end - start + len(line) > EXCERPT:
            yield start, end
            start = end
        end += len(line)
    if text[start:end].strip():
        yield start, end


def _filled(documents, tokenizer, length: int, buffers: dict):
    """(stream, ids, bytes) of every block, as soon as it is full; what is left over stays in `buffers`, by stream."""
    for name, more, new in _tokens(documents, tokenizer):
        ids, sizes = map(numpy.append, buffers.get(name, (EMPTY, EMPTY)), (more, new))
        whole = len(ids) - len(ids) % length
        for at in range(0, whole, length):
            yield name, ids[at:at + length], int(sizes[at:at + length].sum())
        buffers[name] = ids[whole:], sizes[whole:]


def _tokens(documents, tokenizer):
    """(stream, ids, bytes) of every document: its token ids with EOS behind, and the bytes of text each token brings."""
    file = Path(tempfile.mkdtemp(dir=store.passing())) / "tokenizer.json"
    file.write_text(tokenizer.backend_tokenizer.to_str(), "utf8")
    coder = functools.partial(_coded, str(file), tokenizer.eos_token_id)
    return itertools.chain.from_iterable(pool.batches(coder, documents, "tokens", BATCH))


def _coded(file: str, end: int, documents: list[tuple[str, str]]) -> list[tuple[str, numpy.ndarray, numpy.ndarray]]:
    """(stream, ids, bytes) of documents, by the tokenizer of a file, with the id `end` behind.

    Words repeat: where the tokenizer never joins them, each is cut once and then looked up.
    """
    backend, apart, before, behind, known = _coder(file, end)
    parts = [_words(text) if apart else [text] for _, text in documents]
    if len(known) > KNOWN * apart:
        known.clear()
    words = {word: place for place, word in enumerate(set().union(*parts))}
    new = list(words.keys() - known.keys())
    known.update(zip(new, map(_sized, new, backend.encode_batch(new, add_special_tokens=False))))
    ids, sizes = zip(*map(known.__getitem__, words))
    counts = numpy.fromiter(map(len, ids), int)
    starts, flat = numpy.cumsum(counts) - counts, [numpy.fromiter(itertools.chain.from_iterable(side), numpy.int32)
                                                   for side in (ids, sizes)]
    found = []
    for (name, _), text in zip(documents, parts):
        numbers = numpy.fromiter(map(words.__getitem__, text), int, len(text))
        many = counts[numbers]
        places = numpy.repeat(starts[numbers] - numpy.cumsum(many) + many, many) + numpy.arange(many.sum())
        found.append((name, numpy.concatenate([before, flat[0][places], behind]),
                      numpy.concatenate([0 * before, flat[1][places], 0 * behind])))
    return found


@functools.lru_cache(1)
def _coder(file: str, end: int):
    """A tokenizer, whether its words can be tokenised apart, the ids before and behind a text, and words known so far."""
    backend = Tokenizer.from_file(file)
    backend.no_padding()
    backend.no_truncation()
    found = backend.encode("a")
    inner, ids = numpy.flatnonzero(numpy.array(found.special_tokens_mask) == 0), numpy.array([*found.ids, end], numpy.int32)
    return backend, _separable(backend), ids[:inner[0]], ids[inner[-1] + 1:], {}


def _words(text: str) -> list[str]:
    """The text cut at each SEAM."""
    if UNEVEN.search(text):
        return SEAM.split(text)
    first, *rest = text.split(" ")
    return [first, *[" " + word for word in rest]]


def _separable(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer cuts a text before each space that begins a word, so that words can be tokenised apart."""
    probe, cutter = " ".join(a + b for a in KINDS for b in KINDS), tokenizer.pre_tokenizer
    wide = any(token.lstrip or token.rstrip or any(map(str.isspace, token.content))
               for token in tokenizer.get_added_tokens_decoder().values())
    kept = tokenizer.normalizer is None or tokenizer.normalizer.normalize_str(probe) == probe
    return kept and not wide and cutter is not None and {found.start() for found in SEAM.finditer(probe)} <= {
        start for _, (start, _) in cutter.pre_tokenize_str(probe)}


def _sized(text: str, encoding) -> tuple[list[int], list[int]]:
    """Ids of a text, and the bytes that each token brings."""
    until = [0, *itertools.accumulate(1 + (sign > "\x7f") + (sign > "\u07ff") + (sign > "\uffff") for sign in text)]
    ends = [0, *itertools.accumulate((until[end] for _, end in encoding.offsets), max)]
    return encoding.ids, [after - before for before, after in zip(ends, ends[1:])]
