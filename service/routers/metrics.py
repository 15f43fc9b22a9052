"""What Prometheus collects."""

import os
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from service.web.strict_route import StrictRoute

router = APIRouter(tags=["metrics"], route_class=StrictRoute)

TEXT: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", response_class=Response, responses={200: {"description": "The counters.", "content": TEXT}})
def read_metrics(request: Request) -> Response:
    """Counters of all worker processes of this server, in Prometheus' text format."""
    registry: CollectorRegistry = request.app.state.metrics
    # prometheus-client's own variable: where its processes share what they count.
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        collect: Any = MultiProcessCollector  # untyped
        collect(registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
