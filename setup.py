"""The one part that is compiled; setup.cfg has everything else."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "manifest_service.disks.qcow2.native",
            ["manifest_service/disks/qcow2/native.c"],
            extra_compile_args=["-std=c11"],
            py_limited_api=True,
            optional=True,  # Without a compiler everything works, inflating more slowly.
        )
    ]
)
