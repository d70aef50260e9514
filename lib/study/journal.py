"""A teacher's replies, kept in a file that is only ever appended to, so that no reply is asked for twice."""
import json
import os
from pathlib import Path

from lib.data import corpus

REPLY = ("prompt", "round", "text", "finish", "error", "seconds", "tokens")


class Journal:
    """Replies in a JSONL file: a crash loses those in flight and no other.

    A half-written last line is cut off, other lines that are no reply, or not as they were written, are passed over;
    `damaged` counts both.
    """

    def __init__(self, path: Path):
        self.path, self.damaged, self.replies = Path(path), 0, {}
        self._closed, self._round = set(), None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[:content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
            self.damaged += 1
        for line in whole.splitlines():
            self._read(line)

    def ask(self, teacher, turns: list[list[dict]], number: int, source: str) -> list[dict]:
        """The replies to the prompts (chat turns) of round `number`, in their order; asked is only what is missing.

        A failed one is asked again until its round is closed, which the first reply of the next round does: the
        prompts after it rest on its absence. `source` describes the teacher: its settings make the reply another one.
        """
        keys = [corpus.digest(number, place, json.dumps(turn), source) for place, turn in enumerate(turns)]
        again = corpus.digest(*keys) not in self._closed
        missing = {key: turn for key, turn in zip(keys, turns) if key not in self.replies
                   or again and self.replies[key]["finish"] == "error"}
        for reply, key in zip(teacher.ask(list(missing.values())) if missing else (), missing, strict=True):
            self.close()
            self._write({"prompt": key, "round": number, **reply._asdict()})
        self._round = corpus.digest(*keys)
        return [self.replies[key] for key in keys]

    def close(self):
        """Closes the round that was answered last: its failed replies stay as they are."""
        if self._round and self._round not in self._closed:
            self._write({"closed": self._round})

    def _write(self, row: dict):
        # Half a surrogate pair, which a truncated reply may end in, cannot be written.
        line = json.dumps({**row, "sum": _sum(row)}, ensure_ascii=False).encode("utf8", "replace")
        with open(self.path, "ab") as stream:
            stream.write(line + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._read(line)

    def _read(self, line: bytes):
        try:
            row = json.loads(line)
            if row.pop("sum", None) not in (None, _sum(row)):
                raise ValueError("another line than was written")
            if "closed" in row:
                self._closed.add(row["closed"])
            else:
                self.replies[row["prompt"]] = {name: row[name] for name in REPLY}
        except (ValueError, TypeError, KeyError, AttributeError):
            self.damaged += 1


def _sum(row: dict) -> str:
    """What a line keeps of its content, by which it is known again; half a surrogate pair counts as it is written."""
    return corpus.digest(json.dumps(row, ensure_ascii=False).encode("utf8", "replace").decode("utf8"))
