"""Next-token cross-entropy straight from hidden states: the logits of a batch never exist at once.

The gradient is computed with the loss, chunk by chunk, so that a chunk's logits are made once and dropped (as in Cut
Cross-Entropy, Wijmans et al. 2024, without its kernel). The head may come in parts, of which only those that require a
gradient get one: old vocabulary rows stay as they are at no cost.
"""
import torch

IGNORED = -100


def cross_entropy(hidden, labels, head: list, chunk: int = 256, teacher=None):
    """Sum of the cross-entropy in nats over the positions whose label is not −100.

    hidden [n, width], labels [n] (already shifted), head: list of [rows, width] whose concatenation is the output
    matrix, on one device. `chunk` positions are scored at a time, in fp32. With hidden states of a `teacher` [n, width]
    the gradient is that of its distribution over the first part of the head instead of the labels' (distillation, Hinton
    et al. 2015, arXiv 1503.02531); the value stays the labels', to be compared with others.
    """
    kept = labels != IGNORED
    if not kept.all():
        hidden, labels, teacher = (part if part is None else part[kept] for part in (hidden, labels, teacher))
    return _ChunkedCrossEntropy.apply(hidden, labels, chunk, teacher, *(part.to(hidden.dtype) for part in head))


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, labels, chunk, teacher, *head):
        gradients = [torch.zeros_like(tensor, dtype=torch.float32) if needed else None
                     for tensor, needed in zip((hidden, *head), (ctx.needs_input_grad[0], *ctx.needs_input_grad[4:]))]
        total = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden), chunk):
            piece = slice(start, start + chunk)
            loss, slope = _loss_and_slope(hidden[piece], labels[piece], head, None if teacher is None else teacher[piece])
            total += loss
            _add_gradients(gradients, piece, hidden[piece], slope, head)
        ctx.save_for_backward(*gradients)
        ctx.formats = [hidden.dtype, *(part.dtype for part in head)]
        return total

    @staticmethod
    def backward(ctx, weight):
        scaled = [gradient if gradient is None else (gradient * weight).to(dtype)
                  for gradient, dtype in zip(ctx.saved_tensors, ctx.formats)]
        return scaled[0], None, None, None, *scaled[1:]


def _loss_and_slope(hidden, labels, head, teacher=None):
    """Summed loss of a chunk and its derivative by the logits, softmax − one-hot (or the teacher's), in their place."""
    logits = torch.cat([hidden @ part.t() for part in head], dim=1).float()
    normaliser = logits.logsumexp(dim=1, keepdim=True)
    picked = logits.gather(1, labels[:, None])
    slope = logits.sub_(normaliser).exp_()
    if teacher is None:
        slope.scatter_add_(1, labels[:, None], -torch.ones_like(picked))
    else:
        slope[:, :len(head[0])] -= (teacher @ head[0].t()).float().softmax(dim=1)
    return (normaliser - picked).sum(), slope


def _add_gradients(gradients, piece, hidden, slope, head):
    slopes = slope.to(hidden.dtype).split([len(part) for part in head], dim=1)
    if gradients[0] is not None:
        gradients[0][piece] = sum(part_slope @ part for part_slope, part in zip(slopes, head))
    for gradient, part_slope in zip(gradients[1:], slopes):
        if gradient is not None:
            gradient += part_slope.t() @ hidden
