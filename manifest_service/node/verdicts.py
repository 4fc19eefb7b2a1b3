"""What a node says of one file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from manifest_service.verdicts import Evidence, Verdict

EXIT_MATCH = 0
EXIT_FAILED = 1
EXIT_CORRUPT = 4
EXIT_UNKNOWN = 5

_EXIT_CODES = {
    Verdict.CORRUPT: EXIT_CORRUPT,
    Verdict.RESIZED: EXIT_UNKNOWN,
    Verdict.UNKNOWN: EXIT_UNKNOWN,
    Verdict.PENDING: EXIT_UNKNOWN,
    Verdict.CHANGED_WHILE_READING: EXIT_UNKNOWN,
    Verdict.FAILED: EXIT_FAILED,
}
_WORST_FIRST = (EXIT_CORRUPT, EXIT_UNKNOWN, EXIT_FAILED)


@dataclass(frozen=True)
class FileVerdict:
    """What is said of one file.

    file: its path, as it was given or found. image_id, name: of the image it belongs to, as far as known. differs:
    (offset, length) of the ranges that differ, in bytes, in order. reason: a sentence. algorithm: of the digest that
    the evidence is, where it is one. size: bytes of the file; None where it was not looked at. checked_at: in UTC.
    """

    file: str
    verdict: Verdict
    reason: str
    image_id: str | None = None
    name: str | None = None
    evidence: Evidence | None = None
    algorithm: str | None = None
    differs: tuple[tuple[int, int], ...] = ()
    size: int | None = None
    checked_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints, and that a report is made of."""
        return {
            "file": self.file,
            "image_id": self.image_id,
            "name": self.name,
            "verdict": self.verdict,
            "evidence": self.evidence,
            "algorithm": self.algorithm,
            "differs": [list(each) for each in self.differs],
            "size": self.size,
            "reason": self.reason,
            "checked_at": self.checked_at.isoformat(),
        }


def exit_code_of(verdicts: Iterable[Verdict]) -> int:
    """The exit code of a run over several files: the worst wins."""
    codes = {_EXIT_CODES.get(verdict, EXIT_MATCH) for verdict in verdicts}
    return next((code for code in _WORST_FIRST if code in codes), EXIT_MATCH)
