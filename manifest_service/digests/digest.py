"""A digest as a value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_ALGORITHM = re.compile(r"[a-z0-9][a-z0-9_-]*")
_HEX = re.compile(r"(?:[0-9a-f]{2})+")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """An algorithm's name and its result, in lower-case hexadecimal; `str()` gives `algorithm:hex`."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        if not _ALGORITHM.fullmatch(self.algorithm):
            raise ValueError("the algorithm of a digest has lower-case letters, digits, '-' and '_' only")
        if not _HEX.fullmatch(self.hex):
            raise ValueError("the value of a digest is pairs of lower-case hexadecimal digits")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `algorithm:hex`. Raises ValueError for anything else."""
        algorithm, colon, value = text.partition(":")
        if not colon:
            raise ValueError("a digest is written algorithm:hex")
        return cls(algorithm, value)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
