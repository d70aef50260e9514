"""A committed run goes on elsewhere: its records are taken from figures/, and what later chapters read is made again.

    python -m lib.engine.handover night    then `make reproduce PROFILE=night` runs the chapters that are left

Corpora, tokenizers and models are not committed. Since a run is deterministic they need not be: a chapter's notebook runs
again, with no more trainings than what it leaves needs (`params/handover.yaml`), and what it leaves must have the
sha256 that its record names. A record that today's code or parameters would not make is not taken up.
"""
import argparse
import functools
import shutil
import sys

from lib.engine import keys, params, paths, records, run, store


def take_up(profile: str):
    """Takes up every committed record that `current` names, and makes again what the chapters left read of them.

    A chapter whose output comes out otherwise than in the committed run is left, and so is what rests on it; the others are
    taken up before run.ChapterError says so.
    """
    waiting = run.stale(profile)
    taken = current(profile, waiting)
    needed = {name for chapter in set(waiting).difference(taken, run.COLLECTING) for name in run.before(chapter, profile)}
    done, failed = [], {}
    for chapter in taken:
        if failed.keys().isdisjoint(run.before(chapter, profile)):
            try:
                _take(profile, chapter, chapter in needed)
            except run.ChapterError as error:
                failed[chapter] = str(error)
            else:
                done.append(chapter)
    left = [chapter for chapter in waiting if chapter not in {*done, *run.COLLECTING}]
    print(f"{len(done)} chapters taken up, {len(left)} left for `make reproduce PROFILE={profile}`: "
          f"{', '.join(left) or 'none'}.")
    if failed:
        raise run.ChapterError(" ".join(failed.values()))


def _take(profile: str, chapter: str, needed: bool):
    """Takes one committed record up, and makes again what the chapter left where that is needed."""
    told = _again(profile, chapter) if needed else "its record"
    kept = records.committed(profile, chapter)
    store.atomically(run.record(profile, chapter), functools.partial(shutil.copyfile, kept), sealed=True)
    print(f"{chapter}: {told} as committed.", flush=True)


def current(profile: str, waiting) -> list[str]:
    """Those of the chapters `waiting` to run whose committed record would be the same today, and rests on what is here or is
    taken up too."""
    found, taken = {}, []
    for chapter in run.chapters():
        place = records.committed(profile, chapter) if chapter in waiting else run.record(profile, chapter)
        if chapter in run.COLLECTING or not place.exists():
            continue
        made = records.made(place)
        rests = {name: run.read_of(found[name], chapter) if name in found else None for name in run.before(chapter, profile)}
        same = rests.items() <= made.get("rests", {}).items() and not keys.outdated(made, params.load(profile, chapter))
        if chapter not in waiting or same:
            found[chapter] = place
            taken += [chapter] * (chapter in waiting)
    return taken


def _again(profile: str, chapter: str) -> str:
    """Makes again what a chapter left, unless it is here, and says what; ChapterError when it comes out otherwise."""
    made, folder = records.made(records.committed(profile, chapter)), paths.run(profile, chapter)
    if not made["leaves"].items() <= records.leaves(folder).items():
        print(f"{chapter}: {', '.join(made['leaves'])} is made again.", flush=True)
        run.run(profile, chapter, params.load(profile, chapter) | _less(chapter, made))
    found = records.leaves(folder)
    if other := [name for name, digest in made["leaves"].items() if found.get(name) != digest]:
        raise run.ChapterError(f"{', '.join(other)} of {chapter} is not what the committed run had (another processor, package "
                               "or version of a source): the chapter and all that rest on it have to run here, by "
                               f"`make reproduce PROFILE={profile}`.")
    return ", ".join(["its record", *found])


def _less(chapter: str, made: dict) -> dict:
    """Parameters with which the chapter leaves the same in less time; `=name` stands for that fact of its record."""
    file = paths.PARAMS / "handover.yaml"
    given = params.read(file).get(chapter, {}) if file.exists() else {}
    facts = {fact["fact"]: fact["value"] for fact in made["facts"]}
    return {name: facts[value[1:]] if str(value).startswith("=") else value for name, value in given.items()}


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when the run can go on."""
    parser = argparse.ArgumentParser(description="Go on with a committed run on this machine.")
    parser.add_argument("profile")
    return run.command(parser, arguments, _act)


def _act(values: argparse.Namespace, options: list[str]):
    run.no_options(options)
    run.tell_reach()
    with run.locked(values.profile):
        take_up(values.profile)


if __name__ == "__main__":
    sys.exit(main())
