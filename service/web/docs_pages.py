"""`/docs`: Swagger UI on this service's own document, with every file from here, so that it works without a network."""

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response

from service.web.refusals import AddressNotFoundError
from service.web.strict_route import StrictRoute

router = APIRouter(include_in_schema=False, route_class=StrictRoute)

ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "favicon.png": "image/png"}
# Relative addresses, so that they are right behind a proxy that adds a prefix, too.
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>API</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
})
"""
# Swagger UI sets styles by script and has its icons in data: addresses.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
)


@router.head("/docs")
@router.get("/docs")
def show_docs() -> Response:
    """The page."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


@router.head("/docs/start.js")
@router.get("/docs/start.js")
def read_start() -> Response:
    """The script that the page would hold, did its policy allow it."""
    return Response(START, media_type="text/javascript")


@router.head("/docs/{name}")
@router.get("/docs/{name}")
def read_asset(name: str) -> Response:
    """A file of Swagger UI."""
    if name not in ASSETS:
        raise AddressNotFoundError("Nothing is served at this path.")
    # The package's own application is not used; importing it costs nothing beyond FastAPI.
    path = str(files("fastapi_offline") / "static" / name)
    return FileResponse(path, media_type=ASSETS[name], headers={"Cache-Control": "max-age=86400"})
