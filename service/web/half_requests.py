"""Requests of which the server has half when it stops, and has waited for the rest as long as it may."""

import asyncio
from collections.abc import Container

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.problems import closing_problem
from service.web.refusals import RequestTimeoutError


class HalfRequests:
    """Answers 408 in place of uvicorn's 500, which cancels them. The application's state has `streaming`.

    That is a set of tasks: requests of `streamed` paths, which whoever ends the application has to wait for.
    """

    def __init__(self, app: ASGIApp, *, streamed: Container[str]) -> None:
        self._app = app
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, and answer if that is cut off."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            if scope["path"] in self._streamed:
                await self._run_to_its_end(scope, receive, send)
            else:
                await self._run(scope, receive, send)
        except _CutOffError:
            error = RequestTimeoutError("The server stopped before the whole request had come.")
            await closing_problem(HTTPConnection(scope), error)(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_answered = is_whole = False

        async def receive_noted() -> Message:
            nonlocal is_whole
            try:
                message = await receive()
            except asyncio.CancelledError as error:
                # Who waits for more while or after answering waits for the client to leave, and may be called off.
                if is_whole or is_answered:
                    raise
                raise _CutOffError from error
            is_whole = not message.get("more_body")
            return message

        async def send_noted(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        await self._app(scope, receive_noted, send_noted)

    async def _run_to_its_end(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Not cancelled when the server stops, but cut off from the client, and waited for.

        A thread reads the body, and waits for the event loop with the lock of its connection held. Whoever cancels the
        request has the event loop roll back on that connection, and wait for the thread.
        """
        if this := asyncio.current_task():
            streaming: set[asyncio.Task[object]] = scope["app"].state.streaming
            streaming.add(this)
            this.add_done_callback(streaming.discard)
        reader: asyncio.Task[object] | None = None
        is_stopping = False

        async def receive_or_stop() -> Message:
            nonlocal reader
            if is_stopping:
                raise _CutOffError
            reader = asyncio.current_task()
            try:
                return await receive()
            except asyncio.CancelledError:
                if is_stopping:
                    raise _CutOffError from None
                raise
            finally:
                reader = None

        work = asyncio.ensure_future(self._app(scope, receive_or_stop, send))
        while not work.done():
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                is_stopping = True
                if reader is not None:
                    reader.cancel()
        work.result()


class _CutOffError(Exception):
    """The rest of a body will not come; not an HTTP error, so that nothing between the reader and us answers it."""
