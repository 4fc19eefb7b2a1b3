"""Telling formats apart by their magic numbers."""

from __future__ import annotations

from manifest_service.disks.source import Source, read_padded

# (Glance's name of the format, offset in bytes, magic): where qemu's and oslo.utils' probes look. Formats known only by
# a trailer (DMG, fixed VHD) are not here: looking at the end first would cost a streamed source its order.
_MAGICS = (
    ("qcow", 0, b"QFI\xfb\x00\x00\x00\x01"),
    ("qcow2", 0, b"QFI\xfb"),
    ("qed", 0, b"QED\0"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"COWD"),
    ("vmdk", 0, b"# Disk DescriptorFile"),
    ("vhdx", 0, b"vhdxfile"),
    ("vhd", 0, b"conectix"),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("ploop", 0, b"WithoutFreeSpace"),
    ("ploop", 0, b"WithouFreSpacExt"),
    ("bochs", 0, b"Bochs Virtual HD Image"),
    ("cloop", 0, b"#!/bin/sh\n#V2.0 Format\n"),
    ("vdi", 64, b"\x7f\x10\xda\xbe"),
    ("iso", 0x8001, b"CD001"),
)
_PROBED = max(offset + len(magic) for _, offset, magic in _MAGICS)


def detect_format(source: Source) -> str:
    """Name the format that a source is in, as Glance names formats where it does; `raw` for what is not recognised.

    This looks at magic numbers only. Whether the file is sound is for `open_disk` to find.
    """
    head = read_padded(source, 0, _PROBED)
    for name, offset, magic in _MAGICS:
        if head.startswith(magic, offset):
            return name
    return "raw"
