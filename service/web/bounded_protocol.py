"""What uvicorn refuses before there is a request that the application could answer."""

from starlette.requests import HTTPConnection
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import ServiceError
from service.web.limits import MAX_ADDRESS_BYTES, MAX_HEADER_BYTES
from service.web.problems import closing_problem
from service.web.refusals import AddressTooLongError, HeadersTooLargeError, MalformedRequestError

# Whatever is a little shorter, RequestLimits refuses with the exact bound.
MAX_HEAD_BYTES = 2 * (MAX_ADDRESS_BYTES + MAX_HEADER_BYTES)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's, but a head without end is not kept, and its refusals are problem documents."""

    _is_in_head = False
    _head_bytes = 0

    def on_message_begin(self) -> None:
        """Begin to count; called by the parser."""
        super().on_message_begin()
        self._is_in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Stop to count; called by the parser."""
        self._is_in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and refuse the rest of a head that has become too long."""
        super().data_received(data)
        if not self._is_in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            too_long = AddressTooLongError if len(self.url) > MAX_ADDRESS_BYTES else HeadersTooLargeError
            self._refuse(too_long(f"The request line and the headers may have at most {MAX_HEAD_BYTES:,} bytes."))

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or has an address so long that the parser does not take it for one."""
        if len(self.url) > MAX_ADDRESS_BYTES:
            self._refuse(AddressTooLongError(f"The path and the query may have at most {MAX_ADDRESS_BYTES:,} bytes."))
        else:
            self._refuse(MalformedRequestError(msg))

    def _refuse(self, error: ServiceError) -> None:
        # Nobody can say which path was meant.
        answer = closing_problem(HTTPConnection({"type": "http", "path": "/"}), error)
        lines = [name + b": " + value + b"\r\n" for name, value in answer.raw_headers]
        self.transport.write(b"".join([STATUS_LINE[error.status], *lines, b"\r\n", bytes(answer.body)]))
        self.transport.close()
