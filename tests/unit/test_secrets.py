"""No password is seen: not in what settings make of themselves, nor in a log, an error or a masked URL."""

import logging
from functools import cache
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from service.config import Settings
from service.database import make_engine
from service.urls import mask_url

SECRET = "hunter2"  # noqa: S105  # what must not be seen
DATABASE_URL = f"postgresql://user:{SECRET}@db.example:5432/items"
REDIS_URL = f"redis://:{SECRET}@cache.example:6379/0"


@pytest.mark.parametrize(
    "url",
    [
        DATABASE_URL,
        REDIS_URL,
        f"postgresql://h/items?password={SECRET}",
        f"postgresql://h/items?sslpassword={SECRET}&sslmode=require",
        f"redis://h/0?password={SECRET}",
        f"unix://:{SECRET}@/run/redis.sock",
        f"unix:///run/redis.sock?password={SECRET}&db=1",
        f"{SECRET}@h",
        f"redis://:{SECRET}@h:port/0",
        f"redis://:x@{SECRET}@h/0",
        f"redis://h:port/0?password={SECRET}",
        f"redis://h:port/0?password=x@{SECRET}",
        f"host=h password={SECRET} dbname=items",
        f"host=h PASSWORD = 'x {SECRET}'",
        f"host=db user=x password=s3cr@et {SECRET}",
        f"HOST=db PWD={SECRET}",
        f"postgresql://app:{SECRET}/items",
        f"postgresql://u:{SECRET},host:5432/db",
        f"redis://:{SECRET}",
        f"redis://default:{SECRET}:6379/0",
        f"redis://:{SECRET}%40host:6379",
        f"user:{SECRET}",
        SECRET,
    ],
)
def test_a_masked_url_has_no_password(url: str) -> None:
    assert SECRET not in mask_url(url)


def test_a_masked_url_still_tells_where() -> None:
    assert mask_url(DATABASE_URL) == "postgresql://user:***@db.example:5432/items"
    assert mask_url("redis://cache.example:6379/0") == "redis://cache.example:6379/0"


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ("nonsense", "nonsense"),
        ("not-a-url", "not-a-url"),
        ("db.example:5432/items", "(withheld)"),
        ("postgresql://app:port/items", "postgresql://(withheld)"),
        (f"postgresql://user:{SECRET}@db.example:port/items", "postgresql://***@db.example:port/items"),
        (f"postgresql://user:x@{SECRET}@db.example/items", "postgresql://***@db.example/items"),
        (f"user:{SECRET}@db.example/items", "***@db.example/items"),
        (f"host=db.example user=u password={SECRET}", "(withheld)"),
    ],
)
def test_what_cannot_be_read_is_shown_but_for_what_may_be_a_password(value: str, masked: str) -> None:
    assert mask_url(value) == masked


@given(
    password=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=6).filter(
        lambda text: not set(text) <= set("*")
    ),
    scheme=st.sampled_from(["postgresql", "redis", "unix", "mysql", "nonsense"]),
    quoted=st.booleans(),
)
def test_no_password_survives_masking(password: str, scheme: str, *, quoted: bool) -> None:
    written = quote(password, safe="") if quoted else password
    rest = "postgresql://user:***@db.example/items withheld redis unix mysql nonsense"

    masked = mask_url(f"{scheme}://user:{written}@db.example/items")

    assert password not in masked or password in rest
    assert written not in masked or written in rest


@cache
def shown(password: str) -> list[str]:
    """Each text that settings and an engine with this password make of themselves."""
    url = SecretStr(f"postgresql://user:{quote(password, safe='')}@h/items")
    loaded = Settings(database_url=url, redis_url=SecretStr("redis://h"))
    engine = make_engine(loaded)
    assert engine.url.password == password
    return [repr(loaded), str(loaded), str(vars(loaded)), loaded.model_dump_json(), repr(engine)]


@settings(deadline=None)  # one may be slow where many tests run
@given(password=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_a_password_reaches_the_driver_and_changes_no_text(password: str) -> None:
    assert shown(password) == shown("another")


def test_settings_do_not_show_their_secrets(caplog: pytest.LogCaptureFixture) -> None:
    loaded = Settings(database_url=SecretStr(DATABASE_URL), redis_url=SecretStr(REDIS_URL))

    logging.getLogger(__name__).warning("loaded %s %r", loaded, loaded, extra={"settings": loaded})

    assert SECRET not in caplog.text
    assert all(
        SECRET not in shown for shown in (repr(loaded), str(loaded), loaded.model_dump_json(), str(vars(loaded)))
    )
    assert SECRET not in repr(make_engine(loaded))


def test_invalid_settings_made_in_code_do_not_show_them_either() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(database_url=SecretStr(f"mysql://u:{SECRET}@h/db"), redis_url=SecretStr(SECRET))

    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
