"""What an operator sees of running processes: log lines, `status`, and one image's way through all of them."""

import json
import re
import subprocess
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import requests

from manifest_service.manifests.database import Database
from tests.observing.conftest import DEMO, IMAGE_ID, Service, announce
from tests.servers.process import descendants, free_port
from tests.servers.service import EXECUTABLE, write_config
from tests.waiting import eventually

pytestmark = pytest.mark.slow

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "status.schema.json").read_text())
GIVEN = "req-11111111-2222-4333-8444-555555555555"


def status(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EXECUTABLE, "status", *arguments], capture_output=True, text=True, check=False, timeout=60)


def lines_of(text: str, request_id: str) -> list[str]:
    return [line for line in text.splitlines() if request_id in line]


def events(service: Service) -> list[dict[str, dict[str, str]]]:
    url = f"{service.api.url}/v1/manifests/{IMAGE_ID}/history"
    found: list[dict[str, dict[str, str]]] = requests.get(url, timeout=60).json()["events"]
    return found


def test_one_request_id_leads_from_the_message_to_the_manifest(service: Service) -> None:
    request_id = events(service)[0]["detail"]["request_id"]

    eventually(lambda: lines_of(service.listener.log_text(), request_id))  # It says so once it is durable.
    (recorded,) = lines_of(service.listener.log_text(), request_id)
    assert recorded.endswith(f"image.upload of image {IMAGE_ID} is recorded")
    begun, *_, ready = lines_of(service.worker.log_text(), request_id)
    assert begun.endswith("attempt 1 begins")
    assert ready.endswith(f"image {IMAGE_ID} is ready")


def test_figures_tell_of_the_image(service: Service) -> None:
    announce(service.listener.config_files[0])
    eventually(lambda: service.value("listener", "manifest_service_notifications_total", outcome="recorded") >= 2)
    assert service.value("listener", "manifest_service_notification_durable_seconds_count") >= 2
    assert service.value("listener", "manifest_service_notification_last_time_seconds") > 1_700_000_000

    before = service.value("worker", "manifest_service_attempts_total", outcome="ready")
    requests.post(f"{service.api.url}/v1/manifests/{IMAGE_ID}/computations", timeout=60).raise_for_status()
    eventually(lambda: service.value("worker", "manifest_service_attempts_total", outcome="ready") > before)
    assert service.value("worker", "manifest_service_source_bytes_total") >= DEMO.stat().st_size
    assert service.value("worker", "manifest_service_workers") == 1
    assert service.value("worker", "manifest_service_scratch_free_bytes") > 0

    route = {"method": "POST", "resource": "/v1/manifests/<image_id>/computations", "status": "202"}
    eventually(lambda: service.value("api", "manifest_service_requests_total", **route) >= 1)


def test_a_call_is_logged_and_its_request_id_comes_to_the_worker(service: Service) -> None:
    url = f"{service.api.url}/v1/manifests/{IMAGE_ID}"
    # One that waits already would be joined, and keep the request id of who asked first.
    eventually(lambda: requests.get(f"{service.api.url}/healthcheck", timeout=60).json()["queue_length"] == 0)
    requests.post(f"{url}/computations", headers={"X-Openstack-Request-Id": GIVEN}, timeout=60).raise_for_status()

    eventually(lambda: len(lines_of(service.worker.log_text(), GIVEN)) >= 2)
    eventually(lambda: lines_of(service.api.log_text(), GIVEN))

    (line,) = lines_of(service.api.log_text(), GIVEN)
    told = (
        rf"\] POST /v1/manifests/{IMAGE_ID}/computations status: 202 bytes: \d+ seconds: \d\.\d{{4}} caller: 127.0.0.1"
    )
    assert re.search(told, line), line


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/%0aforged%0d%1b[2J%c2%9b", "GET /%0Aforged%0D%1B%5B2J%C2%9B status: 404"),
        ("/v1/manifests?name=%0Aforged&x=\u202e", "GET /v1/manifests?name=%0Aforged&x=%E2%80%AE status: 400"),
        ("/" + "a" * 2000, f"GET /{'a' * 999} status: 404"),
    ],
)
def test_a_hostile_path_stays_on_its_line(service: Service, path: str, logged: str) -> None:
    requests.get(service.api.url + path, timeout=60)

    eventually(lambda: logged in service.api.log_text())
    assert all(re.match(r"\d{4}-\d\d-\d\d [\d:.]+ \d+ [A-Z]+ ", line) for line in service.api.log_text().splitlines())


def test_looks_at_the_health_are_not_logged(service: Service) -> None:
    requests.get(f"{service.api.url}/healthcheck", timeout=60).raise_for_status()
    requests.get(f"{service.api.url}/nowhere", timeout=60)

    eventually(lambda: "GET /nowhere status: 404" in service.api.log_text())
    assert "/healthcheck" not in service.api.log_text()


def said_once_it_is_well(service: Service, *options: str) -> str:
    """What `status` says as soon as it finds nothing wrong."""
    told: list[str] = []

    def is_well() -> bool:
        done = status(*options, *service.options())
        told.append(done.stdout)
        return done.returncode == 0

    eventually(is_well)
    return told[-1]


def test_status_of_a_service_that_is_well(service: Service) -> None:
    text = said_once_it_is_well(service)
    document = json.loads(said_once_it_is_well(service, "--json"))

    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert document["healthy"] is True
    assert {part for process in document["processes"] for part in process["parts"]} == {"listener", "worker", "api"}
    # A listener and a worker each have one process below the one that looks after it.
    at_work = {pid for each in (service.listener, service.worker) for pid in descendants(each.pid)}
    assert {process["pid"] for process in document["processes"]} == at_work | {service.api.pid}
    assert "listening yes, broker ok" in text
    assert text.rstrip().endswith("healthy")


def test_status_of_a_service_that_is_not_well(local: Database, tmp_path: Path) -> None:
    url = local.url.render_as_string(hide_password=False)
    file = write_config(
        tmp_path / "manifest-service.conf",
        {"DEFAULT": {"transport_url": "rabbit://127.0.0.1:1/"}, "database": {"connection": url}},
    )

    done = status("--json", "--config-file", file)

    document = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert done.returncode == 1
    assert {problem["code"] for problem in document["problems"]} == {"no-worker", "no-listener"}
    assert "no-worker" in status("--config-file", file).stdout


@pytest.mark.parametrize(
    ("connection", "code"),
    [
        ("postgresql+psycopg://nobody:SECRET@127.0.0.1:{port}/none", "database-away"),
        ("sqlite:///{folder}/empty.sqlite", "schema-not-current"),
    ],
)
def test_status_without_a_database(connection: str, code: str, tmp_path: Path) -> None:
    url = connection.format(port=free_port(), folder=tmp_path)
    file = write_config(tmp_path / "manifest-service.conf", {"database": {"connection": url}})

    done = status("--json", "--config-file", file)

    document = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert (done.returncode, [problem["code"] for problem in document["problems"]]) == (1, [code])
    assert "SECRET" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("listen", "code"), [("nowhere", "bad-configuration"), ("{taken}", "address-in-use")])
def test_a_metrics_address_that_cannot_be_is_a_sentence(
    service: Service, listen: str, code: str, tmp_path: Path
) -> None:
    taken = service.metrics["worker"].removeprefix("http://").removesuffix("/metrics")
    file = write_config(tmp_path / "more.conf", {"worker": {"metrics_listen": listen.format(taken=taken)}})

    done = subprocess.run(
        [EXECUTABLE, "worker", *service.options(), "--config-file", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, f"manifest-service: {code}: " in done.stderr) == (2, True), done.stderr
    assert "[worker] metrics_listen" in done.stderr


def test_a_process_that_ends_in_good_order_is_gone_from_the_list(service: Service) -> None:
    pids = set(descendants(service.worker.pid))
    service.worker.stop()
    try:
        document = json.loads(status("--json", *service.options()).stdout)
    finally:
        service.worker.start()

    assert pids
    assert pids.isdisjoint(process["pid"] for process in document["processes"])
    assert "no-worker" in {problem["code"] for problem in document["problems"]}
