"""Loss spikes: found in the curves of a run, and met while it runs.

A step is a spike when its loss or its gradient norm stands out from the steps before it: more than so many standard
deviations above their median, on logarithms, since both curves fall and scatter in ratios. The standard deviation is a
robust one (Hampel 1974: 1.4826 × the median distance from the median) of the changes from step to step, over √2, so
that a falling curve is not taken for a scattered one (von Neumann 1941). Window, both curves and the skipped update are
also those of OLMo-core's SkipStepOptimizer, whose mean and standard deviation spikes themselves move.
"""
import dataclasses
import math

import numpy
import torch
from transformers import TrainerCallback

ACTIONS = ("none", "skip", "lower")
SCALE = 1.4826  # from a median distance to a standard deviation, for normal noise
TINY = 1e-12  # a loss of 0 has no logarithm
FLOOR = 0.01  # least standard deviation, 1 %: on a flat curve every ripple would stand out otherwise


@dataclasses.dataclass(frozen=True)
class Rule:
    """When a step is a spike, and what is done about it.

    window: steps before it that it is compared with. deviations: how many robust standard deviations above their median
    are too many. on_spike: `none`, `skip` (the update is dropped, and with it the batch) or `lower` (the learning rate
    is multiplied by `factor` from then on, once a window at most).
    """

    window: int = 32
    deviations: float = 6.0
    on_spike: str = "none"
    factor: float = 0.5

    def __post_init__(self):
        if self.on_spike not in ACTIONS:
            raise ValueError(f"On a spike {self.on_spike!r} cannot be done: choose one of {', '.join(ACTIONS)}.")
        if self.window < 2:
            raise ValueError(f"A window of {self.window} steps has no median to stand out from: give two at least.")


def is_spike(before, value: float, rule: Rule) -> bool:
    """Whether `value` stands out above the last `rule.window` values `before` it.

    A value that is not finite always does. Nothing else does before half a window of finite values is seen.
    """
    before = numpy.asarray(before[-rule.window:], float)
    before = numpy.log(numpy.maximum(before[numpy.isfinite(before)], TINY))
    if not math.isfinite(value) or len(before) < max(2, rule.window / 2):
        return not math.isfinite(value)
    middle = numpy.median(before)
    changes = numpy.diff(before)
    spread = max(SCALE * numpy.median(abs(changes - numpy.median(changes))) / math.sqrt(2), FLOOR)
    return math.log(max(value, TINY)) > middle + rule.deviations * spread


class Guard(TrainerCallback):
    """Watches loss and gradient norm of every step of a Trainer, and acts before the optimizer does.

    The trainer calls `see` behind each backward pass and logs every step: what is seen and done is kept in the state's
    log (loss, grad_norm, spike, action), from which a run that goes on knows its past. Steps whose loss or gradient is
    not finite are never taken under `skip` or `lower`, since the weights would not be finite afterwards.
    """

    def __init__(self, rule: Rule):
        self.rule = rule

    def on_train_begin(self, args, state, control, **rest):
        self.seen = [row for row in state.log_history if "spike" in row]

    def see(self, loss: torch.Tensor, model):
        """Takes the step's loss (nats) and the norm of its gradient, before any clipping."""
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        self.now = {"loss": float(loss), "grad_norm": float(torch.nn.utils.get_total_norm(gradients))}

    def on_pre_optimizer_step(self, args, state, control, model, optimizer, lr_scheduler, **rest):
        causes = [curve for curve, value in self.now.items()
                  if is_spike([row[curve] for row in self.seen], value, self.rule)]
        self.now.update(spike=" and ".join(causes), action="none")
        if causes and self.rule.on_spike != "none":
            self._act(state.global_step + 1, model, optimizer, lr_scheduler)
        self.now["learning_rate"] = optimizer.param_groups[0]["lr"]

    def on_log(self, args, state, control, **rest):
        # The Trainer itself logs a loss that is not finite as the mean of others, and a lowered rate a step late.
        if "loss" in state.log_history[-1]:
            state.log_history[-1].update(self.now)
            self.seen.append(state.log_history[-1])

    def _act(self, step: int, model, optimizer, scheduler):
        finite = all(math.isfinite(self.now[curve]) for curve in ("loss", "grad_norm"))
        if self.rule.on_spike == "lower" and not self._lowered(step):
            scheduler.base_lrs = [rate * self.rule.factor for rate in scheduler.base_lrs]
            for group in optimizer.param_groups:
                group["lr"] *= self.rule.factor
            self.now["action"] = "lower"
        if self.rule.on_spike == "skip" or not finite:
            model.zero_grad()  # parameters without gradient are left alone, by momentum and weight decay too
            self.now["action"] = "skip" if self.now["action"] == "none" else "lower and skip"

    def _lowered(self, step: int) -> bool:
        """Whether the rate was lowered within the window: what stands out since is the same spike still."""
        return any("lower" in row["action"] for row in self.seen if step - row["step"] < self.rule.window)
