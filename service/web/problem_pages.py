"""What `type` of a problem document leads to: a page for each kind, all made from `list_problem_types`."""

from html import escape
from http import HTTPStatus
from string import Template

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from service.errors import ServiceError, list_problem_types
from service.web.problems import summarize
from service.web.refusals import AddressNotFoundError
from service.web.strict_route import StrictRoute

router = APIRouter(prefix="/problems", include_in_schema=False, route_class=StrictRoute)

PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title</title>
<h1>$title</h1>
$content
</html>
""")


@router.head("/", response_class=HTMLResponse)
@router.get("/", response_class=HTMLResponse)
def list_kinds() -> str:
    """Every kind of problem."""
    links = (f'<li><a href="{kind.slug}">{kind.status} {escape(kind.title)}</a></li>' for kind in list_problem_types())
    return PAGE.substitute(title="Problems", content=f"<ul>{''.join(links)}</ul>")


@router.head("/{slug}", response_class=HTMLResponse)
@router.get("/{slug}", response_class=HTMLResponse)
def explain_kind(slug: str) -> str:
    """One kind of problem: its status, what happened, what to do."""
    for kind in list_problem_types():
        if kind.slug == slug:
            return PAGE.substitute(title=escape(kind.title), content=_render_content(kind))
    raise AddressNotFoundError("There is no such kind of problem; `/problems/` lists all.")


def _render_content(kind: type[ServiceError]) -> str:
    status = f"{kind.status} {HTTPStatus(kind.status).phrase}"
    paragraphs = (f"Status: {status}", f"What happened: {summarize(kind)}", f"What to do: {kind.remedy}")
    return "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)


def render_chapter() -> str:
    """The same as a chapter in Markdown."""
    head = (
        "# Problems\n\n"
        "Every answer of 400 and above is a problem document (RFC 9457). Its `type` is the address of a page that\n"
        "says what is said here. Written by `tox run -e docs` from `service/errors.py`; do not edit.\n"
    )
    kinds = (
        f"\n## {kind.title}\n\n"
        f"`/problems/{kind.slug}`, status {kind.status}\n\n"
        f"{summarize(kind)}\n\n"
        f"What to do: {kind.remedy}\n"
        for kind in list_problem_types()
    )
    return head + "".join(kinds)
