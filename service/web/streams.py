"""Bodies that are longer than the memory: read and sent piece by piece, each waited for with an end."""

import asyncio
import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field

import anyio
from anyio import from_thread, to_thread
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

from service.config import MAX_EXPORTS, MAX_IMPORTS
from service.web.idempotency import Claim, begin_fingerprint, find_key
from service.web.refusals import BrokenUploadError, RequestTimeoutError

log = logging.getLogger(__name__)

# An upload that is slower than so many bytes per second, over so many seconds, keeps others from its place.
PACE_BYTES = 1024
PACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Transfers:
    """How many may run at once in this process, and how long each waits for its client."""

    patience_seconds: float
    imports: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_IMPORTS))
    exports: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_EXPORTS))


class Upload:
    """The body in pieces, for an endpoint in a thread. Nothing is read ahead, so a fast client is slowed down.

    Raises RequestTimeoutError when nothing comes for `patience_seconds`, or too little for PACE_SECONDS, and
    BrokenUploadError when the client is gone.
    """

    def __init__(self, request: Request, *, patience_seconds: float) -> None:
        self._stream = request.stream()
        self._patience_seconds = patience_seconds
        # Since the pace was looked at last.
        self._waited_seconds = 0.0
        self._received_bytes = 0
        self._key = find_key(request)
        self._fingerprint = begin_fingerprint(request)

    def __iter__(self) -> Iterator[bytes]:
        """What has not been read yet."""
        try:
            while chunk := from_thread.run(self._pull):
                self._check_pace(len(chunk))
                self._fingerprint.update(chunk)
                yield chunk
        except TimeoutError as error:
            raise RequestTimeoutError(f"Nothing more of the body came for {self._patience_seconds:g} s.") from error
        except ClientDisconnect as error:
            raise BrokenUploadError("The connection ended before the body did.") from error

    def claim(self) -> Claim | None:
        """The request's Idempotency-Key, if it has one. Its fingerprint reads what is left of the body."""
        return None if self._key is None else Claim(self._key, self._finish)

    def _finish(self) -> bytes:
        for _ in self:
            """Only the digest needs it."""
        return self._fingerprint.digest()

    async def _pull(self) -> bytes:
        began = anyio.current_time()
        with anyio.fail_after(self._patience_seconds):
            chunk = await anext(self._stream, b"")
        self._waited_seconds += anyio.current_time() - began
        return chunk

    def _check_pace(self, chunk_bytes: int) -> None:
        """Refuse to wait on for a client that only keeps its place. While PostgreSQL is waited for, no time counts."""
        self._received_bytes += chunk_bytes
        if self._waited_seconds < PACE_SECONDS:
            return
        if self._received_bytes < PACE_SECONDS * PACE_BYTES:
            raise RequestTimeoutError(f"Within {PACE_SECONDS:g} s less than {PACE_BYTES:,} bytes per second came.")
        self._waited_seconds, self._received_bytes = 0.0, 0


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
