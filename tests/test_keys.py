"""A data set's part in a key: its values count, not how or where they lie."""
import tracemalloc

import datasets
import pytest

from lib.engine import keys


@pytest.fixture
def rows(persian, english):
    return [{"text": f"{line} {number}", "ids": list(range(number % 7)), "size": number, "none": None if number % 3 else "x"}
            for number, line in enumerate([*persian, *english] * 30)]


def key(data):
    return keys.of(keys.__file__, data)


def test_neither_chunks_nor_a_selection_nor_the_place_count(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "BATCH", 100)
    whole = datasets.Dataset.from_list(rows)
    parts = datasets.concatenate_datasets([datasets.Dataset.from_list(rows[at:at + 70], whole.features)
                                           for at in range(0, len(rows), 70)])
    order = sorted(range(len(rows)), key=lambda at: (at * 37) % len(rows))
    mixed = datasets.Dataset.from_list([rows[at] for at in order], whole.features)
    back = mixed.select([order.index(at) for at in range(len(rows))])
    whole.save_to_disk(tmp_path)
    assert {key(data) for data in (whole, parts, back, datasets.load_from_disk(tmp_path))} == {key(whole)}
    assert len({key(whole), key(mixed), key(whole.select(range(99))), key(whole.rename_column("size", "length"))}) == 4


def test_values_do_not_run_together():
    assert keys.of(keys.__file__, "alpaca", 24, 8) != keys.of(keys.__file__, "alpaca", 2, 48)


def test_a_key_costs_no_more_memory_for_more_rows(persian, tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "BATCH", 100)
    datasets.Dataset.from_dict({"text": [" ".join(persian)] * 4000}).save_to_disk(tmp_path)
    whole, peaks = datasets.load_from_disk(tmp_path), []
    key(whole)
    for count in (1000, 4000):
        tracemalloc.start()
        key(whole.select(range(count)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_tables_that_a_module_reads_are_in_the_key_of_what_imports_it():
    assert {"lib/engine/assets.yaml", "lib/engine/assets.tsv"} <= keys.code("from lib.engine import assets").keys()
    assert "reported/common_crawl.csv" in keys.code("from lib.data import levels")
    assert not any(name.startswith("reported/") for name in keys.code("from lib.data import text"))
