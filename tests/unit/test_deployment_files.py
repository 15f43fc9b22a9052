"""The files that no other test runs agree with the code and with each other: README, CI, compose, image, locks."""

import configparser
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML
from typer.testing import CliRunner

from service.check import OLDEST_POSTGRES, OLDEST_REDIS, OLDEST_VALKEY
from service.cli import app
from service.config import Settings, load_settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "compose/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMPOSE_FILES = ["compose/compose.yaml", "compose/compose.test.yaml"]
LOCK_FILES = ["requirements.lock", "compose/requirements.lock", "compose/build.lock"]


def read_yaml(path: str) -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe", pure=True).load(ROOT / path)
    return document


def read_pins(path: str) -> dict[str, str]:
    """The version that a lock file gives to each package."""
    pins = re.findall(r"^([\w.-]+)==([^ ;]+)", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def find_unpinned(requirements: list[str], pins: dict[str, str]) -> list[str]:
    """The requirements of this platform that the lock leaves open, or pins to another version."""
    wanted = [Requirement(text) for text in requirements]
    here = [one for one in wanted if one.marker is None or one.marker.evaluate()]
    return [str(one) for one in here if pins.get(canonicalize_name(one.name), "") not in one.specifier]


def test_the_quick_start_begins_with_two_blocks_of_one_line_each() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    quick_start = readme.partition("\n## Quick start\n")[2].partition("\n## ")[0]
    first, second, *_ = re.findall(r"^```sh\n(.*?)^```$", quick_start, re.MULTILINE | re.DOTALL)

    assert [len(first.splitlines()), len(second.splitlines())] == [1, 1]
    assert first.endswith(" tox run -e up\n")
    assert second.endswith(" tox run -e integration,slow\n")


@pytest.mark.parametrize(
    "path", ["README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/ci.yml", ".pre-commit-config.yaml"]
)
def test_every_tox_environment_that_is_named_exists(path: str) -> None:
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")

    named = re.findall(r"tox (?:run|exec) -q?e ([\w,]+)", (ROOT / path).read_text(encoding="utf-8"))

    assert named
    assert [name for names in named for name in names.split(",") if f"testenv:{name}" not in tox] == []


def test_ci_can_be_started_as_a_program() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_ci_runs_every_python_that_the_package_claims() -> None:
    claimed = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if "Python :: 3." in text]

    run = read_yaml(".github/workflows/ci.yml")["jobs"]["embedded"]["strategy"]["matrix"]["python"]

    assert run == claimed
    assert PROJECT["requires-python"] == f">={run[0]}"


def test_ci_runs_on_the_oldest_servers_that_service_check_accepts() -> None:
    servers = read_yaml(".github/workflows/ci.yml")["jobs"]["containers"]["strategy"]["matrix"]["include"]

    oldest_postgres = min(int(server["postgres"]) for server in servers)
    beside_it = {server["redis"] for server in servers if int(server["postgres"]) == oldest_postgres}

    assert oldest_postgres == OLDEST_POSTGRES
    assert beside_it == {"redis:{}.{}".format(*OLDEST_REDIS), "valkey/valkey:{}.{}".format(*OLDEST_VALKEY)}


@pytest.mark.parametrize("path", COMPOSE_FILES)
def test_every_compose_service_tells_its_health_or_ends(path: str) -> None:
    silent = []

    for name, service in read_yaml(path)["services"].items():
        ends = service.get("restart") == "no"
        if not ends and "test" not in service.get("healthcheck", {}) and "build" not in service:
            silent.append(name)

    assert silent == []
    assert "HEALTHCHECK" in DOCKERFILE


@pytest.mark.parametrize("path", COMPOSE_FILES)
def test_no_other_machine_reaches_a_compose_service(path: str) -> None:
    published = [port for service in read_yaml(path)["services"].values() for port in service.get("ports", [])]

    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_the_service_accepts_the_settings_that_compose_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given = read_yaml("compose/compose.yaml")["services"]["api"]["environment"]
    for name, value in given.items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value))

    settings = load_settings(Settings, env_file=None)

    assert set(given) - {"PGPASSWORD"} <= {name.upper() for name in type(settings).model_fields}


def test_the_command_of_the_image_is_one_that_the_service_knows() -> None:
    program, *arguments = json.loads(re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)[-1])

    # With --help the options before it are read, and nothing is started.
    asked = CliRunner().invoke(app, [*arguments, "--help"])

    assert program in PROJECT["scripts"]
    assert (asked.exit_code, asked.stderr) == (0, "")


def test_the_image_is_built_from_files_that_the_build_may_see() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    visible = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    sources = [source for line in copied for source in line.split()]

    assert sorted(f"!{source}" for source in sources) == sorted(line for line in visible if line.startswith("!"))
    assert [source for source in sources if not (ROOT / source).exists()] == []


@pytest.mark.parametrize("path", LOCK_FILES)
def test_a_lock_holds_hashes_and_no_address(path: str) -> None:
    entries = re.split(r"\n(?=\S)", (ROOT / path).read_text(encoding="utf-8").rstrip())
    pins = [entry for entry in entries if not entry.startswith("#")]

    assert pins
    assert [pin for pin in pins if "==" not in pin or " --hash=sha256:" not in pin] == []
    assert [entry for entry in entries if "://" in entry or entry.startswith("-")] == []


def test_the_locks_pin_what_the_package_asks_for() -> None:
    extras = PROJECT["optional-dependencies"]

    everything = [*PROJECT["dependencies"], *extras["embedded"], *extras["test"]]

    assert find_unpinned(everything, read_pins("requirements.lock")) == []
    assert find_unpinned(PROJECT["dependencies"], read_pins("compose/requirements.lock")) == []
    assert find_unpinned(["hatchling"], read_pins("compose/build.lock")) == []


@pytest.mark.parametrize("path", ["compose/requirements.lock", "compose/build.lock"])
def test_the_image_has_the_versions_that_were_tested(path: str) -> None:
    tested = read_pins("requirements.lock")

    differing = {name for name, version in read_pins(path).items() if tested.get(name, version) != version}

    assert differing == set()
