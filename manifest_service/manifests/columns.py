"""Column types that mean the same on PostgreSQL, MariaDB and SQLite."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, LargeBinary, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC, kept without its zone and with microseconds (MariaDB drops them unless asked)."""

    impl = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times are aware and in UTC; this one has no zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Unreadable:
    """In place of a value that is no JSON. Only who expects it can do anything with it."""


class Json(TypeDecorator[Any]):
    """JSON. What is none, as SQLite lets anybody write it, must not keep other rows from being read."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """As the database's own, where that can read it."""
        parse = super().result_processor(dialect, coltype)
        if parse is None:
            return None

        def read(value: Any) -> Any:
            try:
                return parse(value)
            except ValueError:
                return Unreadable()

        return read


class CompressedText(TypeDecorator[str]):
    """A long text, kept compressed (zlib)."""

    impl = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else zlib.compress(value.encode())

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else zlib.decompress(value).decode()


# SQLite numbers rows by itself only in a column that is declared INTEGER.
RowNumber = BigInteger().with_variant(Integer, "sqlite")

# MariaDB's TEXT ends at 64 KiB.
LongText = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
