"""Damaged images, guided by the code that they reach: our answer must be qemu-img's, or a refusal by our own rules.

What is found is written to tests/fuzz/finds/, which `make test` replays.
"""

import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["manifest_service.disks"]):
    from tests.disks.damage import BASES, damage, judge

FINDS = Path(__file__).parent / "finds"
_LARGEST = 1 << 17
"""Bytes of an input: images of a few small clusters reach all code."""
_TIMEOUT = 120
_MEMORY = 1024
"""Seconds, and MiB, after which an input is a find: ours take milliseconds and no more memory than a few buffers."""


def run(seed: int, seconds: int, runs: int) -> int:
    """Fuzz; ends the process (atheris does), with an exit code other than 0 after a find."""
    with TemporaryDirectory(prefix="manifest-service-fuzz-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, base in enumerate(BASES):
            (corpus / str(number)).write_bytes(base.write())
        FINDS.mkdir(exist_ok=True)
        options = [
            f"-seed={seed or 1}",
            f"-max_total_time={seconds}",
            f"-runs={runs}",
            f"-max_len={_LARGEST}",
            f"-timeout={_TIMEOUT}",
            f"-report_slow_units={_TIMEOUT}",
            f"-rss_limit_mb={_MEMORY}",
            f"-artifact_prefix={FINDS}/",
            "-print_final_stats=1",
        ]

        def test_one(data: bytes) -> None:
            judge(data, Path(folder))

        atheris.Setup(["fuzz", *options, str(corpus)], test_one, custom_mutator=_mutate)
        atheris.Fuzz()
    return 0


def _mutate(data: bytes, most: int, seed: int) -> bytes:
    """Damage what the format gives a meaning, or any bytes."""
    rng = random.Random(seed)
    choice = rng.random()
    if choice < 0.4:
        return damage(rng, rng.choice(BASES))[:most]
    if choice < 0.7:
        return _damage_words(rng, data)[:most]
    mutated: bytes = atheris.Mutate(data, most)
    return mutated


def _damage_words(rng: random.Random, data: bytes) -> bytes:
    """Put interesting words where header fields and table entries are, or cut the image."""
    image = bytearray(data)
    if len(image) < 512 or rng.random() < 0.1:
        return bytes(image[: rng.randrange(len(image) + 1)])
    for _ in range(rng.randint(1, 4)):
        place = rng.choice([rng.randrange(0, 112, 4), rng.randrange(0, len(image) - 8, 8)])
        word = rng.choice([0, 1, 0x200, 0x1000, len(image), len(image) - 512, 1 << 62, 1 << 63, rng.getrandbits(64)])
        if rng.random() < 0.5:
            word = int.from_bytes(image[place : place + 8], "big") ^ 1 << rng.randrange(64)
        image[place : place + 8] = (word & (1 << 64) - 1).to_bytes(8, "big")
    return bytes(image)


if __name__ == "__main__":
    sys.exit(run(*map(int, sys.argv[1:])))
