"""Reading JSON that a stranger may have made: bounded, without duplicate members, and nothing but what JSON has."""

from __future__ import annotations

import json
from typing import Any

MAX_DIGITS = 20
"""Of an integer: no size or number of ours has more than 19."""


def loads(text: bytes | str, longest: int) -> Any:
    """Read a document. Raises ValueError for whatever is wrong with it.

    longest: bytes (or characters) that it may have. A member that stands there twice would be read differently by
    different readers: what was verified would not be what is used.
    """
    if len(text) > longest:
        raise ValueError(f"more than {longest} bytes")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(members)
    if len(made) != len(members):
        raise ValueError("a member stands there twice")
    return made


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("an integer is too long")
    return int(digits)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
