"""The README's examples are run, not believed, on what `service up` shows a newcomer."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest
import requests
from sqlalchemy import Engine
from sqlmodel import Session

from service import crud
from service.seed import generate_items
from service.up import SAMPLE_ITEMS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


class LiveServer(Protocol):
    url: str


pytestmark = pytest.mark.db(isolation="clone")


def test_the_api_by_example_answers_what_the_readme_says(live_server: LiveServer, engine: Engine) -> None:
    with Session(engine) as session:
        crud.copy_items(session, generate_items(SAMPLE_ITEMS, seed=1))
        session.commit()
    examples = re.findall(r"^\$ (curl .+)\n(.+)$", README, re.MULTILINE)

    answers = [without_times(curl(command, live_server.url)) for command, _ in examples]

    assert answers == [without_times(json.loads(answer)) for _, answer in examples]
    assert len(answers) == 9


def test_the_client_by_example_prints_what_the_comments_say(live_server: LiveServer) -> None:
    (script,) = re.findall(r"^```python\n(.+?)^```$", README, re.MULTILINE | re.DOTALL)
    assert ADDRESS in script

    done = subprocess.run(
        [sys.executable, "-c", script.replace(ADDRESS, live_server.url)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout.splitlines(), done.stderr) == (re.findall(r"print\(.*\)  # (.+)$", script, re.MULTILINE), "")


def curl(command: str, url: str) -> object:
    """Do what the `curl` command line says, for the few options that the README uses; return the JSON answer."""
    words = iter(shlex.split(command)[1:])
    method, body, address = None, None, ""
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "--json":
            body = next(words)
        else:
            address = word
    assert address.startswith(ADDRESS), f"curl is used in a way that this test does not know: {command}"
    answer: object = requests.request(
        method or ("POST" if body else "GET"),
        address.replace(ADDRESS, url),
        data=body,
        headers={"Content-Type": "application/json"} if body else {},
        timeout=10,
    ).json()
    return answer


def without_times(answer: object) -> object:
    """`answer` with every time replaced: it differs from run to run."""
    timeless: object = json.loads(re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "(time)", json.dumps(answer)))
    return timeless
