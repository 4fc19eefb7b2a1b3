"""What is compiled; setup.cfg has everything else."""

from setuptools import Extension, setup


def native(path: str) -> Extension:
    """A module that is one file of C, by its path without .c."""
    return Extension(
        path.replace("/", "."),
        [f"{path}.c"],
        extra_compile_args=["-std=c11"],
        py_limited_api=True,
        optional=True,  # Without a compiler everything works, more slowly.
    )


setup(
    ext_modules=[
        native("manifest_service/digests/native"),
        native("manifest_service/disks/qcow2/native"),
        native("manifest_service/disks/qcow2/native_descriptors"),
    ]
)
