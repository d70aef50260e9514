"""Where the repository lies is said once, in CITATION.cff; badges, notebooks, README and BibTeX repeat it."""
import re
import shutil

import pytest
import yaml

from lib.engine import keys, paths, repository


@pytest.mark.parametrize("file", repository.files(), ids=lambda file: f"{file.parent.name}-{file.name}")
def test_notebooks_and_readme_name_the_address_of_the_citation(file):
    text = file.read_text(encoding="utf8")
    assert repository.told(text) == text, "run `python -m lib.engine.repository`"
    said = f"{{{repository.url()}}}" if file.parent.name == "docs" else repository.badge(
        file.stem if file.suffix == ".ipynb" else "01_corpus")
    assert said in text
    if file.suffix == ".ipynb":
        first = [source for source, tags in keys.cells(file) if "bootstrap" in tags]
        assert len(first) == 1 and f"git clone --depth 1 {repository.url()} companion" in first[0]


def test_bibtex_says_what_the_citation_says():
    citation = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text(encoding="utf8"))
    entries = (paths.ROOT / "docs/citing.md").read_text(encoding="utf8").split("\n@")[1:]
    assert len(entries) == 1 + len(citation["references"])
    for entry, known in zip(entries, [citation, *citation["references"]]):
        assert known["title"] in re.sub(r"[{}]", "", entry)
        assert all(name in entry for name in (author["family-names"] for author in known["authors"] if "family-names" in author))
        for said in [*known.get("identifiers", []), *({"value": f"{known[end]}"} for end in ("year", "start", "end") if end in known)]:
            assert said["value"] in entry


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The folder of a copy of the files that name the address, and of the citation."""
    for file in (*repository.files(), paths.ROOT / "CITATION.cff"):
        target = tmp_path / file.relative_to(paths.ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    return tmp_path


def _moved(copy, address):
    citation = copy / "CITATION.cff"
    citation.write_text(re.sub("repository-code: .*", f"repository-code: {address}", citation.read_text()))


def test_a_new_address_is_written_everywhere_by_one_command_and_makes_no_chapter_stale(copy, capsys):
    key = keys.of_chapter("02_tokenizer", {})
    before = [file.read_text(encoding="utf8") for file in repository.files()]
    assert repository.main() == 0 and capsys.readouterr().out.startswith(f"0 of {len(before)} files")
    old = repository.url().removeprefix(repository.HOST)
    _moved(copy, "https://github.com/someone/a.copy")
    assert repository.main() == 0 and capsys.readouterr().out.startswith(f"{len(before)} of {len(before)} files")
    after = [file.read_text(encoding="utf8") for file in repository.files()]
    assert after == [text.replace(old, "someone/a.copy") for text in before]
    assert keys.of_chapter("02_tokenizer", {}) == key


@pytest.mark.parametrize("address", ["https://example.org/a/b", "https://github.com/a", ""])
def test_an_address_that_colab_cannot_open_is_refused_in_a_sentence(copy, capsys, address):
    _moved(copy, address)
    assert repository.main() == 1
    assert "`repository-code` of CITATION.cff is" in capsys.readouterr().err
