"""Tables of the paper chapter."""
from lib import records
from lib.tables.base import reported, table


@table("C14-T1", "14_paper", "The papers' own values beside ours")
def beside(profile: str):
    """Every reported number with its provenance, and ours where a chapter of this profile noted the same quantity."""
    frame = reported()
    frame.insert(frame.columns.get_loc("value"), "companion", [_ours(profile, key) for key in frame.pop("ours")])
    frame = frame.rename(columns={"value": "paper's value"})
    found = frame["companion"].notna().sum()
    return frame, (f"{len(frame)} reported values, {found} with one of ours beside them; ours come from a model of "
                   "another size, so only their direction compares.")


def _ours(profile: str, key) -> float | None:
    """The last value that a chapter noted under `chapter/name`; None for a blank key, an absent record or name."""
    chapter, _, name = str(key).partition("/")
    if chapter not in records.available(profile):
        return None
    facts = records.facts(profile, chapter)
    found = facts.loc[facts["fact"] == name, "value"] if len(facts) else facts
    return float(found.iloc[-1]) if len(found) else None
