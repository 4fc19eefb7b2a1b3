"""Open-ended search for images that the project reads otherwise than qemu-img: `make fuzz`.

python -m tests.fuzz images   random valid images as qemu makes them
python -m tests.fuzz bytes    damaged images, guided by which code of the reader they reach (atheris)
python -m tests.fuzz          both side by side, until Ctrl-C or the first find
"""
