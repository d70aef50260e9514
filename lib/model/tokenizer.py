"""A tokenizer that learns a language's words on top of a base's, and how well it cuts them.

Continued BPE keeps every merge of the base and learns more on the corpus, so old text keeps its ids and each new piece
can be reached (appended pieces often cannot: arXiv 2512.03989). Works for byte-level BPE (SmolLM2, Llama-3) and for
SentencePiece-style BPE with byte fallback (Llama-2), of which a result is saved without a `tokenizer.model`.
"""
import codecs
import copy
import functools
import heapq
import io
import itertools
import json
import shutil
import tempfile
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pandas
import regex
import sentencepiece
import tokenizers
from tokenizers import models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode, generate_merges

from lib.data.text import SCRIPTS, SINGLE, ZWNJ, byte_level, script_share, words
from lib.engine import pool, statistics
from lib.engine.statistics import Estimate

# A piece seen once teaches nothing: its row would get a single gradient.
FEWEST = 2
META = 4  # pieces of SentencePiece that are no text, and its space
BYTES = {character: byte for byte, character in bytes_to_unicode().items()}
# A merge (left, right), or a single character that the base could only spell in bytes.
Step = tuple[str, ...]


def extend(base: PreTrainedTokenizerFast, texts: list[str], size: int, script: str) -> PreTrainedTokenizerFast:
    """The base with up to `size` pieces of `script` (a Unicode script name, e.g. "Arabic") learned on `texts`.

    Ids, special tokens, chat template and padding of the base stay; new ids start at `len(base)`. Deterministic.
    Raises ValueError for a base that is not BPE or a script Unicode does not know.
    """
    return grow(base, learn(base, texts, size, script), size)


def learn(base: PreTrainedTokenizerFast, texts: list[str], size: int, script: str) -> list[Step]:
    """What continued BPE adds to the base, in order of learning: its first steps are what a smaller `size` learns.

    New merges follow Sennrich et al. (2016, arXiv 1508.07909): the most frequent pair of neighbours first, ties in
    code point order. A piece holds letters, marks, digits and punctuation of `script` and ZWNJ, after a space or none;
    in byte-level BPE also the first bytes of a character, where these lead to `script` rather than to shared signs.
    """
    check(base, script)
    fits = functools.cache(functools.partial(_fits, script=script, byte_level=byte_level(base)))
    found = Counter()
    for words_of in pool.batches(functools.partial(_cut, *_cutters(base)), texts, "words"):
        found.update(words_of)
    steps = [] if byte_level(base) else _characters(base, found, fits)[:size]
    model = grow(base, steps, size).backend_tokenizer.model
    pieces = [([token.value for token in model.tokenize(word)], count) for word, count in found.items()]
    known = set(base.get_vocab()).union("".join(step) for step in steps)
    return steps + _merges(pieces, known, size - len(steps), fits)


def grow(base: PreTrainedTokenizerFast, steps: list[Step], size: int) -> PreTrainedTokenizerFast:
    """A copy of the base with the first `size` new pieces of `steps` and every merge up to there."""
    state = json.loads(base.backend_tokenizer.to_str())
    vocabulary, merges = state["model"]["vocab"], state["model"]["merges"]
    # Special tokens take their place in the vocabulary too: otherwise their ids are holes between old and new pieces.
    vocabulary.update({token["content"]: token["id"] for token in state["added_tokens"]})
    following = itertools.count(len(base))
    for step in steps:
        piece = "".join(step)
        if piece not in vocabulary:
            if size == 0:
                break
            vocabulary[piece], size = next(following), size - 1
        merges.extend([list(step)] * (len(step) == 2))
    grown = copy.deepcopy(base)
    grown._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(state))
    return grown


def append_bpe(base: PreTrainedTokenizerFast, texts: list[str], size: int, script: str) -> PreTrainedTokenizerFast:
    """For comparison: a BPE trained apart on `texts` (same cutting into words), its pieces of `script` appended."""
    check(base, script)
    donor = tokenizers.Tokenizer(models.BPE())
    donor.normalizer, donor.pre_tokenizer = _cutters(base)
    donor.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=2 * size + 1000, show_progress=False))
    pieces = sorted(donor.get_vocab(), key=donor.get_vocab().get)
    return _append(base, [piece for piece in pieces if _fits(piece, script, byte_level(base))], size)


def append_sentencepiece(base: PreTrainedTokenizerFast, texts: list[str], size: int) -> PreTrainedTokenizerFast:
    """For comparison: the way of the Llama-Persian paper and its parent Chinese-LLaMA (arXiv 2304.08177).

    SentencePiece with its defaults (unigram, nmt_nfkc: ZWNJ becomes a space) learns `size` pieces; those the base lacks
    are appended, of any script, so that fewer than `size` are new. It refuses a size below the number of characters, as
    of Chinese text: then it learns as many more, and the `size` likeliest are taken. No line is too long for it.
    """
    check(base)
    lines, file = [line for text in texts for line in text.splitlines()], io.BytesIO()
    signs = len(set(unicodedata.normalize("NFKC", "".join(lines)))) + META
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=file, vocab_size=size if signs < size else size + signs,
        max_sentence_length=max(4192, *(len(line.encode()) for line in lines)), hard_vocab_limit=False, num_threads=2,
        minloglevel=2)
    donor = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
    ordinary = (row for row in range(len(donor)) if not (donor.is_control(row) or donor.is_unknown(row)))
    pieces = [donor.id_to_piece(row) for row in ordinary]
    return _append(base, [_alphabet(piece) if byte_level(base) else piece for piece in pieces], size)


def subtokens(base: PreTrainedTokenizerFast, tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """For each id of `tokenizer` from `len(base)` on: the base's ids of the same bytes; empty for special tokens."""
    special, model = set(tokenizer.get_added_vocab()), base.backend_tokenizer.model
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(base), len(tokenizer))))
    return [[] if piece in special else [token.id for token in model.tokenize(piece)] for piece in pieces]


def counts(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> pandas.DataFrame:
    """One row a text, which all measures start from.

    `ids` (no special tokens), `tokens`, `bytes` (UTF-8), `words` (`text.words`), `whole` (words that are one token),
    `exact` (decodes to itself), `zwnj` and `zwnj_kept` (zero-width non-joiners before, and after encoding and decoding).
    """
    ids, found = encode(tokenizer, texts), [words(text) for text in texts]
    decoded = [tokenizer.decode(row, clean_up_tokenization_spaces=False) for row in ids]
    whole = _whole(tokenizer, sorted(set(itertools.chain.from_iterable(found))))
    return pandas.DataFrame({
        "ids": ids, "tokens": [len(row) for row in ids], "bytes": [len(text.encode()) for text in texts],
        "words": [len(row) for row in found], "whole": [sum(word in whole for word in row) for row in found],
        "exact": [a == b for a, b in zip(decoded, texts)], "zwnj": [text.count(ZWNJ) for text in texts],
        "zwnj_kept": [min(a.count(ZWNJ), b.count(ZWNJ)) for a, b in zip(decoded, texts)]})


def fertility(counted: pandas.DataFrame) -> Estimate:
    """Tokens a word (Rust et al. 2021, arXiv 2012.15613), or a character where `text.words` are these."""
    return statistics.ratio(counted.tokens, counted.words)


def compression(base: pandas.DataFrame, counted: pandas.DataFrame) -> Estimate:
    """Bytes a token over the base's on the same texts: how many times shorter they become (PolyLM's compression)."""
    return statistics.ratio(base.tokens, counted.tokens)


def target_measures(base: pandas.DataFrame, counted: pandas.DataFrame,
                    unit: str = "word") -> dict[tuple[str, str], Estimate]:
    """Measures on texts of the learned language, (metric, unit) → estimate; `unit` is `text.unit` of its script."""
    found = {("fertility", f"tokens/{unit}"): fertility(counted),
             ("bytes_per_token", "bytes/token"): statistics.ratio(counted.bytes, counted.tokens),
             ("words_kept_whole", "share"): statistics.ratio(counted.whole, counted.words),
             ("compression", "times the base"): compression(base, counted),
             ("round_trip", "share"): statistics.wilson(counted.exact.sum(), len(counted))}
    if counted.zwnj.sum():
        found["zwnj_kept", "share"] = statistics.wilson(counted.zwnj_kept.sum(), counted.zwnj.sum())
    return found


def english_measures(base: pandas.DataFrame, counted: pandas.DataFrame) -> dict[tuple[str, str], Estimate]:
    """Measures on English texts, which an extension should leave as they were; (metric, unit) → estimate."""
    same = sum(a == b for a, b in zip(base.ids, counted.ids))
    return {("fertility", "tokens/word"): fertility(counted),
            ("ids_unchanged", "share"): statistics.wilson(same, len(base))}


def reachable(base: PreTrainedTokenizerFast, tokenizer: PreTrainedTokenizerFast) -> Estimate:
    """Share of the new pieces that come out as one token when the piece itself is cut."""
    model, new = tokenizer.backend_tokenizer.model, range(len(base), len(tokenizer))
    pieces = tokenizer.convert_ids_to_tokens(list(new))
    return statistics.wilson(sum([token.id for token in model.tokenize(piece)] == [row]
                                 for row, piece in zip(new, pieces)), len(new))


def used(base: PreTrainedTokenizerFast, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Estimate:
    """Share of the new pieces that occur in `texts` at least once; a row that never occurs is never trained."""
    seen = set(itertools.chain.from_iterable(encode(tokenizer, texts)))
    return statistics.wilson(sum(row in seen for row in range(len(base), len(tokenizer))), len(tokenizer) - len(base))


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Ids of each text, without special tokens."""
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    return [encoding.ids for encoding in backend.encode_batch_fast(list(texts), add_special_tokens=False)]


def start_token(tokenizer) -> int:
    """The id before a text's first token: the BOS that the tokenizer itself puts there, else EOS.

    EOS is what separates documents in packed pretraining, so a text scored after it stands as it stood in training.
    A BOS that the tokenizer has but never adds (SmolLM2: <|im_start|>, which opens a chat turn) is not used.
    """
    added = tokenizer("").input_ids
    return added[0] if added else tokenizer.eos_token_id


def encoded(tokenizer, texts, chat: bool = False) -> list[list[int]]:
    """Ids of texts as every score reads them: a document behind `start_token`, a chat just as its template renders it."""
    start = [] if chat else [start_token(tokenizer)]
    return [[*start, *ids] for ids in encode(tokenizer, texts)]


def padded(tokenizer, ids):
    """Ids of texts to go on with (`encoded`) as tensors input_ids and attention_mask, padded on the left."""
    return tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")


def cut(tokenizer: PreTrainedTokenizerFast, sentence: str) -> list[str]:
    """The sentence's tokens, readable: ZWNJ is shown as `<ZWNJ>`, a part of a character as `<bytes>`."""
    shown = [tokenizer.decode([row]).replace(ZWNJ, "<ZWNJ>") for row in encode(tokenizer, [sentence])[0]]
    return ["<bytes>" if "\ufffd" in piece else piece for piece in shown]


def from_sentencepiece(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder with the BPE of a SentencePiece `tokenizer.model` and no `tokenizer.json`.

    transformers' own conversion needs protobuf, and takes unigram for BPE too. Raises ValueError for a file of another
    kind, and when the converted tokenizer cuts texts made of the vocabulary otherwise than SentencePiece does.
    """
    refusal = (f"{folder}/tokenizer.model is no SentencePiece BPE that can be converted (but unigram, tiktoken, or one "
               "that rewrites its text): put a BPE's tokenizer.json beside it, or choose another base.")
    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    except RuntimeError as error:
        raise ValueError(refusal) from error
    apart = {row for row in range(len(model)) if model.is_control(row) or model.is_unknown(row) or model.is_byte(row)}
    text = "".join(model.id_to_piece(row) for row in range(len(model)) if row not in apart).replace("▁", " ")
    lines = [" ".join(text[at:at + 200].split()) for at in range(0, len(text), 200)] + ["½ ﬁ ي…"]
    for prefix in (True, False):
        converted = _converted(folder, model, apart, prefix)
        if encode(converted, lines) == model.encode(lines):
            return converted
    raise ValueError(refusal)


def _converted(folder: Path, model, apart: set[int], prefix: bool) -> PreTrainedTokenizerFast:
    """A fast tokenizer with the pieces of a SentencePiece model (those `apart` are never merged), and the settings of
    the folder that it lies in."""
    vocabulary = {model.id_to_piece(row): row for row in range(len(model))}
    scores = {piece: model.get_score(row) for piece, row in vocabulary.items()}
    merges = generate_merges(vocabulary, scores, [model.id_to_piece(row) for row in apart])
    roles = {"bos_token": model.bos_id(), "eos_token": model.eos_id(), "unk_token": model.unk_id()}
    special = {role: model.id_to_piece(row) for role, row in roles.items() if row >= 0}
    made = LlamaTokenizer(vocab=vocabulary, merges=merges, add_prefix_space=prefix, add_bos_token=model.bos_id() >= 0,
                          **special)
    with tempfile.TemporaryDirectory() as scratch:
        made.save_pretrained(scratch)
        place = Path(scratch) / "tokenizer_config.json"
        for file in ("special_tokens_map.json", "added_tokens.json", "chat_template.jinja"):
            if (folder / file).exists():
                shutil.copy(folder / file, scratch)
        own = folder / place.name
        settings = json.loads(place.read_text("utf8")) | (json.loads(own.read_text("utf8")) if own.exists() else {})
        # This class takes tokenizer.json as it is.
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": prefix}
        place.write_text(json.dumps(settings), "utf8")
        return AutoTokenizer.from_pretrained(scratch)


def _whole(tokenizer, unique: list[str]) -> set[str]:
    """Those words that are one token after a space (SentencePiece puts it itself; scripts without spaces have none)."""
    lead, model = " " if byte_level(tokenizer) else "", tokenizer.backend_tokenizer.model
    single = {word for word in unique if regex.match(SINGLE, word, regex.V1)}
    pieces = {word: _alphabet(word) if lead else word for word in single}
    rest = [word for word in unique if word not in single]
    return ({word for word, ids in zip(rest, encode(tokenizer, [lead + word for word in rest])) if len(ids) == 1}
            | {word for word, piece in pieces.items() if len(model.tokenize(piece)) == 1})


def check(base: PreTrainedTokenizerFast, script: str = "Latin"):
    """Raises ValueError unless the base is BPE with whole ids and the script is known to Unicode."""
    state = json.loads(base.backend_tokenizer.to_str())["model"]
    if state["type"] != "BPE":
        raise ValueError(f"Only a BPE tokenizer can be extended, and this one is {state['type']}: choose another base.")
    if max(base.get_vocab().values()) != len(base) - 1:
        raise ValueError(f"The tokenizer has {len(base)} tokens but ids up to {max(base.get_vocab().values())}: "
                         "ids with holes cannot be extended, so choose another base.")
    script_share("a", script)  # ValueError for a script that Unicode does not know


def _signs(script: str) -> str:
    """Character class of a script with the marks, digits and punctuation that Unicode's script extensions give it."""
    return "[" + SCRIPTS.get(script, rf"\p{{{script}}}").replace("{", "{scx=") + "]"


def _cutters(base):
    """Normaliser and pre-tokenizer that cut text into words as the base's training did."""
    # SentencePiece's BPE never joins across a space, but transformers keeps that rule in its list of merges only.
    if byte_level(base):
        return base.backend_tokenizer.normalizer, base.backend_tokenizer.pre_tokenizer
    return None, pre_tokenizers.Metaspace()


def _cut(normaliser, cutter, texts: list[str]) -> Counter:
    """Words of texts, as a normaliser and a pre-tokenizer cut them, and how often each is there."""
    clean = normaliser.normalize_str if normaliser else str
    return Counter(word for text in texts for word, _ in cutter.pre_tokenize_str(clean(text)))


def _characters(base, found: Counter, fits) -> list[Step]:
    """Characters that the base can only spell in bytes, the most frequent first."""
    known, seen = base.get_vocab(), Counter()
    for word, count in found.items():
        seen.update({character: times * count for character, times in Counter(word).items()})
    new = [character for character in seen if character not in known and seen[character] >= FEWEST and fits(character)]
    return [(character,) for character in sorted(new, key=lambda character: (-seen[character], character))]


def _merges(words: list[tuple[list[str], int]], known: set[str], size: int, fits) -> list[Step]:
    """Byte-pair encoding of words that are cut already, until `size` pieces not in `known` are found."""
    totals, places = Counter(), defaultdict(set)
    for index, (pieces, count) in enumerate(words):
        for pair in zip(pieces, pieces[1:]):
            totals[pair] += count
            places[pair].add(index)
    heap = [(-total, pair) for pair, total in totals.items() if fits("".join(pair))]
    heapq.heapify(heap)
    steps = []
    while size > 0 and heap:
        total, pair = heapq.heappop(heap)  # perhaps a stale count, which is corrected when it comes up
        if totals[pair] < FEWEST or -total != totals[pair]:
            if totals[pair] >= FEWEST:
                heapq.heappush(heap, (-totals[pair], pair))
            continue
        steps.append(pair)
        size -= "".join(pair) not in known
        known.add("".join(pair))
        for new in _join_everywhere(words, pair, totals, places):
            if fits("".join(new)):
                heapq.heappush(heap, (-totals[new], new))
    return steps


def _join_everywhere(words, pair, totals, places) -> set[tuple[str, str]]:
    """Joins the pair in every word that has it, updates the counts, and returns the pairs this made."""
    made, joined = set(), "".join(pair)
    for index in places.pop(pair):
        pieces, count = words[index]
        new = _join(pieces, pair)
        for old in zip(pieces, pieces[1:]):
            totals[old] -= count
        for fresh in zip(new, new[1:]):
            totals[fresh] += count
            if joined in fresh:
                places[fresh].add(index)
                made.add(fresh)
        words[index] = new, count
    return made


def _join(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """The pieces with every occurrence of the pair joined, from the left."""
    new, index = [], 0
    while index < len(pieces):
        width = 2 if tuple(pieces[index:index + 2]) == pair else 1
        new.append("".join(pieces[index:index + width]))
        index += width
    return new


def _fits(piece: str, script: str, byte_level: bool) -> bool:
    """Whether a piece is of the script: its signs and ZWNJ after at most one space, the last perhaps unfinished."""
    plain, rest = _decode(piece) if byte_level else (piece.replace("▁", " "), b"")
    letters = (plain or "").removeprefix(" ")
    whole = regex.fullmatch(rf"(?V1)[{_signs(script)}{ZWNJ}]*", letters)
    return plain is not None and bool(letters or rest) and bool(whole) and (not rest or rest in _leading(script))


def _decode(piece: str) -> tuple[str | None, bytes]:
    """Text of a byte-level piece and the bytes of an unfinished last character; text is None when it is no UTF-8."""
    decoder = codecs.getincrementaldecoder("utf8")()
    try:
        return decoder.decode(bytes(BYTES[character] for character in piece)), decoder.getstate()[0]
    except (UnicodeDecodeError, KeyError):
        return None, b""


def _alphabet(piece: str) -> str:
    """A SentencePiece piece in the alphabet of byte-level BPE."""
    letters = bytes_to_unicode()
    return "".join(letters[byte] for byte in piece.replace("▁", " ").encode())


@functools.cache
def _leading(script: str) -> set[bytes]:
    """Beginnings of UTF-8 characters that lead to the script more often than to Latin letters or shared signs.

    Without the second condition the first bytes of ZWNJ, which are also those of “ and —, would change English ids.
    """
    everything = "".join(map(chr, itertools.chain(range(0x80, 0xD800), range(0xE000, 0x110000))))
    own, other = (Counter(character.encode()[:end] for character in regex.findall(pattern, everything)
                          for end in range(1, len(character.encode())))
                  for pattern in (_signs(script), rf"(?V1)[[\p{{Latin}}\p{{Common}}]--{_signs(script)}]"))
    return {start for start in own if own[start] > other[start]}


def _append(base, pieces: list[str], size: int) -> PreTrainedTokenizerFast:
    """The base with the first `size` unknown pieces, and as merges every way to put each together from two known ones."""
    known = set(base.get_vocab())
    new = [piece for piece in dict.fromkeys(pieces) if piece not in known][:size]
    known.update(new)
    steps = []
    for piece in new:
        halves = [(piece[:end], piece[end:]) for end in range(1, len(piece))]
        steps.extend([half for half in halves if known.issuperset(half)] or [(piece,)])
    return grow(base, steps, size)
