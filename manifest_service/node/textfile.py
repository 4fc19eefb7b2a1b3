"""The last scan as metrics, for the textfile collector of Prometheus' node_exporter."""

from __future__ import annotations

import os
from collections import Counter as Tally
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from manifest_service.errors import UsageError
from manifest_service.verdicts import Verdict

_PREFIX = "manifest_service_scan"


def write_metrics(path: Path, verdicts: Iterable[Verdict], ended_at: datetime, seconds: float, bytes_read: int) -> None:
    """Write the metrics of one scan, whole or not at all.

    path: ends in .prom, as node_exporter wants it. seconds: how long the scan took. Raises UsageError where it cannot
    be written.
    """
    counted = Tally(verdicts)
    lines = [
        f"# HELP {_PREFIX}_files Files of the last scan by verdict.",
        f"# TYPE {_PREFIX}_files gauge",
        *(f'{_PREFIX}_files{{verdict="{verdict}"}} {counted[verdict]}' for verdict in Verdict),
        f"# HELP {_PREFIX}_end_time_seconds When the last scan ended.",
        f"# TYPE {_PREFIX}_end_time_seconds gauge",
        f"{_PREFIX}_end_time_seconds {ended_at.timestamp():.0f}",
        f"# HELP {_PREFIX}_duration_seconds How long the last scan took.",
        f"# TYPE {_PREFIX}_duration_seconds gauge",
        f"{_PREFIX}_duration_seconds {seconds:.3f}",
        f"# HELP {_PREFIX}_bytes Bytes of the files that the last scan was about.",
        f"# TYPE {_PREFIX}_bytes gauge",
        f"{_PREFIX}_bytes {bytes_read}",
    ]
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text("\n".join(lines) + "\n")
        part.chmod(0o644)  # node_exporter runs as another user
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UsageError(
            "bad-textfile", f"{str(path)!r} cannot be written: {(error.strerror or str(error)).lower()}"
        ) from error
