"""fs-verity in the kernel: a file that is sealed by it can no longer be changed, and every read of it is checked.

      0      2      4                     struct fsverity_digest: FS_IOC_MEASURE_VERITY fills it
    +------+------+- - - - - - - - -+
    | alg. | size | digest          |     algorithm 1 is SHA-256, whose digest has 32 bytes
    +------+------+- - - - - - - - -+

Source: the kernel's Documentation/filesystems/fsverity.rst and include/uapi/linux/fsverity.h.
"""

from __future__ import annotations

import errno
import fcntl
import struct

from manifest_service.errors import ManifestServiceError

_ENABLE = 0x40806685
_MEASURE = 0xC0046686
"""_IOW('f', 133, struct fsverity_enable_arg) and _IOWR('f', 134, struct fsverity_digest)."""

_DIGEST = struct.Struct("=HH")
_ENABLE_ARGUMENT = struct.Struct("=IIIIQIIQ88x")
"""Version, hash algorithm, block size, size of the salt, the salt, size of a signature, reserved, the signature."""
_VERSION = 1
_SHA256 = 1
_BLOCK = 4096
_LONGEST_DIGEST = 64

_NOT_SUPPORTED = {errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_REASONS = {
    errno.ETXTBSY: "somebody has it open for writing",
    errno.EROFS: "its file system is mounted read-only",
    errno.EACCES: "this user may not write to it",
    errno.EPERM: "this user may not write to it",
    errno.ENOSPC: "its file system is full",
    errno.EEXIST: "it is sealed already, by another hash, block size or salt",
}


class NotSealed(ManifestServiceError):
    """A file could not be sealed. It is as it was."""


def measure(descriptor: int) -> str | None:
    """The digest that the kernel holds an open file to, in hex; None for a file that is not sealed with SHA-256."""
    buffer = bytearray(_DIGEST.pack(0, _LONGEST_DIGEST) + bytes(_LONGEST_DIGEST))
    try:
        fcntl.ioctl(descriptor, _MEASURE, buffer)
    except OSError as error:
        if error.errno == errno.ENODATA or error.errno in _NOT_SUPPORTED:
            return None
        raise
    algorithm, size = _DIGEST.unpack_from(buffer)
    return buffer[_DIGEST.size : _DIGEST.size + size].hex() if algorithm == _SHA256 else None


def seal(descriptor: int) -> None:
    """Seal an open file (SHA-256, blocks of 4096 bytes, no salt): the kernel reads all of it once, now.

    descriptor: open for reading only. Raises NotSealed, for a file that is sealed already, too.
    """
    argument = _ENABLE_ARGUMENT.pack(_VERSION, _SHA256, _BLOCK, 0, 0, 0, 0, 0)
    try:
        fcntl.ioctl(descriptor, _ENABLE, argument)
    except OSError as error:
        if error.errno in _NOT_SUPPORTED:
            raise NotSealed(
                "fsverity-unsupported", "its file system has no fs-verity; ext4 needs the feature `verity` (tune2fs -O)"
            ) from error
        why = _REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())
        raise NotSealed("not-sealed", why) from error
