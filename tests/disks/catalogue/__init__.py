"""Hand-made images, each with one property that a reader may get wrong, and what is right.

`test_catalogue.py` holds the project to it, `test_against_qemu.py` holds the catalogue to qemu-img.
"""

from tests.disks.catalogue import compression, extensions, headers, mapping, snapshots_and_bitmaps

CASES = [
    *headers.CASES,
    *extensions.CASES,
    *snapshots_and_bitmaps.CASES,
    *mapping.CASES,
    *compression.CASES,
]
