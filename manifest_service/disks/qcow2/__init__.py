"""qcow2, read as qemu reads it.

References: docs/interop/qcow2.txt of the qemu project ("the specification"), and what qemu-img was measured to do where
the specification leaves it open. For an image that qemu-img converts the disk is the same, byte for byte; all others
are refused. Nothing outside the source is ever opened, and nothing that a file says in words is ever repeated.
"""
