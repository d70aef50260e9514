"""Rows of the embedding matrix, and of the head, for tokens that a tokenizer gained."""
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lib.model import dictionary
from lib.model.tokenizer import subtokens

STARTS = ("translations", "mean-of-subtokens", "global-mean", "random")
TRUST = 3  # occurrences in pairs at which translations count half


def extend(model: PreTrainedModel, base_tokenizer: PreTrainedTokenizerFast, tokenizer: PreTrainedTokenizerFast,
           start: str = "mean-of-subtokens", seed: int = 0, pairs=()) -> PreTrainedModel:
    """Gives `model` one row for each id of `tokenizer`, in place; rows of the base's ids stay bit-equal. Returns it.

    A new row starts as the mean of the rows that the base cut its piece into (as in EEVE, arXiv 2402.14714), as the
    mean of all the base's rows (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models"), or as
    a draw from a normal with the mean and standard deviation of each column of the base's rows. `translations` adds
    to the mean of sub-tokens what sets apart the words that the piece translates to in `pairs` of (English, target)
    sentences, as far as these know it (after Remy et al. 2024, "Trans-Tokenization", who take those words' rows alone;
    under a tied head that leaves words of like translation too alike).

    A tied head stays tied, an own one gets rows from its own matrix. `config.base_vocab_size` keeps the number of old
    rows. Raises ValueError for a quantised model, an unknown start, or a tokenizer that does not continue the base's ids.
    """
    _check(model, base_tokenizer, tokenizer, start)
    known = min(len(base_tokenizer), model.get_input_embeddings().weight.shape[0])
    pieces = [[]] * (len(base_tokenizer) - known) + subtokens(base_tokenizer, tokenizer)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.base_vocab_size = known  # kept with the model: training tells old rows from new by it
    generator = torch.Generator().manual_seed(seed)
    found = dictionary.learn(pairs, base_tokenizer, tokenizer) if start == "translations" else None
    for weight in _matrices(model):
        with torch.no_grad():
            old = weight[:known].float().cpu()
            weight[known:] = _rows(old, pieces, start, generator).to(weight)
            if found:
                weight[len(base_tokenizer):] += _towards(old, *found).to(weight)
    return model


def tied(model: PreTrainedModel) -> bool:
    """Whether the head shares its matrix with the input embeddings."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def _matrices(model) -> list[torch.Tensor]:
    """The input matrix and, when it is another one, the head's."""
    head = model.get_output_embeddings()
    return [model.get_input_embeddings().weight] + ([] if head is None or tied(model) else [head.weight])


def _rows(known: torch.Tensor, pieces: list[list[int]], start: str, generator) -> torch.Tensor:
    """New rows [pieces, width] in fp32 from the known [ids, width]; a piece without sub-tokens gets the mean of all."""
    mean = known.mean(0)
    if start == "random":
        return mean + known.std(0) * torch.randn(len(pieces), known.shape[1], generator=generator)
    if start == "global-mean":
        return mean.expand(len(pieces), -1)
    return torch.stack([known[ids].mean(0) if ids else mean for ids in pieces]) if pieces else known[:0]


def _towards(known: torch.Tensor, translations, seen) -> torch.Tensor:
    """What translations add to new rows [pieces, width]: how the mean of their rows differs from that of all rows."""
    mean = known.mean(0).numpy()
    moved = translations @ (known[:translations.shape[1]].numpy() - mean)
    return torch.from_numpy((seen / (seen + TRUST))[:, None] * moved)


def _check(model, base_tokenizer, tokenizer, start: str):
    if getattr(model, "is_quantized", False) or getattr(model.config, "quantization_config", None):
        raise ValueError("A quantised model cannot get new rows: load it with `quantize: none`, extend and save it, "
                         "and quantise the extended model.")
    if start not in STARTS:
        raise ValueError(f"start is {start!r}, and has to be one of {', '.join(STARTS)}.")
    base, extended = base_tokenizer.get_vocab(), tokenizer.get_vocab()
    moved = [token for token, row in base.items() if extended.get(token) != row]
    if moved:
        raise ValueError(f"{len(moved)} tokens of the base, {moved[0]!r} first, have another id in the new tokenizer: "
                         "extend the base's own tokenizer, so that old rows keep their meaning.")
