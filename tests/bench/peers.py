"""What is measured: our own command, and what others would do for the same answer.

Each is one shell command; `{image}` and `{scratch}` are filled in. All of one image must print the same digest.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

EXECUTABLE = Path(sys.executable).with_name("manifest-service")

_HASH_ALONE = (
    "import hashlib, sys\n"
    "digest, left, block = hashlib.sha256(), int(sys.argv[1]), memoryview(bytes(1 << 20))\n"
    "while left:\n"
    "    digest.update(block[:left])\n"
    "    left -= min(left, len(block))\n"
)


@dataclass(frozen=True)
class Peer:
    """A way to the digest. title: what the table says. comparable: prints the digest, which must be ours."""

    name: str
    title: str
    command: str
    comparable: bool = True


def _ours(*algorithms: str) -> str:
    chosen = " ".join(f"-a {algorithm}" for algorithm in algorithms)
    return f"{shlex.quote(str(EXECUTABLE))} digest {chosen} {{image}}"


OURS = Peer("ours", "`manifest-service digest`", _ours("sha256"))
HASH_ALONE = Peer(
    "hash",
    "the hash alone, over as many bytes in memory",
    f"{shlex.quote(sys.executable)} -c {shlex.quote(_HASH_ALONE)} {{size}}",
    comparable=False,
)
CONVERT = "qemu-img convert -f qcow2 -O raw {image} {scratch}"
OPENSSL = Peer(
    "openssl", "`qemu-img convert`, then `openssl dgst`", f"{CONVERT} && openssl dgst -r -sha256 {{scratch}}"
)
FLAT_PEERS = (
    OURS,
    HASH_ALONE,
    Peer("sha256sum", "`qemu-img convert`, then `sha256sum`", f"{CONVERT} && sha256sum {{scratch}}"),
    OPENSSL,
    Peer(
        "nbdcopy",
        "`qemu-nbd`, `nbdcopy` into `sha256sum`",
        "nbdcopy -- [ qemu-nbd -r -f qcow2 {image} ] - | sha256sum",
    ),
)
SEVERAL = Peer("several", "ours, `sha256` and `sha512` at once", _ours("sha256", "sha512"), comparable=False)
SHA512 = Peer("sha512", "ours, `sha512`", _ours("sha512"), comparable=False)
SPARSE_PEERS = (
    Peer("fsverity", "ours, `fsverity-sha256`", _ours("fsverity-sha256"), comparable=False),
    Peer("blkhash", "ours, `blkhash-sha256`", _ours("blkhash-sha256"), comparable=False),
    Peer(
        "bmap", "ours, `fsverity-sha256` and the block map", f"{_ours('fsverity-sha256')} --bmap {{scratch}}",
        comparable=False,
    ),
)  # fmt: skip
BLKSUM = Peer("blksum", "`blksum`", "blksum {image}", comparable=False)


def is_installed(peer: Peer) -> bool:
    """Whether the programs of a peer are there."""
    needed = {"nbdcopy": ("nbdcopy", "qemu-nbd"), "blksum": ("blksum",), "openssl": ("openssl",)}
    return all(shutil.which(program) for program in needed.get(peer.name, ()))
