"""Teachers: a server that errs in every way, a real `transformers serve`, and a local model."""
import contextlib
import copy
import inspect
import logging
import re
import socket
import time
import traceback

import fake_server
import httpx2
import huggingface_hub
import openai
import pytest
import torch
import transformers
from transformers import GenerationMixin
from transformers.cli.serve import Serve

from lib.model import folders
from lib.study import teacher

SECRET = "sk-a-secret-that-nobody-may-read"
SETTINGS = dict(max_new_tokens=16, temperature=0.0, seed=1, timeout=30.0, retries=1, batch_size=4)
CALLS = {
    openai.OpenAI: ["base_url", "api_key", "max_retries", "timeout"],
    openai.resources.chat.Completions.create: ["model", "messages", "temperature", "seed", "max_tokens",
                                               "max_completion_tokens"],
    httpx2.Timeout: ["timeout", "connect"],
    GenerationMixin.generate: ["generation_config", "logits_processor"],
}


def prompt(text):
    return [{"role": "user", "content": text}]


def ask(teaching, *texts):
    return list(teaching.ask([prompt(text) for text in texts]))


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(teacher.KEY, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with fake_server.serve() as running:
        yield running


@pytest.fixture
def pupil(server):
    """`pupil(retries=0, …)`: a teacher at the scripted server."""
    return lambda **changed: teacher.open("m", endpoint=server.url, **{**SETTINGS, **changed})


@pytest.fixture(scope="module")
def folder(byte_tokenizer, tiny_model, tmp_path_factory):
    """A tiny model's folder."""
    return str(folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path_factory.mktemp("tiny") / "model"))


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__qualname__)
def test_libraries_take_our_arguments(call):
    missing = [name for name in CALLS[call] if name not in inspect.signature(call).parameters]
    assert not missing, f"{call.__module__}.{call.__qualname__} no longer takes {missing}: adapt lib/study/teacher."


def test_replies_keep_the_order_of_the_prompts(pupil, server):
    texts = [f"prompt {number}" for number in range(12)]
    replies = ask(pupil(), *texts)
    assert [reply.text for reply in replies] == [f"you said {text}" for text in texts]
    assert {(reply.finish, reply.error, reply.tokens) for reply in replies} == {("stop", "", 3)}
    assert all(reply.seconds > 0 for reply in replies)
    assert {body["seed"] for body in server.bodies} == {1} and {body["max_tokens"] for body in server.bodies} == {16}


def test_replies_come_one_by_one(pupil, server):
    replies = pupil(batch_size=1).ask([prompt("first"), prompt("slow"), prompt("third")])
    assert next(replies).text == "you said first"
    replies.close()
    assert not server.seen["third"], "what nobody waits for any more is not asked"


def test_requests_run_side_by_side(pupil):
    replies = ask(pupil(batch_size=fake_server.TOGETHER), *["together"] * fake_server.TOGETHER)
    assert {reply.text for reply in replies} == {"all here"}


@pytest.mark.parametrize("text", ["busy once", "broken once", "reset once"])
def test_a_passing_fault_is_asked_again(pupil, server, text):
    assert ask(pupil(), text)[0].text == "at last" and server.seen[text] == 2


def test_retry_after_is_waited_for(pupil, server):
    ask(pupil(), "busy once")
    assert server.times[1] - server.times[0] >= fake_server.PAUSE, "longer than the library's own first pause of 0.5 s"


def test_a_late_reply_is_given_up(pupil, server):
    reply = ask(pupil(timeout=0.3), "slow")[0]
    assert (reply.finish, reply.error) == ("error", "no reply within 0.3 s (attempts: 2)")
    end = time.monotonic() + 60
    while server.seen["slow"] < 2 and time.monotonic() < end:  # what was given up may not have been read yet
        time.sleep(0.02)
    assert server.seen["slow"] == 2


FAULTS = {"busy": "HTTP 429: .*slow down", "broken": "HTTP 500: .*a bug", "reset": "the connection broke off",
          "stumble": "the connection broke off", "malformed": "cannot be read: Exp", "a page": "no choices",
          "a list": "no choices", "no choices": "no choices", "odd choices": "no choices", "null": "no choices",
          "filtered": "content filter", "too long": "HTTP 400: .*2048 tokens"}


def test_a_bad_reply_is_one_reply_with_its_reason_and_loses_no_other(pupil):
    texts = [text for fault in FAULTS for text in (fault, f"after {fault}")]
    replies = dict(zip(texts, ask(pupil(batch_size=8), *texts), strict=True))
    for fault, reason in FAULTS.items():
        assert (replies[fault].text, replies[fault].finish) == ("", "error")
        assert re.search(reason, replies[fault].error), f"{fault}: {replies[fault].error}"
        assert replies[f"after {fault}"].text == f"you said after {fault}"


def test_a_cut_off_reply_says_so(pupil):
    reply = ask(pupil(), "cut off")[0]
    assert (reply.text, reply.finish, reply.error, reply.tokens) == ("the first hal", "length", "", 64)


def test_a_bare_reply_will_do(pupil):
    reply = ask(pupil(), "bare")[0]
    assert (reply.text, reply.finish, reply.tokens) == ("bare", "stop", 0)


def test_half_a_character_can_be_written_down(pupil):
    """A server that cuts an emoji in two sends a lone surrogate."""
    assert ask(pupil(), "half a character")[0].text.encode("utf8") == b"a ? b"


def test_reasoning_models_get_the_limit_under_its_other_name(pupil):
    reply = ask(pupil(), "other limit")[0]
    assert (reply.text, reply.finish) == ("at most 16", "length")


@pytest.mark.parametrize("text, advice", [("unauthorised", f"refuses a request without key .*{teacher.KEY}"),
                                          ("unknown model", "no model 'm'.*such model")])
def test_a_refusal_before_anything_was_got_is_one_error(pupil, text, advice):
    with pytest.raises(teacher.TeacherError, match=advice):
        ask(pupil(), text, text, text)


def test_a_refusal_later_is_one_reply(pupil):
    replies = ask(pupil(), "one", "unauthorised", "two")
    assert [reply.finish for reply in replies] == ["stop", "error", "stop"] and "refuses" in replies[1].error


def test_no_server_is_one_error(pupil, server):
    server.server_close()
    with pytest.raises(teacher.TeacherError, match=f"No server answers at {server.url}.*start it or correct"):
        ask(pupil(retries=0), "one", "two")


def test_a_server_that_takes_no_connection_is_one_error():
    """A full queue of connections drops new ones silently, as a firewall does."""
    with contextlib.ExitStack() as held:
        deaf = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        with pytest.raises(teacher.TeacherError, match="No server answers"):
            ask(teacher.open("m", endpoint=url, **{**SETTINGS, "retries": 0, "timeout": 0.5}), "one")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:8000", "http://me:word@host/v1", "https://me/v1?key=word", "ftp://x"])
def test_an_endpoint_is_a_plain_url(endpoint):
    with pytest.raises(ValueError, match=f"plain base URL.*{teacher.KEY}") as raised:
        teacher.open("m", endpoint=endpoint, **SETTINGS)
    assert "word" not in str(raised.value)


def test_the_key_is_sent_and_shown_nowhere(pupil, server, monkeypatch, caplog, capfd):
    monkeypatch.setenv(teacher.KEY, f"{SECRET}\n")
    teaching = pupil()
    with caplog.at_level(logging.DEBUG):
        replies = ask(teaching, "hello", "repeat the key", "repeat the key", "unauthorised", "broken", "malformed")
        with pytest.raises(teacher.TeacherError, match="refuses the key") as raised:
            ask(teaching, "unauthorised")
    assert set(server.keys) == {f"Bearer {SECRET}"}
    logs = "".join(record.getMessage() + str(record.__dict__) for record in caplog.records)
    places = [repr(replies), repr(raised.value), repr(teaching), repr(vars(teaching)), logs, *capfd.readouterr(),
              "".join(traceback.format_exception(raised.value))]
    assert not [place for place in places if SECRET in place] and caplog.records


def test_a_local_server_needs_no_key(pupil, server):
    ask(pupil(), "hello")
    assert server.keys == ["Bearer none"]


def test_a_short_dummy_key_changes_no_text(pupil, monkeypatch):
    monkeypatch.setenv(teacher.KEY, "ollama")
    assert ask(pupil(), "an ollama")[0].text == "you said an ollama"


def test_a_broken_key_is_not_repeated(pupil, monkeypatch):
    monkeypatch.setenv(teacher.KEY, f"{SECRET} with blanks")
    with pytest.raises(teacher.TeacherError, match="set it again") as raised:
        ask(pupil(), "hello")
    assert SECRET not in str(raised.value)


@pytest.fixture(scope="module")
def real_server(folder):
    """Base URL of `transformers serve` with the tiny model: its server over HTTP, in a thread as its own tests do.

    What it sets for the whole process (seed, log level) is set back.
    """
    state, level = torch.get_rng_state(), transformers.logging.get_verbosity()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        running = Serve(folder, host="127.0.0.1", port=0, device="cpu", log_level="error", non_blocking=True)
        try:
            yield f"http://127.0.0.1:{_port(running.server)}/v1"
        finally:
            running.kill_server()
    torch.set_rng_state(state)
    transformers.logging.set_verbosity(level)


def _port(server, limit=60):
    """The port that the server took, once it listens."""
    end = time.monotonic() + limit
    while not server.started and time.monotonic() < end:
        time.sleep(0.02)
    assert server.started, f"transformers serve did not start within {limit} s"
    return server.servers[0].sockets[0].getsockname()[1]


def test_a_real_server_says_what_the_model_says(real_server, folder, fp32):
    texts = ["Open the file.", "The quick brown fox", "یک کتاب"]
    served = ask(teacher.open(folder, endpoint=real_server, **SETTINGS), *texts)
    local = ask(teacher.open(folder, **SETTINGS), *texts)
    assert [reply.text for reply in served] == [reply.text for reply in local]
    assert [(reply.finish, reply.tokens) for reply in served] == [(reply.finish, reply.tokens) for reply in local]
    assert {reply.finish for reply in served} == {"length"}


def test_a_real_server_with_another_model_gives_the_reason(real_server):
    reply = ask(teacher.open("another", endpoint=real_server, **SETTINGS), "hello")[0]
    assert reply.finish == "error" and "HTTP 400" in reply.error and "another" in reply.error


@pytest.fixture(scope="module")
def local(folder):
    """`local(seed=2, …)`: the tiny model as a teacher that draws its words."""
    return lambda **changed: teacher.open(folder, **{**SETTINGS, "temperature": 1.0, **changed})


def test_a_local_reply_depends_on_seed_and_prompt_alone(local, fp32):
    texts = [f"Tell me {'more ' * number}" for number in range(5)]
    replies = ask(local(), *texts)
    alone = [ask(local(batch_size=1), text)[0] for text in texts]
    assert [reply[:3] for reply in replies] == [reply[:3] for reply in alone] and len(set(replies)) == 5
    assert [reply.text for reply in ask(local(seed=2), *texts)] != [reply.text for reply in replies]


def test_drawn_words_have_the_models_probabilities():
    """Four tokens of known probability at temperature 2, drawn 4,000 times: within four standard errors."""
    scores = torch.tensor([[2.0, 0.0, -2.0, -torch.inf]]).repeat(4000, 1)
    drawn = teacher._Draw(2.0, 0, [str(row) for row in range(4000)])(None, scores).argmax(-1)
    expected = (scores[0] / 2).softmax(-1)
    found = torch.bincount(drawn, minlength=4) / 4000
    assert torch.all((found - expected).abs() <= 4 * (expected * (1 - expected) / 4000).sqrt())


def test_a_local_reply_that_ends_is_not_cut_off(byte_tokenizer):
    """A row that ended is filled up with padding, which is neither text nor counted."""
    word, end, pad = byte_tokenizer("word").input_ids, byte_tokenizer.eos_token_id, byte_tokenizer.pad_token_id
    ended = teacher._local_reply(byte_tokenizer, [*word, end, pad, pad], [end], 0.5)
    assert ended == teacher.Reply("word", "stop", "", 0.5, len(word) + 1)
    assert teacher._local_reply(byte_tokenizer, word, [end], 0.5) == teacher.Reply("word", "length", "", 0.5, len(word))


def test_a_local_reply_is_read_behind_its_thoughts(byte_tokenizer):
    ids, end = byte_tokenizer("A dog? No.</think>A fox").input_ids, byte_tokenizer.eos_token_id
    assert teacher._local_reply(byte_tokenizer, [*ids, end], [end], 0.5, "<think>").text == "A fox"
    assert teacher._local_reply(byte_tokenizer, ids[:4], [end], 0.5, "<think>").text == ""


def test_a_base_without_chat_template_continues_plain_text(byte_tokenizer, tiny_model, tmp_path):
    plain = copy.deepcopy(byte_tokenizer)
    plain.chat_template = None
    teaching = teacher.open(str(folders.save(tiny_model(plain), plain, tmp_path / "model")), **SETTINGS)
    assert teaching._text([{"role": "system", "content": "A list:"}, *prompt("1.")]) == "A list:\n\n1."
    assert ask(teaching, "1.")[0].finish == "length"


def test_nothing_is_loaded_before_the_first_prompt():
    teaching = teacher.open("no-such-model", **SETTINGS)
    with pytest.raises(ValueError, match="no-such-model"):
        ask(teaching, "hello")
