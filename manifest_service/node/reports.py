"""Telling the API what was found. What cannot be told now waits in a spool, and goes first the next time."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from manifest_service.disks.source import FileSource, read_padded
from manifest_service.errors import ComputationFailed, ManifestServiceError, UsageError
from manifest_service.node.api_manifests import ApiClient, Rejected, ServiceAway
from manifest_service.node.verdicts import FileVerdict

AT_ONCE = 100
LARGEST_REPORT = 200_000
"""Verdicts and bytes in one report: the API takes 256 KiB at once."""
MOST_RANGES = 100
MOST_SPOOLED = 10000
"""Reports that wait at most: some years of nightly scans of one node."""
_LONGEST_REASON = 1000
_LONGEST_FILE = 4096
_LONGEST_NODE = 255
_NODE = re.compile(rf"[A-Za-z0-9._:-]{{1,{_LONGEST_NODE}}}")


class SpoolFull(ManifestServiceError):
    """So many reports wait already that no more are kept."""


class Reporter:
    """Spools reports, and sends what is spooled, oldest first."""

    def __init__(self, client: ApiClient, node: str, spool: Path) -> None:
        """node: the name of this machine. spool: a folder, made where it is not there. Raises UsageError."""
        if not _NODE.fullmatch(node):
            raise UsageError(
                "bad-node",
                f"{node[:_LONGEST_NODE]!r} is no name of a node that the API takes: letters, digits and . _ : - were"
                f" expected, {_LONGEST_NODE} at most; --node gives another",
            )
        self._client = client
        self._node = node
        self._spool = spool
        try:
            spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                "bad-spool", f"the folder {str(spool)!r} cannot be made: {(error.strerror or str(error)).lower()}"
            ) from error

    def keep(self, verdicts: Iterable[FileVerdict]) -> None:
        """Write verdicts to the spool. Each is given an id, so that the API counts it once however often it comes.

        Raises SpoolFull, or UsageError where the spool cannot be written.
        """
        for part in _batches(map(_verification, verdicts)):
            if len(self._waiting()) >= MOST_SPOOLED:
                raise SpoolFull("spool-full", f"{MOST_SPOOLED} reports wait in {str(self._spool)!r} already")
            self._write({"node": self._node, "verifications": part})

    def send(self) -> Sequence[Path]:
        """Send all that waits. What cannot be sent ever is set aside, and its files are given.

        Raises ServiceAway where the API cannot be asked now: the rest still waits.
        """
        aside = []
        for path in self._waiting():
            report = _read(path)
            if report is None and not os.path.lexists(path):
                continue  # Another scan, at the same time, has sent it.
            try:
                if report is None:
                    raise Rejected("broken", "it is no report")
                self._post(report)
            except Rejected:
                aside.append(path)
                with suppress(OSError):
                    path.rename(path.with_suffix(".rejected"))
            else:
                path.unlink(missing_ok=True)
        return aside

    def _post(self, report: dict[str, Any]) -> None:
        """Send a report. Raises ServiceAway, also where what answers does not say that each verdict is recorded."""
        answer = self._client.post("/v1/verifications", report)
        is_receipt = isinstance(answer, dict) and all(type(answer.get(each)) is int for each in ("recorded", "known"))
        if not is_receipt or answer["recorded"] + answer["known"] != len(report["verifications"]):
            raise ServiceAway(
                "service-away", "what answers does not say that it has recorded the report: is it a manifest-service?"
            )

    def _waiting(self) -> Sequence[Path]:
        return sorted(self._spool.glob("*.json"))

    def _write(self, report: dict[str, Any]) -> None:
        # Names sort by time. A report that is there is whole: it gets its name only then.
        path = self._spool / f"{time.time_ns():020d}-{uuid.uuid4()}.json"
        part = path.with_suffix(".part")
        try:
            with part.open("w") as file:
                json.dump(report, file)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise UsageError(
                "bad-spool", f"{str(self._spool)!r} cannot be written: {(error.strerror or str(error)).lower()}"
            ) from error


def _batches(verifications: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Put together what goes into one report."""
    batch: list[dict[str, Any]] = []
    size = 0
    for verification in verifications:
        length = len(json.dumps(verification)) + len(", ")
        if batch and (len(batch) == AT_ONCE or size + length > LARGEST_REPORT):
            yield batch
            batch, size = [], 0
        batch.append(verification)
        size += length
    if batch:
        yield batch


def _read(path: Path) -> dict[str, Any] | None:
    """A spooled report; None for what is none, whoever has put it there."""
    try:
        with FileSource.open(path) as source:
            if source.size > 2 * LARGEST_REPORT:
                return None
            report = json.loads(read_padded(source, 0, source.size), parse_constant=_refuse_constant)
    except (ComputationFailed, ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) and isinstance(report.get("verifications"), list) else None


def _refuse_constant(name: str) -> NoReturn:
    """NaN and the infinities, which JSON does not have."""
    raise ValueError(name)


def _verification(verdict: FileVerdict) -> dict[str, Any]:
    document = verdict.as_json()
    del document["name"]
    document["file"] = _storable(document["file"])[:_LONGEST_FILE]
    document["reason"] = _storable(document["reason"])[:_LONGEST_REASON]
    document["differs"] = document["differs"][:MOST_RANGES]
    return {"id": str(uuid.uuid4()), **document}


def _storable(text: str) -> str:
    """File names may be any bytes; what is no text is shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
