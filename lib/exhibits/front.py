"""The results in the README: one sample and five claims with what was seen and the verdict, from the committed records.

    python -m lib.exhibits.front     writes them between the two marks in the README
"""
import html
import re
import sys

import pandas

from lib.engine import paths, records, run
from lib.exhibits import ch06, ch14, claims
from lib.exhibits.units import in_print, interval

PROFILE = "night"
FIVE = ("extension-fertility", "extension-equal-bytes", "lora-forgets-less", "replay-keeps-english", "adapter-in-part")
MARKS = re.compile(r"(?<=<!-- results, by python -m lib.exhibits.front -->\n).*(?=<!-- end of results -->)", re.S)
LEDGER = f"figures/{PROFILE}/tables/C14-T4_in_words.md"


def sample(profile: str) -> str:
    """How the model before and after pretraining goes on with one beginning, that on which it repeats itself least."""
    rows = records.rows(profile, "03_pretraining", "continuations")
    last = rows[rows["share"] == rows["share"].max()]
    chosen = last.loc[last["continuation"].map(_variety).idxmax(), "prompt"]
    asked = rows[rows["prompt"] == chosen].sort_values("share")
    told = (" ".join(f"{row.prompt} {row.continuation}".split()) for row in asked.iloc[[0, -1]].itertuples())
    line = f'<div dir="auto">{"<br>".join(map(html.escape, told))}</div>'  # one of Markdown, in the direction of its script
    return (f"Asked to go on with its likeliest words, before pretraining and after it (of {len(last)} beginnings that on "
            f"which it repeats itself least):\n\n{line}")


def _variety(string: str) -> float:
    """Different words over all words."""
    words = string.split()
    return len({*words}) / max(1, len(words))


def results(profile: str) -> str:
    """The sample, a row a claim of FIVE, what the last model needs for text, and how many claims of all have which verdict, as
    Markdown."""
    ledger = claims.ledger(profile)
    rows = ["| claim | seen | verdict |", "|---|---|---|"]
    decisive = ledger[ledger.apply(claims.decides, axis=1)]
    for test in (decisive[decisive["id"] == name].iloc[0] for name in FIVE):
        seen = f"{test['label']}: {interval(test)} {in_print(test['unit'])[2]}, n = {test['n']:.0f}"
        seen += "" if pandas.isna(test["trainings"]) else f", {test['trainings']:.0f} trainings"
        seen += f" ({test['remark']})" if test["remark"] else ""
        seen = test["remark"] if test["test_verdict"] == claims.ABSENT else seen
        rows.append(f"| {test['claim']} | {seen} | {test['verdict']} |")
    counted = f"{ch06.registers(profile)[-1]} {ch14.counted(ledger)} ([every claim in words]({LEDGER}))"
    return f"{sample(profile)}\n\n" + "\n".join(rows) + f"\n\n{counted}.\n"


def told(text: str) -> str:
    """The README's text with the results of the committed records, whatever runs there are on this machine."""
    records.refused.update((PROFILE, chapter) for chapter in run.UPSTREAM)
    return MARKS.sub(lambda _: results(PROFILE), text)


def main() -> int:
    """Rewrites the README; 0 always."""
    file = paths.ROOT / "README.md"
    file.write_text(told(file.read_text(encoding="utf8")), encoding="utf8")
    print(f"The results in {file.name} are those of figures/{PROFILE}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
