"""Scores of a model: bits per byte, retrieval of translations, generations with chrF, and tasks of the harness.

Every score comes back item by item, so that intervals and paired tests can be made from it (lib.statistics).
"""
import numpy
import pandas
import torch
from lm_eval.utils import get_rolling_token_windows
from sacrebleu.metrics import CHRF
from torch.nn import functional
from tqdm import tqdm
from transformers import GenerationConfig

from lib import statistics


@torch.inference_mode()
def bits_per_byte(model, tokenizer, texts, window: int = 512, context: int = 128, batch_tokens: int = 2048):
    """DataFrame(bits, bytes, characters, tokens), one row a text; the score is `statistics.ratio(bits, bytes)`.

    Nats of the exact text over its UTF-8 bytes, comparable between vocabularies but not between languages. A long text
    is read in windows of `window` tokens; each token is scored once, after at least `context` tokens where there are
    as many. The first token is scored too, after what `start_token` names. `batch_tokens` bounds memory only.
    """
    start, nats = start_token(tokenizer), numpy.zeros(len(texts))
    tokens = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    windows = [(*pair, number) for number, ids in enumerate(tokens)
               for pair in get_rolling_token_windows(ids, start, window, min(context, window))]
    for batch in _batches(windows, batch_tokens, "bits per byte"):
        inputs, targets, numbers = zip(*batch)
        numpy.add.at(nats, list(numbers), _nats(model, inputs, targets))
    return pandas.DataFrame({"bits": nats / numpy.log(2), "bytes": [len(text.encode("utf8")) for text in texts],
                             "characters": [len(text) for text in texts], "tokens": [len(ids) for ids in tokens]})


def start_token(tokenizer) -> int:
    """The id before a text's first token: the BOS that the tokenizer itself puts there, else EOS.

    EOS is what separates documents in packed pretraining, so a text scored after it stands as it stood in training.
    A BOS that the tokenizer has but never adds (SmolLM2: <|im_start|>, which opens a chat turn) is not used.
    """
    added = tokenizer("").input_ids
    return added[0] if added else tokenizer.eos_token_id


@torch.inference_mode()
def embed(model, tokenizer, texts, batch_tokens: int = 2048) -> numpy.ndarray:
    """Mean of each text's hidden states at every layer: array [layers + 1, texts, width], layer 0 the embeddings.

    A start token is read first and left out of the mean, because the first position of a causal model is an
    attention sink with an outsized state (Xiao et al. 2023, arXiv 2309.17453).
    """
    start, pooled = start_token(tokenizer), [None] * len(texts)
    sequences = [([start, *tokenizer(text, add_special_tokens=False).input_ids], number)
                 for number, text in enumerate(texts)]
    for batch in _batches(sequences, batch_tokens, "embeddings"):
        ids, numbers = zip(*batch)
        states = model.get_decoder()(_padded(ids).to(model.device), output_hidden_states=True).hidden_states
        for row, number in enumerate(numbers):
            pooled[number] = torch.stack([layer[row, 1:len(ids[row])].float().mean(0) for layer in states]).cpu()
    return torch.stack(pooled, 1).numpy()


def retrieval(model, tokenizer, english, target, centre: bool = True) -> pandas.DataFrame:
    """Is a sentence's nearest neighbour in the other language its translation? DataFrame(layer, direction, item, correct).

    Cosine of mean-pooled states, every layer, both directions (`from english`, `into english`). `centre` takes each
    language's mean off first (Libovický et al. 2020), which removes what all sentences of a language share.
    Raises ValueError unless both lists have the same length, two at least.
    """
    if len(english) != len(target) or len(english) < 2:
        raise ValueError(f"Retrieval needs two or more pairs, got {len(english)} English and {len(target)} sentences.")
    return nearest(embed(model, tokenizer, english), embed(model, tokenizer, target), centre)


def nearest(english, target, centre: bool = True) -> pandas.DataFrame:
    """`retrieval` from vectors [layers, items, width] whose items are paired by position."""
    similarity = _unit(english, centre) @ _unit(target, centre).transpose(0, 2, 1)
    items = numpy.arange(english.shape[1])
    frames = [pandas.DataFrame({"layer": layer, "direction": direction, "item": items,
                                "correct": scores.argmax(axis) == items})
              for layer, scores in enumerate(similarity) for axis, direction in ((1, "from english"), (0, "into english"))]
    return pandas.concat(frames, ignore_index=True)


@torch.inference_mode()
def generate(model, tokenizer, prompts, max_new_tokens: int, batch_size: int = 16) -> list[str]:
    """Greedy answers to `prompts`, in their order; prompts of like length share a batch, padded on the left.

    An answer ends at EOS or after `max_new_tokens`; special tokens and outer blanks are cut off.
    """
    settings = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=tokenizer.eos_token_id,
                                pad_token_id=tokenizer.pad_token_id)
    answers, order = [""] * len(prompts), sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    for at in tqdm(range(0, len(order), batch_size), desc="generating", disable=None):
        batch = order[at:at + batch_size]
        inputs = _prompted(tokenizer, [prompts[number] for number in batch]).to(model.device)
        output = model.generate(**inputs, generation_config=settings)[:, inputs.input_ids.shape[1]:]
        for number, ids in zip(batch, output):
            answers[number] = tokenizer.decode(ids, skip_special_tokens=True).strip()
    return answers


def chrf(hypotheses, references, seed: int = 0) -> tuple[statistics.Estimate, str]:
    """chrF++ (Popović 2017), 0 to 100, with a bootstrap interval over segments, and sacrebleu's signature."""
    metric, columns = _chrf_statistics(hypotheses, references)
    return statistics.of_sums(_chrf_score(metric), columns, seed), str(metric.get_signature())


def chrf_difference(before, after, references, seed: int = 0) -> statistics.Difference:
    """chrF++ of `after` − `before` over the same segments, with a paired bootstrap (Koehn 2004)."""
    metric, columns = _chrf_statistics(before, references)
    return statistics.difference_of_sums(_chrf_score(metric), columns, _chrf_statistics(after, references)[1], seed)


def _chrf_statistics(hypotheses, references):
    """The metric and its n-gram counts, array [statistics, segments]: what sacrebleu sums before it scores."""
    if len(hypotheses) != len(references) or len(references) == 0:
        raise ValueError(f"chrF++ needs one hypothesis a reference, got {len(hypotheses)} and {len(references)}.")
    metric = CHRF(word_order=2)
    return metric, numpy.array(metric._extract_corpus_statistics(list(hypotheses), [list(references)])).T


def _chrf_score(metric):
    """Maps summed counts [statistics, draws] to chrF++ [draws]."""
    return lambda sums: numpy.array([metric._compute_score_from_stats(list(column)).score for column in sums.T])


def _batches(rows, batch_tokens: int, title: str):
    """Rows (ids, …) longest first, in batches whose padded size stays within `batch_tokens`, one row at least."""
    rows = sorted(rows, key=lambda row: -len(row[0]))
    with tqdm(total=len(rows), desc=title, disable=None) as bar:
        while rows:
            size = max(1, batch_tokens // len(rows[0][0]))
            yield rows[:size]
            bar.update(len(rows[:size]))
            rows = rows[size:]


def _nats(model, inputs, targets) -> list[float]:
    """Summed negative log-likelihood of each row's targets, which are the last tokens to predict of its input."""
    logits = model(_padded(inputs).to(model.device)).logits
    # Row by row: the loss in fp32 of a whole batch would take several times the memory of its logits.
    return [functional.cross_entropy(row[len(ids) - len(wanted):len(ids)].float(),
                                     torch.tensor(wanted, device=row.device), reduction="sum").item()
            for row, ids, wanted in zip(logits, inputs, targets)]


def _padded(sequences) -> torch.Tensor:
    """Ids padded on the right, where a causal model's earlier positions cannot see the padding: no mask is needed."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in sequences], batch_first=True)


def _prompted(tokenizer, prompts):
    """Tokenised prompts, padded on the left; a BOS is added unless the chat template already wrote it."""
    written = bool(tokenizer.bos_token) and all(prompt.startswith(tokenizer.bos_token) for prompt in prompts)
    return tokenizer(prompts, padding=True, padding_side="left", add_special_tokens=not written,
                     return_token_type_ids=False, return_tensors="pt")


def _unit(vectors, centre: bool):
    """Vectors of length one, after their mean over items is taken off."""
    vectors = vectors - vectors.mean(1, keepdims=True) if centre else vectors
    return vectors / numpy.maximum(numpy.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
