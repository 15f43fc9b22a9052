"""The application as the tests start it."""

from fastapi import FastAPI

from service.config import Settings, load_settings
from service.main import create_app


def make_app() -> FastAPI:
    """The service on the environment alone: a developer's `.env` is not looked at."""
    return create_app(load_settings(Settings, env_file=None))
