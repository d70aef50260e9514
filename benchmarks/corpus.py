"""What chapter 01 takes for a text of a size, from the file to the artefacts: seconds by stage, MB/s, peak memory.

The text is made of a seed: documents of lines of Zipf-distributed words, with near duplicates and lines that the filters
take. Each size is read in a process of its own, whose memory is counted with that of its helpers. Near duplicates are also
looked for as datasketch's own example does, text by text in one MinHashLSH.

    python benchmarks/corpus.py                              # 5, 15 and 50 MB
    python benchmarks/corpus.py --sizes 100 300 1000
"""
import argparse
import contextlib
import functools
import io
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy  # noqa: E402
import psutil  # noqa: E402

from lib.engine import pool  # noqa: E402

LETTERS = "اببپتتجچحخدررزسسشعغفقکگلممننووههییی\u200c"
WORDS, LINES = 200_000, 10_000  # words of the language; lines drawn at a time
COMPARED = 20_000  # texts that datasketch's example looks at


@functools.cache
def words() -> numpy.ndarray:
    """Made-up words of a language, which are as long as words are."""
    draw = numpy.random.default_rng(0)
    sizes = draw.integers(2, 9, 2 * WORDS)
    letters = iter("".join(draw.choice(list(LETTERS), sizes.sum())))
    found = ["".join(itertools.islice(letters, size)).strip("\u200c") for size in sizes.tolist()]
    return numpy.array(list(dict.fromkeys(word for word in found if word))[:WORDS], object)


def lines(draw, count: int) -> list[str]:
    """Lines of 10 to 60 words, the most frequent word first in rank: 2% nearly repeat an earlier line, 2% fall to filters."""
    vocabulary = words()
    often = numpy.cumsum(1 / numpy.arange(1, len(vocabulary) + 1))
    sizes = draw.integers(10, 61, count)
    drawn = iter(vocabulary[numpy.searchsorted(often, draw.random(sizes.sum()) * often[-1])].tolist())
    found = [[next(drawn) for _ in range(size)] for size in sizes]
    for place, kind in zip(draw.choice(count, count // 25, replace=False), draw.choice(4, count // 25, p=[0.5, 0.2, 0.2, 0.1])):
        earlier = found[draw.integers(0, place + 1)]
        found[place] = [[*earlier, "باز"], ["of", "no", "use", str(place)] * 8, earlier[:1], earlier][kind]
    return [" ".join(line) for line in found]


def write(path: Path, megabytes: float, seed: int = 0):
    """Writes documents of 1 to 12 lines, a blank line apart, of about so many MB of UTF-8."""
    draw, size = numpy.random.default_rng(seed), 0
    with path.open("w", encoding="utf8") as file:
        while size < megabytes * 1e6:
            found = lines(draw, LINES)
            while found and size < megabytes * 1e6:
                document = "\n".join(found[:draw.integers(1, 13)]) + "\n\n"
                del found[:document.count("\n") - 1]
                size += len(document.encode())
                file.write(document)


def chapter(file: Path) -> dict[str, float]:
    """Seconds of each stage of chapter 01 for a file, and how many texts are kept."""
    from lib.data import corpus, items
    from lib.engine import params, records
    given = params.defaults("01_corpus") | {"sources": [], "corpus_files": [str(file)], "profile": "bench"}
    settings, clock, seconds = corpus.configure(given), [time.perf_counter()], {}
    record = records.Record("01_corpus", given, {})

    def stage(name: str):
        clock.append(time.perf_counter())
        seconds[name] = clock[-1] - clock[-2]
        print(f"{name} {seconds[name]:.1f} s", file=sys.stderr, flush=True)
    content, _ = corpus.gather(given)
    stage("gather")
    frames, ledger = corpus.clean(content, given["multiway_languages"], settings)
    stage("clean")
    frames = corpus.split(frames, settings, ledger)
    stage("split")
    questions = corpus.examined(items.derive(content, frames, settings), content.tests, settings, ledger)
    stage("items")
    artefacts = corpus.artefacts(frames, questions, settings)
    corpus.write("bench", artefacts)
    stage("artefacts")
    corpus.note(record, ledger, frames, artefacts)
    stage("note")
    removed = {row["filter"]: row["rows"] for row in ledger if row["artefact"] == "documents"}
    return {"seconds": seconds, "texts": len(frames["documents"]), "removed": removed}


class Memory(threading.Thread):
    """Most memory of a process and its helpers in MB; pages that several of them share count once."""

    def __init__(self, process: psutil.Process):
        super().__init__(daemon=True)
        self.process, self.peak = process, 0.0

    def run(self):
        while self.process.is_running():
            with contextlib.suppress(psutil.Error):
                found = [part.memory_full_info() for part in (self.process, *self.process.children(recursive=True))]
                self.peak = max(self.peak, sum(getattr(part, "pss", part.uss) for part in found) / 1e6)
            time.sleep(0.5)


def measured(megabytes: float, folder: Path) -> dict:
    """Makes a text and runs the chapter on it in a process of its own."""
    file = folder / f"{megabytes:g}.txt"
    write(file, megabytes)
    with tempfile.TemporaryDirectory(dir=folder) as output:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.Popen([sys.executable, __file__, "--read", str(file)], stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "COMPANION_OUTPUT": output})
        memory = Memory(psutil.Process(process.pid))
        memory.start()
        answer, after = process.communicate()[0], resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"Chapter 01 failed at {megabytes:g} MB: its words stand above.")
    found = json.loads(answer.splitlines()[-1])
    total, size = sum(found["seconds"].values()), file.stat().st_size / 1e6
    file.unlink()
    return found | {"megabytes": size, "total": total, "memory": memory.peak,
                    "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def plain(strings: list[str], threshold: float) -> list[bool]:
    """Near duplicates as datasketch's example finds them: each text is looked up in one MinHashLSH, and put into it."""
    from datasketch import MinHash, MinHashLSH

    from lib.data import likeness
    index, bad = MinHashLSH(threshold=threshold, num_perm=likeness.PERMUTATIONS), []
    encoded = ([part.encode("utf8") for part in likeness.shingles(string)] for string in strings)
    for number, sketch in enumerate(MinHash.generator(encoded, num_perm=likeness.PERMUTATIONS, hashfunc=zlib.crc32)):
        parts = likeness.shingles(strings[number])
        near = (likeness.jaccard(parts, likeness.shingles(strings[other])) for other in index.query(sketch))
        bad.append(any(similarity > threshold for similarity in near))
        if not bad[-1]:
            index.insert(number, sketch, check_duplication=False)
    return bad


def compared(count: int) -> dict:
    """Seconds for near duplicates of `count` texts by `plain` and here, and how many verdicts are the same."""
    from lib.data import likeness
    strings, found = lines(numpy.random.default_rng(1), count), {}
    likeness.near_duplicates(strings[:pool.FEW + pool.BATCH], 0.8)  # starts the helpers, which the chapter has by then
    for name, act in (("datasketch", plain), ("ours", likeness.near_duplicates)):
        started = time.perf_counter()
        verdicts = act(strings, 0.8)
        found[name] = {"seconds": time.perf_counter() - started, "verdicts": verdicts}
    same = sum(a == b for a, b in zip(*(found[name].pop("verdicts") for name in ("datasketch", "ours"))))
    return found | {"texts": count, "same": same, "megabytes": sum(len(string.encode()) for string in strings) / 1e6}


def draw(path: Path, rows: list[dict]):
    """Draws seconds and memory against the size of the text."""
    from matplotlib import pyplot

    from lib.exhibits import panels
    with pyplot.rc_context(panels.STYLE):
        drawing, (left, right) = panels.axes(1, 2, width=panels.WIDE)
        sizes = [row["megabytes"] for row in rows]
        left.plot(sizes, [row["total"] for row in rows], "ks--", label="all")
        for name in rows[0]["seconds"]:
            left.plot(sizes, [row["seconds"][name] for row in rows], "o-", label=name)
        left.set(xscale="log", yscale="log", xlabel="text (MB, log)", ylabel="seconds (log)")
        left.set_xticks(sizes, [f"{size:.0f}" for size in sizes], minor=False)
        left.minorticks_off()
        right.plot(sizes, [row["memory"] / 1000 for row in rows], "ko-")
        right.set(xlabel="text (MB)", ylabel="peak memory (GB)", ylim=(0, None))
        panels.legend(drawing, loc="outside right center")
        drawing.savefig(path)


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=float, nargs="+", default=[5, 15, 50], help="MB of text")
    parser.add_argument("--compared", type=int, default=COMPARED, help="texts that datasketch's example looks at")
    parser.add_argument("--json", type=Path, help="file for the results; the plot lies beside it")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.read:
        with contextlib.redirect_stdout(io.StringIO()):
            found = chapter(given.read)
        print(json.dumps(found))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sorted(given.sizes):
            rows.append(measured(size, Path(folder)))
            show(rows[-1])
    found = {"sizes": rows, "cores": pool.cores(), "compared": compared(given.compared)}
    if len(rows) > 1:
        sizes, seconds = (numpy.log([row[name] for row in rows]) for name in ("megabytes", "total"))
        found["exponent"] = numpy.polyfit(sizes, seconds, 1)[0].item()
        print(f"Seconds grow as the size to the power {found['exponent']:.2f}.")
    ours, other = (found["compared"][name]["seconds"] for name in ("ours", "datasketch"))
    print(f"Near duplicates of {given.compared} texts: {ours:.1f} s, datasketch's example {other:.1f} s "
          f"({other / ours:.1f} ×), {found['compared']['same']} verdicts the same.")
    if given.json:
        from lib.engine import records
        records.write_json(given.json, found)
        draw(given.json.with_suffix(".png"), rows)


def show(row: dict):
    print(f"{row['megabytes']:.0f} MB: {row['total']:.0f} s, {row['megabytes'] / row['total']:.2f} MB/s, {row['cpu']:.0f} s of "
          f"cores, peak memory {row['memory']:.0f} MB, {row['texts']:,} texts kept; "
          + ", ".join(f"{name} {seconds:.1f}" for name, seconds in row["seconds"].items()), flush=True)


if __name__ == "__main__":
    main()
