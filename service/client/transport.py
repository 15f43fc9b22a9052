"""How a request gets an answer: time limits, retries, errors. It knows HTTP, and nothing of items."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import requests
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exception,
    wait_random_exponential,
)
from urllib3.exceptions import ConnectTimeoutError

from .errors import ApiError, ClientError, TransportError, UnavailableError, read_error

SAFE_METHODS = {"GET", "HEAD"}
TRANSIENT = {429, 502, 503, 504}
CONFLICT = 409
REDIRECTION = 300
TROUBLE = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how long a call is tried: no try begins later than `total_seconds` after the first.

    The wait before the second try is random, up to `first_wait_seconds`; for each further try the upper bound doubles,
    to at most `longest_wait_seconds` ("full jitter"). What Retry-After asks for is added to it.
    """

    attempts: int = 5
    total_seconds: float = 30
    first_wait_seconds: float = 0.2
    longest_wait_seconds: float = 5

    def run(self, attempt: Callable[[], Result], *, retry_when: Callable[[BaseException], bool]) -> Result:
        """What `attempt` returns, tried again after each error for which `retry_when` holds; or the last error."""
        retrying = Retrying(
            stop=stop_after_attempt(self.attempts) | stop_before_delay(self.total_seconds),
            wait=wait_random_exponential(multiplier=self.first_wait_seconds, max=self.longest_wait_seconds)
            + wait_exception(_seconds_asked_for),
            retry=retry_if_exception(retry_when),
            reraise=True,
        )
        return retrying(attempt)


def _seconds_asked_for(error: BaseException) -> float:
    return (isinstance(error, ApiError) and error.retry_after_seconds) or 0


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `is_repeatable`: sent twice, it does what it does once, so that it may be retried.

    `timeout_seconds` is for what takes longer than the others do.
    """

    method: str
    address: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] | None = None
    is_repeatable: bool = True
    is_streamed: bool = False
    timeout_seconds: float | None = None


class Transport:
    """A session, and how patient to be with it; `timeout_seconds` bounds each wait for the other side."""

    def __init__(self, session: requests.Session, *, timeout_seconds: float, retries: Retries) -> None:
        self._session = session
        self._timeout_seconds = timeout_seconds
        self._retries = retries

    def send(self, call: Call) -> requests.Response:
        """The answer, of a status below 300; raises ClientError."""
        is_lost = False

        def attempt() -> requests.Response:
            nonlocal is_lost
            try:
                return self._send_once(call)
            except ClientError as error:
                is_lost = is_lost or _is_answer_lost(error)
                error.may_have_been_done = is_lost and call.method not in SAFE_METHODS
                raise

        return self._retries.run(attempt, retry_when=_is_transient) if call.is_repeatable else attempt()

    def _send_once(self, call: Call) -> requests.Response:
        with translated_trouble():
            response = self._session.request(
                call.method,
                call.address,
                headers=dict(call.headers),
                data=call.body,
                timeout=call.timeout_seconds or self._timeout_seconds,
                stream=call.is_streamed,
                # A write that is redirected can become a GET on the way, which would look like its success.
                allow_redirects=call.method in SAFE_METHODS,
            )
            if response.status_code >= REDIRECTION:
                raise read_error(response)
        return response


@contextmanager
def translated_trouble() -> Iterator[None]:
    """Let what requests raises for a broken network be a TransportError."""
    try:
        yield
    except TROUBLE as error:
        raise TransportError(f"No answer: {error}") from error


def _is_transient(error: BaseException) -> bool:
    """Whether a later try may succeed. Of conflicts, the service says so by Retry-After."""
    if not isinstance(error, ApiError):
        return isinstance(error, TransportError)
    status = error.problem.status
    return status in TRANSIENT or (status == CONFLICT and error.retry_after_seconds is not None)


def _is_answer_lost(error: ClientError) -> bool:
    """Whether the request may have been carried out although it failed."""
    if isinstance(error, TransportError):
        cause = error.__cause__
        reason = getattr(cause.args[0], "reason", None) if cause and cause.args else None
        return not isinstance(reason, ConnectTimeoutError)  # which stands for a refused connection, too
    return isinstance(error, UnavailableError)
