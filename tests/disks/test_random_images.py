"""Images that qemu made at random: the project's digest is that of qemu-img's raw file.

Each seed is one image, in the test's name. QCOW2_SEEDS=1000-2000 tries others than the usual ones; `make fuzz` goes on
without end.
"""

import os
from pathlib import Path

import pytest

from tests import qemu
from tests.disks.random_images import LARGEST_CLUSTER_BITS, SMALLEST_CLUSTER_BITS, make_image, make_recipe
from tests.disks.sources import digest_beside_source_digests, sha256

pytestmark = pytest.mark.slow

_USUAL = range(130)
_FIRST, _END = (int(number) for number in os.environ.get("QCOW2_SEEDS", f"0-{_USUAL.stop}").split("-"))


@pytest.mark.parametrize("seed", range(_FIRST, _END))
def test_digest_is_that_of_qemus_raw_file(seed: int, tmp_path: Path) -> None:
    image = make_image(seed, tmp_path)
    digest, source_digest = digest_beside_source_digests(image)
    assert digest == qemu.sha256_of_disk(image)
    assert source_digest == sha256(image.read_bytes())


def test_the_usual_seeds_reach_every_value_of_every_option() -> None:
    recipes = [make_recipe(seed) for seed in _USUAL]
    clusters = range(SMALLEST_CLUSTER_BITS, LARGEST_CLUSTER_BITS + 1)
    arguments = [recipe.converted for recipe in recipes if recipe.converted is not None]

    assert {recipe.cluster_bits for recipe in recipes} == set(clusters)
    assert {recipe.compat for recipe in recipes} == {"0.10", "1.1"}
    assert {recipe.refcount_bits for recipe in recipes} == {1, 2, 4, 8, 16, 32, 64}
    assert {recipe.preallocation for recipe in recipes} == {"off", "metadata", "falloc", "full"}
    assert {recipe.snapshots for recipe in recipes} == {0, 1, 2}
    for flag in ("extended_l2", "lazy_refcounts", "odd_size"):
        assert {getattr(recipe, flag) for recipe in recipes} == {True, False}, flag
    for argument in ("-c", "-W", "-S0"):
        assert {argument in given for given in arguments} == {True, False}, argument
    compressed = {recipe.compression_type for recipe in recipes if "-c" in (recipe.converted or ())}
    assert compressed == {"zlib", "zstd"}
    assert any(recipe.size % (1 << recipe.cluster_bits) for recipe in recipes)
    assert any(recipe.extended_l2 and "-c" in (recipe.converted or ()) for recipe in recipes)
    assert any(recipe.extended_l2 and recipe.converted is None for recipe in recipes)
