"""How alike texts are, by the character 5-grams of their keys (`text.key`): near duplicates, near twins, quotations.

Candidates are found on arrays of hashes, batch by batch, and confirmed on the texts themselves, so that time and memory
grow with the text and what is said to be exact is.
"""
import functools
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy
import pandas
from datasketch import MinHash, MinHashLSH
from datasketch.minhash import _fmix
from scipy import sparse

from lib.data import text
from lib.engine import pool

SHINGLE, PERMUTATIONS = 5, 64
SECRET = 20  # characters: shorter questions stand in many texts by themselves
TWIN = 0.7  # texts more similar than this are near twins
RUN = 8  # neighbouring words that no training text of the corpus shares with a test
SHARED, BITS = 1 / 32, 512  # rare 5-grams that twins must share, of all; length of a bitmap
TOGETHER = 2 ** 22  # pairs of texts whose shared 5-grams are counted at once
ROW, HASH = numpy.uint64(52), numpy.uint64(32)  # bits below the number of a text in its batch, and below a frequency
MULTIPLIER = numpy.uint64(0x9E3779B97F4A7C15)


def shingles(string: str) -> set[str]:
    """Character 5-grams of the string's key (`text.key`)."""
    string = text.key(string)
    return {string[start:start + SHINGLE] for start in range(max(1, len(string) - SHINGLE + 1))}


def jaccard(a: set, b: set) -> float:
    """Size of the intersection over that of the union."""
    common = len(a & b)
    return common / (len(a) + len(b) - common) if a or b else 1.0


def near_duplicates(strings: Iterable[str], threshold: float) -> list[bool]:
    """For each string, whether an earlier kept one is more similar than `threshold`.

    Candidates come from MinHash-LSH (Broder 1997; datasketch, 64 permutations) and are confirmed exactly.
    """
    strings = strings if isinstance(strings, pandas.Series) else pandas.Series(list(strings), dtype="str")
    found = list(pool.batches(functools.partial(_bands, threshold), strings, "near duplicates"))
    bands = numpy.concatenate(found) if found else numpy.zeros((0, 1), numpy.uint64)
    bad, index = numpy.zeros(len(bands), bool), [defaultdict(list) for _ in bands.T]
    shared = numpy.flatnonzero(numpy.any([_repeated(column) for column in bands.T], axis=0))
    suspects = dict(zip(shared.tolist(), strings.iloc[shared]))
    for number, string in suspects.items():
        places = [table[key] for table, key in zip(index, bands[number].tolist())]
        parts = shingles(string)
        bad[number] = any(jaccard(parts, shingles(suspects[other])) > threshold for other in set().union(*places))
        for place in places if not bad[number] else ():
            place.append(number)
    return bad.tolist()


def _bands(threshold: float, strings: list[str]) -> numpy.ndarray:
    """A hash of each band of each string's MinHash, array [strings, bands]; the MinHash is datasketch's for CRC-32."""
    letters, rows, places = _windows(strings)
    hashed = _fmix(_checksums(letters)[places], 32)
    bands, size, multipliers, offsets = _shape(threshold)
    starts = numpy.searchsorted(rows, numpy.arange(len(strings)))
    values = numpy.stack([numpy.minimum.reduceat(hashed * multiplier + offset, starts)
                          for multiplier, offset in zip(multipliers, offsets)], axis=1).astype(numpy.uint64)
    mixed = MULTIPLIER ** numpy.arange(1, size + 1, dtype=numpy.uint64)
    return (values.reshape(-1, bands, size) * mixed).sum(axis=2)


@functools.cache
def _shape(threshold: float) -> tuple[int, int, numpy.ndarray, numpy.ndarray]:
    """Bands that datasketch cuts a MinHash into for a threshold, values of each, and its multipliers and offsets."""
    found, (multipliers, offsets) = MinHashLSH(threshold, PERMUTATIONS), MinHash(PERMUTATIONS).permutations
    return found.b, found.r, multipliers[:found.b * found.r], offsets[:found.b * found.r]


def _checksums(letters: numpy.ndarray) -> numpy.ndarray:
    """CRC-32 of the UTF-8 of SHINGLE letters from each place on; NUL stands for no letter.

    CRC is linear: a state moves on by as many bytes as a letter has, and the letter's own checksum is added.
    """
    known, place = numpy.unique(letters, return_inverse=True)
    coded = [chr(letter).encode() if letter else b"" for letter in known.tolist()]
    own = numpy.array([zlib.crc32(code, 0xFFFFFFFF) ^ 0xFFFFFFFF for code in coded], numpy.uint32)[place]
    sizes = numpy.array(list(map(len, coded)))[place]
    table = numpy.array([zlib.crc32(bytes([byte]), 0xFFFFFFFF) ^ 0xFFFFFFFF for byte in range(256)], numpy.uint32)
    count = len(letters) - SHINGLE + 1
    state = numpy.full(count, 0xFFFFFFFF, numpy.uint32)
    for step in range(SHINGLE):
        for byte in range(sizes.max()):
            moved = table[state & numpy.uint32(0xFF)] ^ state >> numpy.uint32(8)
            state = numpy.where(sizes[step:step + count] > byte, moved, state)
        state ^= own[step:step + count]
    return ~state


def _repeated(values: numpy.ndarray) -> numpy.ndarray:
    """Which values stand in the array more than once."""
    _, places, counts = numpy.unique(values, return_inverse=True, return_counts=True)
    return counts[places] > 1


class Index(NamedTuple):
    """Texts to find the near twins of.

    A twin shares at least ⌈t·n⌉ of a text's n 5-grams, so of the rarest n − ⌈t·n⌉ + k of each text it shares k (prefix
    filter, Chaudhuri et al. 2006; k > 1: Wang, Li and Feng 2012). And it differs in few 5-grams, so in few bits of the
    parities of how many hash to each bit (bitmap filter, Sandes, Teodoro and Melo 2020).
    """

    threshold: float
    often: numpy.ndarray  # [first bits] how often 5-grams whose hash begins so stand in the texts
    holders: sparse.csr_array  # [first bits, texts] of the rarest 5-grams of each text
    sizes: numpy.ndarray  # [texts] 5-grams
    bitmaps: numpy.ndarray  # [texts, BITS / 64]


def twins(strings: Iterable[str], against: Iterable[str], threshold: float) -> set[str]:
    """Those of `strings` that have a Jaccard similarity above `threshold` with any text in `against`; exact."""
    strings = list(dict.fromkeys(strings))
    return {strings[number] for _, number in _pairs(strings, against, threshold)}


def _pairs(strings: list[str], texts: Iterable[str], threshold: float) -> Iterator[tuple[int, int]]:
    """(number of the text, number of the string) of near twins."""
    sets, start = functools.lru_cache(10_000)(lambda number: shingles(strings[number])), 0
    index = _index(strings, threshold) if strings else None
    for size, found in pool.batches(functools.partial(_candidates, index), texts, "twins") if strings else ():
        for row, string, numbers in found:
            parts = shingles(string)
            yield from ((start + row, number) for number in numbers if jaccard(parts, sets(number)) > threshold)
        start += size


def _index(strings: list[str], threshold: float) -> Index:
    """The strings, indexed."""
    often = numpy.zeros(1 << min(24, max(8, sum(map(len, strings)).bit_length())), numpy.uint32)
    for found in pool.batches(functools.partial(_counted, len(often)), strings, "index: frequencies"):
        often[found[0]] += found[1].astype(numpy.uint32)
    found = list(pool.batches(functools.partial(_rarest, often, threshold), strings, "index"))
    holders, sizes, bitmaps = zip(*found)
    return Index(threshold, often, sparse.vstack(holders).T.tocsr(), numpy.concatenate(sizes), numpy.concatenate(bitmaps))


def _windows(strings: list[str]) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Letters of the strings' keys one after the other, and of each 5-gram the number of its string and its place."""
    keys = [text.key(string).ljust(SHINGLE, "\0") for string in strings]
    rows = numpy.repeat(numpy.arange(len(keys)), [len(key) - SHINGLE + 1 for key in keys])
    letters = numpy.frombuffer("".join(keys).encode("utf-32-le"), numpy.uint32)
    return letters, rows, numpy.arange(len(rows)) + (SHINGLE - 1) * rows


def _grams(strings: list[str]) -> numpy.ndarray:
    """For each 5-gram of each string's key, each once: number of the string in the upper bits, a hash in the lower ROW."""
    letters, rows, places = _windows(strings)
    hashed = functools.reduce(lambda value, step: value * MULTIPLIER + letters[step:len(letters) - SHINGLE + 1 + step],
                              range(SHINGLE), numpy.uint64(0))[places]
    hashed = (hashed ^ hashed >> HASH) * MULTIPLIER
    found = numpy.sort(rows.astype(numpy.uint64) << ROW | hashed >> (numpy.uint64(64) - ROW))
    return found[numpy.diff(found, prepend=~found[0]) != 0]


def _first(grams: numpy.ndarray, size: int) -> numpy.ndarray:
    """The first bits of the hashes of 5-grams, as a place in a table of `size`."""
    return grams >> (ROW - numpy.uint64(size.bit_length() - 1)) & numpy.uint64(size - 1)


def _counted(size: int, strings: list[str]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Places of a table of `size` that 5-grams of the strings have, and how many."""
    return numpy.unique(_first(_grams(strings), size), return_counts=True)


def _rarest(often: numpy.ndarray, threshold: float, strings: list[str]):
    """Matrix [strings, first bits] of the rarest 5-grams of each string, how many it has, and its bitmap."""
    grams = _grams(strings)
    rows, hashed, count = (grams >> ROW).astype(numpy.int32), grams >> (ROW - HASH) & numpy.uint64(0xFFFFFFFF), len(strings)
    places = _first(grams, len(often))
    rarity = numpy.minimum(often[places], 2 ** 20 - 1).astype(numpy.uint64)
    order = numpy.argsort(grams >> ROW << ROW | rarity << HASH | hashed)
    sizes = numpy.bincount(rows, minlength=count)
    needed = numpy.ceil(threshold * sizes).astype(int)
    kept = numpy.arange(len(rows)) - (numpy.cumsum(sizes) - sizes)[rows] < (sizes - needed + _least(sizes, threshold))[rows]
    found = sparse.csr_array((numpy.ones(kept.sum(), numpy.uint16), (rows[kept], places[order][kept].astype(numpy.int32))),
                             (count, len(often)))
    odd = numpy.bincount(rows * BITS + (hashed % BITS).astype(int), minlength=count * BITS) & 1
    return found, sizes, numpy.packbits(odd.astype(bool)).view(numpy.uint64).reshape(count, -1)


def _least(sizes: numpy.ndarray, threshold: float) -> numpy.ndarray:
    """How many of its rarest 5-grams a twin shares with a text of so many 5-grams."""
    return numpy.clip(numpy.ceil(SHARED * sizes), 1, numpy.maximum(1, numpy.ceil(threshold * sizes))).astype(int)


def _candidates(index: Index, strings: list[str]) -> tuple[int, list[tuple[int, str, list[int]]]]:
    """How many strings there are, and those that may have twins in the index: place, string, numbers in the index."""
    rarest, sizes, bitmaps = _rarest(index.often, index.threshold, strings)
    least, others, found = _least(sizes, index.threshold), _least(index.sizes, index.threshold), defaultdict(list)
    together = max(1, TOGETHER // len(index.sizes))
    for start in range(0, len(strings), together):
        shared = (rarest[start:start + together] @ index.holders).tocoo()
        rows, numbers = shared.row + start, shared.col
        good = shared.data >= numpy.minimum(least[rows], others[numbers])
        rows, numbers = rows[good], numbers[good]
        apart = numpy.bitwise_count(bitmaps[rows] ^ index.bitmaps[numbers]).sum(axis=1)
        both = sizes[rows] + index.sizes[numbers]
        near = apart <= both * (1 - index.threshold) / (1 + index.threshold)
        for row, number in zip(rows[near].tolist(), numbers[near].tolist()):
            found[row].append(number)
    return len(strings), [(row, strings[row], numbers) for row, numbers in found.items()]


def _holds(wanted: Iterable[str], asked: Iterable[str], run: int):
    """A function that says whether one of the `wanted` strings stands in a text, or `run` neighbouring words of what is
    `asked` do (0: never), by their keys; exact."""
    keys, runs = ({text.key(string) for string in wanted} - {""},
                  {part for string in (asked if run else ()) for part in _runs(text.key(string), run)})
    frequency = Counter(part for key in keys for part in shingles(key))
    index = defaultdict(list)
    for key in keys:
        index[min(shingles(key), key=lambda part: (frequency[part], part))].append(key)

    def holds(string: str) -> bool:
        whole = text.key(string)
        return not runs.isdisjoint(_runs(whole, run)) or any(
            key in whole for part in shingles(whole) & index.keys() for key in index[part])
    return holds


def _runs(key: str, length: int) -> list[str]:
    """Every so many neighbouring words of a key; none for a length of 0."""
    words = key.split()
    return [" ".join(words[start:start + length]) for start in range(len(words) - length + 1 if length else 0)]


def leaking(rows: Iterable[Iterable[str]], asked: Iterable[str], threshold: float = TWIN, run: int = 0) -> list[bool]:
    """For each row of training texts, whether any of what is `asked` is given away by one of them; exact.

    A text does when it, or a line of it, is a near twin of an asked text, or of a line of one, when such a text of at
    least SECRET characters stands in it, or when it shares `run` neighbouring words with one (0: that is no leak). Rows
    are read one by one; what is asked is kept in memory.
    """
    asked = list(asked)
    secret = {part for string in asked for part in (string, *text.lines(string)) if len(part) >= SECRET}
    wanted, holds = list({string for string in asked if string} | secret), _holds(secret, asked, run)
    bad, owners = [], []

    def pieces():
        for number, row in enumerate(rows):
            bad.append(any(map(holds, row)))
            for piece in {piece for string in row if not bad[-1] for piece in (string, *text.lines(string))}:
                owners.append(number)
                yield piece
    for place, _ in _pairs(wanted, pieces(), threshold):
        bad[owners[place]] = True
    return bad
