"""Training text by shares: documents drawn from named streams, packed into blocks of tokens."""
import itertools
import random

import datasets
import numpy

EXCERPT = 4000  # characters; longer documents are read in parts, so that a small budget still reads many of them


def documents(streams: dict[str, list[str]], shares: dict[str, float], budget_bytes: int, seed: int):
    """`budget_bytes` of UTF-8 text as a list of (stream, text), each stream with its share of the bytes all along.

    Each stream is shuffled by `seed`, long documents cut into excerpts, and read again when it runs out (and said so);
    its last text is cut where its share ends. Raises ValueError for shares that do not add up to 1 or an empty stream.
    """
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"Shares {shares} add up to {sum(shares.values()):.3f}: they must add up to 1.")
    drawn = []
    for name, share in shares.items():
        if share > 0:
            drawn += _draw(name, streams.get(name, []), round(share * budget_bytes), seed)
    return [(name, text) for _, name, text in sorted(drawn, key=lambda row: row[0])]


def blocks(documents, tokenizer, length: int) -> datasets.Dataset:
    """Packs documents into blocks of `length` tokens, EOS after each document; streams never share a block.

    Columns input_ids, labels, bytes (of the text in the block) and stream. Prints the streams' shares and how many
    tokens were left over. Raises ValueError when not one block can be filled.
    """
    rows, buffers = [], {}
    for name, text in documents:
        ids, sizes = buffers.setdefault(name, ([], []))
        for buffer, more in zip((ids, sizes), _tokens(tokenizer, text)):
            buffer.extend(more)
        while len(ids) >= length:
            rows.append({"input_ids": ids[:length], "labels": ids[:length], "bytes": sum(sizes[:length]), "stream": name})
            del ids[:length], sizes[:length]
    left = sum(len(ids) for ids, _ in buffers.values())
    if not rows:
        raise ValueError(f"{left} tokens do not fill one block of {length}: raise the budget or shorten the blocks.")
    _announce(rows, length, left)
    return datasets.Dataset.from_list(rows)


def _draw(name: str, texts: list[str], quota: int, seed: int):
    """(position, stream, text) rows of one stream worth `quota` bytes; position runs from 0 to 1 with its bytes."""
    excerpts = [part for text in texts for part in _excerpts(text)]
    available = sum(len(part.encode()) for part in excerpts)
    if not available:
        raise ValueError(f"Stream {name!r} has no text: check the corpus, or set its share to 0.")
    if available < quota:
        print(f"Stream {name} has {available:,} bytes and is read {quota / available:.1f} times.")
    rows, taken = [], 0
    for epoch in itertools.count():
        random.Random(f"{seed}/{name}/{epoch}").shuffle(excerpts)
        for part in excerpts:
            part = part.encode()[:quota - taken].decode(errors="ignore")
            if not part:
                return rows
            rows.append((taken / quota, name, part))
            taken += len(part.encode())


def _excerpts(text: str):
    """The text in parts of about EXCERPT characters, cut at line ends."""
    part = ""
    for line in text.splitlines(keepends=True):
        if part and len(part) + len(line) > EXCERPT:
            yield part
            part = ""
        part += line
    if part.strip():
        yield part


def _tokens(tokenizer, text: str):
    """Token ids of a document with EOS behind, and how many bytes of the text each token brings."""
    coded = tokenizer(text, return_offsets_mapping=True, verbose=False)
    until = numpy.concatenate([[0], numpy.cumsum([len(letter.encode()) for letter in text])])
    ends = numpy.maximum.accumulate([0, *(until[end] for _, end in coded["offset_mapping"])])
    eos = tokenizer.eos_token_id
    return [*coded["input_ids"], eos], [*numpy.diff(ends).tolist(), 0]


def _announce(rows, length: int, left: int):
    total = sum(row["bytes"] for row in rows)
    names = sorted({row["stream"] for row in rows})
    parts = ", ".join(f"{name} {sum(row['bytes'] for row in rows if row['stream'] == name) / total:.1%}" for name in names)
    print(f"{len(rows):,} blocks of {length} tokens, {total:,} bytes: {parts}; {left} tokens left over.")
