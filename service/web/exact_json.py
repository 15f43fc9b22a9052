"""Request bodies whose numbers are what was written, not the nearest binary fractions."""

import json
from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal, InvalidOperation
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ExactRequest(Request):
    """A request whose JSON has Decimals for numbers with a point or an exponent."""

    async def json(self) -> Any:  # noqa: ANN401  # whatever the client sent
        """The body; JSONDecodeError, which FastAPI answers with 422, for all that cannot be read."""
        body = await self.body()
        try:
            return json.loads(body, parse_float=_read_number)
        # Nested too deeply; not UTF-8; a whole number of thousands of digits. Their words may quote the body.
        except (RecursionError, ValueError) as error:
            raise json.JSONDecodeError("not JSON that can be read", "", 0) from error


class ExactRoute(APIRoute):
    """A route that reads its body so."""

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, given an ExactRequest."""
        handle: Callable[[Request], Awaitable[Response]] = super().get_route_handler()

        async def handle_exactly(request: Request) -> Response:
            return await handle(ExactRequest(request.scope, request.receive))

        return handle_exactly


def _read_number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits, say
        return Decimal("NaN")
