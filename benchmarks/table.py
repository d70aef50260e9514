"""Writes docs/benchmarks.md from the results in figures/bench/, which `make bench` and benchmarks/gpu.py leave there.

    python benchmarks/table.py
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lib.engine import paths, records  # noqa: E402

FOLDER, PAGE = paths.ROOT / "figures/bench", paths.ROOT / "docs/benchmarks.md"
HEAD = """# Speed

Side by side in one run on one machine, each against what a user would take instead. `make bench` measures all but GPUs
on this computer and writes this page; a GPU is measured by `.venv/bin/python benchmarks/gpu.py --json
figures/bench/gpu.json`. A machine beside which anything else runs gives other numbers: compare ratios. Training rates
are those of the median step of one run. On a CPU without bf16 instructions trainers that compute in bf16 are left out,
as they take an hour; in fp32 the Trainer uses half of what the machine can, so that none can be twice as fast.
`.venv/bin/python benchmarks/corpus.py --sizes 100 300 1000 --json figures/bench/corpus.json` reads as much text as is
shown here (half an hour).
"""


def lines(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def training(found: dict, title: str) -> str:
    """Tokens a second, share of the matmul peak and memory of every trainer, and the loss beside the Trainer's."""
    rows = []
    for name, row in found.items():
        if isinstance(row, dict) and "losses" in row:
            base = found["Trainer, NF4" if "NF4" in name else "Trainer"]
            gap = sum(a - b for a, b in zip(row["losses"], base["losses"])) / len(base["losses"])
            ratio = row["tokens_per_second"] / base["tokens_per_second"]
            rows.append([name, f"{row['tokens_per_second']:,.0f}", f"{ratio:.2f} ×", f"{row['share_of_peak']:.0%}",
                         f"{row['memory'] / 2**30:.1f}", f"{gap:+.4f}"])
    about = (f"{title}: {found['device']}, {found['steps']} steps of {found['batch']} × {found['length']} tokens, LoRA rank "
             f"{found['rank']}; the machine's own matrix products reach {found['peak'] / 1e12:.3g} TFLOP/s.")
    return about + "\n\n" + lines(["", "tokens/s", "Trainer", "of the peak", "GiB", "mean loss difference (nats)"], rows)


def scoring(found: dict) -> str:
    """Items a second beside the harness' own model class, and reading beside the body's own rate."""
    ours = found["ours"]["items_per_second"]
    asked = [[name, f"{row['items_per_second']:.1f}", f"{ours / row['items_per_second']:.2f} ×", f"{row['same_choice']:.1%}",
              str(row["ties"])] for name, row in found.items() if isinstance(row, dict) and "same_choice" in row]
    read = [[name, f"{row['tokens_per_second']:,.0f}", f"{row.get('share_of_body', 1):.0%}"]
            for name, row in found.items() if isinstance(row, dict) and "tokens_per_second" in row]
    return (f"Choices through lm-evaluation-harness: {found['device']}, {found['dtype']}.\n\n"
            + lines(["", "items/s", "ours is", "same option as fp32", "ties"], asked) + "\n\n"
            + lines(["", "tokens/s", "of the body's rate"], read))


def generation(found: dict) -> str:
    """Greedy answers beside transformers' `generate`."""
    plain, ours = found["generate"]["seconds"], found["ours"]["seconds"]
    return (f"Greedy answers: {found['device']}, {found['dtype']}. {found['prompts']} prompts: `generate` in batches of 16 "
            f"{plain:.1f} s, ours {ours:.1f} s ({plain / ours:.2f} ×), {found['same']} texts the same.")


def corpus(found: dict) -> str:
    """Chapter 01 by the size of its text, and near duplicates beside datasketch's example."""
    rows = [[f"{row['megabytes']:,.0f}", f"{row['total']:,.0f}", f"{row['cpu']:,.0f}", f"{row['megabytes'] / row['total']:.2f}",
             f"{row['memory'] / 1000:.1f}", f"{row['texts']:,}"] for row in found["sizes"]]
    near = found["compared"]
    ours, other = near["ours"]["seconds"], near["datasketch"]["seconds"]
    return (f"Chapter 01 on made-up text, {found['cores']} cores: seconds grow as the size to the power "
            f"{found['exponent']:.2f}. Near duplicates of {near['texts']:,} texts: datasketch's example {other:.1f} s, ours "
            f"{ours:.1f} s ({other / ours:.1f} ×), {near['same']:,} verdicts the same.\n\n"
            + lines(["MB", "s", "s of cores", "MB/s", "peak GB", "texts kept"], rows) + "\n\n![](../figures/bench/corpus.png)")


def packing(found: dict) -> str:
    """Tokenising and packing beside the way of transformers' examples."""
    ours, other = found["megabytes_per_second"], found["group_texts"]
    return (f"Text drawn, tokenised and packed on disk, {found['cores']} cores: {ours:.1f} MB/s over {found['megabytes']} MB "
            f"with at most {found['memory']:.0f} MB of memory; `group_texts` of transformers' examples: {other:.1f} MB/s "
            f"({ours / other:.1f} ×).")


PARTS = {"corpus": corpus, "packing": packing, "throughput": lambda found: training(found, "Training on a CPU"),
         "scoring": scoring, "generation": generation,
         "gpu": lambda found: training(found, "Training on a GPU, a Llama of 7 billion random weights")}


def main():
    parts = [make(records.read(FOLDER / f"{name}.json")) for name, make in PARTS.items() if (FOLDER / f"{name}.json").exists()]
    PAGE.write_text("\n\n".join([HEAD.strip(), *parts]) + "\n", "utf8")
    print(f"{paths.shown(PAGE)}: {len(parts)} of {len(PARTS)} benchmarks.")


if __name__ == "__main__":
    main()
