"""Readers: a book in two languages, packed tables, catalogues, and a user's own files."""
import gzip
import json
import struct
import zipfile

import pandas
import polib
import pyarrow
import pytest

from lib.data import sources

HTML = """<html xmlns="http://www.w3.org/1999/xhtml"><head><title>skip</title></head><body><p id="title">nav</p>
<ul class="docnav top"><li>Next</li></ul><div class="section"><h2>4.1. {0}</h2><div class="para">{1} <em>{2}</em>
<!-- no --> end<pre>code</pre></div><p>{3}</p></div></body></html>"""


def test_blocks_leave_navigation_and_listings_out(tmp_path):
    (tmp_path / "a.html").write_text(HTML.format("Heading", "One", "two", "Three"), encoding="utf8")
    assert sources.blocks(tmp_path / "a.html") == [(True, "Heading"), (False, "One two end"), (False, "Three")]


def test_book_aligns_blocks_and_groups_by_file(tmp_path):
    for place, words in (("en-US", ("Heading", "One", "two", "Three")), ("fa-IR", ("عنوان", "یک", "دو", "سه"))):
        folder = tmp_path / "usr/share/doc/debian-handbook/html" / place
        folder.mkdir(parents=True)
        (folder / "a.html").write_text(HTML.format(*words), encoding="utf8")
    found = sources.READERS["debian-handbook"]("debian-handbook", tmp_path, ["en", "fa", "ar"])
    assert [(row["en"], row["fa"]) for row in found.units] == [("Heading", "عنوان"), ("One two end", "یک دو end"), ("Three", "سه")]
    assert {row["group"] for row in found.units} == {"debian-handbook/a"}
    assert {"heading": "عنوان", "passage": "یک دو end"}.items() <= found.sections[1].items()


def test_packed_table_with_alias_and_binary(tmp_path):
    strings = ["سلام".encode(), b"\x8b\xff"]
    start = 12 + 6 * 3 + 4
    offsets = [start, start + len(strings[0]), start + sum(map(len, strings))]
    header = struct.pack("<IB3xHH", 5, 1, 2, 1)
    table = b"".join(struct.pack("<HI", number, offset) for number, offset in zip((10, 11, 0), offsets))
    (tmp_path / "fa.pak").write_bytes(header + table + struct.pack("<HH", 12, 0) + b"".join(strings))
    assert sources.packed(tmp_path / "fa.pak") == {10: "سلام", 12: "سلام"}
    (tmp_path / "old.pak").write_bytes(struct.pack("<IB3xHH", 4, 1, 0, 0))
    with pytest.raises(sources.SourceError, match="version 4"):
        sources.packed(tmp_path / "old.pak")


def test_strings_are_grouped_by_their_english():
    first = sources.unit("a", "Open <b>12</b> files", {"fa": "۱۲ پرونده"})
    assert first["group"] == sources.unit("b", "open 7 files", {})["group"] == "string/open 0 files"


def test_catalogues_of_each_layout_without_menu_marks(tmp_path):
    book = polib.POFile()
    book.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    book.append(polib.POEntry(msgid="_Save the file", msgstr="_ذخیره‌ی پرونده", msgctxt="menu"))
    book.append(polib.POEntry(msgid="Set user_name", msgstr="نام کاربر را بگذارید"))
    book.append(polib.POEntry(msgid="Show &lt;title&gt; here", msgstr="&lt;title&gt; را اینجا نشان بده"))
    book.append(polib.POEntry(msgid="Guessed", msgstr="حدس", flags=["fuzzy"]))
    for place in ("usr/share/locale/fa/LC_MESSAGES/a.mo", "languages/admin-fa.mo", "app/locale/fa/LC_MESSAGES/b.po",
                  "usr/share/locale/de/LC_MESSAGES/a.mo"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (book.save_as_mofile if place.endswith(".mo") else book.save)(str(tmp_path / place))
    found = [(row["en"], row["fa"]) for row in sources.gettext("x", tmp_path, ["en", "fa"]).units]
    assert sorted(set(found)) == [("Save the file", "ذخیره‌ی پرونده"), ("Set user_name", "نام کاربر را بگذارید"),
                                  ("Show <title> here", "<title> را اینجا نشان بده")]
    assert len(found) == 9 and not sources.gettext("x", tmp_path, ["en", "ur"]).units


def test_catalogues_are_aligned_over_further_languages(tmp_path):
    texts = {"fa": {"Save": "ذخیره", "Open": "باز کردن"}, "tr": {"Save": "Kaydet"}, "zh_Hans": {"Open": "打开"}}
    for code, strings in texts.items():
        book, file = polib.POFile(), tmp_path / f"app/locale/{code}/LC_MESSAGES/django.po"
        book.extend(polib.POEntry(msgid=english, msgstr=string) for english, string in strings.items())
        file.parent.mkdir(parents=True)
        book.save(str(file))
    units = sources.gettext("x", tmp_path, ["en", "fa", "tr", "zh"], further=True).units
    assert [{code: unit[code] for code in ("fa", "tr", "zh") if code in unit} for unit in units] == [
        {"fa": "ذخیره", "tr": "Kaydet"}, {"fa": "باز کردن", "zh": "打开"}]


FLUENT = """# a comment = left out
menu-save =
    .label = ذخیره در { -brand }
    .accesskey = s
long = نخست
    و سپس
plain.key=خط اول\\nخط دوم
"""


def test_strings_that_a_zip_of_fluent_files_assigns(tmp_path):
    with zipfile.ZipFile(tmp_path / "langpack-fa@firefox.xpi", "w") as pack:
        pack.writestr("a/menu.ftl", FLUENT)
        pack.writestr("manifest.json", "{}")
    units = sources.firefox("x", tmp_path, ["en", "fa"]).units
    assert [row["fa"] for row in units] == ["ذخیره در { -brand }", "s", "نخست و سپس", "خط اول خط دوم"]
    assert {row["group"] for row in units} == {"string/x/a/menu.ftl"}
    assert not sources.firefox("x", tmp_path, ["en", "de"]).units


@pytest.mark.parametrize("language, available, wanted", [("fa", ["fa-IR", "fa"], "fa"), ("zh", ["zh-TW", "zh-CN"], "zh-CN"),
                                                         ("en", ["fa", "C"], "C"), ("de", ["de_DE"], "de_DE"), ("ur", ["fa"], None)])
def test_locale_names(language, available, wanted):
    assert sources.locale(language, available) == wanted


def test_dialogues_pair_each_line_with_the_next(tmp_path):
    folder = tmp_path / "chatterbot_corpus/data/english"
    folder.mkdir(parents=True)
    (folder / "a.yml").write_text("conversations:\n- [Hi, Hello, Bye]\n", encoding="utf8")
    (folder / "humor.yml").write_text("conversations:\n- [rude, words]\n", encoding="utf8")
    found = sources.chatterbot("chatterbot-corpus", tmp_path, ["en", "fa"]).dialogues
    assert [(row["prompt"], row["reply"]) for row in found] == [("Hi", "Hello"), ("Hello", "Bye")]


def _own(path, **options):
    return [row["de"] for row in sources.own(path, "de", **options).units]


TEXTS = ["Guten Tag.", "Auf\u2028Wiedersehen, „du“.\u0085"]
PACKED = {"": bytes, ".gz": gzip.compress, ".zst": lambda data: pyarrow.compress(data, "zstd", asbytes=True)}


def _file(folder, suffix, column, packing=""):
    """A file of a kind that holds TEXTS in a column, which may lead inside."""
    outer, _, inner = column.partition(".")
    rows = [{"id": 1, outer: {inner: string} if inner else string} for string in TEXTS]
    path = folder / f"mine{suffix}"
    if suffix == ".parquet":
        pandas.DataFrame(rows).to_parquet(path)
    elif suffix in (".csv", ".tsv"):
        pandas.DataFrame(rows).to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
    else:
        lines = TEXTS if suffix == ".txt" else [json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_bytes((f"[{','.join(lines)}]" if suffix == ".json" else "\n".join(lines)).encode())
    packed = folder / f"mine{suffix}{packing}"
    packed.write_bytes(PACKED[packing](path.read_bytes()))
    return packed


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("suffix, column", [(".txt", "body"), (".jsonl", "body"), (".json", "body"), (".csv", "body"),
                                            (".tsv", "body"), (".parquet", "body"), (".jsonl", "article.body"),
                                            (".json", "article.body"), (".parquet", "article.body")])
def test_own_files_of_each_kind(tmp_path, suffix, column, packing):
    assert _own(_file(tmp_path, suffix, column, packing), column=column) == TEXTS


def test_a_column_with_a_dot_in_its_name(tmp_path):
    pandas.DataFrame({"a.b": TEXTS}).to_parquet(tmp_path / "a.parquet")
    assert _own(tmp_path / "a.parquet", column="a.b") == TEXTS


CONTENT = "eins\nzwei\n\ndrei\u2028vier\n \t\n\nfünf"


@pytest.mark.parametrize("encoded", [CONTENT.encode(), CONTENT.replace("\n", "\r\n").encode(),
                                     CONTENT.replace("\n", "\r").encode(), CONTENT.encode("utf-8-sig"),
                                     CONTENT.encode("utf-16"), CONTENT.encode("utf-32"),
                                     ("\ufeff" + CONTENT.replace("\n", "\r\n")).encode("utf-16-be")])
def test_documents_are_the_same_whatever_ends_a_line_and_begins_the_file(tmp_path, encoded):
    (tmp_path / "a.txt").write_bytes(encoded)
    assert [(row["de"], row["group"]) for row in sources.own(tmp_path / "a.txt", "de").units] == [
        ("eins", "a.txt/0"), ("zwei", "a.txt/0"), ("drei\u2028vier", "a.txt/1"), ("fünf", "a.txt/2")]


def test_a_line_of_json_may_hold_what_ends_a_line_elsewhere(tmp_path):
    strings = ["a\u2028b", "c\u2029d", "e\u0085f", "g\x0ch", "two\r\nlines"]
    lines = "\r\n".join(json.dumps({"text": string}, ensure_ascii=False) for string in strings)
    (tmp_path / "a.jsonl").write_bytes(lines.encode())
    assert _own(tmp_path / "a.jsonl") == [*strings[:4], "two", "lines"]


def test_rows_without_text_are_counted(tmp_path):
    rows = [{"text": "gut"}, {"text": ""}, {"text": " \n"}, {"text": None}, {"text": 7}, {"text": ["x"]},
            {"title": "x"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    (tmp_path / "a.csv").write_text('id,text\n1,"gut, ja"\n2,\n3\n4,a,b\n\n', encoding="utf8")
    found = sources.own(tmp_path / "a.jsonl", "de")
    assert [row["de"] for row in found.units] == ["gut"]
    assert found.left_out == [{"language": "de", "source": "a.jsonl", "filter": "no text", "rows": 6}]
    found = sources.own(tmp_path / "a.csv", "de")
    assert [row["de"] for row in found.units] == ["gut, ja"] and found.left_out[0]["rows"] == 3


def test_tabs_part_fields_with_quotes_and_without(tmp_path):
    (tmp_path / "a.tsv").write_text('id\ttext\n1\t"Ja", sagte er\n2\t"Nein\n', encoding="utf8")
    assert _own(tmp_path / "a.tsv") == ['"Ja", sagte er', '"Nein']
    (tmp_path / "a.tsv").write_text('id\ttext\n1\t"a ""b""\tc"\n', encoding="utf8")
    assert _own(tmp_path / "a.tsv") == ['a "b"\tc']


def test_blank_lines_part_documents_and_lines_stay_in_their_group(tmp_path):
    (tmp_path / "a.txt").write_text("eins\nzwei\n\ndrei", encoding="utf8")
    units = sources.own(tmp_path / "a.txt", "de").units
    assert [(row["de"], row["group"]) for row in units] == [("eins", "a.txt/0"), ("zwei", "a.txt/0"), ("drei", "a.txt/1")]


def test_limit_stops_reading(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(["zehn Zeich"] * 50), encoding="utf8")
    assert len(_own(tmp_path / "a.txt", limit=25)) == 3


@pytest.mark.parametrize("name, content, message", [
    ("a.txt", b"", "holds no text"), ("a.txt", b"\x00\x01binary", "is binary"),
    ("a.txt", "سلام".encode("cp1256"), "not UTF-8: byte 0xd3 at position 0.*iconv"), ("a.doc", b"x", "unknown kind '.doc'"),
    ("a.jsonl", b'{"other": "x"}', "no column 'text', only other"), ("a.jsonl", b"{", "line 1 is not JSON"),
    ("a.parquet", b"nonsense", "not a readable parquet"), ("a.txt.gz", b"nonsense", "not a whole gzip"),
    ("a.jsonl", b"", "holds no text"), ("a.txt", "سلام".encode("cp1256"), "iconv -f WINDOWS-1256"),
    ("a.jsonl", b'["a", "b"]\n["c"]', "line 1 holds .*no object"), ("a.json", b'["a"]', "entry 1 holds 'a'.*no object"),
    ("a.jsonl", b'"a"', "line 1 holds 'a'.*no object"), ("a.jsonl", b'{"text": "a"}\n3', "line 2 holds '3'"),
    ("a.json", b'[{"text": 1}, {"text": ""}]', "holds no text in its 2 rows"), ("a.json", b"[]", "holds no text"),
    ("a.jsonl", b'{"article": {"body": "x"}, "id": 1}', "only article.body, id; set `corpus_text_column`"),
    ("a.csv", b"id,body\n1,x", "no column 'text', only id, body"), ("a.csv", b'id,text\n1,"x', "not a readable .csv"),
    ("a.csv", b"", "holds no text"), ("a.txt.zst", b"nonsense", "not a whole zstd"), ("a.txt.gz", b"", "holds no text"),
    ("a.txt.gz", gzip.compress(b"text" * 99, mtime=0)[:-9], "not a whole gzip"), ("a.zip", b"PK", "unknown kind '.zip'"),
    ("a.txt", "سلام".encode("utf-16-le") + b"\0", "UTF-16 without a byte order mark"),
    ("a.txt", b"\xff\xfea", "not UTF-16")])
def test_unreadable_files_say_why(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(sources.SourceError, match=message) as refusal:
        sources.own(tmp_path / name, "fa")
    assert str(refusal.value).count("\n") == 0 and name in str(refusal.value)


@pytest.mark.parametrize("language, old", [("ru", "WINDOWS-1251"), ("el", "WINDOWS-1253"), ("de", "WINDOWS-1252"),
                                           ("xx", "WINDOWS-1252")])
def test_the_old_encoding_that_is_likeliest_is_named(tmp_path, language, old):
    (tmp_path / "a.txt").write_bytes(b"\xd3\xcd")
    with pytest.raises(sources.SourceError, match=f"iconv -f {old}"):
        sources.own(tmp_path / "a.txt", language)


def test_a_column_that_parquet_lacks_and_a_folder_are_told(tmp_path):
    pandas.DataFrame({"id": [1], "article": [{"body": "x"}]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(sources.SourceError, match="no column 'article.text', only id, article.body"):
        sources.own(tmp_path / "a.parquet", "fa", "article.text")
    with pytest.raises(sources.SourceError, match="is a folder"):
        sources.own(tmp_path, "fa")


def test_missing_file_and_unknown_source():
    with pytest.raises(sources.SourceError, match="no file"):
        sources.own("/nowhere/a.txt", "fa")
    with pytest.raises(sources.SourceError, match="no source 'nope'; choose from debian-handbook"):
        sources.read("nope", ["en", "fa"])


def test_hub_data_set_is_read_like_ones_own_files(tmp_path, monkeypatch):
    pandas.DataFrame({"text": ["یک متن", "متن دوم"]}).to_parquet(tmp_path / "x.parquet")
    monkeypatch.setattr(sources.assets, "hub", lambda *_: tmp_path)
    units = sources.hub("org/name@abc", "fa", "text", "*.parquet").units
    assert [row["fa"] for row in units] == ["یک متن", "متن دوم"] and units[0]["source"] == "org/name"
    with pytest.raises(sources.SourceError, match="corpus_pattern"):
        sources.hub("org/name@abc", "fa", "text", "*.txt")


def _pairs(path):
    return [(row["en"], row["fa"]) for row in sources.pairs(path, "fa").units]


PAIRS = [("Open the door.", "در را باز کن."), ("Open the door!", "در را بگشا."), ("It costs $5 & more.", "پنج دلار.")]
TMX = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "http://127.0.0.1:9/tmx14.dtd" [<!ENTITY secret SYSTEM "file:///etc/hostname"><!ENTITY a "b">]>
<tmx version="1.4"{0}><header srclang="en"/><body>
<tu><tuv xml:lang="en-GB"><seg>Open the <bpt i="1">&lt;b&gt;</bpt>door<ept i="1">&lt;/b&gt;</ept>.</seg></tuv>
<tuv xml:lang="de"><seg>Tür</seg></tuv><tuv xml:lang="FA_IR"><seg>در را <hi>باز</hi> کن.</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Open the door!</seg></tuv><tuv xml:lang="fa"><seg>در را بگشا.</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>It costs $5 &amp; more.</seg></tuv><tuv xml:lang="fa"><seg>پنج دلار.</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>&secret;</seg></tuv><tuv xml:lang="fa"><seg>راز</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>&a; x</seg></tuv><tuv xml:lang="fa"><seg>راز</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>No translation</seg></tuv></tu></body></tmx>"""


@pytest.mark.parametrize("name, content", [
    ("a.tsv", "{0[0]}\t{0[1]}\n{1[0]}\t{1[1]}\n{2[0]}\t{2[1]}\nalone\na\tb\tc\nempty\t\n"),
    ("a.tsv", "ID\tfa\tEn\n1\t{0[1]}\t{0[0]}\n2\t{1[1]}\t{1[0]}\n3\t{2[1]}\t{2[0]}\n4\t\tempty\n5\tx\n6\n"),
    ("a.csv", 'english,target\r\n"{0[0]}",{0[1]}\r\n{1[0]},{1[1]}\r\n{2[0]},{2[1]}\r\n,x\r\nx\r\n"x,",\r\n'),
    ("a.jsonl", '{{"en": "{0[0]}", "fa": "{0[1]}"}}\n{{"english": "{1[0]}", "target": "{1[1]}"}}\n'
                '{{"en": "{2[0]}", "fa": "{2[1]}"}}\n{{"en": "x"}}\n{{"en": 3, "fa": "x"}}\n{{}}'),
    ("a.tmx", TMX.replace("{0}", "").replace("{", "{{").replace("}", "}}")),
    ("a.tmx", TMX.replace("{0}", ' xmlns="http://www.lisa.org/tmx14"').replace("{", "{{").replace("}", "}}"))])
@pytest.mark.parametrize("packing", [".gz", ""])
def test_own_pairs_of_each_kind_and_what_is_none(tmp_path, name, content, packing):
    path = tmp_path / f"{name}{packing}"
    path.write_bytes(PACKED[packing](content.format(*PAIRS).encode()))
    assert _pairs(path) == PAIRS
    assert sources.pairs(path, "fa").left_out == [
        {"language": "en-fa", "source": path.name, "filter": "no pair", "rows": 3}]
    groups = [row["group"] for row in sources.pairs(path, "fa").units]
    assert groups[0] == groups[1] == "string/open the door" != groups[2]


@pytest.mark.parametrize("name, content, message", [
    ("a.csv", "a,b\n1,2", "holds no pair in its 1 rows.*`en` and `fa`"), ("a.tsv", "a\tb\tc\n", "holds no pair"),
    ("a.tmx", "<tmx><body><tu>", "not well-formed XML"), ("a.tmx", "<tmx/>", "holds no pair in its 0 rows"),
    ("a.tmx", "", "not well-formed XML"), ("a.jsonl", "[1]", "no object"),
    ("a.txt", "a\tb", "unknown kind '.txt'; use one of .tmx"), ("a.tsv", "", "holds no pair")])
def test_pairs_that_cannot_be_read_say_why(tmp_path, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf8")
    with pytest.raises(sources.SourceError, match=message):
        sources.pairs(tmp_path / name, "fa")


def test_entities_that_would_grow_without_end_are_not_followed(tmp_path):
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    segments = '<tuv xml:lang="en"><seg>&e9;</seg></tuv><tuv xml:lang="fa"><seg>x</seg></tuv>'
    content = f'<!DOCTYPE tmx [<!ENTITY e0 "x">{levels}]><tmx><body><tu>{segments}</tu></body></tmx>'
    (tmp_path / "a.tmx").write_text(content, encoding="utf8")
    with pytest.raises(sources.SourceError, match="entity amplification"):
        sources.pairs(tmp_path / "a.tmx", "fa")


def test_own_test_items(tmp_path):
    rows = [{"question": "پايتخت ايران؟", "choices": ["قم", "تهران"], "answer": 1},
            {"question": "2 + 3 =", "choices": ["3", "5", "8"], "answer": "5", "language": "en", "id": "sum"},
            {"question": "کدام؟", "choices": ["کتاب", "قلم"], "answer": "كتـاب"}]
    (tmp_path / "exam.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    found = sources.tests(tmp_path / "exam.jsonl.gz", "fa").tests
    assert [(row["id"], row["task"], row["split"]) for row in found] == [
        ("exam/1", "exam", "test"), ("exam/sum", "exam", "test"), ("exam/3", "exam", "test")]
    assert [(row["language"], row["answer"]) for row in found] == [("fa", 1), ("en", 1), ("fa", 0)]
    assert found[0]["question"] == "پایتخت ایران؟" and found[1]["choices"] == ["3", "5", "8"]


GOOD = {"question": "q?", "choices": ["a", "b"], "answer": 0}


@pytest.mark.parametrize("row, message", [
    ({**GOOD, "question": ""}, "line 2: `question` is ''"),
    ({"choices": ["a", "b"], "answer": 0}, "line 2: `question` is None"),
    ({**GOOD, "choices": ["a"]}, r"line 2: `choices` is \['a'\] and has to be a list of 2 to 8 texts"),
    ({**GOOD, "choices": "ab"}, "line 2: `choices`"), ({**GOOD, "choices": ["a", 2]}, "line 2: `choices`"),
    ({**GOOD, "choices": ["a", "A "]}, "line 2: `choices` has one choice twice"),
    ({**GOOD, "answer": 2}, "line 2: `answer` is 2.*0 to 1"), ({**GOOD, "answer": -1}, "line 2: `answer` is -1"),
    ({**GOOD, "answer": "c"}, "line 2: `answer` is 'c'"),
    ({**GOOD, "answer": True}, "line 2: `answer` is True"),
    ({"question": "q", "choices": ["a", "b"]}, "line 2: `answer` is None"),
    ({**GOOD, "language": "Persian"}, "line 2: `language` is 'Persian'.*like fa"),
    ({**GOOD, "id": 1}, "line 2: the id 1 stands twice"),
    ([1], "line 2 holds .*no object")])
def test_a_wrong_test_item_is_refused_by_its_line(tmp_path, row, message):
    (tmp_path / "exam.jsonl").write_text(f"{json.dumps(GOOD | {'id': 1})}\n{json.dumps(row)}\n", encoding="utf8")
    with pytest.raises(sources.SourceError, match=message):
        sources.tests(tmp_path / "exam.jsonl", "fa")


def test_an_empty_test_and_one_of_another_kind_are_refused(tmp_path):
    (tmp_path / "exam.jsonl").touch()
    with pytest.raises(sources.SourceError, match="holds no test item"):
        sources.tests(tmp_path / "exam.jsonl", "fa")
    with pytest.raises(sources.SourceError, match="unknown kind '.csv'; use one of .jsonl, .json"):
        sources.tests(tmp_path / "exam.csv", "fa")


def test_an_emoji_with_and_without_its_style_mark_is_one(tmp_path):
    folder = tmp_path / "emoji/unicode_codes"
    folder.mkdir(parents=True)
    names = {"🖨\ufe0f": ":printer:", "🖨": ":printer:", "⛎": ":Ophiuchus:", "☀\ufe0f": ":sun:"}
    (folder / "emoji.json").write_text(json.dumps({sign: {"en": name} for sign, name in names.items()}), encoding="utf8")
    (folder / "emoji_fa.json").write_text(json.dumps({sign: f":{number}_فارسی:" for number, sign in enumerate(names)}), encoding="utf8")
    assert [row["symbol"] for row in sources.emoji("emoji", tmp_path, ["en", "fa"]).symbols] == ["🖨", "⛎", "☀\ufe0f"]
