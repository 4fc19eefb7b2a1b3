"""Names that somebody else chose, on a terminal and in lines that other programs read."""

from __future__ import annotations

from manifest_service.shown import visible


def printable(name: str) -> str:
    """A file's name with nothing in it that a terminal would obey; bytes that are no text show as escapes."""
    return visible(name.encode("utf-8", "backslashreplace").decode())


def checksum_line(value: str, name: str) -> str:
    r"""The line that `sha256sum` writes: it begins with a backslash where the name has escapes (\\, \n, \r)."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{value}  {escaped}"
