"""What is asked of the API among many manifests: each question with other keys every time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from random import Random
from urllib.parse import urlencode

from tests.bench.api_data import AGAIN, FLAT, SHARED, Made, owner_name

PAGE = 10
"""Manifests on a page: few, so that finding them is not lost in writing them down."""
MANY = 1000
"""Keys in a large lookup: what [api] page_limit allows by default."""
_TRIES = 1000


@dataclass(frozen=True)
class Request:
    """body: JSON, for POST; None for GET."""

    path: str
    body: str | None = None


@dataclass(frozen=True)
class Question:
    """title: what the table says. ask: makes a request about one of so many images. runs: how often it is asked."""

    title: str
    ask: Callable[[Random, int], Request]
    runs: int = 300


def some_image(chance: Random, size: int) -> Made:
    """One that is ready, and the only one of its content."""
    for _ in range(_TRIES):
        made = Made(chance.randint(1, size))
        if made.status == "ready" and made.number % SHARED:
            return made
    raise AssertionError("most images are ready")


def _by_id(chance: Random, size: int) -> Request:
    return Request(f"/v1/manifests/{some_image(chance, size).image_id}")


def _by_cache_name(chance: Random, size: int) -> Request:
    return Request(f"/v1/manifests?cache_name={some_image(chance, size).cache_name}")


def _by_digest(chance: Random, size: int) -> Request:
    return Request(f"/v1/manifests?digest={FLAT}:{some_image(chance, size).digest(FLAT)}")


def _look_up(kind: str, key_of: Callable[[Made], str], count: int, chance: Random, size: int) -> Request:
    keys = [key_of(some_image(chance, size)) for _ in range(count)]
    return Request("/v1/lookups", json.dumps({kind: keys}))


_KEYS: Sequence[tuple[str, str, Callable[[Made], str]]] = (
    ("image_ids", "image id", lambda made: made.image_id),
    ("cache_names", "cache name", lambda made: made.cache_name),
    ("digests", "digest", lambda made: f"{FLAT}:{made.digest(FLAT)}"),
)


def _lookups(count: int, runs: int) -> Sequence[Question]:
    return [
        Question(
            f"`POST /v1/lookups`, {count:,} {name}{'s' if count > 1 else ''}",
            partial(_look_up, kind, key_of, count),
            runs,
        )
        for kind, name, key_of in _KEYS
    ]


_Filter = Callable[[Random, int], Mapping[str, str]]


def _first_page(wanted: _Filter, chance: Random, size: int) -> Request:
    return Request(f"/v1/manifests?{urlencode({**wanted(chance, size), 'limit': PAGE})}")


def _later_page(wanted: _Filter, chance: Random, size: int) -> Request:
    filters = wanted(chance, size)
    last = Made(chance.randint(1, size))
    marker = last.image_id
    if filters.get("sort_key") == "changed_at":
        marker = f"{last.at:%Y-%m-%dT%H:%M:%S.%fZ}_{marker}"
    return Request(f"/v1/manifests?{urlencode({**filters, 'limit': PAGE, 'marker': marker})}")


def _always(**filters: str) -> _Filter:
    return lambda chance, size: filters


def _time(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


_FILTERS: Mapping[str, _Filter] = {
    "all": _always(),
    "`status` of most": _always(status="ready"),
    "`status` of 1 in 200": _always(status="failed"),
    "`status` of 1 in 50,000": _always(status="computing"),
    "`disk_format` of 1 in 5,000": _always(disk_format="vdi"),
    "`owner` of a tenth": _always(owner=owner_name(0)),
    "`owner` of few": lambda chance, size: {"owner": owner_name(chance.randint(500, 999))},
    "`name`": lambda chance, size: {"name": f"image {chance.randint(1, size)}"},
    "`digest` of 1 in 50": _always(digest=f"{FLAT}:{Made(SHARED).digest(FLAT)}"),
    "`sort_key=changed_at`": _always(sort_key="changed_at"),
    "`sort_key=changed_at` and `since`, for a tenth": _always(sort_key="changed_at", since=_time(AGAIN)),
    "`status` of 1 in 200 and `owner` of a tenth": _always(status="failed", owner=owner_name(0)),
    "`status` of 1 in 200 and `sort_key=changed_at`": _always(status="failed", sort_key="changed_at"),
    "`disk_format` of 1 in 25 and `owner` of a tenth, who has none": _always(disk_format="iso", owner=owner_name(0)),
}


# Of these nobody asks for a page that begins just anywhere.
_FIRST_PAGES: Mapping[str, _Filter] = {
    "`since`, for nothing": _always(since="2026-11-21T00:00:00Z"),
    "`since`, for a tenth, which are the oldest": _always(since=_time(AGAIN)),
}


def _lists() -> Sequence[Question]:
    questions = [Question(f"list: {title}", partial(_first_page, wanted)) for title, wanted in _FIRST_PAGES.items()]
    for title, wanted in _FILTERS.items():
        questions.append(Question(f"list: {title}", partial(_first_page, wanted)))
        questions.append(Question(f"list: {title}; a later page", partial(_later_page, wanted)))
    return questions


OF_ONE_KEY = (
    Question("`GET /v1/manifests/{image_id}`", _by_id),
    Question("`GET /v1/manifests?digest=`", _by_digest),
    Question("`GET /v1/manifests?cache_name=`", _by_cache_name),
    *_lookups(1, 300),
)
OF_MANY_KEYS = _lookups(MANY, 30)
QUESTIONS = (*OF_ONE_KEY, *OF_MANY_KEYS, *_lists())
