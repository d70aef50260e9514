"""Seconds to deduplicate 50,000 instructions by Rouge-L, and whether the verdicts are those of comparing every pair.

The instructions are MultiAlpaca's (es, ja, pt) and copies with some words changed, in one pool. The exact check
compares a sample of them with every pooled one by rouge_score's own Rouge-L; both are timed in the same run.

    python benchmarks/pool.py                        # 50,000 instructions, 20 of them checked against all others
    python benchmarks/pool.py --count 5000           # a shorter run
"""
import argparse
import json
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rouge_score.rouge_scorer import _score_lcs  # noqa: E402

from lib.study import ch10_selfinstruct as selfinstruct  # noqa: E402
from lib.study import novelty

LANGUAGE = "es"  # what `novelty.tokens` is told; its tokens go by script
THRESHOLD = 0.7


def instructions(count: int, seed: int) -> list[str]:
    """`count` different instructions, shuffled: the published ones, and from them copies that lack or repeat words."""
    draw = random.Random(seed)
    real = [task["instruction"] for language in selfinstruct.published() for task in selfinstruct.released(language)]
    made = dict.fromkeys(draw.sample(real, min(count, len(real))))
    while len(made) < count:
        made[perturbed(draw.choice(real), draw)] = None
    found = list(made)
    draw.shuffle(found)
    return found


def perturbed(text: str, draw: random.Random) -> str:
    """The text with a tenth to a half of its words or letters replaced by others of its own."""
    gap = " " if " " in text else ""
    parts, share = text.split(" ") if gap else list(text), draw.uniform(0.1, 0.5)
    return gap.join(draw.choice(parts) if draw.random() < share else part for part in parts)


def deduplicate(texts: list[str]) -> tuple[list[bool], list[int]]:
    """For each text whether it is similar to a pooled one, and how many were pooled before it."""
    pool, similar, sizes = novelty.Pool(LANGUAGE, THRESHOLD), [], []
    for text in texts:
        sizes.append(len(pool.instructions))
        similar.append(pool.near_or_new(text) is not None)
    return similar, sizes


def exact(text: str, pooled: list[str]) -> bool:
    """Whether rouge_score finds F at or above the threshold with any pooled text."""
    found = novelty.tokens(text, LANGUAGE)
    return any(_score_lcs(novelty.tokens(other, LANGUAGE), found).fmeasure >= THRESHOLD for other in pooled)


def main(arguments=None):
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--sample", type=int, default=20, help="texts compared with every pooled one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    texts = instructions(options.count, options.seed)
    began, ticks = time.perf_counter(), time.process_time()
    similar, sizes = deduplicate(texts)
    seconds, busy = time.perf_counter() - began, time.process_time() - ticks
    kept = [text for text, bad in zip(texts, similar) if not bad]
    sample = sorted(random.Random(options.seed).sample(range(len(texts)), options.sample))
    ticks = time.process_time()
    verdicts = [exact(texts[number], kept[:sizes[number]]) for number in sample]
    pairs, spent = sum(sizes[number] for number in sample), time.process_time() - ticks
    print(json.dumps({
        "instructions": len(texts), "kept": len(kept), "seconds": round(seconds, 1), "cpu_seconds": round(busy, 1),
        "exact_pairs": pairs, "exact_cpu_seconds": round(spent, 1),
        "exact_cpu_seconds_for_all": round(spent / pairs * sum(sizes)),
        "ratio": round(spent / pairs * sum(sizes) / busy),
        "sample": len(sample), "similar_in_sample": sum(verdicts),
        "agreement": sum(a == similar[number] for a, number in zip(verdicts, sample)) / len(sample)}, indent=1))


if __name__ == "__main__":
    main()
