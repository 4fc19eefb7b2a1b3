"""`manifest-service convert IMAGE OUT`: the raw file that Nova would make, and the digests of what was written."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from manifest_service.commands.conversion import DigestMismatch, write_disk
from manifest_service.commands.digest import EXIT_ALL_READY, EXIT_FAILED, EXIT_REFUSED, FileResult, print_result
from manifest_service.commands.ending import ending_in_order
from manifest_service.commands.printing import printable
from manifest_service.commands.progress import progress_bar
from manifest_service.digests import algorithms as known
from manifest_service.digests.digest import Digest
from manifest_service.disks.formats import detect_format
from manifest_service.disks.source import FileSource
from manifest_service.errors import ImageRefused, ManifestServiceError, UsageError

EXIT_MISMATCH = 4


@click.command("convert")
@click.option("--disk-format", metavar="F", help="What IMAGE is said to be; by default, what it is.")
@click.option("--algorithm", "-a", "algorithms", multiple=True, metavar="A", help="sha256 (default), sha512, blake3, …")
@click.option(
    "--expect",
    "expectations",
    multiple=True,
    metavar="A:HEX",
    help="What the disk must hash to, as sha256:…; anything else is not written.",
)
@click.option("--force", is_flag=True, help="Replace OUT if it is there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.argument("image", type=click.Path(readable=False))
@click.argument("out", type=click.Path(readable=False))
def command(
    disk_format: str | None,
    algorithms: Sequence[str],
    expectations: Sequence[str],
    force: bool,
    as_json: bool,
    image: str,
    out: str,
) -> None:
    """Write the disk in IMAGE to OUT, a sparse raw file, as `qemu-img convert -O raw` would.

    OUT appears when it is whole and as expected, or not at all. What is printed are digests of what was written.

    Exit code: 0 written, 3 the image is refused, 4 it is not as expected, 2 usage, 1 anything else.
    """
    expected = [_read_expectation(text) for text in expectations]
    wanted = known.check([*algorithms, *(digest.algorithm for digest in expected)] or [known.DEFAULT_ALGORITHM])
    with ending_in_order():
        result = _convert(image, out, disk_format, wanted, expected, overwrite=force)
    print_result(result, as_json=as_json, label_algorithm=len(result.digests) > 1)
    sys.exit(_exit_code(result.error))


def _read_expectation(text: str) -> Digest:
    """Read what `--expect` says. Raises UsageError for what no disk can have."""
    try:
        digest = Digest.parse(text.strip().lower())
    except ValueError as error:
        raise UsageError("bad-digest", f"--expect {printable(text)} cannot be read: {error}") from None
    known.check([digest.algorithm])
    length = len(known.new_digest(digest.algorithm).hexdigest())
    if len(digest.hex) != length:
        raise UsageError("bad-digest", f"a {digest.algorithm} has {length} hexadecimal digits, not {len(digest.hex)}")
    return digest


def _convert(
    image: str, out: str, claimed: str | None, algorithms: Sequence[str], expected: Sequence[Digest], *, overwrite: bool
) -> FileResult:
    """Convert an image; what is wrong with it is part of the result, but for mistakes in the call (UsageError)."""
    disk_format = claimed
    bar = progress_bar()
    bar.begin(printable(image))
    try:
        with FileSource.open(image) as source:
            disk_format = claimed or detect_format(source)
            computed = write_disk(
                source,
                disk_format,
                Path(out),
                algorithms,
                expected=expected,
                overwrite=overwrite,
                progress=bar.update,
                tick=bar.refresh,
            )
    except UsageError:
        raise
    except ManifestServiceError as error:
        return FileResult(out, disk_format, error=error)
    finally:
        bar.end()
    return FileResult(out, disk_format, computed.virtual_size, dict(computed.digests), computed.warnings)


def _exit_code(error: ManifestServiceError | None) -> int:
    match error:
        case None:
            return EXIT_ALL_READY
        case ImageRefused():
            return EXIT_REFUSED
        case DigestMismatch():
            return EXIT_MISMATCH
        case _:
            return EXIT_FAILED
