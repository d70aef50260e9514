"""A scripted stand-in for an OpenAI-compatible server: what it does to a request is the last turn's text (`SCRIPT`).

Over real HTTP on a free port of this machine, so that a client meets the same faults as in the wild.
"""
import contextlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW = 1.5  # seconds: longer than the time-out that a test gives
PAUSE = 0.8  # seconds: Retry-After of a busy server
TOGETHER = 4  # requests that must be there at once


def completion(text, finish="stop", tokens=3):
    """A chat completion as the specification has it."""
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": 1 + tokens}}


class Handler(BaseHTTPRequestHandler):
    """Answers by script; `server.seen` counts requests by text, `server.bodies` and `server.keys` keep what came."""
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        self.server.seen[text] += 1
        self.server.bodies.append(body)
        self.server.keys.append(self.headers["Authorization"])
        self.server.times.append(time.monotonic())
        SCRIPT.get(text, _say(text))(self, self.server.seen[text])

    def send(self, status=200, body=None, headers=(), raw=None, kind="application/json", length=None):
        data = raw if raw is not None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in [("Content-Type", kind), ("Content-Length", str(length or len(data))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def reset(self):
        """Closes with RST, as a crashed server does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        self.rfile, self.wfile = open("/dev/null", "rb"), open("/dev/null", "wb")

    def log_message(self, *_):
        """Quiet."""


def _say(text):
    return lambda handler, _: handler.send(body=completion(f"you said {text}"))


def _at_first(fault):
    """The fault once, then a reply."""
    return lambda handler, time: fault(handler) if time == 1 else handler.send(body=completion("at last"))


def _always(fault):
    return lambda handler, _: fault(handler)


def _slow(handler):
    time.sleep(SLOW)
    with contextlib.suppress(OSError):
        handler.send(body=completion("too late"))


def _together(handler):
    """Replies when TOGETHER such requests wait."""
    handler.server.gate.wait(20)
    handler.send(body=completion("all here"))


def _stumble(handler):
    """Says that more comes than does, then closes."""
    handler.send(raw=b'{"choices": [{"mess', length=500)
    handler.close_connection = True


def _status(status, headers=(), message="no"):
    return lambda handler: handler.send(status, {"error": {"message": message}}, headers)


def _repeat_key(handler):
    """Says the key that it was given, in a reply or an error."""
    said = f"your key is {handler.headers['Authorization']}"
    if handler.server.seen["repeat the key"] % 2:
        handler.send(body=completion(said))
    else:
        handler.send(418, {"error": {"message": said}})


def _wants_other_limit(handler):
    body = handler.server.bodies[-1]
    if "max_tokens" in body:
        message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        handler.send(400, {"error": {"message": message}})
    else:
        handler.send(body=completion(f"at most {body['max_completion_tokens']}", "length"))


SCRIPT = {
    "busy once": _at_first(_status(429, [("Retry-After", str(PAUSE))])),
    "busy": _always(_status(429, [("Retry-After", "0.01")], "slow down")),
    "broken once": _at_first(_status(500, [("retry-after-ms", "1")])),
    "broken": _always(_status(500, [("retry-after-ms", "1")], "a bug")),
    "slow": _always(_slow),
    "together": _always(_together),
    "reset once": _at_first(Handler.reset),
    "reset": _always(Handler.reset),
    "stumble": _always(_stumble),
    "malformed": _always(lambda handler: handler.send(raw=b'{"choices": [{"message"')),
    "a page": _always(lambda handler: handler.send(raw=b"<html>Welcome</html>", kind="text/html")),
    "a list": _always(lambda handler: handler.send(body=[1])),
    "no choices": _always(lambda handler: handler.send(body={**completion(""), "choices": []})),
    "odd choices": _always(lambda handler: handler.send(body={**completion(""), "choices": 5})),
    "null": _always(lambda handler: handler.send(body=completion(None))),
    "bare": _always(lambda handler: handler.send(body={"choices": [{"message": {"content": "bare"}}]})),
    "half a character": _always(lambda handler: handler.send(body=completion("a \ud83d b"))),
    "cut off": _always(lambda handler: handler.send(body=completion(" the first hal", "length", 64))),
    "filtered": _always(lambda handler: handler.send(body=completion("", "content_filter"))),
    "too long": _always(_status(400, message="more than 2048 tokens")),
    "unauthorised": _always(lambda handler: _status(401, message=handler.headers["Authorization"])(handler)),
    "unknown model": _always(_status(404, message="no such model")),
    "repeat the key": _always(_repeat_key),
    "other limit": _always(_wants_other_limit),
}


@contextlib.contextmanager
def serve():
    """The running server; `url` is its base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    server.gate = threading.Barrier(TOGETHER)
    server.seen, server.bodies, server.keys, server.times = Counter(), [], [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
