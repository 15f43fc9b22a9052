"""The base of a project's factories."""

from typing import Any, Generic, TypeVar
from uuid import UUID

import factory.random  # noqa: F401  # for `seeding`, which begins anew what is loaded
from factory.alchemy import SQLAlchemyModelFactory, SQLAlchemyOptions
from factory.base import OptionDefault
from pydantic import BaseModel
from sqlalchemy import inspect
from sqlmodel import SQLModel

from service.testing import seeding

Model = TypeVar("Model", bound=SQLModel)


class _Options(SQLAlchemyOptions):
    def _build_default_options(self) -> list[Any]:
        # factory_boy ships types for a part of itself.
        default = OptionDefault("schema", None, inherit=True)
        return [*super()._build_default_options(), default]  # type: ignore[no-untyped-call]


class ModelFactory(SQLAlchemyModelFactory, Generic[Model]):
    """Validated objects of a SQLModel table; `create` stores them where the test and the application see them.

    Tables do not validate in their constructor. So the values go through `Meta.schema` first, if it is given, else
    through the table's own `model_validate`. Data and sequences begin anew in each test, from a hash of the test's id.
    """

    _options_class = _Options

    class Meta:
        """No factory by itself."""

        abstract = True

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init_subclass__(**kwargs)
        seeding.factories.add(cls)

    @classmethod
    def _build(cls, model_class: type[Model], **values: Any) -> Model:  # noqa: ANN401  # values of any column
        return _validated(model_class, cls._meta.schema, values)  # type: ignore[attr-defined]  # it is an option of ours

    @classmethod
    def _create(cls, model_class: type[Model], **values: Any) -> Model:  # noqa: ANN401  # values of any column
        instance = _validated(model_class, cls._meta.schema, values)  # type: ignore[attr-defined]  # it is an option of ours
        destination = seeding.destination()
        session = destination.open_session()
        session.add(instance)
        if destination.commits:
            session.commit()
        else:
            session.flush()
        return instance


def _validated(model_class: type[Model], schema: type[BaseModel] | None, values: dict[str, Any]) -> Model:
    relationships = inspect(model_class).relationships
    # What sub-factories have made is valid already, and no schema knows relationships: only the keys are checked.
    given = {name: values.pop(name) for name in relationships.keys() & values.keys()}
    # None is left out: to set it would undo a key that was given in its place.
    related = {name: value for name, value in given.items() if value is not None}
    checker = schema or model_class
    keys = {
        local.key: getattr(related[name], remote.key) or _stand_in(local)
        for name in related.keys() & _to_one(relationships)
        for local, remote in relationships[name].local_remote_pairs
        if local.key in checker.model_fields
    }
    valid = checker.model_validate({**keys, **values})
    instance = valid if isinstance(valid, model_class) else model_class(**valid.model_dump())
    for name, value in related.items():
        setattr(instance, name, value)
        for local, remote in relationships[name].local_remote_pairs if name in _to_one(relationships) else ():
            setattr(instance, local.key, getattr(value, remote.key))
    return instance


def _to_one(relationships: Any) -> set[str]:  # noqa: ANN401  # a collection that SQLAlchemy does not name
    return {relationship.key for relationship in relationships if not relationship.uselist}


def _stand_in(column: Any) -> Any:  # noqa: ANN401  # of the column's own type
    """A key that passes validation, for a related object that was built and not stored."""
    kind = column.type.python_type
    return UUID(int=1) if kind is UUID else kind(1)
