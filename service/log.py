"""How a server process logs: one event a line on stderr, JSON in production and columns in development.

The code logs through the standard library (`logging.getLogger(__name__)`, facts in `extra`), so that a test, or a
program that embeds the application, configures logging as it likes; structlog only formats.
"""

import sys
from typing import Any, Literal

import structlog
from asgi_correlation_id import correlation_id
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import ExceptionRenderer, JSONRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if request_id := correlation_id.get():
        event["request_id"] = request_id
    return event


def _drop_coloured_copy(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn adds its message a second time, in colours
    return event


def _split_access_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    arguments = event.pop("positional_args", ())
    if event["logger"] == "uvicorn.access":
        event["event"] = "request"
        event.update(zip(("client", "method", "path", "http_version", "status"), arguments, strict=True))
    return event


def logging_config(environment: Literal["development", "production"]) -> dict[str, Any]:
    """What `logging.config.dictConfig` takes, and uvicorn hands to each of its workers."""
    collect: list[Processor] = [
        _add_request_id,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _split_access_line,
        _drop_coloured_copy,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks without local variables, which structlog shows by default: they hold passwords and customers' data, and
    # take seconds to print.
    render: list[Processor] = (
        [ExceptionRenderer(ExceptionDictTransformer(show_locals=False)), JSONRenderer()]
        if environment == "production"
        else [ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain_traceback)]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "event": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": collect,
                "pass_foreign_args": True,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "event"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
    }
