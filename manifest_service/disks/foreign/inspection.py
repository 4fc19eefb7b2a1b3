"""What must be true of a foreign image before qemu-img sees it: it holds its whole disk, and names no other file.

Facts of the formats: VMware "Virtual Disk Format 5.0"; Microsoft "Virtual Hard Disk Image Format Specification";
qemu's docs/interop/qed_spec.rst and block/vdi.c. All numbers are little-endian, but those of VHD.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import NoReturn

from manifest_service.disks.source import Source, read_padded
from manifest_service.errors import ImageRefused, RefusalCode

QEMU_DRIVERS = {"vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx", "vdi": "vdi", "qed": "qed"}
"""Glance's name of a format that qemu-img reads for us → qemu's name of it."""

_SECTOR = 512


def inspect(source: Source, disk_format: str) -> None:
    """Refuse an image that is not safe to hand to qemu-img. Raises ImageRefused.

    disk_format: one of QEMU_DRIVERS; the magic number is known to agree.
    """
    check = _CHECKS.get(disk_format)
    if check is not None:
        check(source)


# Bytes    0        4         8       12         20           28         36       44     48    56    64
#        +--------+---------+-------+----------+------------+----------+--------+------+-----+-----+---
#        | "KDMV" | version | flags | capacity | grain size | at sector| sectors| GTEs | rgd | gd  | ...
#        +--------+---------+-------+----------+------------+----------+--------+------+-----+-----+---
#                                     sectors                 of the descriptor
_VMDK_HEADER = struct.Struct("<4sIIQQQQIQQ")
_VMDK_DESCRIPTOR_SECTOR = 1
_VMDK_DESCRIPTOR_SIZE = 20 * _SECTOR
"""qemu reads the name of a parent from these sectors, whatever the header says."""
_VMDK_TYPES = {"monolithicSparse", "streamOptimized"}
_VMDK_NO_PARENT = "ffffffff"
_VMDK_AT_END = (1 << 64) - 1
_VMDK_FOOTER_FROM_END = 1024


def _check_vmdk(source: Source) -> None:
    """Only images in one file: the descriptor of others names files to read (CVE-2022-47951, CVE-2024-32498)."""
    header = read_padded(source, 0, _VMDK_HEADER.size)
    magic, _, _, capacity, _, sector, sectors, _, _, directory = _VMDK_HEADER.unpack(header)
    if magic != b"KDMV":
        _refuse(RefusalCode.DATA_FILE, "this VMDK file is a mere descriptor, whose data lies in other files")
    _require_capacity(capacity)
    if sector != _VMDK_DESCRIPTOR_SECTOR or not 0 < sectors <= 2048:
        _refuse(RefusalCode.UNSUPPORTED_FEATURE, "the VMDK image has no descriptor in its second sector")
    size = max(_VMDK_DESCRIPTOR_SIZE, sectors * _SECTOR)
    _check_vmdk_descriptor(bytes(read_padded(source, sector * _SECTOR, size)))
    if directory == _VMDK_AT_END:
        # qemu takes the header of the footer for the image's own, then.
        footer = read_padded(source, max(0, source.size - _VMDK_FOOTER_FROM_END), _VMDK_HEADER.size)
        footer_magic, _, _, footer_capacity, *_ = _VMDK_HEADER.unpack(footer)
        if footer_magic != b"KDMV":
            _refuse(RefusalCode.TRUNCATED, "the VMDK image should end with a footer, and does not")
        _require_capacity(footer_capacity)


def _require_capacity(sectors: int) -> None:
    """With a capacity of 0, qemu takes the files that the descriptor names for the image's data."""
    if sectors == 0:
        _refuse(RefusalCode.DATA_FILE, "the VMDK header gives no capacity, so that the data would lie in other files")


def _check_vmdk_descriptor(descriptor: bytes) -> None:
    text = descriptor.decode("latin-1")
    types = set(re.findall(r'createType\s*=\s*"?([^"\s\0]*)', text, re.IGNORECASE))
    if not types or not types <= _VMDK_TYPES:
        _refuse(
            RefusalCode.DATA_FILE,
            "the VMDK image is not of type monolithicSparse or streamOptimized, which hold all of their data",
        )
    parents = re.findall(r'parentCID\s*=\s*"?([^"\s\0]*)', text, re.IGNORECASE)
    if re.search("parentFileNameHint", text, re.IGNORECASE) or any(cid != _VMDK_NO_PARENT for cid in parents):
        _refuse(RefusalCode.BACKING_FILE, "the VMDK image has a parent, whose data it would show")
    extents = re.findall(r"^[ \t]*(?:RW|RDONLY|NOACCESS)[ \t]+\d+[ \t]+(\S+)", text, re.MULTILINE)
    if len(extents) > 1 or any(kind != "SPARSE" for kind in extents):
        _refuse(RefusalCode.DATA_FILE, "the VMDK image has extents other than itself")


_VHD_TYPE = struct.Struct(">60xI")
_VHD_DYNAMIC = 3
_VHD_DIFFERENCING = 4


def _check_vhd(source: Source) -> None:
    (kind,) = _VHD_TYPE.unpack(read_padded(source, 0, _VHD_TYPE.size))
    if kind == _VHD_DIFFERENCING:
        _refuse(RefusalCode.BACKING_FILE, "the VHD image is differencing: it has a parent, whose data it would show")
    if kind != _VHD_DYNAMIC:
        _refuse(RefusalCode.UNSUPPORTED_FEATURE, f"the VHD image is of type {kind}; {_VHD_DYNAMIC} (dynamic) is read")


_VDI_TYPE = struct.Struct("<76xI")
_VDI_TYPES = {1, 2}
_VDI_LINKS = 0x1A8
_VDI_LINKS_SIZE = 32
"""The UUIDs of the image that this one is linked to, and of its parent."""


def _check_vdi(source: Source) -> None:
    (kind,) = _VDI_TYPE.unpack(read_padded(source, 0, _VDI_TYPE.size))
    if kind not in _VDI_TYPES or any(read_padded(source, _VDI_LINKS, _VDI_LINKS_SIZE)):
        _refuse(RefusalCode.BACKING_FILE, "the VDI image is not complete in itself: it differs from another one")


_QED_FEATURES = struct.Struct("<16xQ")
_QED_BACKING_FILE = 1
_QED_KNOWN_FEATURES = 7


def _check_qed(source: Source) -> None:
    (features,) = _QED_FEATURES.unpack(read_padded(source, 0, _QED_FEATURES.size))
    if features & _QED_BACKING_FILE:
        _refuse(RefusalCode.BACKING_FILE, "the QED image has a backing file")
    if features & ~_QED_KNOWN_FEATURES:
        _refuse(RefusalCode.UNSUPPORTED_FEATURE, f"the QED image has unknown features: {features:#x}")


_CHECKS: dict[str, Callable[[Source], None]] = {
    "vmdk": _check_vmdk,
    "vhd": _check_vhd,
    "vdi": _check_vdi,
    "qed": _check_qed,
}


def _refuse(code: RefusalCode, reason: str) -> NoReturn:
    raise ImageRefused(code, reason)
