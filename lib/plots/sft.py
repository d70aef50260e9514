"""Figures of the sft chapter."""
from lib import records
from lib.plots.base import axes, figure


@figure("C05-F1", "05_sft", "Loss on the answers")
def instruction_loss(profile: str):
    """Training loss, on answer tokens only, against examples seen; one line a start."""
    frame = records.rows(profile, "05_sft", "loss")
    drawing, panel = axes()
    for start, line in frame.groupby("stage", sort=False):
        panel.plot(line["examples"], line["loss"], marker="o", label=f"from {start}")
    panel.set(xlabel="examples seen", ylabel="loss on answer tokens (nats/token)")
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend()
    ends = [f"from {start} {line['loss'].iloc[0]:.2f} → {line['loss'].iloc[-1]:.2f}"
            for start, line in frame.groupby("stage", sort=False)]
    return drawing, frame, f"Loss on the answers, first to last batch: {', '.join(ends)} nats/token."
