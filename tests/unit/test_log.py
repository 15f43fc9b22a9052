"""What a log line holds, and what it must not."""

import io
import json
import logging.config
from typing import Any, Literal

import pytest

from service.log import logging_config


def log_lines(environment: Literal["development", "production"], **record: Any) -> list[str]:  # noqa: ANN401
    """What one record looks like in the log of a server."""
    config = logging_config(environment)
    stream = io.StringIO()
    formatter = logging.config.DictConfigurator(config).configure_formatter(config["formatters"]["event"])
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    handler.handle(logging.makeLogRecord({"levelno": logging.INFO, "levelname": "INFO", **record}))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("environment", ["development", "production"])
def test_a_traceback_shows_no_local_variable(environment: Literal["development", "production"]) -> None:
    password = f"hunter-{2}"
    try:
        int(password.partition("-")[0])
    except ValueError as error:
        lines = log_lines(environment, name="service", msg="failed", exc_info=(ValueError, error, error.__traceback__))

    assert "invalid literal" in "".join(lines)
    assert "test_a_traceback_shows_no_local_variable" in "".join(lines)
    assert "hunter-2" not in "".join(lines)


def test_an_access_line_of_uvicorn_becomes_an_event() -> None:
    (line,) = log_lines(
        "production",
        name="uvicorn.access",
        msg='%s - "%s %s HTTP/%s" %d',
        args=("127.0.0.1:4000", "GET", "/items/", "1.1", 200),
    )

    event = json.loads(line)
    assert event.pop("timestamp")
    assert event == {
        "event": "request",
        "logger": "uvicorn.access",
        "level": "info",
        "client": "127.0.0.1:4000",
        "method": "GET",
        "path": "/items/",
        "http_version": "1.1",
        "status": 200,
    }


def test_uvicorns_coloured_copy_is_dropped() -> None:
    (line,) = log_lines("production", name="uvicorn.error", msg="Started", color_message="\x1b[36mStarted")

    assert "color_message" not in json.loads(line)
