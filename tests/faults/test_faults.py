"""Hundreds of uploads under faults: the command that writes docs/reliability.md, and what it is made of."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import report
from tests.servers import programs

ROOT = Path(__file__).parents[2]


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("database", "uploads"), [("postgresql", 500), ("mariadb", 60)])
def test_every_image_comes_to_its_right_end_whatever_fails(database: str, uploads: int) -> None:
    for program, package, *places in (
        ("rabbitmq-server", "rabbitmq-server"),
        ("initdb", "postgresql", "/usr/lib/postgresql/*/bin/initdb"),
        ("mariadbd", "mariadb-server"),
        ("qemu-img", "qemu-utils"),
    ):
        programs.find(program, package, *places)
    command = [sys.executable, "-m", "tests.faults", "--no-page", "--uploads", str(uploads), "--database", database]
    command += ["--seed", "1"]  # `make faults` draws another one each time.

    done = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    assert done.returncode == 0, done.stdout
    assert "none twice, none lost" in done.stdout


def test_a_run_s_figures_take_the_place_of_the_last_ones(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nBy hand.\n\n## Counted with A\n\nold\n\n## Counted with B\n\nkept\n")

    report.put(page, "## Counted with A\n\nnew\n\n")
    report.put(page, "## Counted with C\n\nfirst\n\n")

    assert page.read_text() == (
        "# Title\n\nBy hand.\n\n## Counted with A\n\nnew\n\n## Counted with B\n\nkept\n\n## Counted with C\n\nfirst\n"
    )
