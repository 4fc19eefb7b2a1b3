"""What docs/sizing.md is reckoned with: the arithmetic, and that the figures of docs/performance.md are still found."""

import pytest

from manifest_service.disks.limits import MIB
from tests.bench.images import GIB
from tests.bench.sites import SITES, Figures, Need, Site
from tests.bench.sizing import PERFORMANCE, bytes_of_a_range, figures_of, page

ROWS = {
    "images": 800.0,
    "manifests": 400.0,
    "manifest_digests": 300.0,
    "manifest_block_maps": 100.0,
    "manifest_statements": 2000.0,
    "events": 300.0,
    "verifications": 1000.0,
}
MEMORY = {"listener": 100.0 * MIB, "api": 100.0 * MIB, "worker": 100.0 * MIB, "serve": 150.0 * MIB}
FIGURES = Figures(ROWS, {**MEMORY, "computing": 200.0 * MIB}, 1.0 * GIB, 500.0, 0.001, 0.0003, 48.0)
SITE = Site("a site", nodes=1000, images=10_000, uploads=9000, disk=20 * GIB, data=4 * GIB, files=50)


def test_workers_keep_up_with_the_busiest_hour() -> None:
    need = Need(SITE, FIGURES)

    assert need.seconds_an_image == 20
    assert need.workers == 10  # 9000 x 0.2 x 20 s in 3600 s
    assert need.listeners == 1
    assert need.backfill_hours == pytest.approx(10_000 * 20 / 10 / 3600)


def test_the_api_answers_the_scans_of_a_night() -> None:
    need = Need(SITE, FIGURES)

    assert need.api_cpu == pytest.approx(1000 * (0.002 + 0.015))
    assert need.apis == 1


def test_the_database_grows_with_images_and_with_what_nodes_report() -> None:
    need = Need(SITE, FIGURES)

    assert need.bytes_of_block_map == 1024 * 48
    assert need.bytes_an_image == 800 + 400 + 2 * 300 + 4 * 300 + 2000 + 100 + 1024 * 48
    assert need.verifications == 50_000
    assert need.database == (10_000 + 365 * 9000) * need.bytes_an_image + 90 * 50_000 * 1000


def test_two_of_each_kind_run_but_on_one_machine() -> None:
    assert Need(SITE, FIGURES).memory == (2 * 100 + 2 * 100 + 10 * 200) * MIB
    assert Need(SITES[0], FIGURES).memory == 250 * MIB


def test_the_page_is_made_from_the_figures_of_the_performance_page() -> None:
    figures = figures_of(PERFORMANCE.read_text(), ROWS, MEMORY)

    assert figures.pace > 0.1 * GIB
    assert 0.0001 < figures.request_cpu < 0.1
    assert f"a listener takes {figures.notifications:.0f} a second" in page(figures, 100)


def test_a_range_takes_little_more_than_its_digest() -> None:
    assert 32 < bytes_of_a_range(1000) < 80
