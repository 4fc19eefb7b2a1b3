"""The other end of a terminal that a command has."""

import os
from contextlib import suppress


def said_on(ours: int) -> str:
    """All that was written to the terminal until nobody had it any more. Closes our end."""
    said = b""
    with suppress(OSError):  # EIO: nobody has it any more, and all was read.
        while part := os.read(ours, 4096):
            said += part
    os.close(ours)
    return said.decode()
