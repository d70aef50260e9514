"""Choice items, bits per byte and embeddings a second, beside lm-evaluation-harness and the model's own forward pass.

The items are sentences of this project's documents with one true continuation and three others. The harness' own HFLM
reads the same requests in batches of 8; chosen options and likelihoods are compared with HFLM's in fp32.

    python benchmarks/scoring.py
    python benchmarks/scoring.py --items 200 --json figures/bench/scoring.json
"""
import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy  # noqa: E402
import pandas  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

from lib.engine import machine, paths, records  # noqa: E402
from lib.evaluate import harness, measure  # noqa: E402
from lib.model import folders  # noqa: E402
from lib.model.tokenizer import encoded, start_token  # noqa: E402

BLOCK = 128  # tokens of a row in the body's own rate


def sentences(count: int) -> list[str]:
    """Lines of prose of 80 to 300 characters from the project's own Markdown and docstrings."""
    files = sorted([*paths.ROOT.glob("*.md"), *paths.ROOT.glob("docs/*.md"), *paths.ROOT.glob("lib/**/*.py")])
    lines = [line.strip() for file in files for line in file.read_text("utf8").splitlines()]
    found = list(dict.fromkeys(line for line in lines if 80 <= len(line) <= 300 and line.count(" ") > 10))
    return random.Random(0).sample(found, min(count, len(found)))


def items(count: int) -> pandas.DataFrame:
    """Choice items as `harness.score` asks them: which of four ends of three words belongs to a sentence?"""
    draw, cut = random.Random(1), [line.rsplit(" ", 3) for line in sentences(count)]
    ends = [" ".join(rest) for _, *rest in cut]
    rows = []
    for number, (begin, *_) in enumerate(cut):
        others = draw.sample(ends[:number] + ends[number + 1:], 3)
        answer = draw.randrange(4)
        rows.append({"id": str(number), "task": "heading_mcq", "language": "en", "question": begin, "answer": answer,
                     "choices": [*others[:answer], ends[number], *others[answer:]]})
    return pandas.DataFrame(rows)


def requests(reader, asked: pandas.DataFrame) -> list:
    """What the harness asks a model: strings, ids of the context, ids of the continuation, for every option."""
    pairs = [(row.question, " " + choice) for row in asked.itertuples() for choice in row.choices]
    return [(pair, *reader._encode_pair(*pair)) for pair in pairs]


def likelihoods(reader, wanted: list) -> tuple[numpy.ndarray, float]:
    """Log-likelihoods [items, 4 options], and items a second."""
    started = time.perf_counter()
    found = numpy.array([value for value, _ in reader._loglikelihood_tokens(wanted, disable_tqdm=True)]).reshape(-1, 4)
    return found, len(found) / (time.perf_counter() - started)


def compared(model, tokenizer, asked) -> dict:
    """Items a second of ours, of HFLM as it comes, and of HFLM in fp32; options chosen as HFLM in fp32 does; ties."""
    ours = harness._Reader(model, tokenizer, 8)
    wanted, kind = requests(ours, asked), machine.dtype()[0]
    exact, slow = likelihoods(_hflm(model.float(), tokenizer), wanted)
    found = {"HFLM, fp32": (exact, slow), "HFLM": likelihoods(_hflm(model.to(kind), tokenizer), wanted),
             "ours": likelihoods(ours, wanted)}
    return {name: {"items_per_second": rate, "same_choice": float((values.argmax(1) == exact.argmax(1)).mean()),
                   "ties": int(sum(len(set(row)) < 4 for row in values)),
                   "largest_difference": float(abs(values - exact).max())} for name, (values, rate) in found.items()}


def _hflm(model, tokenizer) -> HFLM:
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, prefix_token_id=start_token(tokenizer))


def reading(model, tokenizer, texts: list[str]) -> dict:
    """Tokens a second of bits per byte and of embeddings, and as shares of the body's rate without any padding."""
    ids = torch.tensor([token for row in encoded(tokenizer, texts) for token in row])
    full = ids[:len(ids) // BLOCK * BLOCK].view(-1, BLOCK)
    best = full.numel() / _seconds(lambda: _body(model, full))
    found = {name: ids.numel() / _seconds(lambda score=score: score(model, tokenizer, texts))
             for name, score in (("bits per byte", measure.bits_per_byte), ("embeddings", measure.embed))}
    return {"body": {"tokens_per_second": best}} | {
        name: {"tokens_per_second": rate, "share_of_body": rate / best} for name, rate in found.items()}


@torch.inference_mode()
def _body(model, rows: torch.Tensor):
    """Full rows of ids through the model's layers, four at a time."""
    for part in rows.split(4):
        model.get_decoder()(part, use_cache=False)


def _seconds(act) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="smollm2-135m", help="base model, as in the parameter files")
    parser.add_argument("--items", type=int, default=120)
    parser.add_argument("--json", type=Path, help="file for the results")
    given = parser.parse_args(arguments)
    transformers.utils.logging.set_verbosity_error()
    folder = folders.base(given.base)
    model, tokenizer = folders.load(folder, torch.float32), folders.tokenizer(folder)
    print(f"{machine.device_name()}, {str(machine.dtype()[0])[6:]} ({machine.dtype()[1]}), {given.items} items of 4 options")
    found = compared(model, tokenizer, items(given.items))
    for name, row in found.items():
        ratio = found["ours"]["items_per_second"] / row["items_per_second"]
        print(f"{name:12}{row['items_per_second']:8.1f} items/s, ours is {ratio:.2f} ×; same option as HFLM in fp32 "
              f"{row['same_choice']:.1%}, {row['ties']} ties, likelihoods within {row['largest_difference']:.2g}", flush=True)
    read = reading(model, tokenizer, sentences(given.items))
    for name, row in read.items():
        print(f"{name:14}{row['tokens_per_second']:8.0f} tokens/s, {row.get('share_of_body', 1):.0%} of the body's rate")
    if given.json:
        records.write_json(given.json, {"device": machine.device_name(), "dtype": str(machine.dtype()[0])[6:],
                                        **found, **read})


if __name__ == "__main__":
    main()
