"""What the API's answers have in common."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

from pydantic import BaseModel


class Answer(BaseModel):
    """A document that the API gives.

    flask-openapi3 asks for its schema at each operation that may give it, which for a problem is each operation several
    times: it is made once for all, since that took most of the time of making the app.
    """

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        """As pydantic makes it; a copy, since who asks may change it."""
        return deepcopy(cls._schema(*arguments, **options))

    @classmethod
    @cache
    def _schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        return super().model_json_schema(*arguments, **options)
