"""The test kit: real servers, a database of its own for each worker and, on request, for each test.

A pytest plugin (`-p service.testing.plugin`). It knows FastAPI, SQLModel, Alembic and Redis, and nothing of the
application under test: the options in the pytest configuration and the fixture `make_engine` tell it what to start.
This module imports nothing, because the plugin is loaded before everything else.
"""
