"""The few calls to Glance that tests make."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import requests

# uwsgi's plain HTTP socket drops connections that are kept alive: one connection for each request.
_HEADERS = {
    "Connection": "close",
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "user-of-the-tests",
    "X-Project-Id": "project-of-the-tests",
}


class GlanceClient:
    """Calls as one who has the given roles. Every answer other than success raises `requests.HTTPError`."""

    def __init__(
        self,
        endpoint: str,
        roles: Sequence[str] = ("admin", "member", "reader", "service"),
        project: str = _HEADERS["X-Project-Id"],
    ) -> None:
        self.endpoint = endpoint
        self._headers = {**_HEADERS, "X-Roles": ",".join(roles), "X-Project-Id": project}

    def create_image(
        self, disk_format: str = "qcow2", container_format: str = "bare", **properties: object
    ) -> dict[str, Any]:
        """A new image without data; keyword arguments such as `id`, `name`, `visibility` go into the request."""
        body = {"disk_format": disk_format, "container_format": container_format, **properties}
        return self._json("POST", "/v2/images", json=body)

    def upload(self, image_id: str, data: bytes | IO[bytes] | Iterable[bytes]) -> None:
        """Give the image its data, through the default store. An iterable goes out chunked, without a length."""
        self._request("PUT", f"/v2/images/{image_id}/file", data=data, binary=True)

    def stage(self, image_id: str, data: bytes | IO[bytes]) -> None:
        """Leave the data with Glance for `import_staged`."""
        self._request("PUT", f"/v2/images/{image_id}/stage", data=data, binary=True)

    def import_staged(self, image_id: str, stores: Sequence[str] = ()) -> None:
        """Start the import of staged data into stores, the default one unless named. Glance does it afterwards."""
        self._import(image_id, {"name": "glance-direct"}, stores)

    def import_from(self, image_id: str, uri: str, stores: Sequence[str] = ()) -> None:
        """Start an import from a web server on 127.0.0.1, the only host that the tests' Glance allows."""
        self._import(image_id, {"name": "web-download", "uri": uri}, stores)

    def copy_to(self, image_id: str, stores: Sequence[str]) -> None:
        """Start copying an active image to more stores."""
        self._import(image_id, {"name": "copy-image"}, stores)

    def add_location(self, image_id: str, url: str) -> None:
        """Have an image without data get it from there, where it stays. Glance hashes it afterwards."""
        self._request("POST", f"/v2/images/{image_id}/locations", json={"url": url, "validation_data": {}})

    def change(self, image_id: str, **properties: object) -> None:
        """Set properties of an image, `visibility` and `os_hidden` for instance."""
        changes = [{"op": "add", "path": f"/{name}", "value": value} for name, value in properties.items()]
        patch = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        self._request("PATCH", f"/v2/images/{image_id}", data=json.dumps(changes), headers=patch)

    def add_member(self, image_id: str, project: str) -> None:
        """Share an image with a project."""
        self._request("POST", f"/v2/images/{image_id}/members", json={"member": project})

    def answer_sharing(self, image_id: str, project: str, status: str) -> None:
        """What the project makes of it: `accepted`, `rejected`, `pending`."""
        self._request("PUT", f"/v2/images/{image_id}/members/{project}", json={"status": status})

    def remove_member(self, image_id: str, project: str) -> None:
        self._request("DELETE", f"/v2/images/{image_id}/members/{project}")

    def sees(self, image_id: str) -> bool:
        """Whether Glance shows it to this caller."""
        try:
            self.show(image_id)
        except requests.HTTPError as error:
            if error.response.status_code != requests.codes.not_found:
                raise
            return False
        return True

    def show(self, image_id: str) -> dict[str, Any]:
        """The image as Glance sees it now."""
        return self._json("GET", f"/v2/images/{image_id}")

    def is_importing(self, image_id: str) -> bool:
        """Whether an import is still under way: an image is active before all stores have it, or the rest is done."""
        image = self.show(image_id)
        return bool(image.get("os_glance_importing_to_stores")) or "os_glance_import_task" in image

    def locations(self, image_id: str) -> list[dict[str, Any]]:
        """Where its data is: url and metadata, among which the store's name."""
        answer: list[dict[str, Any]] = self._request("GET", f"/v2/images/{image_id}/locations").json()
        return answer

    def list_images(self, **filters: str) -> list[dict[str, Any]]:
        """All images, followed over all pages."""
        images: list[dict[str, Any]] = []
        page = self._json("GET", "/v2/images", params=filters)
        images += page["images"]
        while next_path := page.get("next"):
            page = self._json("GET", next_path)
            images += page["images"]
        return images

    def delete(self, image_id: str, store: str | None = None) -> None:
        """Delete the image, or its data in one store only."""
        self._request("DELETE", f"/v2/stores/{store}/{image_id}" if store else f"/v2/images/{image_id}")

    def deactivate(self, image_id: str) -> None:
        self._request("POST", f"/v2/images/{image_id}/actions/deactivate")

    def reactivate(self, image_id: str) -> None:
        self._request("POST", f"/v2/images/{image_id}/actions/reactivate")

    def _import(self, image_id: str, method: dict[str, str], stores: Sequence[str]) -> None:
        body: dict[str, object] = {"method": method}
        if stores:
            body["stores"] = list(stores)
        self._request("POST", f"/v2/images/{image_id}/import", json=body)

    def _json(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._request(method, path, **arguments).json()
        return answer

    def _request(
        self,
        method: str,
        path: str,
        *,
        binary: bool = False,
        headers: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> requests.Response:
        headers = {**self._headers, **(headers or {})} | (
            {"Content-Type": "application/octet-stream"} if binary else {}
        )
        with requests.Session() as session:
            session.trust_env = False  # a developer's web proxy has no part in this
            response = session.request(method, self.endpoint + path, headers=headers, timeout=60, **arguments)
        if not response.ok:
            raise requests.HTTPError(f"{method} {path}: {response.status_code} {response.text}", response=response)
        return response
