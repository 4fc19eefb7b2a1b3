"""Computing a manifest from a store that does not give the same bytes each time."""

import random
import tempfile
from collections.abc import Callable, Mapping

import pytest

from manifest_service.disks.limits import DEFAULT_LIMITS
from manifest_service.errors import ComputationFailed
from manifest_service.images.streams.forward import NOTHING_RECORDED, Recorded
from manifest_service.images.streams.patience import Patience, no_tick
from manifest_service.images.streams.spool import SpoolSettings
from manifest_service.images.streams.stream import StreamSettings, StreamSource
from manifest_service.manifests.values import Task
from manifest_service.processing.computation import ComputationSettings, compute_manifest
from tests.builders import IMAGE_ID
from tests.disks.catalogue.case import CLUSTER, TEXT
from tests.disks.qcow2_writer import Data, Entry, Image, deflate
from tests.disks.sources import sha256
from tests.images.scripted import ScriptedObject, then, whole

STREAM = deflate(TEXT)
COUNT = 40
IN_ORDER = Image(
    {index: Data(STREAM if index == 0 else random.Random(index).randbytes(CLUSTER)) for index in range(COUNT)},
    size=(COUNT + 1) * CLUSTER,
    cluster_bits=12,
)
SETTINGS = ComputationSettings(["sha256"], DEFAULT_LIMITS, time_limit=60.0, scratch_folder=tempfile.gettempdir())


class OneObject:
    """A store of one image, read through a window much smaller than it."""

    def __init__(self, stored: ScriptedObject) -> None:
        self._stored = stored

    def open(
        self, image_id: str, recorded: Recorded = NOTHING_RECORDED, tick: Callable[[], None] = no_tick
    ) -> StreamSource:
        patience = Patience(silence=60.0, pause=0.0, tick=tick)
        return StreamSource(self._stored, recorded, StreamSettings(16 * CLUSTER, patience, SpoolSettings(reserve=0)))

    def more_checksums(self, image_id: str, tick: Callable[[], None]) -> Mapping[str, str]:
        return {}


@pytest.mark.parametrize(
    "again",
    [Entry(IN_ORDER.data_offset), Entry(IN_ORDER.descriptor(IN_ORDER.data_offset, len(STREAM)))],
    ids=["would have a wrong digest", "would be refused"],
)
def test_bytes_that_are_others_when_they_come_again_are_no_part_of_any_result(again: Entry) -> None:
    """The disk ends with its first cluster once more: it is read again when all of the source was read."""
    data = IN_ORDER.but(clusters={**IN_ORDER.clusters, COUNT: again}).write()
    altered = bytearray(data)
    altered[IN_ORDER.data_offset] = 0x07  # no block of deflate begins so

    def alter(stored: ScriptedObject) -> None:
        stored.data = bytes(altered)

    stored = ScriptedObject(data, [then(alter, whole), whole])
    task = Task(1, IMAGE_ID, 1, "lease", 1, "qcow2", "bare", len(data), {"sha256": sha256(data)})
    with pytest.raises(ComputationFailed) as caught:
        compute_manifest(task, OneObject(stored), SETTINGS, lambda done, total: None)
    assert (caught.value.code, caught.value.retriable) == ("source-changed", True)

    honest = compute_manifest(task, OneObject(ScriptedObject(data)), SETTINGS, lambda done, total: None)
    assert honest.source_checksums == {"sha256": sha256(data)}
