"""From sources to clean, deduplicated, leak-free artefacts, and where later chapters find them.

Rows are filtered, then split by group, then test rows that have a near twin in training are dropped. Whatever goes is
counted, by artefact, language, source and filter, so that read = kept + removed.
"""
import hashlib
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import datasets
import numpy
import pandas
import pyarrow
import regex
from datasketch import MinHash, MinHashLSH

from lib.data import public, sources, text
from lib.engine import assets, params, paths, records

CHAPTER = "01_corpus"
Frames = dict[str, pandas.DataFrame]
SHINGLE, PERMUTATIONS = 5, 64
RUN = 8  # words that no training text shares with a test
SECRET = 20  # characters: shorter questions stand in many texts by themselves
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
    twin_threshold: float = 0.7
    test_share: float = 0.1
    validation_share: float = 0.05
    document_characters: int = 800
    pair_files: tuple[str, ...] = ()


def path(profile: str, name: str) -> Path:
    """Where an artefact of the chapter lies: documents, pairs, multiway, dialogues or items."""
    return paths.run(profile, CHAPTER) / f"{name}.parquet"


def read(profile: str, name: str) -> pandas.DataFrame:
    """An artefact as a frame. Raises FileNotFoundError when chapter 01 has not run."""
    file = path(profile, name)
    if not file.exists():
        raise FileNotFoundError(f"{file} is not there: run chapter {CHAPTER} first, "
                                f"e.g. `make reproduce PROFILE={profile}`.")
    return pandas.read_parquet(file)


def column(texts: Iterable[str]) -> Sequence[str]:
    """Texts (a list, or a frame's column) as a stream to train on: a column of Arrow, which is read piece by piece."""
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

    Left out, and told in one line, are Debian packages on a machine that has none, or not these, and public files that
    are neither at hand nor in reach; else AssetError.
    """
    language, contents, absent = parameters["language"], [], []
    for name in [*parameters["sources"], *parameters.get("outside", [])]:
        try:
            contents.append(_read(name, ["en", language, *parameters["multiway_languages"]]))
        except (assets.NotOffered, assets.NotAvailable):
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
    return sources.Content(*([row for content in contents for row in content[field]]
                             for field in range(len(sources.Content._fields))))


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
        rows = _rows(content.units, columns, label)
        return _filtered(rows, {name: scripts[code] for name, code in columns.items()}, artefact, settings, ledger)

    documents = [kept("documents", {"text": code}, code) for code in dict.fromkeys([learned, "en"])]
    pairs = kept("pairs", {"english": "en", "target": learned}, f"en-{learned}")
    multiway = kept("multiway", {code: code for code in codes}, "all")
    dialogues = [_dialogues(content.dialogues, code, scripts[code], settings, ledger) for code in codes]
    if documents[0].empty:
        raise sources.SourceError(f"No text in {learned!r} is left after the filters, of {len(content.units)} units: "
                                  f"check `language`, `script` ({settings.script}) and the lengths.")
    frames = {"documents": pandas.concat(documents), "pairs": pairs, "multiway": multiway,
              "dialogues": pandas.concat(dialogues)}
    return {name: frame.reset_index(drop=True) for name, frame in frames.items()}, ledger


def _rows(units: list[dict], columns: dict[str, str], label: str) -> pandas.DataFrame:
    """Frame of the units that have a text in every language wanted, normalised; `columns` maps names to codes."""
    found = [{"source": row["source"], "group": row["group"], "language": label,
              **{name: text.normalise(row[code], code) for name, code in columns.items()}}
             for row in units if all(row.get(code) for code in columns.values())]
    return pandas.DataFrame(found, columns=["source", "group", "language", *columns])


def _reading(content: sources.Content) -> list[dict]:
    """Rows of the ledger on the units: rows of files left out, texts read, and those rewritten, by kind and at all."""
    counts = Counter()
    for row in content.units:
        for code, string in row.items():
            if code not in ("source", "group"):
                kinds = text.rewritings(string, code)
                counts.update((code, row["source"], name) for name in ["read", *kinds, *["rewritten"][:len(kinds)]])
    return [{"artefact": "units", **row} for row in content.left_out] + [
        {"artefact": "units", "language": language, "source": source, "filter": name, "rows": rows}
        for (language, source, name), rows in sorted(counts.items())]


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
        changed = frame["text"].where(~program, frame["text"].map(readable))
        _drop(frame, changed != frame["text"], "rewritten", artefact, ledger)
        frame = frame.assign(text=changed)
    columns, rows = list(scripts), frame.assign(program=program).to_dict("records")
    _drop(frame, [True] * len(frame), "read", artefact, ledger)
    for name, bad in _filters(scripts, settings).items():
        frame = _drop(frame, [bad(rows[place]) for place in frame.index], name, artefact, ledger)
        if name == "length":
            frame = _drop(frame, frame.duplicated(columns), "exact duplicate", artefact, ledger)
    strings = (" ".join(row) for row in frame[columns[:2]].itertuples(index=False))
    near = near_duplicates(strings, settings.near_duplicate_threshold)
    return _drop(frame, near, "near duplicate", artefact, ledger)


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
    for (source, language), count in frame[bad].groupby(["source", "language"]).size().items():
        ledger.append({"artefact": artefact, "language": language, "source": source, "filter": name,
                       "rows": int(count)})
    return frame[~bad]


def shingles(string: str) -> set[str]:
    """Character 5-grams of the string's key (`text.key`)."""
    string = text.key(string)
    return {string[start:start + SHINGLE] for start in range(max(1, len(string) - SHINGLE + 1))}


def jaccard(a: set, b: set) -> float:
    """Size of the intersection over that of the union."""
    common = len(a & b)
    return common / (len(a) + len(b) - common) if a or b else 1.0


def near_duplicates(strings: Iterable[str], threshold: float) -> list[bool]:
    """For each string, whether an earlier kept one is more similar than `threshold`.

    Candidates come from MinHash-LSH (Broder 1997; datasketch, 64 permutations) and are confirmed exactly.
    """
    strings = list(strings)
    index, found = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS), []
    encoded = ([part.encode("utf8") for part in shingles(string)] for string in strings)
    sketches = MinHash.generator(encoded, num_perm=PERMUTATIONS, hashfunc=zlib.crc32)
    for number, sketch in enumerate(sketches):
        near = (jaccard(shingles(strings[number]), shingles(strings[other])) for other in index.query(sketch))
        found.append(any(similarity > threshold for similarity in near))
        if not found[-1]:
            index.insert(number, sketch, check_duplication=False)
    return found


def twins(strings: Iterable[str], against: Iterable[str], threshold: float) -> set[str]:
    """Those of `strings` that have a Jaccard similarity above `threshold` with any text in `against`; exact."""
    near = _near(strings, threshold)
    return {string for other in set(against) for string in near(other)}


def _near(strings: Iterable[str], threshold: float):
    """A function that gives those of the strings that are near twins of a text.

    A twin shares at least ⌈t·n⌉ of a string's n shingles, so it holds one of any n − ⌈t·n⌉ + 1 of them: only the rarest
    so many are indexed (prefix filter, Chaudhuri et al. 2006).
    """
    sets = {string: shingles(string) for string in dict.fromkeys(strings)}
    frequency = Counter(part for parts in sets.values() for part in parts)
    index = defaultdict(list)
    for string, parts in sets.items():
        rare = sorted(parts, key=lambda part: (frequency[part], part))
        for part in rare[:len(parts) - math.ceil(threshold * len(parts)) + 1]:
            index[part].append(string)

    def near(other: str) -> set[str]:
        parts = shingles(other)
        found = {string for part in parts & index.keys() for string in index[part]}
        return {string for string in found if threshold * len(parts) < len(sets[string]) < len(parts) / threshold
                and jaccard(sets[string], parts) > threshold}
    return near


def _holds(wanted: Iterable[str]):
    """A function that says whether one of the strings stands in a text, by their keys; exact."""
    keys = {text.key(string) for string in wanted} - {""}
    frequency = Counter(part for key in keys for part in shingles(key))
    index = defaultdict(list)
    for key in keys:
        index[min(shingles(key), key=lambda part: (frequency[part], part))].append(key)

    def holds(string: str) -> bool:
        whole = text.key(string)
        return any(key in whole for part in shingles(whole) & index.keys() for key in index[part])
    return holds


def leaking(rows: Iterable[Iterable[str]], asked: Iterable[str], threshold: float = Settings.twin_threshold) -> list[bool]:
    """For each row of training texts, whether any of what is `asked` is given away by one of them; exact.

    A text does when it, or a line of it, is a near twin of an asked text, or of a line of one, or when such a text of at
    least SECRET characters stands in it. Rows are read one by one; what is asked is kept in memory.
    """
    secret = {part for string in asked for part in (string, *text.lines(string)) if len(part) >= SECRET}
    near, holds = _near({string for string in asked if string} | secret, threshold), _holds(secret)
    return [any(holds(string) or any(map(near, {string, *text.lines(string)})) for string in row) for row in rows]


def unasked(rows: pandas.DataFrame, columns: list[str], asked: set[str], record: records.Record, **labels):
    """The rows without those to train on whose `columns` give away what is `asked`; how many did is fact `leaked`."""
    train = rows[rows["split"] == "train"] if "split" in rows else rows
    bad = rows.index.isin(train.index[leaking(train[columns].astype(str).to_numpy(), asked)])
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
        names = [digest(name, *row) for row in frame.itertuples(index=False)]
        # The columns of multi-way items are language codes, and `id` is Indonesian's.
        column = "item" if name == "multiway" else "id"
        frames[name] = frame.assign(split=frame["group"].map(splits), **{column: names})
    found, _ = leaks(frames, settings)
    for name, frame in frames.items():
        bad = frame[compared(name, settings)].isin(found).any(axis=1) & (frame["split"] != "train")
        frames[name] = _drop(frame, bad, "twin in training", name, ledger).reset_index(drop=True)
    mine = frames["documents"].query("language == @settings.language")
    if not {"train", "test"} <= set(mine["split"]):
        raise sources.SourceError(f"Only {len(mine)} different texts in {settings.language!r} are left, too few for "
                                  "training and test: give more text, or raise `test_share`.")
    return frames


def compared(artefact: str, settings: Settings) -> list[str]:
    """Text columns of an artefact in which a near twin would be a leak."""
    return {**TEXTS, "dialogues": ["prompt"], "multiway": list(dict.fromkeys(["en", settings.language]))}[artefact]


def leaks(frames: dict[str, pandas.DataFrame], settings: Settings) -> tuple[set[str], int]:
    """Validation and test texts that have a near twin among all training texts, and how many texts were looked at."""
    texts = {True: set(), False: set()}
    for name, frame in frames.items():
        for training, part in frame.groupby(frame["split"] == "train"):
            texts[training].update(part[compared(name, settings)].to_numpy().ravel())
    return twins(sorted(texts[False]), texts[True], settings.twin_threshold), len(texts[False])


def held_out(frames: Frames) -> set[str]:
    """Texts of the validation and test rows of artefacts, by name."""
    return {string for name, frame in frames.items()
            for string in frame.loc[frame["split"] != "train", TEXTS.get(name) or codes(frame)].to_numpy().ravel()}


def guard(frames: Frames, asked: set[str], settings: Settings, ledger: list[dict]) -> Frames:
    """The frames without training rows that give away what a test asks (`leaking`), or share a run of words; counted."""
    if not asked:
        return frames
    runs = {run for string in asked for run in _runs(string)}
    train = [(name, *row) for name, frame in frames.items()
             for row in frame.loc[frame["split"] == "train", TEXTS.get(name) or codes(frame)].astype(str).itertuples()]
    given = leaking((row[2:] for row in train), asked, settings.twin_threshold)
    bad = {row[:2] for row, gives in zip(train, given)
           if gives or any(not runs.isdisjoint(_runs(string)) for string in row[2:])}
    return {name: _drop(frame, [(name, place) in bad for place in frame.index], "gives a test away", name,
                        ledger).reset_index(drop=True) for name, frame in frames.items()}


def _runs(string: str) -> list[str]:
    """Every RUN neighbouring words of a text, as `text.key` spells them."""
    words = text.key(string).split()
    return [" ".join(words[start:start + RUN]) for start in range(len(words) - RUN + 1)]


def asked(content: sources.Content) -> set[str]:
    """What the user's tests and the texts from outside ask, which no training text may give away."""
    return {row["question"] for row in content.tests} | {row["text"] for row in content.outside}


def passages(rows: pandas.DataFrame, settings: Settings) -> pandas.DataFrame:
    """Documents: neighbouring rows of one file (or, for short strings, of one source) joined up to a length."""
    loose = rows["group"].str.startswith(("string/", "dialogue/"))
    place = rows["group"].where(~loose, rows["source"] + "/" + rows["split"])
    found = []
    for (source, language, split, group), part in rows.groupby(["source", "language", "split", place], sort=False):
        for number, string in enumerate(_joined(part["text"], settings.document_characters)):
            found.append({"id": f"{group}:{language}:{number}", "source": source, "group": group,
                          "language": language, "split": split, "text": string})
    return pandas.DataFrame(found, columns=["id", "source", "group", "language", "split", "text"])


def _joined(strings: Iterable[str], length: int) -> list[str]:
    """Strings put together, one a line, each result closed as soon as it reaches the length."""
    found, size = [[]], 0
    for string in strings:
        if size >= length:
            found, size = [*found, []], 0
        found[-1].append(string)
        size += len(string) + 1
    return ["\n".join(lines) for lines in found if lines]


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


def artefacts(frames: Frames, items: pandas.DataFrame, settings: Settings, outside: Sequence[dict] = ()) -> Frames:
    """What is written: the frames with the columns that later chapters read, short texts joined to documents, and with
    them the texts from outside, whose split is `outside`."""
    documents = passages(frames["documents"], settings)
    documents = documents.assign(register=documents["source"].map(register))
    documents = pandas.concat([documents, pandas.DataFrame(outside, columns=list(documents))], ignore_index=True)
    return {"documents": documents,
            "pairs": frames["pairs"][["id", "source", "group", "split", "english", "target"]],
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
        for (source, language), part in frame.groupby(["source", "language"]):
            record.fact("rows", len(part), "rows", artefact=name, language=language, source=source, filter="kept")
    _note_text(record, frames["documents"], found["documents"])
    for (task, language, split), part in found["items"].groupby(["task", "language", "split"]):
        labels = {"task": task, "language": language, "split": split}
        record.fact("items", len(part), "items", **labels)
        # In a user's test questions may differ in how many choices they have: 1 / chance.
        record.fact("choices", round(1 / (1 / part["choices"].map(len)).mean(), 6), "choices", **labels)
        record.fact("most_frequent_answer", int(part["answer"].value_counts().max()), "items", **labels)
    columns, shown = (["english", "target"], "pairs") if len(frames["pairs"]) else (["language", "text"], "documents")
    held = frames[shown].query("split == 'test'").sort_values("id").head(6)
    record.rows("samples", held[columns].to_dict("records"))


def _note_text(record: records.Record, rows: pandas.DataFrame, documents: pandas.DataFrame):
    """Documents, characters, words and licence of each source, and how long its texts are."""
    for (source, language), part in rows.groupby(["source", "language"]):
        labels = {"source": source, "language": language}
        written = documents.query("source == @source and language == @language")
        record.fact("documents", len(written), "documents", **labels)
        record.fact("characters", int(part["text"].str.len().sum()), "characters", **labels)
        record.fact("words", sum(len(text.words(string)) for string in part["text"]), "words", **labels)
        record.fact("zwnj", int(part["text"].str.count(text.ZWNJ).sum()), "signs", **labels)
        known = assets.provenance(source) if source in assets.registry() else {"licence": "the user's own"}
        for name, value in known.items():
            record.fact(name, value, **labels)
        counts, edges = numpy.histogram(part["text"].str.len(), bins=numpy.geomspace(10, 5000, 19).round())
        record.rows("lengths", [{**labels, "low": low, "high": high, "texts": int(count)}
                                for low, high, count in zip(edges, edges[1:], counts)])
