"""Ed25519 keys in PEM files: the private half signs, the public one verifies, and its id tells keys apart.

The format is the one that `openssl genpkey -algorithm ed25519` writes (PKCS#8, and SubjectPublicKeyInfo for the public
half), so that keys can be made and looked at with everybody's tools.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from manifest_service.errors import KeyCode, UsageError

MAX_KEY_FILE = 16384
"""Bytes; a key has about 120, and people write comments around it."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class BadKey(UsageError):
    """A file that should hold a key holds none that can be used, or may be read by others."""

    def __init__(self, reason: str) -> None:
        super().__init__(KeyCode.BAD_KEY, reason)


class PublicKey:
    """The half of a key that everybody may have."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.key_id = hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()
        """SHA-256 of the SubjectPublicKeyInfo, DER, in hex: `openssl pkey -pubin -outform DER | sha256sum`."""
        self.pem = key.public_bytes(serialization.Encoding.PEM, form).decode()

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature is this key's, of this message."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """The half of a key that signs. It never leaves this object."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    def sign(self, message: bytes) -> bytes:
        """The signature of a message: 64 bytes."""
        return self._key.sign(message)


@lru_cache(maxsize=64)
def read_public_key(pem: str) -> PublicKey:
    """Read a public key. Raises BadKey."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadKey("a public key in PEM was expected (-----BEGIN PUBLIC KEY-----); this is none") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadKey(f"an Ed25519 key was expected; this is an {type(key).__name__.removesuffix('PublicKey')} key")
    return PublicKey(key)


def load_public_key(path: Path) -> PublicKey:
    """Read the public key in a file. Raises BadKey, also for a private one: it should not lie where this is called."""
    content = _read(path, private=False)
    if b"PRIVATE KEY" in content:
        raise BadKey(f"{str(path)!r} holds a private key; give out the public one: `manifest-service keys show FILE`")
    try:
        return read_public_key(content.decode("ascii", "replace"))
    except BadKey as error:
        raise BadKey(f"{str(path)!r}: {error.reason}") from error


def load_private_key(path: Path) -> PrivateKey:
    """Read the private key in a file that nobody but its owner, we or root, may read. Raises BadKey."""
    content = _read(path, private=True)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError as error:
        raise BadKey(f"{str(path)!r} is encrypted; a key without a passphrase was expected") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadKey(f"{str(path)!r} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)") from error
    if not isinstance(key, Ed25519PrivateKey):
        kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
        raise BadKey(f"{str(path)!r} holds an {kind} key; an Ed25519 key was expected")
    return PrivateKey(key)


def generate_private_key(path: Path) -> PrivateKey:
    """Make a key and keep it in a new file, with mode 0600. What is there is never replaced. Raises UsageError."""
    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # Whole or not at all: a key file that a crash cut short would keep every worker from starting.
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        try:
            _write_new(part, content)
            os.link(part, path)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    except FileExistsError as error:
        raise UsageError(KeyCode.KEY_EXISTS, f"there is something under the name {str(path)!r} already") from error
    except OSError as error:
        raise BadKey(f"{str(path)!r} cannot be written: {_told(error)}") from error
    return PrivateKey(key)


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _read(path: Path, *, private: bool) -> bytes:
    """The content of a key file. All checks are made on what was opened, so that nobody can exchange it between.

    private: whether it must not be a link, and must be closed to others. Raises BadKey.
    """
    # O_NONBLOCK: opening a FIFO must not wait for somebody who writes to it.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if private else 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise BadKey(f"{str(path)!r} cannot be read: {_told(error)}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadKey(f"{str(path)!r} is no regular file; a key file was expected")
        if private:
            _require_closed(path, status)
        content = os.read(descriptor, MAX_KEY_FILE + 1)
    except OSError as error:
        raise BadKey(f"{str(path)!r} cannot be read: {_told(error)}") from error
    finally:
        os.close(descriptor)
    if len(content) > MAX_KEY_FILE:
        raise BadKey(f"{str(path)!r} has more than {MAX_KEY_FILE} bytes; a key in PEM has about 120")
    return content


def _require_closed(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise BadKey(f"{str(path)!r} belongs to user {status.st_uid}; it should be this process's user, or root")
    if status.st_mode & _OTHERS:
        raise BadKey(
            f"{str(path)!r} has mode {stat.S_IMODE(status.st_mode):04o}: others may read or write it; `chmod 600` it"
        )


def _told(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        # O_NOFOLLOW's own sign.
        return "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror.lower()
    return str(error)
