"""Where a command keeps what must outlast it, unless its options say so."""

from __future__ import annotations

import os
from pathlib import Path

SYSTEM_WIDE = "/var/lib/manifest-service"


def state_folder() -> Path:
    """The first folder that systemd gives a unit (StateDirectory=), else one of the user's own (XDG base directories).

    A user without a home, as containers have, gets the folder that packages use.
    """
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if home := os.environ.get("XDG_STATE_HOME"):
        return Path(home) / "manifest-service"
    try:
        return Path.home() / ".local" / "state" / "manifest-service"
    except RuntimeError:
        return Path(SYSTEM_WIDE)
