"""The journal of replies: what is damaged is counted, what is closed is not asked again."""
import json

from lib.study.journal import REPLY, Journal

WHOLE = {"prompt": "a", "round": 1, "text": "", "finish": "stop", "error": "", "seconds": 0.5, "tokens": 1}


def test_damaged_lines_are_counted(tmp_path):
    path = tmp_path / "r.jsonl"
    lines = [json.dumps(WHOLE), "nonsense", "[1]", "5", "null", json.dumps({"prompt": "b", "finish": "stop"})]
    path.write_text("\n".join([*lines, '{"prompt": "half a li']))
    journal = Journal(path)
    assert journal.damaged == 6 and list(journal.replies) == ["a"] and set(REPLY) == set(WHOLE)
    assert Journal(path).damaged == 5


def test_a_round_is_closed_once(tmp_path):
    path = tmp_path / "r.jsonl"
    journal = Journal(path)
    journal.close()
    assert not path.exists()
    journal.ask(None, [], 1, "a teacher")
    journal.close()
    journal.close()
    assert len(path.read_text().splitlines()) == 1 and Journal(path).damaged == 0
