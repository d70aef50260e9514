"""A teacher that answers prompts: a model behind any OpenAI-compatible endpoint, or a local transformers model.

An endpoint is asked through the `openai` library, which waits, retries after 408, 409, 429 and 5xx with growing pauses
or as long as `Retry-After` says, and gives up after a time-out. Its key comes from the environment variable
COMPANION_API_KEY only; it is read when a request is made and kept nowhere.
"""
import functools
import hashlib
import itertools
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2
import openai
import torch
from tqdm import tqdm
from transformers import LogitsProcessor, LogitsProcessorList

from lib.data import prompts as turns
from lib.engine import machine, params
from lib.model import folders
from lib.model.tokenizer import encoded, padded

KEY = "COMPANION_API_KEY"
CONNECT = 10  # seconds: a server that is there takes a connection at once, however long it thinks afterwards
AHEAD = 2  # so many batches are asked before their replies are taken: one slow reply does not hold up all the others
SECRET = 8  # characters: shorter keys are the dummies of local servers ("ollama"), which may well stand in a text


class TeacherError(RuntimeError):
    """The teacher cannot be asked at all; the message says why and what to do."""


class Reply(NamedTuple):
    """An answer. `finish` is `stop`, `length` (cut off at the token limit) or `error`, which `error` explains.

    `seconds` are those of the request with its retries (a local model's: an equal share of its batch), `tokens` those
    generated, 0 where a server does not say.
    """
    text: str
    finish: str
    error: str = ""
    seconds: float = 0.0
    tokens: int = 0


@dataclass(frozen=True)
class Teacher:
    """What `open` gives; nothing is loaded or asked before `ask`.

    Temperature 0 is greedy; above it, `seed` makes a local model's replies repeatable and is handed to a server, which
    may heed it. `batch_size` prompts are answered at a time. `timeout` (seconds a request) and `retries` are for servers.
    """
    name: str
    endpoint: str
    max_new_tokens: int
    temperature: float
    seed: int
    timeout: float
    retries: int
    batch_size: int

    def ask(self, prompts: list[list[dict]]) -> Iterator[Reply]:
        """One reply a prompt (chat turns), in their order, each as soon as it and those before it are there.

        Raises TeacherError when the teacher cannot be asked at all. One bad reply is a Reply with an error instead.
        """
        raise NotImplementedError


def open(name: str, endpoint: str = "", **settings) -> Teacher:
    """The teacher `name`: a base as `folders.base` knows it, or, with `endpoint`, a model of that server.

    `endpoint` is a base URL such as http://127.0.0.1:8000/v1; `settings` are the other fields of Teacher. Raises
    ValueError for an endpoint that is no such URL, or that holds a password or a query.
    """
    url = urlsplit(endpoint)
    bad = url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment or "@" in url.netloc
    if endpoint and bad:
        raise ValueError(f"The endpoint must be a plain base URL like http://127.0.0.1:8000/v1, its key in {KEY} and "
                         f"not in the URL; this one begins with {f'{url.scheme}://{url.hostname}'!r}.")
    return (Endpoint if endpoint else Local)(name, endpoint.rstrip("/"), **settings)


class Endpoint(Teacher):
    """A model of an OpenAI-compatible server."""

    def ask(self, prompts: list[list[dict]]) -> Iterator[Reply]:
        """See Teacher: TeacherError when no server answers, or it refuses key or model, and nothing was got before.

        No more than AHEAD × `batch_size` prompts are asked before their replies are taken, and may be lost in a crash.
        """
        bar = tqdm(total=len(prompts), desc=f"asking {self.name}", unit="prompt", disable=not machine.interactive())
        with bar, self._client() as client, ThreadPoolExecutor(self.batch_size) as pool:
            futures = (pool.submit(self._reply, client, prompt) for prompt in prompts)
            asked, got = deque(itertools.islice(futures, AHEAD * self.batch_size)), False
            try:
                while asked:
                    reply, got = _settled(asked.popleft(), asked, got), True
                    asked.extend(itertools.islice(futures, 1))
                    bar.update()
                    yield reply
            finally:
                for future in asked:
                    future.cancel()

    def _client(self) -> openai.OpenAI:
        if not _key().isascii() or not _key().isprintable() or " " in _key():
            raise TeacherError(f"{KEY} holds blanks or characters that no key has: set it again.")
        return openai.OpenAI(base_url=self.endpoint, api_key=_key() or "none", max_retries=self.retries,
                             timeout=httpx2.Timeout(self.timeout, connect=min(self.timeout, CONNECT)))

    def _reply(self, client, prompt) -> Reply:
        """One request; a bad one is a Reply too. TeacherError when the server is away or refuses any request."""
        began = time.perf_counter()
        try:
            found = _read(self._complete(client, prompt))
        except openai.APIStatusError as error:
            if error.status_code in (401, 403, 404):
                raise TeacherError(self._refusal(error)) from None
            found = Reply("", "error", f"HTTP {error.status_code}: {_said(error)}")
        except openai.APIConnectionError as error:
            found = Reply("", "error", self._lost(error))
        except (ValueError, openai.OpenAIError) as error:
            found = Reply("", "error", f"the reply cannot be read: {_shown(error)}")
        return found._replace(seconds=time.perf_counter() - began)

    def _complete(self, client, prompt):
        """The server's completion. OpenAI's reasoning models take the limit under another name, and say so."""
        send = functools.partial(client.chat.completions.create, model=self.name, messages=prompt,
                                 temperature=self.temperature, seed=self.seed)
        try:
            return send(max_tokens=self.max_new_tokens)
        except openai.BadRequestError as error:
            if "max_completion_tokens" not in str(error):
                raise
            return send(max_completion_tokens=self.max_new_tokens)

    def _lost(self, error: openai.APIConnectionError) -> str:
        if isinstance(error.__cause__, (httpx2.ConnectError, httpx2.ConnectTimeout)):
            raise TeacherError(
                f"No server answers at {self.endpoint} ({_shown(error.__cause__)}): start it or correct the endpoint; "
                "with an empty endpoint a local model is the teacher.") from None
        if isinstance(error, openai.APITimeoutError):
            return f"no reply within {self.timeout:g} s (attempts: {self.retries + 1})"
        return f"the connection broke off: {_shown(error.__cause__ or error)}"

    def _refusal(self, error) -> str:
        if error.status_code == 404:
            return (f"{self.endpoint} has no model {self.name!r}, or its base URL is another, as most end in /v1 "
                    f"({_said(error)}): correct `teacher` or `endpoint`.")
        # The server's own words are left out: some repeat the key, or its beginning and end.
        given = "the key" if _key() else "a request without key"
        return f"{self.endpoint} refuses {given} (HTTP {error.status_code}): set {KEY} in the environment."


class Local(Teacher):
    """A transformers model on this machine. It is loaded at the first prompt."""

    def ask(self, prompts: list[list[dict]]) -> Iterator[Reply]:
        """See Teacher: a reply rests on seed, prompt and settings, not on the other prompts (but for rounding)."""
        batches = [prompts[at:at + self.batch_size] for at in range(0, len(prompts), self.batch_size)]
        for batch in tqdm(batches, desc=f"asking {self.name}", unit="batch", disable=not machine.interactive()):
            yield from self._batch([self._text(prompt) for prompt in batch])

    @functools.cached_property
    def _loaded(self):
        folder = folders.base(self.name)
        return folders.load(folder), folders.tokenizer(folder)

    def _text(self, prompt) -> str:
        """The rendered prompt; for a base without chat template, which goes on with plain text, the turns' texts."""
        tokenizer = self._loaded[1]
        if tokenizer.chat_template:
            return turns.render(tokenizer, prompt)
        return "\n\n".join(turn["content"] for turn in prompt)

    @torch.inference_mode()
    def _batch(self, texts) -> list[Reply]:
        (model, tokenizer), began = self._loaded, time.perf_counter()
        inputs = padded(tokenizer, encoded(tokenizer, texts, bool(tokenizer.chat_template))).to(model.device)
        ends = folders.ends(model, tokenizer)
        settings = folders.generation(model, tokenizer, self.max_new_tokens)
        drawn = [_Draw(self.temperature, self.seed, texts)] if self.temperature else []
        output = model.generate(**inputs, generation_config=settings, logits_processor=LogitsProcessorList(drawn))
        seconds = (time.perf_counter() - began) / len(texts)
        replies = output[:, inputs.input_ids.shape[1]:].tolist()
        return [_local_reply(tokenizer, ids, ends, seconds, text) for ids, text in zip(replies, texts)]


class _Draw(LogitsProcessor):
    """Makes greedy decoding a sample at a temperature: the maximum after Gumbel noise (Maddison et al. 2014).

    Each row draws from a generator of its own, so that it does not matter which prompts share a batch.
    """

    def __init__(self, temperature: float, seed: int, texts: list[str]):
        digests = [hashlib.sha256(f"{seed}\n{text}".encode()).digest() for text in texts]
        self.temperature = temperature
        self.generators = [torch.Generator().manual_seed(int.from_bytes(digest[:7])) for digest in digests]

    def __call__(self, input_ids, scores):
        noise = torch.stack([torch.empty(scores.shape[-1]).exponential_(generator=each) for each in self.generators])
        smallest = torch.finfo(noise.dtype).tiny
        return scores.float() / self.temperature - noise.clamp_(min=smallest).log_().to(scores.device)


def _local_reply(tokenizer, ids: list[int], ends: list[int], seconds: float, asked: str = "") -> Reply:
    """The reply of ids generated behind a prompt; they end in padding where other rows of the batch went on."""
    tokens = next((at + 1 for at, token in enumerate(ids) if token in ends), None)
    text = turns.spoken(tokenizer.decode(ids[:tokens], skip_special_tokens=True), asked)
    return Reply(text, "stop" if tokens else "length", "", seconds, tokens or len(ids))


def _read(completion) -> Reply:
    """The reply in a completion. Raises ValueError when there is none, as when a server or proxy sends other JSON."""
    choices = getattr(completion, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    text = getattr(getattr(choice, "message", None), "content", None)
    finish = getattr(choice, "finish_reason", None)
    if finish == "content_filter":
        raise ValueError("a content filter held it back")
    if not isinstance(text, str) and finish != "length":
        raise ValueError("it has no choices with a text")
    tokens = getattr(getattr(completion, "usage", None), "completion_tokens", None)
    return Reply(turns.spoken(_hidden(text or "")), "length" if finish == "length" else "stop",
                 tokens=tokens if isinstance(tokens, int) else 0)


def _settled(future, others, got: bool) -> Reply:
    """The reply that `future` comes to; a refusal is one too, if anything was got or another request was answered."""
    try:
        return future.result()
    except TeacherError as error:
        if not got and not any(other.done() and other.exception() is None for other in others):
            raise
        return Reply("", "error", str(error))


def _key() -> str:
    return os.environ.get(KEY, "").strip()


def _hidden(text: str) -> str:
    """`text` without the key, should a server repeat it, and without half characters, which no file can hold."""
    text = text.encode("utf8", "replace").decode("utf8")
    return text.replace(_key(), f"[{KEY}]") if len(_key()) >= SECRET else text


def _said(error: openai.APIStatusError) -> str:
    """The server's message, or all that it sent where there is none (FastAPI's `detail`, a proxy's page)."""
    message = error.body.get("message") if isinstance(error.body, dict) else None
    return _shown(message or error.response.text or error.response.reason_phrase)


def _shown(error) -> str:
    """The beginning of an error or its text on one line, without the key."""
    return params.beginning(_hidden(str(error) or type(error).__name__))
