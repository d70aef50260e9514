"""A base model looked at before hours are spent on it: what was found, what is done about it, and what cannot work."""
from pathlib import Path

import pandas
import torch
from safetensors import SafetensorError
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

from lib.data import prompts
from lib.data.text import byte_level, words
from lib.engine.params import beginning
from lib.model import embeddings, folders, tokenizer

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
QUESTION = [{"role": "user", "content": "Is ice cold?"}]


def inspect(name: str, sentences: dict[str, str]) -> pandas.DataFrame:
    """One row a check of the base `name` (as in `folders.base`): check, found, verdict; sentences by language code.

    Raises ValueError, in a sentence, for a base that cannot be extended and trained. What small files tell is looked at
    before the weights are fetched.
    """
    try:
        folder = folders.base(name, weights=False)
        config, cutter = _config(folder), folders.tokenizer(folder)
        tokenizer.check(cutter)
        model = folders.load(folders.base(name))
        _read_from_the_left(model)
        found = [*_files(model, config), *_texts(cutter, sentences), *_matrices(model, cutter, config),
                 *_chat(model, cutter)]
    except SafetensorError as error:
        raise ValueError(f"{name} cannot be a base here: a file of its weights is damaged ({error}); fetch it again."
                         ) from error
    except Exception as error:  # what is wrong in a file makes its reader raise anything
        reason = beginning(str(error) or type(error).__name__)
        way = "" if reason.endswith(".") else "; fetch it again, or choose another base."
        raise ValueError(f"{beginning(name)} cannot be a base here: {reason}{way}") from error
    return pandas.DataFrame(found, columns=["check", "found", "verdict"])


def _config(folder: Path):
    """The folder's configuration. Raises ValueError for quantised weights, what is no causal language model, and where
    there is no tokenizer."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if getattr(config, "quantization_config", None):
        raise ValueError("its weights are quantised, and cannot be trained or extended; take the model that they were "
                         "made from.")
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"{config.model_type} is no causal language model; take a decoder, like Llama, Qwen or Gemma.")
    if not any((folder / file).exists() for file in TOKENIZERS):
        raise ValueError(f"it has no tokenizer ({', '.join(TOKENIZERS)}); fetch all of its files.")
    return config


@torch.inference_mode()
def _read_from_the_left(model):
    """Raises ValueError for an encoder, whose reading of a token changes with the tokens behind it."""
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]], device=model.device)
    first, second = model(input_ids=ids).logits[:, :3].float()
    if not torch.allclose(first, second, atol=1e-3, rtol=1e-3):
        raise ValueError("it reads what stands behind a token too, as encoders do, and so cannot write; take a decoder, like "
                         "Llama, Qwen or Gemma.")


def _files(model, config):
    parts = config.get_text_config() is not config
    yield ("model", f"{type(model).__name__}, {model.num_parameters() / 1e6:,.1f} million parameters",
           f"the part of {type(config).__name__} that reads and writes text; its other senses are left out" if parts
           else "complete, not quantised, reads from left to right")


def _texts(cutter, sentences):
    kind = "byte-level BPE" if byte_level(cutter) else "SentencePiece BPE"
    yield "tokenizer", f"{kind}, {len(cutter):,} tokens, ids without holes", "can learn new pieces"
    for language, sentence in sentences.items():
        ids = tokenizer.encode(cutter, [sentence])[0]
        back = cutter.decode(ids, clean_up_tokenization_spaces=False)
        yield (f"a sentence in {language}", f"{len(ids)} tokens for {len(words(sentence))} words",
               "comes back exactly" if back == sentence else f"does not come back exactly, but as: {back}")


def _matrices(model, cutter, config):
    rows, count = model.get_input_embeddings().weight.shape[0], len(cutter)
    asked = config.get_text_config().vocab_size
    yield ("rows of the matrices", f"{asked:,} rows for {count:,} tokens",
           "one for each token" if rows == count == asked else "a token for padding gets a row" if asked < count
           else f"{rows - count:,} spare rows pad the matrix; new pieces take their place")
    said, found = getattr(config, "tie_word_embeddings", True), embeddings.tied(model)
    kinds = {True: "one matrix for both", False: "a matrix each"}
    yield ("embeddings and head", kinds[found], "stays so" if said == found else
           f"stays so; config.json says {kinds[said]}, and is corrected")


def _chat(model, cutter):
    own, trouble = cutter.chat_template, ""
    try:
        prompts.end(cutter)
    except ValueError as error:
        trouble = str(error)
    dressed = prompts.dress(cutter, "chat")
    lead, tail = prompts.around(dressed, QUESTION)
    stops = [dressed.decode([row]) for row in folders.ends(model, dressed)]
    end = dressed.decode([prompts.end(dressed)])
    yield ("chat template", trouble or "its own", "the paper's template (alpaca) is used" if trouble else "is used")
    asked = prompts.render(dressed, QUESTION)
    yield ("a prompt and its answer", f"…{asked[-40:]}▸{lead}{prompts.SAMPLE}{tail}",
           "the text to train on begins with the prompt (up to ▸), token by token")
    if "<think>" in asked + lead or "enable_thinking" in (own or ""):
        yield ("thoughts", "the template knows <think>", "none are asked for; an answer is read behind </think>")
    yield ("end of an answer", f"{end} by the template, {dressed.eos_token} as EOS",
           f"{end} is trained; an answer ends at any of {' '.join(stops)}")
    yield "padding", dressed.pad_token, "no end that is trained, so that models learn to stop"
