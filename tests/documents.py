"""The documents under docs/ that are written from the code. `python -m tests.documents` writes them anew."""

import json
from collections.abc import Callable
from pathlib import Path

from service.main import create_app
from service.web.problem_pages import render_chapter

ROOT = Path(__file__).parent.parent


def render_openapi() -> str:
    """What `/openapi.json` answers, for people to read and compare."""
    return json.dumps(create_app().openapi(), indent=2, ensure_ascii=False) + "\n"


DOCUMENTS: dict[str, Callable[[], str]] = {"docs/problems.md": render_chapter, "docs/openapi.json": render_openapi}

if __name__ == "__main__":
    for path, render in DOCUMENTS.items():
        (ROOT / path).write_text(render(), encoding="utf-8")
