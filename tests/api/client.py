"""Asking a running API."""

from typing import Any

import requests

TIMEOUT = 30


class Client:
    """Asks one running API; every error must be a problem document."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.ask("POST", path, **options)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        response = requests.request(method, self.url + path, timeout=TIMEOUT, allow_redirects=False, **options)
        if response.status_code >= 400 and method != "HEAD" and path != "/healthcheck":
            assert response.headers["Content-Type"] == "application/problem+json", (path, response.text)
            document = response.json()
            assert document["status"] == response.status_code
            assert document["request_id"] == response.headers["X-Openstack-Request-Id"]
            assert document["code"]
            assert document["detail"]
            assert "Traceback" not in response.text
        return response
