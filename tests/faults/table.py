"""docs/reliability.md, from what the harness found."""
import json
from collections import Counter
from pathlib import Path

from lib.engine import paths, store

PLANNED = 50  # kills in full
FOUND, PAGE = Path(__file__).with_name("found"), paths.ROOT / "docs/reliability.md"
HEAD = """# Nothing is lost

Stop a run anywhere, by any means, and start it again by the same command: it ends in the same numbers. This page says how
far that was tried. `.venv/bin/python -m tests.faults` makes the faults (`kills 50 FOLDER`, `spoiled FOLDER`, `resources FOLDER`;
hours, as root) and this page (`table`); a short form of each runs in `make test` (tests/test_faults.py).

## What is done for it

- What is written lies beside its place until all of it is on the disk, and is renamed then; `.making-…` names what is not
  finished, and the next run clears what a killed one left.
- Every folder under `runs/` and in the cache keeps the sha256 of its files in `SHA256SUMS`, which `sha256sum --check` reads
  too. A file that is not as it was written is named in one sentence, and made again by `make reproduce` or refused.
- A training keeps its two newest checkpoints, sealed in the same way: a spoiled one costs the steps since the one before it.
- What is newer is told by content and not by the clock.
- A kernel, and every process of a launch, ends within seconds of the run that started it, however that ended.
"""


def write():
    """Writes the page."""
    found = {file.stem: json.loads(file.read_text("utf8")) for file in sorted(FOUND.glob("*.json"))}
    kills = [part for name, part in found.items() if name.startswith("kills-") and part["runs"]]
    parts = [HEAD, _kills(found.get("undisturbed"), kills)] if kills else [HEAD]
    parts += [_spoiled(found["spoiled"])] if "spoiled" in found else []
    parts += [_resources(found["resources"])] if "resources" in found else []
    PAGE.write_text("\n".join(parts), "utf8")


def _kills(whole: dict, parts: list[dict]) -> str:
    """Kills by what was run, and by what was going on."""
    moments, manners = (sum((Counter(part[kind]) for part in parts), Counter()) for kind in ("moments", "manners"))
    rows = [[part["kind"], f"{part['survived']} of {part['kills']}", part["runs"], len(part["wrong"]), f"{part['seconds']:,}"]
            for part in parts]
    killed, survived = (sum(part[name] for part in parts) for name in ("kills", "survived"))
    few = f" The harness plans {PLANNED};\nthese are the ones whose runs were followed to their end." if killed < PLANNED else ""
    return f"""## Kills

SIGKILL at seeded moments, then the same command again, until the run is finished; compared are all metrics of all records
({whole["metrics"]:,} in {whole["records"]} records of smoke) but for speeds, with those of a run that nobody disturbed
(its chapters took {whole["seconds"]:,} s, on {whole["cores"]} cores shared with other work; commit {whole["revision"]}).
**{survived} of {killed} kills gave identical metrics and left no lock, no half file and no process.**{few} Killed was
{_listed(manners)}, as when a container stops or a machine goes down.

{_table(["what was run", "kills survived", "runs finished", "found wrong", "seconds"], rows)}

What was going on, by what was unfinished on the disk (several things can be):

{_table(["moment", "kills"], sorted(moments.items(), key=lambda row: -row[1]))}
"""


def _spoiled(found: dict) -> str:
    """Spoiled files by kind."""
    rows = [[kind, f"{found['noticed'].get(kind, 0)} of {number}"] for kind, number in sorted(found["tried"].items())]
    unread = [f"{kind[6:]} ({number})" for kind, number in sorted(found["unread"].items()) if store.SUMS not in kind]
    tried, noticed = (sum(found[name].values()) for name in ("tried", "noticed"))
    return f"""## Torn and spoiled files

Of each of {found["kinds"]} kinds of file that a finished smoke run and its cache hold ({found["files"]:,} files), up to three
were spoiled in {len(found["ways"])} ways: {", ".join(found["ways"])}. **{noticed} of {tried} were noticed by what reads them
next, which makes them again** ({found["seconds"]} s, commit {found["revision"]}). Nothing is made from these, which are not
sealed: {", ".join(unread)}. A spoiled `{store.SUMS}` makes again what it names wrongly; an
emptied one leaves its files unchecked, whose content is as it was. Checkpoints, with optimizer and trainer's state, are spoiled
in tests/test_faults.py, every file in all four ways.

{_table(["kind of file", "noticed"], rows)}
"""


def _resources(found: dict) -> str:
    """Faults of the machine by kind."""
    return f"""## Disk, memory, network, clock

{_table(["fault", "what came of it", "seconds"], found["rows"])}

What users hand in (parameter files, texts, bases, replies …) is tried in [reliability-inputs.md](reliability-inputs.md).
"""


def _listed(counts: dict) -> str:
    return ", ".join(f"{number} times {name}" for name, number in sorted(counts.items(), reverse=True))


def _table(head: list[str], rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
