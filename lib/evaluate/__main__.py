"""Any model on the companion's tests: `python -m lib.evaluate <folder, org/name@revision, embedded name or stage>`."""
import argparse
import sys
import tempfile
from pathlib import Path

import pandas

from lib.data import corpus
from lib.engine import assets, run, statistics
from lib.evaluate import harness, measure, testsets
from lib.model import folders

SIZES = {"texts": 200_000, "items": 500, "pairs": 500}  # bytes of text a language and split, items a task, pairs
EXCERPT, LONGEST = 1000, 400  # characters of a text, and of an item or a sentence


def scores(model, tokenizer, profile: str, sizes: dict[str, int], folder: Path) -> pandas.DataFrame:
    """What a model scores on the tests of a profile's chapter 01: measure, language, value, low, high, n, unit.

    Bits per byte by kind of text, choice and minimal pairs by likelihood with their margins (`harness.score`), and retrieval
    of translations over all layers.
    """
    language = corpus.language(profile)
    documents, items, pairs = (corpus.read(profile, name) for name in ("documents", "items", "pairs"))
    given = (documents, language, sizes["texts"], EXCERPT)
    texts = pandas.concat([testsets.texts(*given), testsets.controls(*given)], ignore_index=True)
    read = measure.read(model, tokenizer, texts)
    found = [("text: " + register, code, statistics.ratio(part["bits"], part["bytes"]), "bits/byte")
             for (code, register), part in read.groupby(["language", "register"], sort=False)]
    asked = testsets.choose(items, [], sizes["items"], LONGEST)
    answers = harness.score(model, tokenizer, asked, folder)
    for (task, code), part in answers.groupby(["task", "language"]):
        found += [(task, code, statistics.wilson(part["correct"].sum(), len(part)), "share"),
                  (f"{task}, margin", code, statistics.mean(part["margin"]), "bits/byte")]
    sentences = testsets.sentences(pairs, sizes["pairs"], LONGEST)
    if len(sentences) > 1:
        near = measure.retrieval(model, tokenizer, sentences["english"].tolist(), sentences["target"].tolist())
        mean = near.groupby("item")["correct"].mean()
        found.append(("retrieval, all layers", f"en-{language}", statistics.mean(mean), "share"))
    return pandas.DataFrame([{"measure": name, "language": code, **estimate._asdict(), "unit": unit}
                             for name, code, estimate, unit in found])


def main(arguments: list[str] | None = None) -> int:
    """Prints one table with 95 % intervals over items, and writes it where `--csv` says; 1 when there is no such model."""
    parser = argparse.ArgumentParser(prog="python -m lib.evaluate", description=__doc__)
    parser.add_argument("model", help="folder, org/name@revision, smollm2-135m, or a stage: base, extended, pretrained …")
    parser.add_argument("--profile", default="laptop", help="whose chapter 01 made the tests (default: laptop)")
    parser.add_argument("--csv", type=Path, help="file to write the table to")
    for name, size in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=size, help=f"how much is read (default: {size})")
    given = parser.parse_args(arguments)
    return run.told(lambda: _act(given), ValueError, FileNotFoundError, assets.AssetError)


def _act(given: argparse.Namespace):
    folder = folders.named(given.profile, given.model)
    with tempfile.TemporaryDirectory() as scratch:
        table = scores(folders.load(folder), folders.tokenizer(folder), given.profile,
                       {name: getattr(given, name) for name in SIZES}, Path(scratch))
    if given.csv:
        table.to_csv(given.csv, index=False)
    few = table["n"] < statistics.LEAST
    print(table[~few].drop(columns="trainings", errors="ignore").round(3).to_string(index=False))
    if few.any():
        print(f"Left out are {few.sum()} of {len(table)} measures, of fewer than {statistics.LEAST} items, whose intervals "
              "mean nothing.")


if __name__ == "__main__":
    sys.exit(main())
