"""A file that is there whole, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from manifest_service.errors import OutputCode, OutputFailed, UsageError

_DESCRIPTORS = Path("/proc/self/fd")
"""Through these links a file without a name is given one (open(2), O_TMPFILE)."""
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
"""What link(2) says on a file system without them."""


class NewFile:
    """A file in the making, which gets its name from `land`: until then nobody sees it.

    It has no name at all meanwhile, so that nothing is left of it, also after `kill -9` or a power cut. On a file
    system that has no such files (NFS, for instance) it has a temporary one beside its own, which an orderly end
    removes. Use it as a context manager: leaving it closes the file, and drops it unless it has landed.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """path: where it is to be. overwrite: replace the regular file that may be there."""
        self._path = Path(path)
        self._overwrite = overwrite
        self._undo = ExitStack()
        self._folder = -1
        self._temporary: str | None = None
        self.descriptor = -1

    def __enter__(self) -> Self:
        """Begin it. Raises UsageError (output-exists), OutputFailed where no file can be made."""
        with output_errors("made"), ExitStack() as undo:
            self._folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, self._folder)
            self._require_replaceable()
            undo.callback(self._remove_temporary)
            self.descriptor = self._open()
            undo.callback(os.close, self.descriptor)
            self._undo = undo.pop_all()
        return self

    def land(self) -> None:
        """Make it durable, and give it its name in one step.

        Raises UsageError (output-exists) if somebody else has used the name meanwhile, OutputFailed.
        """
        with output_errors("written"):
            os.fsync(self.descriptor)
            if self._overwrite:
                self._replace()
            else:
                self._link()
            with suppress(OSError):  # Not every file system does this for folders; the file is there in any case.
                os.fsync(self._folder)

    def _require_replaceable(self) -> None:
        try:
            found = os.stat(self._path.name or ".", dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(
                "output-no-file", "what is there under the output's name is no regular file, and is not replaced"
            )
        if not self._overwrite:
            raise _exists()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        if _DESCRIPTORS.is_dir():
            with suppress(OSError):
                return os.open(".", flags | os.O_TMPFILE, 0o666, dir_fd=self._folder)
        self._temporary = _temporary_name()
        return os.open(self._temporary, flags | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=self._folder)

    def _replace(self) -> None:
        self._require_replaceable()
        if self._temporary is None:
            self._temporary = _temporary_name()
            self._link_to(self._unnamed(), self._temporary)
        os.replace(self._temporary, self._path.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def _link(self) -> None:
        """Give it its name, unless that is in use: a link, unlike a rename, never replaces anything."""
        try:
            self._link_to(self._temporary or self._unnamed(), self._path.name)
        except FileExistsError:
            raise _exists() from None
        except OSError as error:
            if self._temporary is None or error.errno not in _NO_HARD_LINKS:
                raise
            self._require_replaceable()
            os.rename(self._temporary, self._path.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def _link_to(self, name: str, new_name: str) -> None:
        # Only with folders does Python follow the link that an unnamed file is reached by.
        os.link(name, new_name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=True)

    def _unnamed(self) -> str:
        return str(_DESCRIPTORS / str(self.descriptor))

    def _remove_temporary(self) -> None:
        if self._temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._folder)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()


@contextmanager
def output_errors(action: str) -> Iterator[None]:
    """Raise OutputFailed for what the system says. action: what the output cannot be, as in "written"."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise OutputFailed(f"the output cannot be {action}: {why.lower()}") from error


def _exists() -> UsageError:
    return UsageError(OutputCode.OUTPUT_EXISTS, "there is a file under the output's name")


def _temporary_name() -> str:
    """Short, whatever the output's own name is; and one that Nova and we take for a file in the making."""
    return f".manifest-service-{secrets.token_hex(8)}.part"
