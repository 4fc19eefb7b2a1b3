"""As whom the API is asked. Where tokens come from is the business of whoever makes one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Access(Protocol):
    """What goes with each request."""

    @property
    def verify(self) -> bool | str:
        """Whose certificates are believed, as requests takes it: the usual ones (True), or a file's or folder's."""
        ...

    def headers(self) -> Mapping[str, str]:
        """The headers of a request, the token among them. Raises ManifestServiceError where none can be had."""
        ...

    def renew(self) -> bool:
        """Have another token the next time, since this one was refused; False where there is no other."""
        ...


@dataclass(frozen=True)
class FixedAccess:
    """A token that somebody else has got, or none. `repr` does not show it."""

    token: str | None = field(default=None, repr=False)
    verify: bool | str = True

    def headers(self) -> Mapping[str, str]:
        return {} if self.token is None else {"X-Auth-Token": self.token}

    def renew(self) -> bool:
        return False


ANONYMOUS = FixedAccess()
