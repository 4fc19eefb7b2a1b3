"""How what others wrote, and figures, are shown to people: on pages, in terminals, logs and tables."""

from __future__ import annotations

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def visible(text: str, keep: str = "") -> str:
    r"""A text with nothing in it that cannot be seen, or that a terminal would obey: such marks show as `\u202e`.

    keep: characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text)


def size(count: int) -> str:
    """Bytes as people say them: `2.5 GiB`, and all of them below 1 KiB."""
    value, unit = float(count), "bytes"
    for larger in _UNITS:
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 file`, `2 files`. many: what follows another count than 1, where that is not `one` and an s."""
    return f"{count} {one}" if count == 1 else f"{count} {many or one + 's'}"
