"""The GGUF file of an exported folder beside the folder itself: the same token ids, prompts and greedy answers?

    .venv/bin/python -m lib.release.export instructed ../my-model --gguf
    .venv/bin/python -m pip install xllamacpp==2026.10.11549       # llama.cpp for Python; nothing else here needs it
    .venv/bin/python benchmarks/exported.py ../my-model                # 200 lines and 20 questions a language
"""
import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx2  # noqa: E402
import torch  # noqa: E402

from lib.data import corpus, prompts  # noqa: E402
from lib.engine import machine, records  # noqa: E402
from lib.evaluate import measure  # noqa: E402
from lib.model import folders  # noqa: E402


def serve(file: Path, room: int):
    """llama.cpp's server in this process, with `room` tokens of context, and how it is asked: `post(path, **body)`."""
    try:
        import xllamacpp
    except ImportError:
        sys.exit("llama.cpp's Python package is not installed: `.venv/bin/python -m pip install xllamacpp`.")
    given = xllamacpp.CommonParams()
    given.model.path, given.n_ctx, given.n_parallel, given.verbosity = str(file), room, 1, 0
    given.cpuparams.n_threads = given.cpuparams_batch.n_threads = torch.get_num_threads()
    server = xllamacpp.Server(given)
    return server, lambda path, **body: httpx2.post(server.listening_address + path, json=body, timeout=600).json()


def asked(profile: str, count: int) -> tuple[list[str], list[list[dict]]]:
    """Held-out lines, `count` of each language, and held-out questions as messages, a tenth as many of each."""
    language = corpus.language(profile)
    frames = {name: corpus.read(profile, name) for name in ("documents", "pairs", "dialogues", "items")}
    rows = prompts.derive(*frames.values(), language, "test")
    rows = rows[rows["text"].str.len() < 300].sample(frac=1, random_state=0).groupby("language").head(count // 10)
    held = frames["documents"].query("split == 'test' and language in [@language, 'en']")
    lines = held.assign(line=held["text"].str.split("\n")).explode("line").query("line.str.len() > 30")
    lines = lines.sample(frac=1, random_state=0).groupby("language").head(count)
    return list(lines["line"]), [prompts.messages(row) for row in rows.to_dict("records")]


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="an exported folder with a model-*.gguf")
    parser.add_argument("--profile", default="laptop", help="whose held-out texts are used")
    parser.add_argument("--lines", type=int, default=200, help="lines of each language; a tenth as many questions")
    parser.add_argument("--tokens", type=int, default=40, help="length limit of an answer")
    parser.add_argument("--json", type=Path, help="file for the results")
    given = parser.parse_args(arguments)
    file = next(given.folder.glob("model-*.gguf"), None)
    if file is None:
        sys.exit(f"{given.folder} holds no model-*.gguf: export it with --gguf.")
    lines, turns = asked(given.profile, given.lines)
    tokenizer, model = folders.tokenizer(given.folder), folders.load(given.folder, torch.float32)
    texts = [prompts.render(tokenizer, one) for one in turns]
    ours = measure.generate(model, tokenizer, texts, given.tokens)
    server, post = serve(file, 2048)
    ids = [post("/tokenize", content=line, add_special=False)["tokens"] for line in lines]
    rendered = [post("/apply-template", messages=one)["prompt"] for one in turns]
    started = time.perf_counter()
    made = [post("/v1/chat/completions", messages=one, max_tokens=given.tokens, temperature=0) for one in turns]
    seconds = time.perf_counter() - started
    theirs = [one["choices"][0]["message"]["content"].strip() for one in made]
    found = {"file": file.name, "lines": len(lines), "questions": len(turns), "device": machine.device_name(),
             "same_ids": sum(a == b for a, b in zip(ids, tokenizer(lines, add_special_tokens=False)["input_ids"])),
             "same_prompts": sum(a.strip() == b.strip() for a, b in zip(rendered, texts)),
             "same_answers": sum(a == b for a, b in zip(theirs, ours)),
             "tokens_per_second": sum(one["usage"]["completion_tokens"] for one in made) / seconds}
    print(f"{found['file']}: {found['same_ids']} of {found['lines']} lines have the same token ids, "
          f"{found['same_prompts']} of {found['questions']} questions the same prompt, {found['same_answers']} the same "
          f"greedy answer of up to {given.tokens} tokens; {found['tokens_per_second']:.0f} tokens/s of answers")
    for a, b in [pair for pair in zip(theirs, ours) if pair[0] != pair[1]][:3]:
        print(f"llama.cpp: {a!r}\nhere:      {b!r}")
    if given.json:
        records.write_json(given.json, found)


if __name__ == "__main__":
    main()
