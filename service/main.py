"""The application: `create_app`, its lifespan, and `app` for servers that are given `service.main:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from service.cache import Cache, HitReader
from service.config import Settings, load_settings
from service.database import EpochReader, make_engine, make_session_factory
from service.redis_client import make_loop_connections, make_redis
from service.routers import health, items, metrics
from service.web.cached_reads import CachedReads
from service.web.problems import ProblemAPI, add_problem_handlers


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Make what every request shares, in the process that will use it, and close it."""
    settings: Settings = app.state.settings or load_settings(Settings)
    # Starlette's 40 threads would outnumber the connections that they take.
    anyio.to_thread.current_default_thread_limiter().total_tokens = settings.threads
    engine = make_engine(settings, impatient=True)
    client = make_redis(settings)
    app.state.engine = engine
    app.state.sessions = make_session_factory(engine)
    app.state.redis = client
    cache = Cache(client, EpochReader(settings), ttl_seconds=settings.cache_ttl_seconds, registry=app.state.metrics)
    app.state.cache = cache
    hits = HitReader(make_loop_connections(settings, client), cache) if settings.cache_fast_path else None
    app.state.find_hit = hits and hits.find
    cache.start()
    try:
        yield
    finally:
        cache.stop()
        if hits is not None:
            await hits.close()
        client.close()
        engine.dispose()


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on `settings`; without them the environment is read when the application starts, not now."""
    app = ProblemAPI(
        title="Item service",
        summary="A catalogue over HTTP: PostgreSQL is the truth, Redis a cache that is never stale.",
        version="0.1.0",
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.metrics = CollectorRegistry()
    add_problem_handlers(app)
    app.include_router(items.router)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.add_middleware(CorrelationIdMiddleware)
    app.add_middleware(CachedReads, route=items.find_cached_route)
    return app


app = create_app()
