"""From sources to clean, deduplicated, leak-free artefacts, and where later chapters find them.

Rows are filtered, then split by group, then test rows that have a near twin in training are dropped. Whatever goes is
counted, by artefact, language, source and filter, so that read = kept + removed.
"""
import functools
import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy
import pandas
import pyarrow
import pyarrow.compute
import regex

from lib.data import files, likeness, public, sources, text
from lib.engine import assets, params, paths, pool, records

# Arrow's own pools keep what is freed: with them a corpus takes half as much memory again.
pyarrow.set_memory_pool(pyarrow.system_memory_pool())
CHAPTER, TOGETHER = "01_corpus", 100_000  # documents that are put together at once
Frames = dict[str, pandas.DataFrame]
# The columns of text in what a training row may give away of a test; those of `multiway` are its languages.
TEXTS = {"documents": ["text"], "pairs": ["english", "target"], "dialogues": ["prompt", "reply"], "items": ["question"]}
# What a program fills in: $1, $(name), %s, %1$s, %(name)s, %1, %NAME, #name#, {name}, { -name }, a lone #.
SLOT = (r"\$\([A-Za-z]\w*\)|\$[A-Za-z0-9_]+|%(?:[1-9]\$)?[0-9.]*[hlz]{0,2}[a-zS@](?![A-Za-z])|%\([a-z_]+\)[a-z]"
        r"|%[1-9](?!\d)|%[A-Z][A-Z_]+|#[a-z]+#|\{\{#?[A-Za-z0-9_.:-]+\}\}"
        r"|\{\s*[$-]?[A-Za-z0-9_.-]*\s*\}|\{\d,[^{}]*\}|(?<!\w)#(?=\s)")
# A slot, or wiki and template syntax: {…}, [[link]], __NAME__, <tag, &name;, one|other
PLACEHOLDER = regex.compile(SLOT + r"|%\(|[{}]|\[\[|__\w+__|</?\w|&\w+;|\w+\|\w")
SLOTS = regex.compile(rf"(?:{SLOT})(?:\s*(?:{SLOT}))*")
# Links and choices of number, with what a reader sees of them: [[page|label]], [$1 label]; the last form of a choice.
LINK = regex.compile(r"\[\[(?:[^][|]*\|)?([^][|]+)\]\]|\[(?:\$\d|\w+://\S+) ([^][]+)\]")
CHOICE = regex.compile(r"\{\{(?:PLURAL|GENDER):[^{}|]*\|(?:[^{}|]*\|)*([^{}|]*)\}\}"
                       r"|\{\w+,\s*plural,(?:[^{}]*\{[^{}]*\})*?\s*other\s*\{([^{}]*)\}\s*\}"
                       r"|\{[^{}>]*->[^{}]*\*\[\w+\]([^{}]*)\}", regex.I)


@dataclass(frozen=True)
class Settings:
    """How the corpus is cleaned and split; lengths in characters, thresholds as Jaccard similarity of 5-grams."""

    language: str = "fa"
    script: str = "Arabic"
    seed: int = 0
    minimum_characters: int = 20
    minimum_pair_characters: int = 15
    maximum_characters: int = 4000
    script_share: float = 0.6
    near_duplicate_threshold: float = 0.8
    twin_threshold: float = likeness.TWIN
    test_share: float = 0.1
    validation_share: float = 0.05
    document_characters: int = 800
    pair_files: tuple[str, ...] = ()


def path(profile: str, name: str) -> Path:
    """Where an artefact of the chapter lies: documents, pairs, multiway, dialogues or items."""
    return paths.run(profile, CHAPTER) / f"{name}.parquet"


def read(profile: str, name: str) -> pandas.DataFrame:
    """An artefact as a frame. Raises FileNotFoundError when chapter 01 has not run, store.SpoiledError when the file is
    not as that wrote it."""
    file = path(profile, name)
    command = f"`python -m lib.engine.run {CHAPTER} --profile {profile}`"
    if not file.exists():
        raise FileNotFoundError(f"{file} is not there: run chapter {CHAPTER} first, {command}.")
    return records.read_frame(file, f"run chapter {CHAPTER} again, {command}")


def inputs(record: records.Record, *names: str) -> list[pandas.DataFrame]:
    """The artefacts of these names (`read`), each noted in the record as one that its chapter reads."""
    found = [read(record.profile, name) for name in names]
    for name in names:
        record.input(path(record.profile, name))
    return found


def column(texts: Iterable[str]) -> Sequence[str]:
    """Texts (a list, or a frame's column) as a stream to train on: a column of Arrow, which is read piece by piece."""
    import datasets
    return datasets.Dataset(pyarrow.table({"text": pyarrow.array(texts, pyarrow.large_string())}))["text"]


def language(profile: str) -> str:
    """Code of the language that is learned, from the chapter's record."""
    return records.load(profile, CHAPTER)["parameters"]["language"]


def languages(wanted: list[str], language: str) -> list[str]:
    """Language codes of a parameter's default, in which `fa` stands for the language that is learned, each once."""
    return list(dict.fromkeys({"fa": language}.get(code, code) for code in wanted))


def write(profile: str, frames: dict[str, pandas.DataFrame]) -> dict[str, Path]:
    """Writes each frame as parquet, atomically; returns the paths."""
    return {name: records.write_frame(path(profile, name), frame.reset_index(drop=True)) for name, frame in frames.items()}


def configure(parameters: dict) -> Settings:
    """Settings from the chapter's parameters of the same names; a user's pairs are no strings of programs."""
    return Settings(**{field.name: parameters[field.name] for field in fields(Settings)})


def gather(parameters: dict) -> tuple[sources.Content, list[str]]:
    """Everything that the chapter's sources, files and hub data set hold, and the sources that this machine cannot get.

    Left out, and told in one line, are Debian packages on a machine that has none, or not these, public files that are
    neither at hand nor in reach, and tests from outside; else AssetError.
    """
    language, contents, absent = parameters["language"], [], []
    for name in [*parameters["sources"], *parameters.get("outside", [])]:
        try:
            contents.append(_read(name, ["en", language, *parameters["multiway_languages"]]))
        except (assets.NotOffered, assets.NotAvailable):
            if name in parameters["sources"] and assets.entry(name)["kind"] == "pip":
                raise  # packages that every machine with a network has are what the corpus rests on
            absent.append(name)
    if absent:
        kept = ", ".join(name for name in parameters["sources"] if name not in absent)
        print(f"Left out are {len(absent)} packages or public files that this machine cannot get: {', '.join(absent)}. "
              f"The corpus is what else there is: {kept or 'files of your own'}.")
    options, limit = (language, parameters["corpus_text_column"]), parameters["corpus_characters"]
    contents += [sources.own(paths.named(file), *options, limit) for file in parameters["corpus_files"]]
    if parameters["corpus_dataset"]:
        contents.append(sources.hub(parameters["corpus_dataset"], *options, parameters["corpus_pattern"], limit))
    contents += [sources.pairs(paths.named(file), language) for file in parameters.get("pair_files", [])]
    contents += [sources.tests(paths.named(file), language) for file in parameters.get("test_files", [])]
    content = merge(contents)
    if len({row["id"] for row in content.tests}) < len(content.tests):
        raise sources.SourceError("Two of `test_files` have one name, which would be the name of two tests: rename one.")
    for row in content.left_out:
        print(f"Left out of {row['source']}, rows with {row['filter']}: {row['rows']}.")
    return content, absent


def _read(name: str, languages: list[str]) -> sources.Content:
    """A source or a test by its name: what its package or its public files hold."""
    if name in public.TESTS:
        return public.outside(name, languages[1])
    return (public if name in public.READERS else sources).read(name, languages)


def merge(contents: Iterable[sources.Content]) -> sources.Content:
    """One content out of several."""
    contents = list(contents)
    units, *others = (itertools.chain.from_iterable([content[field] for content in contents])
                      for field in range(len(sources.Content._fields)))
    return sources.Content(files.Spool(units), *map(list, others))


def clean(content: sources.Content, others: list[str], settings: Settings) -> tuple[Frames, list[dict]]:
    """Row-level frames documents, pairs, multiway and dialogues after the filters, and the ledger of what they removed.

    `others` are further languages of the multiway items. The ledger's rows are {artefact, language, source, filter,
    rows}; filter `read` counts what came in, `rewritten` what stayed in with its placeholders replaced by …. Of the
    artefact `units` they count what a file held beside text, and what `text.normalise` rewrote.
    """
    ledger, learned = _reading(content), settings.language
    codes = list(dict.fromkeys(["en", learned, *others]))
    scripts = {**{code: text.script(code) for code in others}, "en": "Latin", learned: settings.script}

    def kept(artefact: str, columns: dict[str, str], label: str) -> pandas.DataFrame:
        return _filtered(_rows(content.units, columns, label), {name: scripts[code] for name, code in columns.items()},
                         artefact, settings, ledger)

    documents = [kept("documents", {"text": code}, code) for code in dict.fromkeys([learned, "en"])]
    pairs = kept("pairs", {"english": "en", "target": learned}, f"en-{learned}")
    multiway = kept("multiway", {code: code for code in codes}, "all")
    dialogues = [_dialogues(content.dialogues, code, scripts[code], settings, ledger) for code in codes]
    if documents[0].empty:
        raise sources.SourceError(f"No text in {learned!r} is left after the filters, of {len(content.units)} units: "
                                  f"check `language`, `script` ({settings.script}) and the lengths.")
    frames = {"documents": pandas.concat([frame for frame in documents if len(frame)]), "pairs": pairs, "multiway": multiway,
              "dialogues": pandas.concat(dialogues)}
    return {name: frame.reset_index(drop=True) for name, frame in frames.items()}, ledger


def _rows(units: list[dict], columns: dict[str, str], label: str) -> pandas.DataFrame:
    """Frame of the units that have a text in every language wanted, normalised; `columns` maps names to codes."""
    wanted = (row for row in units if all(row.get(code) for code in columns.values()))
    work = functools.partial(_normalised, columns, label)
    return pandas.concat(list(pool.batches(work, wanted, f"{label}: normalisation")) or [work([])], ignore_index=True)


def _normalised(columns: dict[str, str], label: str, units: list[dict]) -> pandas.DataFrame:
    """Frame of units that have a text in every language wanted."""
    found = [{"source": row["source"], "group": row["group"], "language": label,
              **{name: text.normalise(row[code], code) for name, code in columns.items()}} for row in units]
    return pandas.DataFrame(found, columns=["source", "group", "language", *columns])


def _reading(content: sources.Content) -> list[dict]:
    """Rows of the ledger on the units: rows of files left out, texts read, and those rewritten, by kind and at all."""
    counts = sum(pool.batches(_rewritten, content.units, "reading"), Counter())
    return [{"artefact": "units", **row} for row in content.left_out] + [
        {"artefact": "units", "language": language, "source": source, "filter": name, "rows": rows}
        for (language, source, name), rows in sorted(counts.items())]


def _rewritten(units: list[dict]) -> Counter:
    """(language, source, kind) → texts of the units, of kind `read`, those rewritten by kind, and `rewritten` at all."""
    counts = Counter()
    for row in units:
        for code, string in row.items():
            if code not in ("source", "group"):
                kinds = text.rewritings(string, code)
                counts.update((code, row["source"], name) for name in ["read", *kinds, *["rewritten"][:len(kinds)]])
    return counts


def readable(string: str) -> str:
    """A program's string as its reader may see it: labels for links, one form of a choice, … for what is filled in."""
    string = SLOTS.sub("…", LINK.sub(r"\1\2", string).replace("'''", "").replace("''", "").replace("%%", "%"))
    return SLOTS.sub("…", CHOICE.sub(r"\1\2\3", string)).strip()


def _dialogues(rows: list[dict], code: str, script: str, settings: Settings, ledger: list) -> pandas.DataFrame:
    """Prompt and reply in one language; a reply that many prompts share is kept three times."""
    found = [{**row, "prompt": text.normalise(row["prompt"], code), "reply": text.normalise(row["reply"], code)}
             for row in rows if row["language"] == code]
    frame = pandas.DataFrame(found, columns=["source", "group", "language", "prompt", "reply"])
    _drop(frame, [True] * len(frame), "read", "dialogues", ledger)
    frame = _drop(frame, (frame.prompt == "") | (frame.reply == ""), "empty", "dialogues", ledger)
    shares = frame.reply.map(lambda string: text.script_share(string, script))
    frame = _drop(frame, shares < settings.script_share, "script", "dialogues", ledger)
    frame = _drop(frame, frame.duplicated(["prompt", "reply"]), "exact duplicate", "dialogues", ledger)
    return _drop(frame, frame.groupby("reply").cumcount() >= 3, "repeated reply", "dialogues", ledger)


def _filtered(frame: pandas.DataFrame, scripts: dict[str, str], artefact: str, settings: Settings, ledger: list):
    """Applies the filters in turn; before them, documents that are strings of programs are made `readable`."""
    own = {Path(file).name for file in settings.pair_files}
    program = frame["group"].str.startswith("string/") & ~frame["source"].isin(own)
    if artefact == "documents":
        before = _where(frame, program)
        changed = before["text"].map(readable)
        _drop(before[["source", "language"]], changed != before["text"], "rewritten", artefact, ledger)
        frame = frame.assign(text=changed.reindex(frame.index).fillna(frame["text"])) if len(changed) else frame
    columns, rows = list(scripts), frame.assign(program=program)[[*scripts, "program"]].itertuples(index=False, name=None)
    _drop(frame, [True] * len(frame), "read", artefact, ledger)
    failed = list(pool.batches(functools.partial(_failed, scripts, settings), rows, f"{artefact}: filters"))
    failed = numpy.concatenate(failed) if failed else numpy.zeros(0, int)
    for number, name in enumerate(_filters(scripts, settings)):
        frame = _drop(frame, failed[frame.index] == number, name, artefact, ledger)
        if name == "length":
            frame = _drop(frame, _duplicated(frame[columns]), "exact duplicate", artefact, ledger)
    strings = frame[columns[0]] if len(columns) == 1 else (" ".join(row) for row in frame[columns[:2]].itertuples(index=False))
    near = likeness.near_duplicates(strings, settings.near_duplicate_threshold)
    return _drop(frame, near, "near duplicate", artefact, ledger)


def _failed(scripts: dict[str, str], settings: Settings, rows: list[tuple]) -> list[int]:
    """The number of the first filter that each row fails, -1 where it passes all."""
    filters = list(_filters(scripts, settings).values())
    rows = (dict(zip([*scripts, "program"], row)) for row in rows)
    return [next((number for number, bad in enumerate(filters) if bad(row)), -1) for row in rows]


def _duplicated(frame: pandas.DataFrame) -> pandas.Series:
    """Rows that an earlier one equals; only rows with a hash that is not their own are compared as a whole."""
    hashes = pandas.Series(map(hash, frame.itertuples(index=False, name=None)), frame.index, "int64")
    several = hashes.duplicated(keep=False)
    return frame[several].duplicated().reindex(frame.index, fill_value=False)


def _filters(scripts: dict[str, str], settings: Settings) -> dict:
    """Filters of single rows: name → function of a row that says whether it goes. `scripts`: text column → script."""
    columns, (low, high) = list(scripts), (settings.minimum_characters, settings.maximum_characters)
    low = low / text.WEIGHTS.get(scripts["text"], 1) if columns == ["text"] else settings.minimum_pair_characters
    return {
        "empty": lambda row: not all(row[column] for column in columns),
        "placeholder": lambda row: row["program"] and any(PLACEHOLDER.search(row[c]) for c in columns),
        "length": lambda row: len(row[columns[0]]) < low or max(len(row[c]) for c in columns) > high,
        "script": lambda row: any(text.script_share(row[c], scripts[c]) < settings.script_share for c in columns)}


def _drop(frame: pandas.DataFrame, bad, name: str, artefact: str, ledger: list) -> pandas.DataFrame:
    """The frame without its bad rows; their number goes into the ledger, by source and language."""
    bad = pandas.Series(list(bad), index=frame.index, dtype=bool)
    for (source, language), count in frame.loc[bad, ["source", "language"]].value_counts(sort=False).sort_index().items():
        ledger.append({"artefact": artefact, "language": language, "source": source, "filter": name,
                       "rows": int(count)})
    return _where(frame, ~bad) if bad.any() else frame


def _where(frame: pandas.DataFrame, wanted: pandas.Series) -> pandas.DataFrame:
    """The rows wanted; column by column, as pandas makes a whole copy of each text before it takes rows of all."""
    mask, index = wanted.to_numpy(bool), frame.index[wanted]
    return pandas.DataFrame({name: pandas.Series(frame[name].array[mask], index, frame[name].dtype) for name in frame}, index)


def unasked(rows: pandas.DataFrame, columns: list[str], asked: set[str], record: records.Record, **labels):
    """The rows without those to train on whose `columns` give away what is `asked`; how many did is fact `leaked`."""
    train = rows[rows["split"] == "train"] if "split" in rows else rows
    bad = rows.index.isin(train.index[likeness.leaking(train[columns].astype(str).to_numpy(), asked)])
    record.fact("leaked", int(bad.sum()), "rows", **labels)
    return rows[~bad].reset_index(drop=True)


def assign(groups: Iterable[str], settings: Settings) -> dict[str, str]:
    """Group → split: within each family (`family/…`) the groups are ordered by hash and cut by the shares."""
    families, found = defaultdict(set), {}
    for group in groups:
        families[group.split("/")[0]].add(group)
    for members in families.values():
        ordered = sorted(members, key=lambda group: digest(settings.seed, group))
        test = round(settings.test_share * len(ordered))
        validation = test + round(settings.validation_share * len(ordered))
        found |= {group: "test" if place < test else "validation" if place < validation else "train"
                  for place, group in enumerate(ordered)}
    return found


def digest(*parts) -> str:
    """A short stable hash of the parts, for ids and for orders that look random and never change."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode("utf8")).hexdigest()[:16]


def split(frames: Frames, settings: Settings, ledger: list[dict]) -> Frames:
    """Adds ids and splits, and drops (and counts) validation and test rows with a near twin in training."""
    splits = assign((group for frame in frames.values() for group in frame["group"]), settings)
    frames = dict(frames)
    for name, frame in frames.items():
        names = [digest(name, *row) for row in frame.itertuples(index=False, name=None)]
        # The columns of multi-way items are language codes, and `id` is Indonesian's.
        column = "item" if name == "multiway" else "id"
        frames[name] = frame.assign(split=[splits[group] for group in frame["group"]], **{column: names})
    found = leaks(frames, settings)
    for name, frame in frames.items():
        bad = frame[compared(name, settings)].isin(found).any(axis=1) & (frame["split"] != "train")
        frames[name] = _drop(frame, bad, "twin in training", name, ledger).reset_index(drop=True)
    mine = frames["documents"].loc[frames["documents"]["language"] == settings.language, "split"]
    if not {"train", "test"} <= set(mine):
        raise sources.SourceError(f"Only {len(mine)} different texts in {settings.language!r} are left, too few for "
                                  "training and test: give more text, or raise `test_share`.")
    return frames


def compared(artefact: str, settings: Settings) -> list[str]:
    """Text columns of an artefact in which a near twin would be a leak."""
    return {**TEXTS, "dialogues": ["prompt"], "multiway": list(dict.fromkeys(["en", settings.language]))}[artefact]


def leaks(frames: Frames, settings: Settings) -> set[str]:
    """Validation and test texts that have a near twin among all training texts."""
    held, training, seen = set(), [], set()
    for name, frame in frames.items():
        train = frame["split"] == "train"
        for column in compared(name, settings):
            held.update(frame.loc[~train, column])
            training.append(itertools.compress(frame[column], train))
    fresh = (string for string in itertools.chain.from_iterable(training)
             if (found := hash(string)) not in seen and not seen.add(found))
    return likeness.twins(sorted(held), fresh, settings.twin_threshold)


def held_out(frames: Frames) -> set[str]:
    """Texts of the validation and test rows of artefacts, by name."""
    return {string for name, frame in frames.items()
            for string in frame.loc[frame["split"] != "train", TEXTS.get(name) or codes(frame)].to_numpy().ravel()}


def guard(frames: Frames, asked: set[str], settings: Settings, ledger: list[dict]) -> Frames:
    """The frames without training rows that give away what a test asks, or share a run of words (`leaking`); counted."""
    if not asked:
        return frames
    train = [(name, *row) for name, frame in frames.items()
             for row in frame.loc[frame["split"] == "train", TEXTS.get(name) or codes(frame)].astype(str).itertuples()]
    given = likeness.leaking((row[2:] for row in train), asked, settings.twin_threshold, likeness.RUN)
    bad = {row[:2] for row, gives in zip(train, given) if gives}
    return {name: _drop(frame, [(name, place) in bad for place in frame.index], "gives a test away", name,
                        ledger).reset_index(drop=True) for name, frame in frames.items()}


def asked(content: sources.Content) -> set[str]:
    """What the user's tests and the texts from outside ask, which no training text may give away."""
    return {row["question"] for row in content.tests} | {row["text"] for row in content.outside}


def passages(rows: pandas.DataFrame, settings: Settings) -> pandas.DataFrame:
    """Documents: neighbouring rows of one file (or, for short strings, of one source) joined up to a length."""
    loose = rows["group"].str.startswith(("string/", "dialogue/"))
    rows = rows.assign(group=rows["group"].where(~loose, rows["source"] + "/" + rows["split"]))
    part = rows.groupby(["source", "language", "split", "group"], sort=False).ngroup().to_numpy()
    order = numpy.argsort(part, kind="stable")
    rows, part = (rows, part) if (part[1:] >= part[:-1]).all() else (rows.iloc[order], part[order])
    number = _numbers(part, rows["text"].str.len(), settings.document_characters)
    first = numpy.flatnonzero(numpy.diff(part, prepend=-1) | numpy.diff(number, prepend=-1))
    found = rows[["source", "group", "language", "split"]].iloc[first].reset_index(drop=True)
    names = found["group"] + ":" + found["language"] + ":" + number[first].astype(str)
    found = found.assign(id=names, text=_joined(rows["text"], numpy.append(first, len(rows))))
    return found[["id", "source", "group", "language", "split", "text"]]


def _joined(strings: pandas.Series, bounds: numpy.ndarray) -> pandas.api.extensions.ExtensionArray:
    """The strings between each bound and the next put together, one a line; a part at a time, as each is copied once."""
    parts = []
    for place in range(0, len(bounds) - 1, TOGETHER):
        within = bounds[place:place + TOGETHER + 1]
        lines = pyarrow.table({"text": strings.iloc[within[0]:within[-1]]})["text"].combine_chunks()
        lines = pyarrow.LargeListArray.from_arrays(within - within[0], lines.cast(pyarrow.large_string()))
        parts.append(pyarrow.compute.binary_join(lines, pyarrow.scalar("\n", pyarrow.large_string())))
    return pandas.array(pyarrow.chunked_array(parts, pyarrow.large_string()), "str")


def _numbers(part: Iterable[int], lengths: Iterable[int], most: int) -> numpy.ndarray:
    """Number of the document that each text goes to, within its part; a document is closed as soon as it is long enough."""
    found, before, number, size = [], None, 0, 0
    for now, length in zip(part, lengths):
        number, size = (0, 0) if now != before else (number + 1, 0) if size >= most else (number, size)
        before, size = now, size + length + 1
        found.append(number)
    return numpy.array(found, int)


def codes(multiway: pandas.DataFrame) -> list[str]:
    """The languages of multi-way items, as they are made or as they are kept."""
    return [name for name in multiway if name not in ("item", "source", "group", "language", "split")]


def foreign(multiway: pandas.DataFrame) -> list[str]:
    """The languages of multi-way items but English."""
    return [code for code in codes(multiway) if code != "en"]


def examined(questions: pandas.DataFrame, tests: list[dict], settings: Settings, ledger: list) -> pandas.DataFrame:
    """The derived items without training ones that give away a question of a user's test, and the user's own."""
    if not tests:
        return questions
    secret = {row["question"] for row in tests}
    kept = guard({"items": questions.assign(source=questions["task"])}, secret, settings, ledger)["items"]
    return pandas.concat([kept[list(questions)], pandas.DataFrame(tests)[list(questions)]], ignore_index=True)


def register(source: str) -> str:
    """What kind of language a source holds (manual, interface, news …); `own` of a user's files."""
    return assets.registry().get(source, {}).get("register", "own")


def translated(outside: Sequence[dict], language: str) -> pandas.DataFrame:
    """Texts from outside that are there in English and in the language, as pairs."""
    wide = pandas.DataFrame(outside, columns=["group", "source", "split", "language", "text"]).pivot(
        index=["group", "source", "split"], columns="language", values="text").reindex(columns=["en", language]).dropna()
    found = wide.set_axis(["english", "target"], axis=1).reset_index()
    return found.assign(id=found["group"])


def artefacts(frames: Frames, items: pandas.DataFrame, settings: Settings, outside: Sequence[dict] = ()) -> Frames:
    """What is written: the frames with the columns that later chapters read, short texts joined to documents, and with
    them the texts from outside, whose split is `outside`."""
    documents = passages(frames["documents"], settings)
    documents = documents.assign(register=documents["source"].map(register))
    documents = pandas.concat([documents, pandas.DataFrame(outside, columns=list(documents), dtype="str")], ignore_index=True)
    pairs = [frames["pairs"], translated(outside, settings.language)]
    return {"documents": documents,
            "pairs": pandas.concat(pairs, ignore_index=True)[["id", "source", "group", "split", "english", "target"]],
            "multiway": frames["multiway"][["item", "split", *codes(frames["multiway"])]],
            "dialogues": frames["dialogues"][["id", "source", "language", "split", "prompt", "reply"]], "items": items}


def gaps(frames: Frames) -> list[str]:
    """Sentences on what a corpus may have and this one has not, and where a user adds it."""
    had = {"english": (frames["documents"]["language"] == "en").any(), "pairs": len(frames["pairs"])}
    return [params.lack(name) for name, found in had.items() if not found]


def parallel(multiway: pandas.DataFrame, pairs: pandas.DataFrame, language: str) -> pandas.DataFrame:
    """The multi-way items; where there are none, the translation pairs, which are items in two languages."""
    if len(multiway):
        return multiway
    return pairs.rename(columns={"id": "item", "english": "en", "target": language})[["item", "split", "en", language]]


def note(record: records.Record, ledger: list[dict], frames: Frames, found: Frames):
    """Puts the chapter's counts into its record: rows by filter, text by source, items by task, lengths, samples."""
    for row in ledger:
        record.fact("rows", row["rows"], "rows", **{name: row[name] for name in row if name != "rows"})
    for name, frame in frames.items():
        for (source, language), count in frame.groupby(["source", "language"]).size().items():
            record.fact("rows", int(count), "rows", artefact=name, language=language, source=source, filter="kept")
    _note_text(record, frames["documents"], found["documents"])
    for (task, language, split), part in found["items"].groupby(["task", "language", "split"]):
        labels = {"task": task, "language": language, "split": split}
        record.fact("items", len(part), "items", **labels)
        # In a user's test questions may differ in how many choices they have: 1 / chance.
        record.fact("choices", round(1 / (1 / part["choices"].map(len)).mean(), 6), "choices", **labels)
        record.fact("most_frequent_answer", int(part["answer"].value_counts().max()), "items", **labels)
    columns, shown = (["english", "target"], "pairs") if len(frames["pairs"]) else (["language", "text"], "documents")
    held = _where(frames[shown], frames[shown]["split"] == "test").sort_values("id").head(6)
    record.rows("samples", held[columns].to_dict("records"))


def _note_text(record: records.Record, rows: pandas.DataFrame, documents: pandas.DataFrame):
    """Documents, characters, words and licence of each source, and how long its texts are."""
    words = list(itertools.chain.from_iterable(pool.batches(_words, rows["text"], "words")))
    rows = rows[["source", "language"]].assign(characters=rows["text"].str.len(), words=words,
                                               zwnj=rows["text"].str.count(text.ZWNJ))
    for (source, language), part in rows.groupby(["source", "language"]):
        labels = {"source": source, "language": language}
        written = (documents["source"] == source) & (documents["language"] == language)
        record.fact("documents", int(written.sum()), "documents", **labels)
        record.fact("characters", int(part["characters"].sum()), "characters", **labels)
        record.fact("words", int(part["words"].sum()), "words", **labels)
        record.fact("zwnj", int(part["zwnj"].sum()), "signs", **labels)
        known = assets.provenance(source) if source in assets.registry() else {"licence": "the user's own"}
        for name, value in known.items():
            record.fact(name, value, **labels)
        counts, edges = numpy.histogram(part["characters"], bins=numpy.geomspace(10, 5000, 19).round())
        record.rows("lengths", [{**labels, "low": low, "high": high, "texts": int(count)}
                                for low, high, count in zip(edges, edges[1:], counts)])


def _words(texts: list[str]) -> list[int]:
    """How many words each text has."""
    return [len(text.words(string)) for string in texts]
