"""What an image may claim before it is refused, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20
TIB = 1 << 40


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a file says of itself: no memory or time is spent on a claim before it was held against these.

    virtual_size: bytes of the disk. Every one must be hashed, so this bounds time: 16 TiB take a core about three hours
        of SHA-256, and are the largest volume of many storage systems.
    l1_entries: qemu's own bound (a table of 32 MiB).
    refcount_table_size: bytes; qemu's own bound. The table is never read: refcounts do not affect content.
    snapshots, snapshot_extra_data, snapshot_table_size: entries, bytes of one, bytes in all; qemu's own bounds.
    bitmaps, bitmap_directory_size, bitmap_size: number, bytes of their directory, bytes of one; qemu's own bounds.
    bitmap_table_entries: entries of all bitmap tables together. qemu has no such bound, but each costs time; bitmaps
        that would fill all of virtual_size at the finest sensible granularity stay far below it.
    conversion_memory: bytes of address space of one qemu-img that converts a foreign format; Nova's own bound for it.
    conversion_time: seconds of CPU time of one qemu-img; an hour converts some TiB.
    scratch_size: bytes that one conversion may really write: what a worker's disk must have to spare.
    """

    virtual_size: int = 16 * TIB
    l1_entries: int = 32 * MIB // 8
    refcount_table_size: int = 8 * MIB
    snapshots: int = 65536
    snapshot_extra_data: int = 1024
    snapshot_table_size: int = 64 * MIB
    bitmaps: int = 65535
    bitmap_directory_size: int = 65535 * KIB
    bitmap_size: int = 512 * MIB
    bitmap_table_entries: int = 8 * MIB
    conversion_memory: int = 2 << 30
    conversion_time: int = 3600
    scratch_size: int = 256 << 30


DEFAULT_LIMITS = Limits()
