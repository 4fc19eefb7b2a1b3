"""The kernel's side of fs-verity: what it answers is what we take, and what it cannot do is said."""

import errno
import struct
from pathlib import Path

import pytest

from manifest_service.node import fsverity

DIGEST = bytes(range(32))


class Kernel:
    """Answers ioctl calls as kernels with fs-verity do (Documentation/filesystems/fsverity.rst)."""

    def __init__(self, algorithm: int = 1, failure: int = 0) -> None:
        self.algorithm = algorithm
        self.failure = failure
        self.asked: list[tuple[int, bytes]] = []

    def ioctl(self, descriptor: int, request: int, argument: bytes | bytearray) -> int:
        self.asked.append((request, bytes(argument)))
        if self.failure:
            raise OSError(self.failure, "no")
        if isinstance(argument, bytearray):
            argument[:] = struct.pack("=HH", self.algorithm, len(DIGEST)) + DIGEST + argument[36:]
        return 0


def test_a_measurement_is_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsverity, "fcntl", Kernel())
    assert fsverity.measure(3) == DIGEST.hex()


def test_a_measurement_by_another_hash_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsverity, "fcntl", Kernel(algorithm=2))
    assert fsverity.measure(3) is None


@pytest.mark.parametrize("number", [errno.ENODATA, errno.ENOTTY, errno.EOPNOTSUPP])
def test_a_file_that_is_not_sealed_has_none(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(fsverity, "fcntl", Kernel(failure=number))
    assert fsverity.measure(3) is None


def test_sealing_asks_for_what_our_digest_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    monkeypatch.setattr(fsverity, "fcntl", kernel)
    fsverity.seal(3)
    ((request, argument),) = kernel.asked
    assert request == 0x40806685
    assert len(argument) == 128
    version, algorithm, block_size, salt_size = struct.unpack_from("=IIII", argument)
    assert (version, algorithm, block_size, salt_size) == (1, 1, 4096, 0)
    assert not any(argument[16:])


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EOPNOTSUPP, "fsverity-unsupported"),
        (errno.ETXTBSY, "not-sealed"),
        (errno.EROFS, "not-sealed"),
        (errno.EEXIST, "not-sealed"),
    ],
)
def test_why_a_file_was_not_sealed(monkeypatch: pytest.MonkeyPatch, number: int, code: str) -> None:
    monkeypatch.setattr(fsverity, "fcntl", Kernel(failure=number))
    with pytest.raises(fsverity.NotSealed) as caught:
        fsverity.seal(3)
    assert caught.value.code == code


def test_this_kernel_answers(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5000)
    with path.open("rb") as file:
        assert fsverity.measure(file.fileno()) is None
