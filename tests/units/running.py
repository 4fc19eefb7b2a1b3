"""What happens in the machine of test_running.py: units are installed, run and ended there. Prints what came of it.

    python -m tests.units.running FOLDER        FOLDER: as `Plan` says; Glance's store lies in it, as `images`

Nothing is judged here: that is the test's, outside.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from manifest_service.node.base_directory import cache_name_of
from tests.servers.glance_client import GlanceClient
from tests.waiting import eventually

FOLDER = "/var/lib/glance"
GLANCE_GROUP = 64_062
"""The number of the group `glance` in there: outside, the store is given to it."""
SIGNING_KEY = "/run/credentials/manifest-service-worker.service/signing-key.pem"

SERVICES = ("listener", "api", "worker")
LARGE = "large.qcow2"
"""The image that is under way when the worker is stopped."""
_SHOWN = ("ActiveState", "Result", "NRestarts", "ExecMainStatus")
_PATIENCE = 200.0
"""Seconds, on a machine that has much else to do."""

_UNITS = Path("etc/systemd")
_ETC = Path("/etc")
_OURS = _ETC / "manifest-service"
_STATE = Path("/var/lib/manifest-service")
_BASE = Path("/var/lib/nova/instances/_base")

# Stricter than as shipped: a call that the filter does not allow ends the process, so that none goes unnoticed. And no
# less urgent than what else runs on a machine that tests.
_DROP_IN = "[Service]\nSystemCallErrorNumber=kill\nNice=0\n"
# As the comment in the unit says.
_CREDENTIAL = "LoadCredential=signing-key.pem:/etc/manifest-service/signing-key.pem\n"


@dataclass(frozen=True)
class Plan:
    """What lies in the folder beside the store: `plan.json`, both configuration files, images by the names of `images`.

    glance, api: URLs. images: name → id. base: name of a raw disk → image whose file in `_base` it is.
    """

    glance: str
    api: str
    images: dict[str, str]
    base: dict[str, str]


def main(folder: Path) -> dict[str, Any]:
    """Everything, in the order of an operator's day."""
    plan = Plan(**json.loads((folder / "plan.json").read_text()))
    _install(folder, plan)
    _systemctl("start", *map(_unit, ("listener", "api")))
    eventually(lambda: "listening for notifications" in _journal("listener"), _PATIENCE)
    small = [name for name in plan.images if name != LARGE]
    for name in small:
        _upload(plan, folder, name)
    eventually(lambda: _statuses(plan, small) == {"pending"}, _PATIENCE)
    _systemctl("start", _unit("worker"))
    eventually(lambda: not _statuses(plan, small) & {"pending", "computing"}, _PATIENCE)
    found: dict[str, Any] = {"manifests": {name: _manifest(plan, name) for name in small}}
    found["signed"] = _get(plan, f"{plan.images[small[0]]}/statement").status_code

    found["scan"] = _scan(folder, plan)
    _reload()
    found["active"] = _states()
    found["exposure"] = {name: _exposure(name) for name in (*SERVICES, "scan")}

    _upload(plan, folder, LARGE)
    eventually(lambda: _statuses(plan, [LARGE]) <= {"computing", "ready"}, _PATIENCE)
    _systemctl("stop", _unit("worker"))
    found["drained"] = _manifest(plan, LARGE)
    found["history"] = [event["kind"] for event in _get(plan, f"{plan.images[LARGE]}/history").json()["events"]]
    _systemctl("stop", *map(_unit, ("listener", "api")))
    found["ended"] = _states()
    found["journal"] = "".join(map(_journal, SERVICES))
    return found


def _install(folder: Path, plan: Plan) -> None:
    """By what the units say at their top, on a machine that has Glance."""
    for name in ("sysusers", "tmpfiles"):
        (_ETC / f"{name}.d").mkdir()
        shutil.copy(_UNITS / f"manifest-service.{name}", _ETC / f"{name}.d" / "manifest-service.conf")
    (_ETC / "sysusers.d" / "glance.conf").write_text(f"g glance {GLANCE_GROUP}\n")
    _run("systemd-sysusers")
    # By its name: those of programs that are installed outside know users that are not in here.
    _run("systemd-tmpfiles", "--create", "manifest-service.conf")

    glance = _ETC / "glance"
    glance.mkdir(mode=0o750)
    shutil.chown(glance, group="glance")
    _give(folder / "glance-api.conf", glance, "glance")
    _give(folder / "manifest-service.conf", _OURS, "manifest-service")
    _run("manifest-service", "keys", "generate", str(_OURS / "signing-key.pem"))
    _run("manifest-service", "db", "upgrade", "--config-file", str(_OURS / "manifest-service.conf"))
    (_OURS / "scan.env").write_text(f"MANIFEST_SERVICE_URL={plan.api}\n")

    units = _ETC / "systemd" / "system"
    for unit in _UNITS.glob("*.*"):
        if unit.suffix in (".service", ".timer"):
            shutil.copy(unit, units)
    for name in (*SERVICES, "scan"):
        drop_in = units / f"{_unit(name)}.d" / "tests.conf"
        drop_in.parent.mkdir()
        drop_in.write_text(_DROP_IN + (_CREDENTIAL if name == "worker" else ""))
    _systemctl("daemon-reload")


def _give(file: Path, folder: Path, group: str) -> None:
    """Have the folder a copy that only the group may read."""
    copy = Path(shutil.copy(file, folder))
    shutil.chown(copy, group=group)
    copy.chmod(0o640)


def _scan(folder: Path, plan: Plan) -> dict[str, Any]:
    """One scan of `_base`, and the timer for the next ones."""
    subprocess.run(["systemctl", "start", _unit("scan")], check=False, capture_output=True)
    eventually(lambda: "bad-folder" in _journal("scan"), _PATIENCE)  # What it said takes its own way there.
    without_folder = {"journal": _journal("scan"), **_show(_unit("scan"), *_SHOWN)}
    _BASE.mkdir(parents=True)
    for disk, image in plan.base.items():
        shutil.copy(folder / disk, _BASE / cache_name_of(plan.images[image]))
    _systemctl("start", _unit("scan"))
    _systemctl("enable", "--now", "manifest-service-scan.timer")
    verdicts = requests.get(f"{plan.api}/v1/verifications", timeout=_PATIENCE).json()["verifications"]
    return {
        "without_folder": without_folder,
        "textfile": (_STATE / "scan.prom").read_text(),
        "mode": oct((_STATE / "scan.prom").stat().st_mode & 0o777),
        "reported": sorted(verdict["verdict"] for verdict in verdicts),
        "timer": _show("manifest-service-scan.timer", "NextElapseUSecRealtime")["NextElapseUSecRealtime"],
    }


def _reload() -> None:
    """All three, until each says that it has."""
    started = len(re.findall("waits for images", _journal("worker")))
    for name, says in (
        ("listener", "the configuration is reloaded"),
        ("api", "log levels are reloaded"),
        ("worker", "the configuration is reloaded"),
    ):
        _systemctl("reload", _unit(name))
        eventually(lambda name=name, says=says: says in _journal(name), _PATIENCE)  # type: ignore[misc]
    eventually(lambda: len(re.findall("waits for images", _journal("worker"))) > started, _PATIENCE)
    eventually(lambda: _journal("listener").count("listening for notifications") > 1, _PATIENCE)


def _upload(plan: Plan, folder: Path, name: str) -> None:
    client = GlanceClient(plan.glance)
    client.create_image(Path(name).suffix[1:], id=plan.images[name], name=name)
    client.upload(plan.images[name], (folder / name).read_bytes())


def _get(plan: Plan, path: str) -> requests.Response:
    return requests.get(f"{plan.api}/v1/manifests/{path}", timeout=_PATIENCE)


def _manifest(plan: Plan, name: str) -> dict[str, Any]:
    document: dict[str, Any] = _get(plan, plan.images[name]).json()
    return document


def _statuses(plan: Plan, names: Sequence[str]) -> set[str | None]:
    documents = requests.get(f"{plan.api}/v1/manifests", timeout=_PATIENCE).json()["manifests"]
    statuses = {document["image_id"]: document["status"] for document in documents}
    return {statuses.get(plan.images[name]) for name in names}


def _unit(name: str) -> str:
    return f"manifest-service-{name}.service"


def _states() -> dict[str, dict[str, str]]:
    return {name: _show(_unit(name), *_SHOWN) for name in SERVICES}


def _show(unit: str, *properties: str) -> dict[str, str]:
    lines = _systemctl("show", f"--property={','.join(properties)}", unit).splitlines()
    return dict(line.split("=", 1) for line in lines)


def _exposure(name: str) -> float:
    """What `systemd-analyze security` says of the unit as it is loaded, of 10."""
    told = _run("systemd-analyze", "security", "--no-pager", _unit(name))
    found = re.search(r"exposure level for \S+ ([0-9.]+)", told)
    assert found is not None, told
    return float(found[1])


def _journal(name: str) -> str:
    return _run("journalctl", "--no-pager", "--output=cat", f"--unit={_unit(name)}")


def _systemctl(*arguments: str) -> str:
    return _run("systemctl", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1])), sys.stdout)
