"""Asking the APIs all the while, as nodes do: they may fail to answer, but never answer wrongly."""

import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Self

import requests

from tests.faults.kinds import Sample
from tests.faults.site import Site
from tests.servers.service import ApiProcess

_INTERVAL = 0.1
_TIMEOUT = 15


class Asking:
    """Asks from entering to leaving a `with` block. answers: by HTTP status, or `no answer`; wrong: what was wrong."""

    def __init__(self, site: Site, uploaded: Mapping[str, Sample], seed: str) -> None:
        """uploaded: what to ask for, which may grow meanwhile."""
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._urls = api_urls(site)
        self._uploaded = uploaded
        self._rng = random.Random(f"{seed} asking")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask_all_the_while, name="asking")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask_all_the_while(self) -> None:
        while not self._over.wait(_INTERVAL):
            known = list(self._uploaded.items())
            if known:
                self._ask(*self._rng.choice(known))

    def _ask(self, image_id: str, sample: Sample) -> None:
        try:
            answer = requests.get(f"{self._rng.choice(self._urls)}/v1/manifests/{image_id}", timeout=_TIMEOUT)
        except requests.RequestException:
            self.answers["no answer"] += 1
            return
        self.answers[str(answer.status_code)] += 1
        if answer.status_code not in {200, 202, 404, 410, 503}:
            self.wrong.append(f"{image_id}: {answer.status_code} {answer.text[:200]}")
            return
        served = answer.json().get("digests", {}).get("sha256")
        if served is not None and served != sample.digest:
            self.wrong.append(f"{image_id}: the API served {served}, {sample.digest} is right")


def api_urls(site: Site) -> Sequence[str]:
    """Where the APIs answer."""
    return [member.process.url for member in site.cast if isinstance(member.process, ApiProcess)]
