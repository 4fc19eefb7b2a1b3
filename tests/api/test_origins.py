"""What a page of another site may have a browser ask of the API."""

import pytest

from manifest_service.manifests.database import Database
from tests.api.client import Client
from tests.builders import IMAGE_ID, observation, observe

COMPUTATIONS = f"/v1/manifests/{IMAGE_ID}/computations"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_form_of_another_site_starts_no_computation(site: str, local: Database, local_api: Client) -> None:
    observe(local, observation())
    events = local_api.get(f"/v1/manifests/{IMAGE_ID}/history").json()["events"]
    headers = {
        "Sec-Fetch-Site": site,
        "Sec-Fetch-Mode": "navigate",
        "Content-Type": "application/x-www-form-urlencoded",
    }

    response = local_api.post(COMPUTATIONS, headers=headers, data="")

    assert (response.status_code, response.json()["code"]) == (403, "cross-site")
    assert local_api.get(f"/v1/manifests/{IMAGE_ID}/history").json()["events"] == events


@pytest.mark.parametrize("site", ["same-origin", "none", None])
def test_our_own_pages_and_programs_may(site: str | None, local: Database, local_api: Client) -> None:
    observe(local, observation())

    response = local_api.post(COMPUTATIONS, headers={} if site is None else {"Sec-Fetch-Site": site})

    assert response.status_code == 202


def test_a_link_from_another_site_leads_to_the_pages(local_api: Client) -> None:
    assert local_api.get("/images", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
