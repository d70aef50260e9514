"""Text per second that is drawn, tokenised and packed, and the memory that takes, from a corpus made of a seed.

Memory hardly grows with the size, since text and blocks stay on disk. A part of the text is also packed as the examples of
transformers do it (`group_texts` of run_clm.py), in lists.

    python benchmarks/packing.py                        # 100 MB
    python benchmarks/packing.py --megabytes 1000
"""
import argparse
import itertools
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import datasets  # noqa: E402
import numpy  # noqa: E402
import psutil  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, trainers  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402

from lib.data import mixture  # noqa: E402
from lib.engine import pool, records  # noqa: E402

LETTERS, END = "ابپتجچحدرزسشعفقکگلمنوهی", "<|endoftext|>"
LINES, PART = 1000, 5000  # drawn at a time; texts that are also packed the examples' way


def texts(size: int, seed: int):
    """Rows of about `size` bytes of UTF-8 in all: documents of made-up words, each used as often as words are."""
    draw = numpy.random.default_rng(seed)
    words = numpy.array(["".join(draw.choice(list(LETTERS), draw.integers(2, 9))) for _ in range(20_000)], object)
    often = numpy.cumsum(1 / numpy.arange(1, len(words) + 1))
    while size > 0:
        found = words[numpy.searchsorted(often, draw.random((LINES, 40)) * often[-1])]
        lines = [" ".join(line) for line in found]
        while lines:
            document = "\n".join(lines[:draw.integers(1, 13)])
            lines = lines[document.count("\n") + 1:]
            yield {"text": document}
            size -= len(document.encode())


def learned(sample: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 8,000 pieces."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.train_from_iterator(sample, trainers.BpeTrainer(vocab_size=8000, special_tokens=[END], show_progress=False,
                                                            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END)


class Memory(threading.Thread):
    """Most memory of this process of its own, in MB: pages of files that it reads, which can go at any time, apart."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ended, self.before, self.peak = threading.Event(), self.now(), 0.0

    def now(self) -> float:
        found = psutil.Process().memory_info()
        return (found.rss - getattr(found, "shared", 0)) / 1e6

    def run(self):
        while not self.ended.wait(0.1):
            self.peak = max(self.peak, self.now())


def grouped(texts, tokenizer, length: int) -> list[list[int]]:
    """Blocks as transformers' examples make them: a batch of texts is tokenised and joined, and its rest left out."""
    blocks = []
    for at in range(0, len(texts), 1000):
        ids = list(itertools.chain.from_iterable(tokenizer(texts[at:at + 1000], return_attention_mask=False)["input_ids"]))
        blocks += [ids[start:start + length] for start in range(0, len(ids) - len(ids) % length, length)]
    return blocks


def main(arguments: list[str] | None = None):
    """Makes the corpus on disk, packs all of it once, and prints what that took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--length", type=int, default=512, help="tokens of a block")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the results")
    given = parser.parse_args(arguments)
    size = given.megabytes * 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        stream = datasets.Dataset.from_generator(texts, gen_kwargs={"size": size, "seed": given.seed}, cache_dir=folder)["text"]
        tokenizer, memory, started = learned(stream[:500]), Memory(), time.monotonic()
        memory.start()
        drawn = mixture.documents({"made up": stream}, {"made up": 1.0}, size, given.seed)
        packed = mixture.blocks(drawn, tokenizer, given.length)
        seconds = time.monotonic() - started
        memory.ended.set()
        part, started = stream[:PART], time.monotonic()
        grouped(part, tokenizer, given.length)
        plain = sum(len(text.encode()) for text in part) / 1e6 / (time.monotonic() - started)
    found = {"megabytes": given.megabytes, "megabytes_per_second": given.megabytes / seconds, "group_texts": plain,
             "memory": memory.peak, "cores": pool.cores()}
    if given.json:
        records.write_json(given.json, found)
    print(f"{given.megabytes} MB in {seconds:.0f} s: {given.megabytes / seconds:.2f} MB/s, {len(packed):,} blocks; peak memory "
          f"{memory.peak:.0f} MB, {memory.before:.0f} MB of it before the packing; the examples' "
          f"way {plain:.2f} MB/s.")


if __name__ == "__main__":
    main()
