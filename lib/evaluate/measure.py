"""Scores of a model: bits per byte, retrieval of translations, answers in words.

Every score comes back item by item, so that intervals and paired tests can be made from it (the study's `contrast`).
"""
import numpy
import pandas
import torch
from lm_eval.utils import get_rolling_token_windows
from torch.nn import functional
from tqdm import tqdm

from lib.data import prompts
from lib.evaluate import scoring
from lib.model import folders
from lib.model.tokenizer import encoded, padded, start_token

TRANSLATED = ["direction", "prompt", "item", "source", "reference", "hypothesis", "invalid"]  # columns of `translate`


@torch.inference_mode()
def bits_per_byte(model, tokenizer, texts, window: int = 512, context: int = 128, batch_tokens: int = 1024):
    """DataFrame(bytes, characters, tokens, item, bits), one row a text; the score is `statistics.ratio(bits, bytes)`.

    Comparable between vocabularies but not between languages. A long text is read in windows of `window` tokens; each
    token is scored once, after at least `context` tokens where there are as many, the first after what `start_token`
    names. `batch_tokens` bounds memory only.
    """
    nats, tokens = numpy.zeros(len(texts)), encoded(tokenizer, texts)
    windows = [(*pair, number) for number, (start, *ids) in enumerate(tokens)
               for pair in get_rolling_token_windows(ids, start, window, min(context, window))]
    for batch in _batches(windows, batch_tokens, "bits per byte"):
        inputs, targets, numbers = zip(*batch)
        numpy.add.at(nats, list(numbers), _nats(model, inputs, targets))
    sizes = [(len(string.encode("utf8")), len(string), len(ids) - 1) for string, ids in zip(texts, tokens)]
    frame = pandas.DataFrame(sizes, columns=["bytes", "characters", "tokens"])
    return frame.assign(item=range(len(texts)), bits=nats / numpy.log(2))


@torch.inference_mode()
def embed(model, tokenizer, texts, batch_tokens: int = 1024) -> numpy.ndarray:
    """Mean of each text's hidden states at every layer: array [layers + 1, texts, width], layer 0 the embeddings.

    A start token is read first and left out of the mean, because the first position of a causal model is an
    attention sink with an outsized state (Xiao et al. 2023, arXiv 2309.17453).
    """
    pooled, sequences = [None] * len(texts), zip(encoded(tokenizer, texts), range(len(texts)))
    for batch in _batches(sequences, batch_tokens, "embeddings"):
        ids, numbers = zip(*batch)
        states = model.get_decoder()(_padded(ids).to(model.device), output_hidden_states=True).hidden_states
        for row, number in enumerate(numbers):
            pooled[number] = torch.stack([layer[row, 1:len(ids[row])].float().mean(0) for layer in states]).cpu()
    return torch.stack(pooled, 1).numpy()


def retrieval(model, tokenizer, english, target) -> pandas.DataFrame:
    """Is a sentence's nearest neighbour its translation? DataFrame(layer, direction, item, correct).

    Cosine of mean-pooled states, every layer, both directions (`from english`, `into english`). Raises ValueError unless
    both lists have the same length, two at least.
    """
    if len(english) != len(target) or len(english) < 2:
        raise ValueError(f"Retrieval needs two or more pairs, got {len(english)} English and {len(target)} sentences.")
    return nearest(embed(model, tokenizer, english), embed(model, tokenizer, target))


def nearest(english, target) -> pandas.DataFrame:
    """`retrieval` from vectors [layers, items, width] whose items are paired by position."""
    similarity = unit(english) @ unit(target).transpose(0, 2, 1)
    items = numpy.arange(english.shape[1])
    frames = [pandas.DataFrame({"layer": layer, "direction": direction, "item": items,
                                "correct": scores.argmax(axis) == items})
              for layer, scores in enumerate(similarity)
              for direction, axis in (("from english", 1), ("into english", 0))]
    return pandas.concat(frames, ignore_index=True)


def unit(vectors) -> numpy.ndarray:
    """Vectors [… items, width] of length one, their mean taken off first (Libovický et al. 2020).

    The mean is what all sentences of a language share.
    """
    vectors = vectors - vectors.mean(-2, keepdims=True)
    return vectors / numpy.maximum(numpy.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


@torch.inference_mode()
def generate(model, tokenizer, asked, max_new_tokens: int, chat: bool = True, batch_tokens: int = 8192) -> list[str]:
    """Greedy answers to prompts, in their order; those of like length share a batch, padded on the left.

    Prompts are rendered chats, or with `chat` false documents to go on with (`encoded`). An answer ends at one of
    `folders.ends` or after `max_new_tokens`, and is what `prompts.spoken` leaves of it. `batch_tokens`, of prompts and
    answers, bounds memory only.
    """
    settings = folders.generation(model, tokenizer, max_new_tokens)
    answers, rows = [""] * len(asked), zip(encoded(tokenizer, asked, chat), range(len(asked)))
    for batch in _batches(rows, batch_tokens, "generating", max_new_tokens):
        ids, numbers = zip(*batch)
        inputs = padded(tokenizer, ids).to(model.device)
        output = model.generate(**inputs, generation_config=settings)[:, inputs.input_ids.shape[1]:]
        for number, ids in zip(numbers, output):
            answers[number] = prompts.spoken(tokenizer.decode(ids, skip_special_tokens=True), asked[number])
    return answers


@torch.inference_mode()
def sample(model, tokenizer, size: int, length: int = 256, batch: int = 64, seed: int = 0) -> list[str]:
    """Texts of at most `length` tokens that a model writes by itself, `size` bytes of UTF-8 in all, the same for a seed.

    Drawn from the 95 % likeliest tokens (nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751), each text after the
    token that begins one.
    """
    torch.manual_seed(seed)
    settings = folders.generation(model, tokenizer, length, do_sample=True, top_k=0, top_p=0.95)
    begun, texts, written = torch.full((batch, 1), start_token(tokenizer), device=model.device), [], 0
    with tqdm(total=size, desc="sampling", unit="B", unit_scale=True, disable=None) as bar:
        while written < size:
            drawn = model.generate(begun, attention_mask=torch.ones_like(begun), generation_config=settings)[:, 1:]
            new = list(filter(None, map(str.strip, tokenizer.batch_decode(drawn, skip_special_tokens=True))))
            if not new:
                raise ValueError(f"The model writes nothing by itself: {batch} texts of {length} tokens are empty.")
            texts, grown = texts + new, sum(len(string.encode("utf8")) for string in new)
            written += grown
            bar.update(grown)
    return texts


def answer(model, tokenizer, rows, max_new_tokens: int, shown=None) -> pandas.DataFrame:
    """Greedy answers to task rows in the prompt of instruction tuning, judged: a row each, as `scoring.judge` gives it.

    With `shown`, rows for one-shot, each is asked as a document instead (`prompts.document`), behind the row of its
    setting if `shown` has one. Only the first line of an answer counts, but of a summary.
    """
    asked = [_asked(tokenizer, row, shown) for row in rows.to_dict("records")]
    answers = generate(model, tokenizer, asked, max_new_tokens, chat=shown is None)
    lines = [found if task == "summary" else found.split("\n")[0].strip() for found, task in zip(answers, rows["task"])]
    return scoring.judge(rows, lines)


def read(model, tokenizer, texts: pandas.DataFrame, window: int = 512) -> pandas.DataFrame:
    """`bits_per_byte` of a frame's texts with its other columns beside it; an item is the text's row, unless it has items."""
    scores = bits_per_byte(model, tokenizer, texts["text"].tolist(), window)
    return scores.assign(**texts.drop(columns="text").reset_index(drop=True))


def translate(model, tokenizer, pairs, language: str, prompt: str, max_new_tokens: int) -> pandas.DataFrame:
    """Greedy translations of pairs (columns id, english, target) in both directions, one row a pair and direction.

    DataFrame with the columns TRANSLATED, empty without pairs. `document` asks as a translation document begins, `chat`
    as instruction tuning does (`answer`).
    """
    if pairs.empty:
        return pandas.DataFrame(columns=TRANSLATED)
    rows = pandas.DataFrame([{"id": pair["id"], "benchmark": "", "setting": direction, "category": "", "flags": (),
                              **prompts.translation(pair["english"], pair["target"], direction)}
                             for direction in prompts.directions(language) for pair in pairs.to_dict("records")])
    judged = answer(model, tokenizer, rows, max_new_tokens, None if prompt == "chat" else rows[:0])
    return judged.rename(columns={"setting": "direction"}).assign(prompt=prompt, source=rows["text"])[TRANSLATED]


def _asked(tokenizer, row: dict, shown) -> str:
    """The text that asks for a row's answer: a chat, or a document with the first row of its setting in `shown`."""
    if shown is None:
        return prompts.render(tokenizer, prompts.messages(row))
    same = [one for one in shown.to_dict("records") if (one["task"], one["setting"]) == (row["task"], row["setting"])]
    return prompts.document(row, *same[:1])


def _batches(rows, batch_tokens: int, title: str, more: int = 0):
    """Rows (ids, …) longest first, in batches whose padded size, with `more` tokens a row, stays within `batch_tokens`;
    one row at least."""
    rows = sorted(rows, key=lambda row: -len(row[0]))
    with tqdm(total=len(rows), desc=title, disable=None) as bar:
        while rows:
            size = max(1, batch_tokens // (len(rows[0][0]) + more))
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
