"""Greedy answers a second beside transformers' `generate` in batches of 16, and whether the texts are the same.

    python benchmarks/generation.py                  # 64 prompts, 48 new tokens each
    python benchmarks/generation.py --json figures/bench/generation.json
"""
import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import GenerationConfig  # noqa: E402

from benchmarks import scoring  # noqa: E402
from lib.data import prompts  # noqa: E402
from lib.engine import machine, records  # noqa: E402
from lib.evaluate import measure  # noqa: E402
from lib.model import folders  # noqa: E402


@torch.inference_mode()
def plain(model, tokenizer, asked: list[str], new_tokens: int) -> list[str]:
    """transformers' own generation, 16 prompts at a time in the order given."""
    settings, answers = GenerationConfig(max_new_tokens=new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id,
                                         eos_token_id=folders.ends(model, tokenizer)), []
    for at in range(0, len(asked), 16):
        inputs = tokenizer(asked[at:at + 16], return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
        made = model.generate(**inputs.to(model.device), generation_config=settings)[:, inputs.input_ids.shape[1]:]
        answers += tokenizer.batch_decode(made, skip_special_tokens=True)
    return answers


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="smollm2-135m", help="base model, as in the parameter files")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--json", type=Path, help="file for the results")
    given = parser.parse_args(arguments)
    transformers.utils.logging.set_verbosity_error()
    folder = folders.base(given.base)
    model, tokenizer = folders.load(folder), folders.tokenizer(folder)
    asked = [tokenizer.apply_chat_template([{"role": "user", "content": line}], tokenize=False, add_generation_prompt=True)
             for line in scoring.sentences(given.prompts)]
    found = {}
    for name, act in (("generate", plain), ("ours", measure.generate)):
        started = time.perf_counter()
        texts = act(model, tokenizer, asked, given.tokens)
        found[name] = {"seconds": time.perf_counter() - started, "texts": [prompts.spoken(text, "") for text in texts]}
    same = sum(a.strip() == b.strip() for a, b in zip(found["generate"].pop("texts"), found["ours"].pop("texts")))
    found |= {"same": same, "prompts": given.prompts, "device": machine.device_name(), "dtype": str(model.dtype)[6:]}
    print(f"{found['device']}, {found['dtype']}: generate {found['generate']['seconds']:.1f} s, ours "
          f"{found['ours']['seconds']:.1f} s = {found['generate']['seconds'] / found['ours']['seconds']:.2f} ×; "
          f"{same} of {given.prompts} texts the same")
    if given.json:
        records.write_json(given.json, found)


if __name__ == "__main__":
    main()
