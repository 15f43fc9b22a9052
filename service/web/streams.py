"""Bodies that are longer than the memory: read and sent piece by piece, each waited for with an end."""

import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore

import anyio
from anyio import from_thread, to_thread
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

from service.config import MAX_EXPORTS, MAX_IMPORTS
from service.errors import BrokenUploadError, RequestTimeoutError, TransfersBusyError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Transfers:
    """How many may run at once in this process, and how long each waits for its client."""

    patience_seconds: float
    imports: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(MAX_IMPORTS))
    exports: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(MAX_EXPORTS))


@contextmanager
def occupying(slots: BoundedSemaphore) -> Iterator[None]:
    """Have one of `slots`, or raise TransfersBusyError at once."""
    if not slots.acquire(blocking=False):
        raise TransfersBusyError("As many transfers as may run at once are running. Try again in some seconds.")
    try:
        yield
    finally:
        slots.release()


def pull_body(request: Request, *, patience_seconds: float) -> Iterator[bytes]:
    """The body, for an endpoint that runs in a thread. Nothing is read ahead, so a fast client is slowed down.

    Raises RequestTimeoutError when nothing comes for `patience_seconds`, BrokenUploadError when the client is gone.
    """
    stream = request.stream()

    async def pull() -> bytes:
        with anyio.fail_after(patience_seconds):
            return await anext(stream, b"")

    try:
        while chunk := from_thread.run(pull):
            yield chunk
    except TimeoutError as error:
        raise RequestTimeoutError(f"Nothing more of the body came for {patience_seconds:g} s.") from error
    except ClientDisconnect as error:
        raise BrokenUploadError("The connection ended before the body did.") from error


class PatientStream(StreamingResponse):
    """Sends what a generator that blocks yields, and closes it, whatever happens.

    A client that takes nothing for `patience_seconds` is cut off: the generator may hold what others need.
    """

    def __init__(
        self,
        chunks: Generator[bytes, None, None],
        *,
        patience_seconds: float,
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(chunks, media_type=media_type, headers=headers)
        self._chunks = chunks
        self._patience_seconds = patience_seconds

    async def stream_response(self, send: Send) -> None:
        """Send it all. An answer that ends early has no end mark, so that no client takes it for whole."""

        async def send_in_time(message: Message) -> None:
            with anyio.fail_after(self._patience_seconds):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            log.warning("stream.cut_off", extra={"patience_seconds": self._patience_seconds})
        finally:
            # Also when this task is cancelled because the client is gone.
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._chunks.close)
