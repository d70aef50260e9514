"""Exhibits of instruction tuning."""
from lib.exhibits.base import measured, renewed, table
from lib.exhibits.units import behind, interval, printed, span, wide

CHAPTER = "05_sft"
SHARES = ("valid", "right", "repeated", "wrong_language")
COST = "right answer, bits/byte"


@table("C05-T3", CHAPTER, "Answers that are valid, right, repeating, or in the wrong language")
def answers(profile: str):
    """Shares of greedy answers to held-out prompts before and after, by start, language and task, `estimate [low, high]`.

    Raises Lacking for a record from before answers were judged.
    """
    found = measured(profile, CHAPTER, *(f"answers_{share}" for share in (*SHARES, "bits_per_byte")))
    found = renewed(found, profile, CHAPTER)
    whole = found.query("metric in ['answers_valid', 'answers_repeated', 'answers_right'] and task == 'all'")
    whole = whole[whole["start"] == whole["start"].iloc[0]]
    shares = found["metric"].str.removeprefix("answers_").str.replace("_", " ") + " %"
    found = printed(found.assign(share=shares.replace("bits per byte %", COST), heading=found["moment"]))
    frame = wide(found.sort_values("task", key=lambda task: task != "all", kind="stable"),
                 ["start", "language", "task", "share", "n"], "heading")
    moves = [metric.removeprefix("answers_") + ", ".join(
        f" {code} {' → '.join(map(interval, rows.to_dict('records')))}" for code, rows in part.groupby("language", sort=False))
        for metric, part in whole.groupby("metric", sort=False)]
    return frame, (f"Before → after, % of answers (right: of choices): {'; '.join(moves)} (n = {span(whole['n'])} "
                   f"answers{behind(whole)}; demonstration scale).")
