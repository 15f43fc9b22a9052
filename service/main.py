"""The application: `create_app`, its lifespan, and `app` for servers that are given `service.main:app`."""

import asyncio
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
from service.routers import batch, health, items, listing, metrics, transfer
from service.routers.cached import find_cached_route
from service.web import docs_pages, problem_pages
from service.web.cached_reads import CachedReads
from service.web.half_requests import HalfRequests
from service.web.limits import RequestLimits
from service.web.methods import add_method_handler
from service.web.openapi import DocumentedAPI
from service.web.problems import add_problem_handlers
from service.web.streams import Transfers
from service.web.turns import Turns

# Their bodies may be of any length: they are read piece by piece.
STREAMED_PATHS = frozenset({"/items/import"})
# What one that is cut off, because the server stops, gets to roll back and to answer.
STREAMING_END_SECONDS = 2


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
    app.state.require_if_match = settings.require_if_match
    app.state.max_body_bytes = settings.max_body_bytes
    cache = Cache(client, EpochReader(settings), ttl_seconds=settings.cache_ttl_seconds, registry=app.state.metrics)
    app.state.cache = cache
    app.state.transfers = Transfers(patience_seconds=settings.request_deadline_seconds)
    hits = HitReader(make_loop_connections(settings, client), cache) if settings.cache_fast_path else None
    app.state.find_hit = hits and hits.find
    cache.start()
    try:
        yield
    finally:
        if streaming := app.state.streaming:
            await asyncio.wait(streaming, timeout=STREAMING_END_SECONDS)
        cache.stop()
        if hits is not None:
            await hits.close()
        client.close()
        engine.dispose()


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on `settings`; without them the environment is read when the application starts, not now."""
    app = DocumentedAPI(
        title="Item service",
        summary="A catalogue over HTTP: PostgreSQL is the truth, Redis a cache that is never stale.",
        version="0.1.0",
        lifespan=lifespan,
        # FastAPI's own pages load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        # Clients are generated from these: a function that is renamed renames a method there.
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.metrics = CollectorRegistry()
    app.state.turns = Turns()
    app.state.streaming = set()
    add_problem_handlers(app)
    add_method_handler(app)
    app.include_router(transfer.router)
    app.include_router(listing.router)
    app.include_router(items.router)
    app.include_router(batch.router)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(problem_pages.router)
    app.include_router(docs_pages.router)
    app.add_middleware(RequestLimits, streamed=STREAMED_PATHS)
    app.add_middleware(HalfRequests, streamed=STREAMED_PATHS)
    app.add_middleware(CorrelationIdMiddleware)
    app.add_middleware(CachedReads, route=find_cached_route)
    return app


app = create_app()
