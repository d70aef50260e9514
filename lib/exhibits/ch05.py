"""Exhibits of instruction tuning."""
from lib.engine import records
from lib.exhibits.base import Lacking, figure, measured, noted, table
from lib.exhibits.panels import axes, curves
from lib.exhibits.units import printed, wide

CHAPTER = "05_sft"
SHARES = ("valid", "right", "repeated", "wrong_language")


@table("C05-T1", CHAPTER, "Instruction examples by source and language")
def instruction_examples(profile: str):
    """Rows derived from the training split, left out because a held-out row shows them, and trained on."""
    facts = noted(profile, CHAPTER)
    counts = facts[facts["fact"].str.startswith("examples_")]
    frame = counts.pivot_table("value", ["source", "language"], "fact", sort=False).astype(int)
    frame.columns = [name.removeprefix("examples_").replace("_", " ") for name in frame.columns]
    share = ", ".join(f"{count} {language}" for language, count in frame["kept"].groupby("language").sum().items())
    truncated = int(facts.loc[facts["fact"] == "answers_truncated", "value"].sum())
    return frame.reset_index(), (f"{frame['kept'].sum()} examples ({share}) of {frame['found'].sum()} derived ones; "
                                 f"{truncated} answers were cut at the length limit.")


@table("C05-T2", CHAPTER, "Answers before and after instruction tuning")
def generations(profile: str):
    """Held-out prompts with the reference and the greedy answer of the start and of the tuned model."""
    frame = records.rows(profile, CHAPTER, "generations")
    if frame.empty:
        raise Lacking("no held-out prompt is short enough; raise longest_prompt")
    changed = (frame["before"] != frame["after"]).sum()
    return frame, f"{changed} of {len(frame)} greedy answers to held-out prompts changed with instruction tuning."


@table("C05-T3", CHAPTER, "Answers that are valid, right, repeating, or in the wrong language")
def answers(profile: str):
    """Shares of greedy answers to held-out prompts before and after, by start, language and task, `estimate [low, high]`.

    Raises FileNotFoundError for a record from before answers were judged.
    """
    found = measured(profile, CHAPTER, *(f"answers_{share}" for share in SHARES))
    if found.empty:
        raise FileNotFoundError("Chapter 05 has to run again: what its answers are worth has no record.")
    found = printed(found.assign(share=found["metric"].str.removeprefix("answers_").str.replace("_", " ") + " %",
                                 heading=found["moment"]))
    frame = wide(found.sort_values("task", key=lambda task: task != "all", kind="stable"),
                 ["start", "language", "task", "share", "n"], "heading")
    whole = found[found["task"] == "all"].pivot_table("value", ["start", "language", "share"], "moment", sort=False)
    told = "; ".join(f"{language} {share} {row['before']:.0f} → {row['after']:.0f}"
                     for (_, language, share), row in whole.loc[[found["start"].iloc[0]]].iterrows())
    return frame, f"All tasks, before → after: {told} (demonstration scale)."


@figure("C05-F1", CHAPTER, "Loss on the answers")
def instruction_loss(profile: str):
    """Training loss, on answer tokens only, against examples seen; one line a start."""
    frame = records.rows(profile, CHAPTER, "loss")
    drawing, panel = axes()
    ends = curves(panel, frame.assign(start="from " + frame["stage"]), "start", "examples", "loss", marker="o")
    panel.set(xlabel="examples seen", ylabel="loss on answer tokens (nats/token)")
    panel.xaxis.get_major_locator().set_params(integer=True)
    return drawing, frame, f"Loss on the answers, first to last batch: {ends} nats/token."
