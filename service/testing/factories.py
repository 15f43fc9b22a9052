"""The base of a project's factories."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import factory.random  # noqa: F401  # for `seeding`, which begins anew what is loaded
from factory import declarations
from factory.alchemy import SQLAlchemyModelFactory, SQLAlchemyOptions
from factory.base import OptionDefault
from factory.errors import FactoryError
from pydantic import BaseModel
from sqlalchemy import inspect
from sqlalchemy.orm import Mapper, RelationshipDirection
from sqlmodel import Session, SQLModel, select

from service.testing import seeding

Model = TypeVar("Model", bound=SQLModel)


@dataclass(unsafe_hash=True)
class _Position:
    """Where an iterator is, which factories may share. It keeps all elements that it has ever drawn."""

    iterator: declarations.Iterator

    @property
    def position(self) -> int | None:
        if (elements := self.iterator.iterator) is None:
            return None
        return len(elements.past_elements) - len(elements.next_elements) or None

    @position.setter
    def position(self, position: int | None) -> None:
        if (elements := self.iterator.iterator) is not None:
            elements.reset()
            for _ in range(position or 0):
                elements.next_elements.popleft()


def _find_iterators(declared: object) -> Iterator[declarations.Iterator]:
    """Those among declarations, and inside of them, as in traits and in what sub-factories are given."""
    if isinstance(declared, declarations.Iterator):
        yield declared
    elif isinstance(declared, dict | declarations.BaseDeclaration):
        for inner in (declared if isinstance(declared, dict) else vars(declared)).values():
            yield from _find_iterators(inner)


class _Options(SQLAlchemyOptions):
    def _build_default_options(self) -> list[Any]:
        # factory_boy ships types for a part of itself.
        default = OptionDefault("schema", None, inherit=True)
        return [*super()._build_default_options(), default]  # type: ignore[no-untyped-call]

    def contribute_to_class(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # factory_boy's own
        super().contribute_to_class(*arguments, **options)  # type: ignore[no-untyped-call]
        self._positions = {_Position(found) for found in _find_iterators(self.declarations)}
        seeding.counters.update(self._positions)

    def _initialize_counter(self) -> None:
        if self._counter is None and self.counter_reference is self:
            self._counter = _Sequence(self.factory)
            seeding.counters.add(self._counter)
        super()._initialize_counter()  # type: ignore[no-untyped-call]


class _Sequence:
    """A factory's sequence. Where it begins is asked for with the first number, for it may depend on the database."""

    def __init__(self, factory: Any) -> None:  # noqa: ANN401  # it is of a metaclass without types
        self._factory = factory
        self.position: int | None = None

    def next(self) -> int:
        if self.position is None:
            self.position = self._factory._setup_next_sequence()  # noqa: SLF001  # factory_boy's name for it
        self.position += 1
        return self.position - 1

    def reset(self, next_value: int) -> None:
        self.position = next_value


class ModelFactory(SQLAlchemyModelFactory, Generic[Model]):
    """Validated objects of a SQLModel table; `create` stores them where the test and the application see them.

    Tables do not validate in their constructor. So the values go through `Meta.schema` first, if it is given, else
    through the table's own `model_validate`. Data and sequences begin anew in each test, from a hash of the test's id.
    """

    _options_class = _Options

    class Meta:
        """No factory by itself."""

        abstract = True

    @classmethod
    def _build(cls, model_class: type[Model], **values: Any) -> Model:  # noqa: ANN401  # values of any column
        return _validated(model_class, cls._meta.schema, values)  # type: ignore[attr-defined]  # it is an option of ours

    @classmethod
    def _create(cls, model_class: type[Model], **values: Any) -> Model:  # noqa: ANN401  # values of any column
        session = seeding.destination().open_session()
        if (found := cls._find(session, model_class, values)) is not None:
            return found
        instance = _validated(model_class, cls._meta.schema, values)  # type: ignore[attr-defined]  # it is an option of ours
        session.add(instance)
        _store(session)
        return instance

    @classmethod
    def _find(cls, session: Session, model_class: type[Model], values: dict[str, Any]) -> Model | None:
        """What `Meta.sqlalchemy_get_or_create` says to take instead of a new object, if it is there."""
        names: Sequence[str] = cls._meta.sqlalchemy_get_or_create  # type: ignore[attr-defined]  # it is factory_boy's
        if not names:
            return None
        if missing := set(names) - values.keys():
            raise FactoryError(
                f"{cls.__name__} has no value of {', '.join(sorted(missing))}, which its Meta.sqlalchemy_get_or_create"
                " names. Declare one, or leave the name out there."
            )
        return session.exec(select(model_class).filter_by(**{name: values[name] for name in names})).one_or_none()

    @classmethod
    def _after_postgeneration(cls, instance: object, create: bool, results: object = None) -> None:  # noqa: FBT001  # by its name
        super()._after_postgeneration(instance, create, results)  # type: ignore[no-untyped-call]
        # Hooks may have changed the object, or stored others, after it was stored.
        if create and results:
            _store(seeding.destination().open_session())


def _store(session: Session) -> None:
    if seeding.destination().commits:
        session.commit()
    else:
        session.flush()


def _validated(model_class: type[Model], schema: type[BaseModel] | None, values: dict[str, Any]) -> Model:
    mapper = inspect(model_class)
    given = {name: values.pop(name) for name in mapper.relationships.keys() & values.keys()}
    # None is left out: to set it would undo a key that was given in its place.
    related = {name: value for name, value in given.items() if value is not None}
    keys = list(_foreign_keys(mapper, related))
    checker = schema or model_class
    # What sub-factories have made is valid already, and no schema knows relationships: only the keys are checked.
    checked = {name: value or _stand_in(column) for name, column, value in keys if name in checker.model_fields}
    valid = checker.model_validate({**checked, **values})
    instance = valid if isinstance(valid, model_class) else model_class(**valid.model_dump())
    for name, value in related.items():
        setattr(instance, name, value)
    for name, _, value in keys:
        setattr(instance, name, value)
    return instance


def _foreign_keys(mapper: Mapper[Any], related: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The keys by which the table refers to objects: the attribute, its column and the value, None if not stored."""
    for name, value in related.items():
        relationship = mapper.relationships[name]
        # Else the key is in the other table, and is set when both are stored.
        if relationship.direction is RelationshipDirection.MANYTOONE:
            for local, remote in relationship.local_remote_pairs or ():
                key = relationship.mapper.get_property_by_column(remote).key
                yield mapper.get_property_by_column(local).key, local, getattr(value, key)


def _stand_in(column: Any) -> Any:  # noqa: ANN401  # of the column's own type
    """A key that passes validation, for a related object that was built and not stored."""
    kind = column.type.python_type
    return UUID(int=1) if kind is UUID else kind(1)
