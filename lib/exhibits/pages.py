"""All exhibits in one place: records kept for the repository, every table and figure made, and an index page.

    python -m lib.exhibits.pages night    rebuilds figures/night/ from its records alone
"""
import argparse
import functools
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import joblib
import pandas
from IPython.display import Image, Markdown

from lib import exhibits
from lib.engine import keys, markup, params, paths, pool, records, run, store
from lib.exhibits import executed
from lib.exhibits.base import Exhibit

CHAPTER = "14_paper"


def keep(profile: str) -> list[Path]:
    """Copies this machine's records to `figures/<profile>/records/`; returns every record there, in order.

    The record of this chapter itself stays out: nothing is made from it. The profiles of run.COMMITTED refuse, in a
    sentence each, records of changed code, and nothing is made from those either.
    """
    folder = paths.figures(profile) / "records"
    for chapter, why in _here(profile).items():
        if why and chapter != CHAPTER:
            records.refused.add((profile, chapter))
            print(f"The record of {chapter} is not kept in figures/{profile}, because {why}")
        elif chapter != CHAPTER:
            folder.mkdir(exist_ok=True)
            shutil.copyfile(run.record(profile, chapter), records.committed(profile, chapter))
    return sorted(folder.glob("*.json"))


def stale(profile: str) -> dict[str, str]:
    """Chapter → why its record is not what a run would give now; those that are up to date are left out.

    What a record rests on (`keys.of_chapter`) is looked up anew, its parameters in the profile's file.
    """
    found = {}
    for chapter in _chapters(profile):
        made = records.load(profile, chapter)
        known = paths.notebook(chapter).exists() and (paths.PARAMS / profile).is_dir()
        reasons = keys.outdated(made, params.load(profile, chapter) if known else made["parameters"])
        reasons = reasons or [f"{name} is stale" for name in run.before(chapter, profile) if name in found]
        if _unclean(made) or reasons:
            found[chapter] = _unclean(made) or run.listed(reasons)
    return found


def make(profile: str) -> pandas.DataFrame:
    """Makes every figure and table that has its records: id, kind, chapter, title, state, reading, stem of its files."""
    known = sorted([*exhibits.FIGURES.values(), *exhibits.TABLES.values()], key=lambda one: (one.chapter, one.id))
    one = joblib.delayed(functools.partial(_make, profile, records.refused))
    return pandas.DataFrame(joblib.Parallel(pool.cores(), "multiprocessing", batch_size=1)(map(one, known)))


def index(profile: str, made: pandas.DataFrame) -> Path:
    """Writes `figures/<profile>/README.md`: each exhibit with its sentence, the papers' values, and what is absent."""
    parts = [f"# Tables and figures of the profile `{profile}`", _provenance(profile)]
    for chapter, rows in made[made["state"] == "made"].groupby("chapter"):
        parts += [f"## {chapter}", *(_entry(row) for row in rows.itertuples())]
    absent = made[made["state"] != "made"]
    if len(absent):
        lines = [f"- {row.id}. {row.title}: {row.state}." for row in absent.itertuples()]
        parts += ["## Not made here", "\n".join(lines)]
    page = paths.figures(profile) / "README.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf8")
    return page


def shown(profile: str, made: pandas.DataFrame) -> Iterator[Markdown | Image]:
    """Every exhibit that was made as a notebook displays it, whatever folder it is opened in.

    A sentence, then the picture itself or the printed table, folded away.
    """
    for row in made[made["state"] == "made"].itertuples():
        yield Markdown(f"### {row.id}. {row.title}\n\n{markup.directed(row.reading)}")
        file = paths.figures(profile) / row.stem
        if row.kind == "figure":
            yield Image(file.with_suffix(".png"), width=700)
        else:
            printed = file.with_suffix(".md").read_text("utf8").partition("\n\n")[2]
            yield Markdown(f"<details><summary>the table</summary>\n\n{printed}\n</details>")


def _make(profile: str, refused: set, exhibit: Exhibit) -> dict:
    """An exhibit's row, in whatever process; `refused` is what `keep` found there."""
    records.refused |= refused
    row = {name: getattr(exhibit, name) for name in ("kind", "id", "chapter", "title", "stem")}
    if exhibit.chapter not in {CHAPTER, *records.available(profile)}:
        return {**row, "state": f"{exhibit.chapter} has no record"}
    try:
        return {**row, "state": "made", "reading": exhibits.save(exhibit.id, profile)}
    except (FileNotFoundError, exhibits.Lacking) as error:
        return {**row, "state": str(error).rstrip(".")}


def _entry(row) -> str:
    """An exhibit on the index page: heading, sentence, picture or links."""
    endings = ("pdf", "png", "csv") if row.kind == "figure" else ("md", "csv", "tex")
    links = " · ".join(f"[{ending}]({row.stem}.{ending})" for ending in endings)
    picture = f"![{row.id}. {row.title}]({row.stem}.png)\n\n" if row.kind == "figure" else ""
    # A reading may name a token such as <bytes>, which Markdown would take for HTML.
    return f"### {row.id}. {row.title}\n\n{markup.inert(row.reading)}\n\n{picture}{links}"


def _chapters(profile: str) -> list[str]:
    """Those with a record, but the one that collects the exhibits."""
    return [chapter for chapter in records.available(profile) if chapter != CHAPTER]


def _here(profile: str) -> dict[str, str]:
    """Chapter of a record that this machine made → why it is not kept, empty if it is."""
    return {path.parent.name: _obstacle(profile, path) for path in sorted(paths.runs(profile).glob("*/record.json"))}


def _obstacle(profile: str, path: Path) -> str:
    """Why a record is not kept, as the end of a sentence; else empty."""
    try:
        made = records.made(path)
    except store.SpoiledError as error:
        return str(error)
    unclean = profile in run.COMMITTED and _unclean(made)
    return f"it was {unclean}: commit what was changed and run the chapter again." if unclean else ""


def _unclean(record: dict) -> str:
    """How the record was made, if not from a clean checkout of its revision; else empty."""
    dirty = record["environment"].get("dirty")
    return {True: "made from code changed since its revision", None: "made from code of no known revision"}.get(dirty, "")


def _provenance(profile: str) -> str:
    """Which code and machine each record comes from, what is stale, and how to read the numbers."""
    old, rows = stale(profile), []
    for chapter in _chapters(profile):
        made = records.load(profile, chapter)["environment"]
        state = f"stale: {old[chapter]}" if chapter in old else "up to date"
        name = f"[{chapter}](notebooks/{chapter}.ipynb)" if executed.kept(profile, chapter).exists() else chapter
        rows.append(f"| {name} | {str(made['revision'] or 'unknown')[:10]} | {made['device']} | {state} |")
    return (f"Made from {len(rows)} records. Demonstration scale: a model of a hundred million parameters and minutes of "
            "training show directions, not the papers' heights. Brackets are 95 % intervals.\n\n"
            + "\n".join(["| chapter | revision | device | record |", "|---|---|---|---|", *rows]))


def main(arguments: list[str] | None = None) -> int:
    """Rebuilds the exhibits of a profile from records; 1 when it has none."""
    parser = argparse.ArgumentParser(description="Rebuild tables and figures from records.")
    parser.add_argument("profile")
    profile = parser.parse_args(arguments).profile
    return run.told(lambda: _rebuild(profile))


def _rebuild(profile: str) -> int | None:
    if not keep(profile):
        print(f"Profile {profile} has no records: run `make reproduce PROFILE={profile}` first.", file=sys.stderr)
        return 1
    made = make(profile)
    if chapters := executed.keep(profile, [chapter for chapter, why in _here(profile).items() if not why]):
        print(f"Executed notebooks kept in figures/{profile}/notebooks: {', '.join(name[:2] for name in chapters)}.")
    executed.retell(profile)
    page = index(profile, made)
    print(f"{(made['state'] == 'made').sum()} of {len(made)} exhibits made; index: {paths.shown(page)}")


if __name__ == "__main__":
    sys.exit(main())
