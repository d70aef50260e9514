"""Fast ways of finding likeness say what slow, obviously correct ones say, and rows on many processes are the same rows."""
import functools
import random
import zlib
from collections import Counter

import pandas
import pytest
from datasketch import MinHash, MinHashLSH

from lib.data import corpus, likeness, sources, text
from lib.engine import pool

SETTINGS = corpus.Settings(minimum_characters=5, test_share=0.2, validation_share=0.1)


@pytest.fixture(scope="module")
def strings():
    """Lines of few words, many of which nearly repeat an earlier one; empty, short, foreign and composed ones among them."""
    draw = random.Random(0)
    words = ["".join(draw.choice("ابپتنی\u200c") for _ in range(draw.randint(2, 6))) for _ in range(60)] + ["file", "日本語", "é", "e\u0301", "😀", "۱۲", "12"]
    found = ["", "a", "ab", "!!", "日本"]
    for _ in range(700):
        line = draw.choices(words, k=draw.randint(1, 25)) if draw.random() < 0.7 else draw.choice(found).split()
        if line and draw.random() < 0.5:
            line[draw.randrange(len(line))] = draw.choice(words)
        found.append(" ".join(line))
    return found


shingles = functools.cache(likeness.shingles)


def alike(a, b):
    return likeness.jaccard(shingles(a), shingles(b))


def plain_duplicates(strings, threshold):
    """Every string is looked up among those that were kept, in an index of datasketch's own."""
    index, found = MinHashLSH(threshold=threshold, num_perm=64), []
    encoded = ([part.encode() for part in likeness.shingles(string)] for string in strings)
    for number, sketch in enumerate(MinHash.generator(encoded, num_perm=64, hashfunc=zlib.crc32)):
        found.append(any(alike(strings[number], strings[other]) > threshold for other in index.query(sketch)))
        if not found[-1]:
            index.insert(number, sketch)
    return found


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_near_duplicates_are_those_of_an_index_of_datasketch(strings, threshold):
    found = likeness.near_duplicates(strings, threshold)
    assert found == plain_duplicates(strings, threshold) and 50 < sum(found) < len(found)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 0.9])
def test_twins_are_those_of_comparing_everything(strings, threshold):
    held, training = strings[:200], strings[200:]
    found = likeness.twins(held, training, threshold)
    assert found == {a for a in held if any(alike(a, b) > threshold for b in training)} and found


def test_texts_of_very_different_lengths_are_compared():
    draw = random.Random(1)
    long = " ".join("".join(draw.choices("abcdefgh", k=5)) for _ in range(3000))
    assert likeness.twins([long, long[:40]], [long[:-2000], "x"], 0.7) == {long}
    assert likeness.twins([], [long], 0.7) == likeness.twins([long], [], 0.7) == set()


def slow(rows):
    """Documents and what was removed as the chapter's prose says it, one row after the other."""
    kept, removed, seen, filters = [], Counter(), set(), corpus._filters({"text": "Arabic"}, SETTINGS)
    for row in rows:
        row = {"group": row["group"], "text": text.normalise(row["fa"], "fa"), "program": False}
        bad = next((name for name in ("empty", "placeholder", "length") if filters[name](row)), None)
        bad = bad or ("exact duplicate" if row["text"] in seen else "script" if filters["script"](row) else None)
        if bad not in ("empty", "length"):
            seen.add(row["text"])
        removed[bad] += 1
        kept += [] if bad else [row]
    near = plain_duplicates([row["text"] for row in kept], SETTINGS.near_duplicate_threshold)
    removed["near duplicate"] = sum(near)
    kept = [row for row, bad in zip(kept, near) if not bad]
    split = corpus.assign((row["group"] for row in kept), SETTINGS)
    training = [row["text"] for row in kept if split[row["group"]] == "train"]
    twin = [split[row["group"]] != "train" and any(alike(row["text"], other) > SETTINGS.twin_threshold for other in training)
            for row in kept]
    removed["twin in training"] = sum(twin)
    return [(row["text"], split[row["group"]]) for row, bad in zip(kept, twin) if not bad], removed


@pytest.mark.parametrize("cores", [1, 2])
def test_rows_are_kept_and_removed_as_one_by_one(strings, cores, monkeypatch):
    monkeypatch.setattr(pool, "BATCH", 100), monkeypatch.setattr(pool, "FEW", 100)
    monkeypatch.setattr(pool, "cores", lambda: cores)
    rows = [{"source": "s", "group": f"a/{number // 7}", "fa": string} for number, string in enumerate(strings)]
    frames, ledger = corpus.clean(sources.Content(rows), [], SETTINGS)
    documents = corpus.split(frames, SETTINGS, ledger)["documents"]
    kept, removed = slow([row for row in rows if row["fa"]])
    assert list(zip(documents["text"], documents["split"])) == kept
    lines = corpus.passages(documents, SETTINGS)["text"].str.split("\n").explode()
    assert lines.tolist() == documents["text"].tolist()
    counted = {row["filter"]: row["rows"] for row in ledger if row["artefact"] == "documents" and row["filter"] != "read"}
    assert counted == {name: rows for name, rows in removed.items() if name and rows} and len(counted) > 4


def test_texts_are_joined_to_documents_in_their_order():
    rows = pandas.DataFrame([{"source": "s", "group": group, "language": "fa", "split": "train", "text": string}
                             for group, string in zip("aabbabcc", ["1" * 500, "2" * 500, "3", "4", "5" * 10, "6", "", "7"])])
    found = corpus.passages(rows, corpus.Settings(document_characters=800))
    assert found[["id", "text"]].to_numpy().tolist() == [
        ["a:fa:0", "1" * 500 + "\n" + "2" * 500], ["a:fa:1", "5" * 10], ["b:fa:0", "3\n4\n6"], ["c:fa:0", "\n7"]]
    loose = corpus.passages(rows.assign(group=["string/" + group for group in rows["group"]]), corpus.Settings())
    assert loose["group"].tolist() == ["s/train"] * 2 and loose["text"].str.len().tolist() == [1001, 19]
