"""Training text by shares: documents drawn from named streams, packed into blocks of tokens.

A stream is a column of a data set (`corpus.column`) or any other sequence of texts. It is read piece by piece and blocks
are written to disk as they are filled, so memory holds a few numbers an excerpt, whatever the size of the text.
"""
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
from datasets.arrow_dataset import Column
from datasets.arrow_writer import ArrowWriter
from tqdm import tqdm

from lib.data.text import byte_level
from lib.engine import store

EXCERPT = 4000  # characters; longer documents are read in parts, so that a small budget still reads many of them
BATCH, WRITTEN = 200, 200  # texts that are read or tokenised at a time, blocks that are written at a time
EMPTY = numpy.zeros(0, numpy.int32)
BYTE = re.compile("<0x[0-9A-F]{2}>")  # a byte that SentencePiece has no character for
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
    widths, backend = _widths(tokenizer), tokenizer.backend_tokenizer
    documents = iter(documents)
    parts = tqdm(iter(lambda: list(itertools.islice(documents, BATCH)), []), "tokens", unit=f" × {BATCH} texts", disable=None)
    for names, texts in (zip(*part) for part in parts):
        backend.no_padding()  # which a twin of this tokenizer may have set meanwhile
        backend.no_truncation()
        for name, text, coding in zip(names, texts, backend.encode_batch_fast(texts)):
            ids = numpy.array([*coding.ids, tokenizer.eos_token_id], numpy.int32)
            sizes = widths[ids]
            sizes[0] += len(text.encode()) - sizes.sum()  # a space put before the text, or what a normaliser changed
            yield name, ids, sizes


def _widths(tokenizer) -> numpy.ndarray:
    """Bytes of text that each id stands for; special tokens stand for none."""
    spelled = byte_level(tokenizer)  # a character a byte
    vocabulary, special = tokenizer.get_vocab(), set(tokenizer.get_added_vocab())
    widths = numpy.zeros(1 + max(vocabulary.values()), numpy.int32)
    for piece in vocabulary.keys() - special:
        written = "." if BYTE.fullmatch(piece) else piece.replace("▁", " ")
        widths[vocabulary[piece]] = len(piece) if spelled else len(written.encode())
    return widths
