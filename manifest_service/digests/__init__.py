"""Naming a disk's content: digests of all its `virtual_size` bytes, computed in one pass over its source."""
