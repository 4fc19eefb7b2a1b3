"""An image file as its guest sees it.

A `Source` gives the file's bytes, a `Disk` gives the guest's: `virtual_size` bytes as runs of zeros, stored and
compressed data. Nothing here knows of databases, HTTP or oslo, so that a compute node can use it alone.
"""
