"""`/fleet`: what the nodes hold, and which of it is not what it should be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from api.authorization import seen_by
from api.pages import searching
from api.pages.rendering import page
from api.problems import ProblemError
from api.service import ApiService
from manifest_service.manifests import fleet, queries
from manifest_service.manifests.fleet import ALARMING, FileFilter, NodeMarker, NodeSummary
from manifest_service.manifests.verifications import UnknownMarker, VerificationRecord
from manifest_service.verdicts import Verdict

NODES = 50
"""Nodes on one page."""
FILES = 50
"""Files on one page."""
FIRST_FILES = 10
"""Files of each alarming verdict on the page of nodes."""

_NODE = re.compile(r"[A-Za-z0-9._:-]{1,255}")


@dataclass(frozen=True)
class FleetPage:
    """alarms: verdict → its first files. following: what the next part of the nodes begins from; None at the end.

    names: image id → name, of the known images that these files belong to.
    """

    alarms: dict[Verdict, list[VerificationRecord]]
    nodes: list[NodeSummary]
    following: str | None
    names: Mapping[str, str | None]


def add_to(blueprint: Blueprint, service: ApiService) -> None:
    """Add the pages of the fleet."""

    @blueprint.get("/fleet")
    def show_fleet() -> ResponseReturnValue:
        after = _marker_of(request.args.get("after", ""))
        fleet_page = service.database.transaction(lambda session: _read_fleet(session, after))
        return page("fleet.html", fleet=fleet_page, is_start=after is None, most=FIRST_FILES, alarming=ALARMING)

    @blueprint.get("/fleet/files")
    def list_files() -> ResponseReturnValue:
        wanted = _filter_of(request.args)
        marker = _report_id_of(request.args.get("marker"))

        def read(session: Session) -> tuple[list[VerificationRecord], Mapping[str, str | None]]:
            if wanted == FileFilter():
                return [], {}
            found = fleet.list_files(session, seen_by(nodes=True), wanted, FILES + 1, marker)
            return found, _names_of(session, found)

        try:
            found, names = service.database.transaction(read)
        except UnknownMarker:
            raise ProblemError(
                HTTPStatus.NOT_FOUND, "unknown-marker", "this part of the list begins from a report that is not known"
            ) from None
        following = found[FILES - 1].report.report_id if len(found) > FILES else None
        return page(
            "files.html",
            files=found[:FILES],
            names=names,
            wanted=wanted,
            verdicts=fleet.WORST_FIRST,
            is_asked=wanted != FileFilter(),
            is_start=marker is None,
            following=following,
        )


def _read_fleet(session: Session, after: NodeMarker | None) -> FleetPage:
    alarms = {}
    if after is None:
        alarms = {
            verdict: fleet.list_files(session, seen_by(nodes=True), FileFilter(verdict=verdict), FIRST_FILES + 1, None)
            for verdict in ALARMING
        }
    nodes = fleet.list_nodes(session, seen_by(nodes=True), NODES + 1, after)
    following = None
    if len(nodes) > NODES:
        last = fleet.marker_of(nodes[NODES - 1])
        following = f"{last.alarm or ''}:{last.node}"
    return FleetPage(
        alarms,
        nodes[:NODES],
        following,
        _names_of(session, [record for files in alarms.values() for record in files]),
    )


def _names_of(session: Session, files: list[VerificationRecord]) -> dict[str, str | None]:
    image_ids = {record.report.image_id for record in files if record.report.image_id is not None}
    records = queries.find_by_image_ids(session, seen_by(), sorted(image_ids))
    return {record.image_id: record.name for record in records}


def _marker_of(text: str) -> NodeMarker | None:
    """Where the page of nodes begins. Raises ProblemError for what no page links to."""
    if not text:
        return None
    alarm, _, node = text.partition(":")
    if alarm not in ("", *ALARMING) or not _NODE.fullmatch(node):
        raise ProblemError(HTTPStatus.NOT_FOUND, "unknown-marker", "no part of the nodes begins from there")
    return NodeMarker(node, Verdict(alarm) if alarm else None)


def _report_id_of(text: str | None) -> str | None:
    """Where a page of files begins. Raises ProblemError for what is no report's id."""
    if text is None:
        return None
    report_id = searching.image_id_of(text)  # which has the same form
    if report_id is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "unknown-marker", "no part of the files begins from there")
    return report_id


def _filter_of(asked: dict[str, str]) -> FileFilter:
    """Which files are asked for. Raises ProblemError for what cannot be."""
    node, verdict, image = (asked.get(name, "").strip() for name in ("node", "verdict", "image"))
    if node and not _NODE.fullmatch(node):
        raise _invalid("node: letters, digits and . _ : - make a node's name, and at most 255 of them")
    if verdict and verdict not in set(Verdict):
        raise _invalid(f"verdict: there are {', '.join(fleet.WORST_FIRST)}")
    image_id = searching.image_id_of(image)
    if image and image_id is None:
        raise _invalid("image: an image id was expected, as 245a8fa1-0861-4783-9ffc-4e4b20f3fe80")
    return FileFilter(node=node or None, verdict=Verdict(verdict) if verdict else None, image_id=image_id)


def _invalid(sentence: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, "invalid-request", sentence)
