"""Alerts, dashboard and documentation name what running processes answer, and nothing else."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observing.conftest import Service
from tests.servers import programs

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "etc" / "prometheus" / "alerts.yaml"
DASHBOARD = ROOT / "etc" / "grafana" / "manifest-service.json"
_NAME = re.compile(r"\bmanifest_service_\w+")
_SELECTOR = re.compile(r"\b(manifest_service_\w+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)(=|!=|=~|!~)"([^"]*)"')


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts())
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def documented() -> set[str]:
    return set(re.findall(r"^\| `(manifest_service_\w+)`", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))


def family_of(sample: str) -> str:
    """The name under which a sample is documented: a histogram has several samples."""
    return re.sub(r"_(bucket|count|sum|created)$", "", sample)


@pytest.mark.slow
def test_every_name_and_label_in_use_is_answered(service: Service) -> None:
    answered = service.all_figures()

    for expression in expressions():
        assert _NAME.search(expression) or expression.startswith("up{"), expression
        assert set(_NAME.findall(expression)) <= set(answered), expression
        for name, matchers in _SELECTOR.findall(expression):
            for label, operator, value in _MATCHER.findall(matchers):
                given = {labels.get(label) for labels in answered[name]}
                assert None not in given, (name, label)
                if operator == "=":
                    assert value in given, (name, label, value)


@pytest.mark.slow
def test_every_figure_is_documented_and_every_documented_one_is_there(service: Service) -> None:
    answered = {family_of(name) for name in service.all_figures() if not name.endswith("_created")}

    assert answered == documented()


@pytest.mark.slow
def test_labels_have_few_values(service: Service) -> None:
    for name, labels in service.all_figures().items():
        assert len(labels) < 250, name


def test_each_alert_says_what_to_do_and_where_to_read_on() -> None:
    for rule in alerts():
        notes = rule["annotations"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert notes["summary"]
        assert notes["description"].endswith((".", "?"))
        page, _, anchor = notes["documentation"].partition("#")
        headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, rule


@pytest.mark.parametrize("arguments", [["check", "rules", ALERTS], ["test", "rules", "alerts_test.yaml"]])
@pytest.mark.slow
def test_prometheus_takes_the_rules_and_they_fire(arguments: list[str | Path]) -> None:
    promtool = programs.find("promtool", "prometheus")

    done = subprocess.run(
        [promtool, *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried() -> None:
    tried = (Path(__file__).parent / "alerts_test.yaml").read_text()

    assert set(re.findall(r'alertname="(\w+)"', tried)) == {rule["alert"] for rule in alerts()}


def test_every_code_is_explained() -> None:
    source = (ROOT / "manifest_service" / "processing" / "diagnosis.py").read_text()
    page = (ROOT / "docs" / "observing.md").read_text()
    codes = set(re.findall(r'Check\.[A-Z]+,\s+"([a-z-]+)"', source)) | {"database-away", "schema-not-current"}

    assert {"no-worker", "queue-old"} <= codes
    assert codes <= set(re.findall(r"`([a-z-]+)`", page))
