"""Likelihoods of continuations without padding or repetition: a context is read once, all that may follow it behind it.

Several contexts share a row. Under a four-dimensional mask every token sees its own context and its own continuation, at
the positions that they would have alone (Krell et al. 2021, arXiv 2107.02027), and logits are made, in fp32, only where
a token of a continuation is predicted.
"""
from typing import NamedTuple

import numpy
import torch
from torch.nn import functional
from tqdm import tqdm

from lib.model import adapters

ROW = 256  # tokens of a row, or one context with its continuations: attention in longer ones costs more than it saves
OPEN = 32  # rows that are looked at for a place
CHUNK = 256  # positions whose logits exist at once

_tried: dict[tuple, bool] = {}  # architecture, attention, format and device → whether it reads packed rows


class Tree(NamedTuple):
    """Ids of a context, one at least, and of the continuations that may follow it."""

    stem: list[int]
    branches: list[list[int]]

    def size(self) -> int:
        """Tokens that are computed: the last of a continuation predicts nothing."""
        return len(self.stem) + sum(len(branch) - 1 for branch in self.branches)


def trees(pairs: list[tuple[list[int], list[int]]]) -> tuple[list[Tree], list[list[int]]]:
    """Pairs of context and continuation as trees, and the numbers of the pairs in each.

    Continuations of one context are together, unless they have more than ROW tokens.
    """
    made, numbers, last = [], [], {}
    for number, (stem, branch) in enumerate(pairs):
        at = last.get(tuple(stem))
        if at is None or made[at].size() + len(branch) > len(stem) + ROW:
            at = last[tuple(stem)] = len(made)
            made.append(Tree(stem, []))
            numbers.append([])
        made[at].branches.append(branch)
        numbers[at].append(number)
    return made, numbers


def fits(model, stem: list[int], branch: list[int], longest: int) -> bool:
    """Whether nothing has to be cut for the model's `longest` input, or is out of sight in its window of attention."""
    return len(stem) + len(branch) <= min(longest, getattr(model.config, "sliding_window", None) or longest)


def packs(model) -> bool:
    """Whether the architecture reads packed rows as it reads plain ones, tried once on a few tokens: one whose layers
    hand on a state does not. A model that bends its logits is read plainly too."""
    int8 = getattr(model, "is_loaded_in_8bit", False)  # LLM.int8 rounds a row by all that stands in it
    kind = type(model), model.config._attn_implementation, model.dtype, model.device.type, int8
    if kind not in _tried:
        _tried[kind] = _agrees(model)
    return _tried[kind] and not adapters.scaled(model.config)


@torch.inference_mode()
def likelihoods(model, trees: list[Tree], batch_tokens: int = 1024, quiet: bool = False) -> list[list[tuple]]:
    """For each tree, of each continuation: its log-likelihood in nats, and whether greedy decoding would say it."""
    nats = [numpy.zeros(len(tree.branches)) for tree in trees]
    greedy = [numpy.ones(len(tree.branches), bool) for tree in trees]
    head = model.get_output_embeddings()
    matrix = head.weight.float(), None if head.bias is None else head.bias.float()
    with tqdm(total=len(trees), desc="likelihoods", disable=True if quiet else None) as bar:
        for rows in _batches(trees, batch_tokens):
            _read(model, matrix, trees, rows, nats, greedy)
            bar.update(sum(map(len, rows)))
    return [list(zip(values.tolist(), said.tolist())) for values, said in zip(nats, greedy)]


def _read(model, matrix, trees, rows, nats, greedy):
    """Adds what one batch of rows, numbers of trees each, says to log-likelihoods and greediness."""
    laid = [_laid(trees, row) for row in rows]
    inputs, wanted = _inputs(laid, model), [(number, *entry) for number, row in enumerate(laid) for entry in row["wanted"]]
    states = model.get_decoder()(**inputs, use_cache=False).last_hidden_state
    lines, places, targets, numbers, branches = zip(*wanted)
    values, best = _scores(states[list(lines), list(places)], torch.tensor(targets, device=states.device), matrix)
    for number, branch, value, hit in zip(numbers, branches, values, best):
        nats[number][branch] += value
        greedy[number][branch] &= hit


def _laid(trees, row) -> dict:
    """A row of trees laid out one behind another: ids, positions, tree and branch (−1 the stem) of every token, and what
    is wanted: place of the state, token it should predict, number of the tree, branch."""
    ids, positions, owners, parts, wanted = [], [], [], [], []
    for number in row:
        stem, first = trees[number].stem, len(ids)
        last = first + len(stem) - 1
        for part, tokens in enumerate([stem, *(branch[:-1] for branch in trees[number].branches)], start=-1):
            begin = 0 if part < 0 else len(stem)
            places = [last, *range(len(ids), len(ids) + len(tokens))]
            wanted += [] if part < 0 else [(place, target, number, part)
                                           for place, target in zip(places, trees[number].branches[part])]
            ids += tokens
            positions += range(begin, begin + len(tokens))
            owners += [number] * len(tokens)
            parts += [part] * len(tokens)
    return {"ids": ids, "positions": positions, "owners": owners, "parts": parts, "wanted": wanted}


def _inputs(laid: list[dict], model) -> dict:
    """The rows as the decoder takes them, padded on the right; padding sees padding alone."""
    ids, positions, owners, parts = (
        torch.nn.utils.rnn.pad_sequence([torch.tensor(row[name]) for row in laid], batch_first=True, padding_value=fill)
        for name, fill in (("ids", 0), ("positions", 0), ("owners", -1), ("parts", -1)))
    seen = owners[:, :, None] == owners[:, None]
    seen &= (parts[:, None] < 0) | (parts[:, None] == parts[:, :, None])
    seen &= positions[:, None] <= positions[:, :, None]
    mask = torch.zeros(seen.shape, dtype=model.dtype).masked_fill_(~seen, torch.finfo(model.dtype).min)
    return {"input_ids": ids.to(model.device), "position_ids": positions.to(model.device),
            "attention_mask": mask[:, None].to(model.device)}


def _scores(states, targets, matrix):
    """Log-probability of each target from the state that predicts it, and whether it is the likeliest token."""
    values, best = [], []
    for part, wanted in zip(states.split(CHUNK), targets.split(CHUNK)):
        logits = functional.linear(part.float(), *matrix)
        values += (-functional.cross_entropy(logits, wanted, reduction="none")).tolist()
        best += (logits.argmax(1) == wanted).tolist()
    return values, best


def _batches(trees: list[Tree], batch_tokens: int):
    """Lists of rows of numbers of trees, the longest first, whose padded size stays within `batch_tokens`; one at least."""
    sizes, rows, free = [tree.size() for tree in trees], [], []  # free: tokens left in each row
    for number in sorted(range(len(trees)), key=lambda number: -sizes[number]):
        open_rows = range(max(0, len(rows) - OPEN), len(rows))
        place = next((at for at in open_rows if free[at] >= sizes[number]), len(rows))
        if place == len(rows):
            rows.append([])
            free.append(max(ROW, sizes[number]))
        rows[place].append(number)
        free[place] -= sizes[number]
    while rows:
        count = max(1, batch_tokens // max(ROW, sizes[rows[0][0]]))
        yield rows[:count]
        rows = rows[count:]


@torch.inference_mode()
def _agrees(model) -> bool:
    """Whether packed and plain passes give the same likelihoods."""
    try:
        found = likelihoods(model, [Tree([1, 2, 3], [[4, 5], [6]]), Tree([3, 2], [[5, 1]])], quiet=True)
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return False  # no such mask, or no positions
    plain = [_plain(model, ids, count) for ids, count in (([1, 2, 3, 4, 5], 2), ([1, 2, 3, 6], 1), ([3, 2, 5, 1], 2))]
    return numpy.allclose([value for tree in found for value, _ in tree], plain, rtol=0.02, atol=0.05)


def _plain(model, ids: list[int], count: int) -> float:
    """Log-likelihood of the last `count` ids by the model's own forward pass."""
    logits = model(torch.tensor([ids], device=model.device)).logits[0, -count - 1:-1].float()
    return -functional.cross_entropy(logits, torch.tensor(ids[-count:], device=logits.device), reduction="sum").item()
