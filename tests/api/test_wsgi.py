"""`api.wsgi` where the service cannot be made: whoever asks gets a problem document as from everywhere else."""

import pytest
from werkzeug.test import Client

from api.wsgi import FILES_VARIABLE, application

GIVEN_ID = "req-01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_configuration_that_cannot_be_used(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILES_VARIABLE, "/nowhere/api.conf")

    response = Client(application).open("/v1/manifests", method=method, headers={"X-Openstack-Request-Id": GIVEN_ID})

    assert (response.status_code, response.content_type) == (503, "application/problem+json")
    assert response.headers["X-Openstack-Request-Id"] == GIVEN_ID
    assert response.headers["Retry-After"]
    if method == "HEAD":
        assert not response.data
    else:
        assert response.json is not None
        assert response.json["code"] == "not-ready"
        assert "nowhere" not in response.text
