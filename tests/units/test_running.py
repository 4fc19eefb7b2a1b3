"""The units in etc/systemd, run by a systemd: installed as they say, beside a real Glance, broker and database.

`tests/units/running.py` runs in there, once; each test looks at another part of what it found.
"""

import hashlib
import json
import os
import random
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests import qemu
from tests.servers import systemd_machine
from tests.servers.glance import Glance
from tests.servers.postgresql import PostgreSQL
from tests.servers.process import free_port
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.service import Settings, write_config
from tests.units.running import FOLDER, GLANCE_GROUP, LARGE, SERVICES, SIGNING_KEY, Plan

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(900)]

MIB = 1 << 20
LARGE_SIZE = 1024 * MIB
TIMEOUT = 800
"""Seconds, below the limit of the test: the journal tells more than that one would."""


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Raw disks, with data, zeros and gaps."""
    folder = tmp_path_factory.mktemp("disks")
    noise = random.Random(1)
    for name, size, places in (("dense", 8 * MIB + 512, range(0, 8, 3)), ("sparse", 64 * MIB, [30])):
        with (folder / name).open("wb") as file:
            for place in places:
                file.seek(place * MIB)
                file.write(noise.randbytes(MIB // 2) + b"text " * 50_000)
            file.truncate(size)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def images(disks: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Images of them, name → file, each of a kind that a worker does other things for."""
    folder = tmp_path_factory.mktemp("images")
    qemu.convert(disks["dense"], folder / "zlib.qcow2", arguments=["-c"])
    qemu.convert(disks["dense"], folder / "zstd.qcow2", ["compression_type=zstd"], arguments=["-c"])
    qemu.convert(disks["sparse"], folder / "sparse.qcow2")
    qemu.img("convert", "-f", "raw", "-O", "vmdk", disks["dense"], folder / "foreign.vmdk")
    (folder / "plain.raw").hardlink_to(disks["dense"])
    qemu.create(folder / LARGE, LARGE_SIZE)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def found(
    disks: dict[str, Path],
    images: dict[str, Path],
    rabbitmq_server: RabbitMQ,
    postgresql_server: PostgreSQL,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Any]]:
    """What came of it in the machine."""
    folder = tmp_path_factory.mktemp("shared")
    store = folder / "images"
    store.mkdir()
    for path in (folder, store):
        # Whoever is not in the group finds nothing.
        os.chown(path, -1, GLANCE_GROUP)
        path.chmod(0o750)
    for path in (*disks.values(), *images.values()):
        (folder / path.name).hardlink_to(path)
    rabbitmq_server.start()
    postgresql_server.start()
    url = postgresql_server.create_database()
    broker = rabbitmq_server.transport_url_of(rabbitmq_server.create_virtual_host())
    elsewhere = {"glance_store": {"filesystem_store_datadir": str(store)}}
    with Glance(tmp_path_factory.mktemp("glance"), broker, settings=elsewhere) as glance:
        api = f"127.0.0.1:{free_port()}"
        inside = glance.config_file.read_text().replace(str(store), f"{FOLDER}/images")
        (folder / "glance-api.conf").write_text(inside)
        settings: Settings = {
            "DEFAULT": {"log_file": ""},
            "database": {"connection": url},
            "worker": {"poll_interval": "0.1", "retry_delay": "0.5"},
            "attestations": {"signing_key": SIGNING_KEY},
            "api": {"listen": api},
        }
        write_config(folder / "manifest-service.conf", settings)
        plan = Plan(
            glance=glance.endpoint,
            api=f"http://{api}",
            images={name: str(uuid.uuid4()) for name in sorted(images)},
            base={"dense": "zlib.qcow2", "sparse": "sparse.qcow2"},
        )
        (folder / "plan.json").write_text(json.dumps(asdict(plan)))
        work = tmp_path_factory.mktemp("machine")
        yield json.loads(systemd_machine.run(["-m", "tests.units.running", FOLDER], folder, FOLDER, work, TIMEOUT))
    postgresql_server.drop(url)


def test_images_become_ready(found: dict[str, Any], disks: dict[str, Path]) -> None:
    """Taken in by the listener, computed by the worker, told by the API, signed by a key that root alone may read."""
    for name, manifest in found["manifests"].items():
        disk = disks["sparse" if name.startswith("sparse") else "dense"]
        assert manifest["status"] == "ready", (name, manifest)
        assert manifest["digests"]["sha256"] == hashlib.sha256(disk.read_bytes()).hexdigest()
    assert found["signed"] == 200


def test_a_scan_reports_and_leaves_its_metrics_to_who_reads_them(found: dict[str, Any]) -> None:
    scan = found["scan"]
    assert scan["reported"] == ["match", "match"]
    assert 'manifest_service_scan_files{verdict="match"} 2\n' in scan["textfile"]
    assert scan["mode"] == "0o644"


def test_a_scan_of_a_folder_that_nova_has_not_made_yet_says_so(found: dict[str, Any]) -> None:
    told = found["scan"]["without_folder"]
    assert "bad-folder: '/var/lib/nova/instances/_base' cannot be read as a folder" in told["journal"]
    assert (told["Result"], told["ExecMainStatus"]) == ("exit-code", "2")


def test_the_timer_has_a_next_time(found: dict[str, Any]) -> None:
    assert " 0" in found["scan"]["timer"], "between two and four at night"


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_stays_active_when_it_is_reloaded(found: dict[str, Any], name: str) -> None:
    state = found["active"][name]
    assert (state["ActiveState"], state["Result"], state["NRestarts"]) == ("active", "success", "0")


def test_what_is_under_way_comes_to_its_end_when_the_worker_is_stopped(found: dict[str, Any]) -> None:
    assert found["drained"]["status"] == "ready"
    assert found["drained"]["virtual_size"] == LARGE_SIZE
    assert found["history"].count("computation-started") == 1


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_ends_in_good_order(found: dict[str, Any], name: str) -> None:
    state = found["ended"][name]
    assert state == {"ActiveState": "inactive", "Result": "success", "NRestarts": "0", "ExecMainStatus": "0"}


def test_nothing_fails_in_the_log(found: dict[str, Any]) -> None:
    """And no call was made that the filter does not let through: that ends a process in there."""
    for trouble in ("Traceback", "core-dump", "SYS", "Failed with result"):
        assert trouble not in found["journal"]


def test_units_are_as_confined_as_the_documentation_says(found: dict[str, Any]) -> None:
    exposure = sorted(found["exposure"].values())
    text = (Path(__file__).parents[2] / "docs" / "running.md").read_text()
    assert f"gives {exposure[0]} to {exposure[-1]} (of 10" in text
