"""One run: a site, the stream into it, faults all the while, and the judgement."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.faults import families
from tests.faults.asking import Asking
from tests.faults.cast import start_all
from tests.faults.families.fault import Tally
from tests.faults.judgement import Verdict, judge, judge_ends, judge_trends, unsettled
from tests.faults.kinds import Sample, make_samples
from tests.faults.schedule import Schedule
from tests.faults.site import Site, new_site
from tests.faults.stream import Stream, new_stream
from tests.faults.watching import Trend, Watch
from tests.waiting import eventually

SETTLING = 300.0
"""Seconds in which all images must have come to their end after the last fault: more than all retries of one, and time
for a machine that is shared."""
_QUEUE = "manifest-service"
_PROCESSES_PAUSE = (1.0, 4.0)
"""Seconds between two faults of our processes, least and most: a start takes more than a second of a processor."""
_OTHERS_PAUSE = (0.3, 1.2)
"""Seconds between two faults of all else."""
_TELL_EVERY = 15.0


@dataclass(frozen=True)
class Plan:
    """What to run. uploads, seconds: at least. pace: uploads a second while nothing stands in the way."""

    database: str
    seed: str
    uploads: int
    seconds: float
    pace: float


@dataclass(frozen=True)
class Outcome:
    """What came of a run. Times in seconds. answers: of the API, by status. wrong: a sentence each."""

    plan: Plan
    uploaded: Mapping[str, Sample]
    seconds: float
    settling: float
    tally: Mapping[str, int]
    told: Sequence[tuple[float, str]]
    verdict: Verdict
    answers: Mapping[str, int]
    trends: Mapping[str, Trend]
    starts: Mapping[str, int]
    wrong: Sequence[str]


def run(plan: Plan, tell: Callable[[str], None]) -> Outcome:
    """Run to the end. tell: takes lines on how it goes."""
    with new_site(plan.database) as site:
        samples = make_samples(site.folder / "samples")
        with new_stream(site, samples, plan.seed) as stream:
            return _run(plan, site, stream, tell)


def _run(plan: Plan, site: Site, stream: Stream, tell: Callable[[str], None]) -> Outcome:
    tally, begin = Tally(), time.monotonic()
    start_all(site.cast)
    with (
        Watch([member for member in site.cast if not member.is_mortal]) as watch,
        Asking(site, stream.uploaded, plan.seed) as asking,
    ):
        processes = Schedule(site, families.process_faults(site), tally, f"{plan.seed} processes", _PROCESSES_PAUSE)
        others = Schedule(site, families.other_faults(site), tally, f"{plan.seed} others", _OTHERS_PAUSE)
        with processes, others:
            _upload(plan, stream, [processes, others], tell)
        seconds = time.monotonic() - begin
        tell(f"{len(stream.uploaded)} uploads in {seconds:.0f} s; {len(unsettled(site, stream.uploaded))} to come")
        stream.finish()
        unfinished, settling = _settle(site, stream)
    verdict = judge(site, stream.uploaded)
    return Outcome(
        plan=plan,
        uploaded=stream.uploaded,
        seconds=seconds,
        settling=settling,
        tally=dict(tally.counts),
        told=sorted([*processes.told, *others.told]),
        verdict=verdict,
        answers=dict(asking.answers),
        trends=watch.trends(),
        starts={member.name: member.starts for member in site.cast},
        wrong=[*unfinished, *verdict.wrong, *asking.wrong, *judge_trends(watch.trends()), *judge_ends(site)],
    )


def _settle(site: Site, stream: Stream) -> tuple[Sequence[str], float]:
    """Wait until all images have come to their end, and all messages; gives what has not, and the seconds it took."""
    begin = time.monotonic()
    try:
        eventually(lambda: not unsettled(site, stream.uploaded), SETTLING)
        settled = time.monotonic()
        eventually(lambda: site.broker.messages(_QUEUE) == 0, SETTLING)
    except AssertionError:
        late = [f"{each} after {SETTLING:.0f} s" for each in unsettled(site, stream.uploaded)]
        return [*late, f"{site.broker.messages(_QUEUE)} messages are left in the broker"], time.monotonic() - begin
    return [], settled - begin


def _upload(plan: Plan, stream: Stream, schedules: Sequence[Schedule], tell: Callable[[str], None]) -> None:
    """Upload until there are enough, and each fault has come."""
    rng, begin, told = random.Random(f"{plan.seed} pace"), time.monotonic(), 0.0

    def is_enough() -> bool:
        were_through = all(schedule.was_through.is_set() for schedule in schedules)
        return len(stream.uploaded) >= plan.uploads and time.monotonic() - begin >= plan.seconds and were_through

    while not is_enough():
        time.sleep(rng.expovariate(plan.pace))
        stream.upload()
        if time.monotonic() - told > _TELL_EVERY:
            told = time.monotonic()
            faults = sum(len(schedule.told) for schedule in schedules)
            tell(f"{told - begin:5.0f} s: {len(stream.uploaded)} uploads, {faults} faults")
