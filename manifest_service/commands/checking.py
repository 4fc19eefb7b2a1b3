"""Checking files one after the other, for `verify` and `scan`: show each verdict, and come to an exit code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from manifest_service.commands.verdict_output import VerdictOutput
from manifest_service.node.base_directory import BaseFile
from manifest_service.node.expectations import Manifests
from manifest_service.node.scanning import Scan
from manifest_service.node.verdicts import FileVerdict
from manifest_service.node.verification import Settings, Verifier


def check(
    files: Sequence[BaseFile], manifests: Manifests, settings: Settings, output: VerdictOutput
) -> Iterator[FileVerdict]:
    """Check files, and show each. Whoever asks for verdicts sees each as soon as it is there."""
    sizes = [_size_of(file) for file in files]
    verdicts = Scan(manifests, Verifier(manifests, settings, output.progress)).verdicts(files)
    output.begin(len(files), sum(sizes))
    try:
        for file, size in zip(files, sizes, strict=True):
            output.begin_file(file.path.name, size)
            verdict = next(verdicts)
            output.add(verdict)
            yield verdict
    finally:
        output.end()


def _size_of(file: BaseFile) -> int:
    """Bytes of a file, for the progress; 0 for one that cannot be looked at."""
    try:
        return os.stat(file.path).st_size
    except OSError:
        return 0
