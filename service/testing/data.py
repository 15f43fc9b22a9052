"""Rows that many tests read: built once per module or run, and seen by rollback tests and clone tests alike."""

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, fields, is_dataclass
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from itertools import takewhile
from types import SimpleNamespace
from typing import Any, Literal, get_args

import pytest
from sqlalchemy import inspect as find_mapper
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import Session

from service.testing.errors import SetupError

_ATTRIBUTE = "__db_data__"

Scope = Literal["module", "session"]


@dataclass(frozen=True, slots=True)
class Source:
    """A function that builds data, and how long its rows stay."""

    build: Callable[..., Any]
    scope: Scope

    @property
    def name(self) -> str:
        """The name of its fixture."""
        return self.build.__name__

    @property
    def key(self) -> str:
        """What it is called in messages; its random data begins from this, which is the same on every machine."""
        return f"{self.build.__module__}:{self.build.__qualname__}"

    @property
    def needs(self) -> list[str]:
        """The fixtures that the function asks for, `session` left out; parameters with a default ask for none."""
        parameters = inspect.signature(self.build).parameters.values()
        fixtures = [one for one in parameters if one.kind in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}]
        return [one.name for one in fixtures if one.name != "session" and one.default is one.empty]

    @property
    def asks_for_session(self) -> bool:
        """Whether the function wants the session in which its rows are stored."""
        return "session" in inspect.signature(self.build).parameters

    def check(self) -> None:
        """Raise TypeError or ValueError for what can be no source."""
        if self.scope not in get_args(Scope):
            raise ValueError(f"The db_data function {self.key} has scope {self.scope!r}. Write 'module' or 'session'.")
        if any(kind(self.build) for kind in (isgeneratorfunction, iscoroutinefunction, isasyncgenfunction)):
            raise TypeError(f"The db_data function {self.key} yields or is async. Write one that returns its data.")
        if self.build.__qualname__.rpartition(".")[0].rpartition(".")[2] not in {"", "<locals>"}:
            raise TypeError(f"The db_data function {self.key} is a method. Write it as a function of the module.")


# What sources have returned; and the fixtures of one name, each of which replaces those before it.
Values = Mapping[Source, Any]
Definitions = Sequence[pytest.FixtureDef[Any]]


def db_data(build: Callable[..., Any] | None = None, /, *, scope: Scope = "module") -> Callable[..., Any]:
    """Make a fixture of a function that stores rows, run once per `scope` (and worker), in a database of its own.

    That is a copy of the database with the other data that a test asks for, if it does. The function may ask for
    `session` and for other db_data fixtures. What it stores need not be committed. Each test gets what it returned as a
    copy; rows among it as objects of the test's own `session`. Rows can be inside of lists, tuples, sets, dicts,
    dataclasses and SimpleNamespaces, and of what derives from these.
    """

    def decorate(build: Callable[..., Any]) -> Any:  # noqa: ANN401  # what pytest.fixture returns
        if not callable(build):
            raise TypeError(f"db_data was given {build!r}. Write @db_data, or @db_data(scope=...).")
        source = Source(build, scope)
        source.check()

        def hand_out(**fixtures: Any) -> Any:  # noqa: ANN401  # whatever `build` returned
            loan = fixtures["_loan"]
            if source not in loan.data:
                raise SetupError(
                    f"The db_data function {source.key} was asked for while the test was running already. Name it among"
                    " the test's arguments, or in usefixtures."
                )
            return loan.data[source]

        # pytest reads from it which fixtures there must be; the other data is built before this.
        names = dict.fromkeys(["_loan", *source.needs])
        hand_out.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
        )
        setattr(hand_out, _ATTRIBUTE, source)
        return pytest.fixture(name=source.name)(hand_out)

    return decorate if build is None else decorate(build)


def find_sources(item: pytest.Item) -> dict[Source, dict[str, Source]]:
    """The data that a test asks for, in the order in which it is built; with each, what it asks for, by its names.

    That of the run comes before that of the module. Raises SetupError for what cannot be had.
    """
    info = item._fixtureinfo  # type: ignore[attr-defined]  # noqa: SLF001  # pytest has no public way
    defined = {name: info.name2fixturedefs[name] for name in info.names_closure if name in info.name2fixturedefs}
    asked_for = filter(None, (_find_source(definitions) for definitions in defined.values()))
    order: dict[Source, dict[str, Source]] = {}
    for source in sorted(asked_for, key=lambda source: source.key):
        _add_in_order(source, defined, order, ())
    # That of the run asks for nothing of the module, so it can stand below it.
    return dict(sorted(order.items(), key=lambda entry: entry[0].scope == "module"))


def _find_source(definitions: Definitions) -> Source | None:
    """The data behind a name: the last of its fixtures, or what an ordinary one there asks for by the same name."""
    for definition in reversed(definitions):
        if source := _source_of(definition):
            return source
        if definition.argname not in definition.argnames:
            break
    return None


def _source_of(definition: pytest.FixtureDef[Any]) -> Source | None:
    return getattr(definition.func, _ATTRIBUTE, None)


def _add_in_order(
    source: Source,
    defined: Mapping[str, Definitions],
    order: dict[Source, dict[str, Source]],
    path: tuple[Source, ...],
) -> None:
    if source in path:
        raise SetupError(
            f"The db_data function {source.key} asks for itself, if only by way of others. Break the circle."
        )
    if source in order:
        return
    needs: dict[str, Source] = {}
    for name in source.needs:
        definitions = defined.get(name, ())
        if name == source.name:
            # What it replaces.
            definitions = list(takewhile(lambda definition: _source_of(definition) is not source, definitions))
        other = _find_source(definitions)
        if other is not None and other.scope in {source.scope, "session"}:
            _add_in_order(other, defined, order, (*path, source))
            needs[name] = other
    if unknown := [name for name in source.needs if name not in needs]:
        raise SetupError(
            f"The db_data function {source.key} asks for {', '.join(unknown)}. It can have `session`, and other db_data"
            " fixtures of the same or a longer scope."
        )
    order[source] = needs


def present_all(values: Values, session: Session) -> Values:
    """Copies of what sources returned, with rows as objects of `session`; raises SetupError for what cannot be copied.

    All at once, because to copy a row again would undo what was done to it meanwhile.
    """
    presented, before = {}, set(session.identity_map.keys())
    for source, value in values.items():
        try:
            presented[source] = _present(value, session)
        except (InvalidRequestError, TypeError) as error:
            raise SetupError(
                f"What the db_data function {source.key} has returned cannot be copied for each test: {error}"
            ) from error
    for row in session.identity_map.values():
        if find_mapper(row).key not in before:
            _own_what_can_be_changed(row)
    return presented


def _own_what_can_be_changed(row: Any) -> None:  # noqa: ANN401  # of any table
    state = find_mapper(row)
    for column in state.mapper.column_attrs:
        value = state.dict.get(column.key)
        if not isinstance(value, Hashable):
            # Such as a dict of a JSON column: the session has taken the very same one over.
            set_committed_value(row, column.key, deepcopy(value))


def _present(value: Any, session: Session) -> Any:  # noqa: ANN401  # whatever the source returned
    if _is_row(value):
        state = find_mapper(value)
        if state.transient or state.deleted or state.was_deleted:
            raise SetupError(
                f"A db_data function has returned a {type(value).__name__} that was"
                f" {'not stored' if state.transient else 'deleted, if only by other data'}. Return what stays stored."
            )
        return session.merge(value, load=False)
    if isinstance(value, list | tuple | set | frozenset):
        # A NamedTuple is called with its elements one by one, other collections with all of them.
        make = getattr(value, "_make", type(value))
        return make(_present(element, session) for element in value)
    if isinstance(value, dict):
        copied = copy(value)
        copied.clear()
        for key, element in value.items():
            copied[_present(key, session)] = _present(element, session)
        return copied
    return _copy_object(value, session)


def _copy_object(value: Any, session: Session) -> Any:  # noqa: ANN401
    # What deepcopy finds here, it takes for the copies that it has made already.
    memo = {id(member): _present(member, session) for member in _members(value)}
    copied = deepcopy(value, memo)
    if any(_is_row(made) and made not in session for made in memo.values()):
        raise SetupError(
            f"A db_data function has returned a {type(value).__name__} with rows inside, whose changes would be lost."
            " Rows can be returned alone, and in lists, tuples, sets, dicts, dataclasses and SimpleNamespaces."
        )
    return copied


def _members(value: Any) -> list[Any]:  # noqa: ANN401
    if isinstance(value, SimpleNamespace):
        return list(vars(value).values())
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in fields(value)]
    return []


def _is_row(value: object) -> bool:
    return find_mapper(type(value), raiseerr=False) is not None
