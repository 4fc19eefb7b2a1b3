"""The members of a manifest that a stranger may have written: each is bounded, and of the form that it should have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from manifest_service.attestations.statement import MAX_SIZE
from manifest_service.digests.digest import Digest
from manifest_service.errors import ManifestServiceError

MOST_DIGESTS = 64
MAX_TEXT = 255
MAX_WORD = 32
MAX_REASON = 10_000
MOST_WARNINGS = 1000
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class BadLine(ManifestServiceError):
    """A line is no manifest, or one that cannot be."""

    def __init__(self, reason: str) -> None:
        super().__init__("bad-line", reason)


def required(document: Mapping[str, Any], member: str, form: re.Pattern[str]) -> str:
    value = document.get(member)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise BadLine(f"a manifest has no {member}, or one that cannot be")
    return value


def text(document: Mapping[str, Any], member: str, longest: int = MAX_TEXT) -> str | None:
    value = document.get(member)
    if not isinstance(value, str | None):
        raise BadLine(f"a manifest's {member} should be a text; this is a {type(value).__name__}")
    return bounded(member, value, longest)


def bounded(member: str, value: str | None, longest: int = MAX_TEXT) -> str | None:
    """A text that every database of ours takes."""
    if value is not None and (len(value) > longest or _UNSTORABLE.search(value)):
        raise BadLine(f"a manifest's {member} has more than {longest} characters, or one that cannot be stored")
    return value


def warnings(values: object) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or len(values) > MOST_WARNINGS:
        raise BadLine(f"a manifest's warnings should be a list of {MOST_WARNINGS} texts at most")
    return tuple(text({"warnings": value}, "warnings", MAX_REASON) or "" for value in values)


def json_object(document: Mapping[str, Any], member: str) -> Mapping[str, Any]:
    value = document.get(member)
    if not isinstance(value, dict):
        raise BadLine(f"a manifest's {member} should be a JSON object")
    return value


def digests(found: Mapping[str, Any]) -> dict[str, str]:
    if len(found) > MOST_DIGESTS:
        raise BadLine(f"a manifest has {MOST_DIGESTS} digests at most")
    try:
        made = [Digest(algorithm, value) for algorithm, value in found.items()]
    except (TypeError, ValueError) as error:
        raise BadLine(f"a manifest's digest is none: {error}") from error
    if any(len(each.algorithm) > MAX_WORD or not 8 <= len(each.hex) <= 128 for each in made):
        raise BadLine("a manifest's digest is too long, or too short")
    return {each.algorithm: each.hex for each in made}


def size(document: Mapping[str, Any], member: str) -> int | None:
    return number(document, member, 0, MAX_SIZE)


def number(document: Mapping[str, Any], member: str, least: int, most: int) -> int | None:
    value = document.get(member)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadLine(f"a manifest's {member} should be an integer of {least} to {most}")
    return value


def time(document: Mapping[str, Any], member: str) -> datetime | None:
    told = text(document, member)
    try:
        value = None if told is None else datetime.fromisoformat(told)
        if value is not None and value.tzinfo is None:
            raise ValueError("it has no zone")
        return None if value is None else plausible(value.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise BadLine(f"a manifest's {member} should be a time as 2026-11-25T12:00:00Z") from error


def plausible(value: datetime) -> datetime:
    """A time that every database of ours takes."""
    if value < _EARLIEST:
        raise BadLine("a manifest was computed before 1970")
    return value
