"""The judgement: every image in its right state with its right digest, none twice, none lost, nothing left behind."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import requests
from sqlalchemy import func, select

from manifest_service.manifests.models import Event, Image, Manifest
from manifest_service.manifests.work_models import QueueEntry
from tests.faults.asking import api_urls
from tests.faults.cast import stop_all
from tests.faults.kinds import Sample
from tests.faults.site import Site
from tests.faults.watching import Trend
from tests.waiting import eventually

MEMORY_GROWTH = 16 << 20
"""Bytes of resident memory between the two medians: what the allocator's arenas still gain. Images have about a MiB: a
tenth of each, leaked, comes to more in a run of 500."""
FILES_GROWTH = 4
"""Open files between the two medians: a connection more or less, at the moment of a look."""

_FINAL = {"ready", "refused", "failed", "deleted"}
_DEFECT = re.compile("could not be written down|met something unexpected|the computation broke")
"""What our processes log of defects of ours."""


@dataclass(frozen=True)
class Verdict:
    """wrong: a sentence each; nothing where all is right. ended: images by their kind and end. events: by kind."""

    wrong: Sequence[str]
    ended: Mapping[tuple[str, str], int]
    events: Mapping[str, int]
    lost_attempts: int


def unsettled(site: Site, uploaded: Mapping[str, Sample]) -> Sequence[str]:
    """Images that have not come to an end yet, and how they stand."""
    with site.database.engine.connect() as connection:
        rows = connection.execute(select(Image.image_id, Image.status)).tuples().all()
    stands = dict(rows)
    return [
        f"{image_id} ({sample.kind.name}) is {stands.get(image_id)}"
        for image_id, sample in uploaded.items()
        if stands.get(image_id) not in _FINAL or (sample.kind.status == "deleted") != (stands[image_id] == "deleted")
    ]


def judge(site: Site, uploaded: Mapping[str, Sample]) -> Verdict:
    """Look at everything, by the API and in the database. The processes still run."""
    with site.database.engine.connect() as connection:
        manifests = connection.execute(select(Manifest.image_id, func.count()).group_by(Manifest.image_id)).all()
        events = connection.execute(
            select(Event.image_id, Event.kind, func.count()).group_by(Event.image_id, Event.kind)
        ).all()
        left = connection.execute(select(func.count()).select_from(QueueEntry)).scalar_one()
        images = set(connection.execute(select(Image.image_id)).scalars())
    by_image: dict[str, Counter[str]] = {image_id: Counter() for image_id in uploaded}
    for image_id, kind, count in events:
        by_image.setdefault(str(image_id), Counter())[kind] = count
    wrong = [f"{image_id} was never uploaded" for image_id in images - set(uploaded)]
    wrong += [f"{image_id} is lost" for image_id in set(uploaded) - images]
    wrong += [f"{image_id} has {count} revisions" for image_id, count in manifests if count != 1]
    if left:
        wrong.append(f"{left} entries are left in the queue")
    ended: Counter[tuple[str, str]] = Counter()
    url = api_urls(site)[-1]
    with requests.Session() as session:
        for image_id, sample in uploaded.items():
            answer = session.get(f"{url}/v1/manifests/{image_id}", timeout=30).json()
            wrong += _judge_image(image_id, sample, answer, by_image[image_id])
            ended[sample.kind.name, answer.get("code") or answer.get("status") or "?"] += 1
    totals: Counter[str] = Counter()
    for counts in by_image.values():
        totals += counts
    kept = ("computation-retried", "computation-returned", "ready", "refused", "failed")
    lost = totals["computation-started"] - sum(totals[kind] for kind in kept)
    return Verdict(wrong, ended, totals, lost)


def _judge_image(image_id: str, sample: Sample, answer: Mapping[str, object], events: Counter[str]) -> Iterator[str]:
    kind = sample.kind
    what = f"{image_id} ({kind.name})"
    if kind.status == "deleted":
        if answer.get("code") != "image-deleted":
            yield f"{what} should be deleted, the API says {answer.get('status')} {answer.get('code')}"
    elif (answer.get("status"), answer.get("code")) != (kind.status, kind.code):
        yield f"{what} is {answer.get('status')} {answer.get('code')}: {answer.get('reason')}"
    elif kind.status == "ready":
        digests = answer.get("digests")
        if not isinstance(digests, dict) or digests.get("sha256") != sample.digest:
            yield f"{what} has the digests {digests}, {sample.digest} is right"
    ends = events["ready"] + events["refused"] + events["failed"]
    if ends > 1 or (ends != 1 and kind.status != "deleted"):
        yield f"{what} came to {ends} ends"
    if events["uploaded"] > 1 or (events["uploaded"] != 1 and kind.status != "deleted"):
        yield f"{what} was taken in {events['uploaded']} times"
    if events["deleted"] != (kind.status == "deleted"):
        yield f"{what} was marked as deleted {events['deleted']} times"
    if events["re-uploaded"] or (events["immutability-violation"] and kind.code != "source-mismatch"):
        yield f"{what} is said to have changed"


def judge_trends(trends: Mapping[str, Trend]) -> Iterator[str]:
    """Whether memory and open files stayed flat."""
    for name, trend in trends.items():
        if trend.late.memory - trend.early.memory > MEMORY_GROWTH:
            yield f"{name} grew from {trend.early.memory >> 20} to {trend.late.memory >> 20} MiB"
        if trend.late.files - trend.early.files > FILES_GROWTH:
            yield f"{name} had {trend.early.files} files open, and {trend.late.files} in the end"


def judge_ends(site: Site) -> Iterator[str]:
    """End all processes in good order, and look at how they ended, what they logged, and what they left behind."""
    with suppress(AssertionError):  # One that has just been started may not have come to it yet.
        eventually(lambda: not any(member.zombies() for member in site.cast))
    yield from (f"{member.name} has {member.zombies()} zombies" for member in site.cast if member.zombies())
    for name, code in stop_all(site.cast).items():
        if code != 0:
            yield f"{name} ended with {code} when asked to"
    for member in site.cast:
        yield from (f"{member.name} ended by itself with {end}" for end in member.own_ends())
        yield from (f"{member.name}: {line}" for line in member.process.log_text().splitlines() if _DEFECT.search(line))
    left = os.listdir(site.scratch)
    if left:
        yield f"files are left in scratch: {left}"
    if site.small_disks:
        room = os.statvfs(site.scratch)
        if room.f_bfree != room.f_blocks:
            yield f"{(room.f_blocks - room.f_bfree) * room.f_frsize} bytes of scratch are still taken"
