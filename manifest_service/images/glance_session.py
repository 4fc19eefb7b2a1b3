"""Glance as the [glance] options say, authenticated by keystoneauth1 as OpenStack's services do it among themselves."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import requests
from keystoneauth1 import adapter, exceptions, loading
from oslo_config import cfg

from manifest_service.errors import DownloadCode, DownloadFailed, UsageError
from manifest_service.images.glance_api import GlanceApi
from manifest_service.images.glance_connection import CONNECT_TIMEOUT, not_asked, without_version
from manifest_service.urls import place_of

GROUP = "glance"

_REFUSED = (
    exceptions.Unauthorized,
    exceptions.Forbidden,
    exceptions.AuthorizationFailure,
    exceptions.MissingAuthPlugin,
    exceptions.AuthPluginException,
)


def make_glance_api(conf: cfg.ConfigOpts) -> GlanceApi | None:
    """The Glance of [glance]; None where `auth_type` is not set. Nobody is asked yet.

    Threads may share it. Raises UsageError where the options do not fit together.
    """
    _register_options(conf)
    try:
        auth = loading.load_auth_from_conf_options(conf, GROUP)
        if auth is None:
            return None
        session = loading.load_session_from_conf_options(conf, GROUP, auth=auth)
        found = loading.load_adapter_from_conf_options(conf, GROUP, session=session)
    except (exceptions.ClientException, cfg.Error, TypeError, ValueError) as error:
        raise UsageError("bad-configuration", f"the [glance] options cannot be used: {error}") from error
    return GlanceApi(SessionConnection(found, conf.limits.store_silence))


# The adapter's own waits until the time of day at which it was made: for hours, where a clock was set back by hours.
_NO_LIMIT = nullcontext()


class SessionConnection:
    """Glance where Keystone's catalogue says it is (or `endpoint_override`), with a token that is renewed by itself."""

    def __init__(self, found: adapter.Adapter, silence: float) -> None:
        """silence: seconds between two parts of an answer after which it counts as broken."""
        self._adapter = found
        self._timeout = (CONNECT_TIMEOUT, silence)

    @property
    def place(self) -> str:
        try:
            return place_of(self._endpoint(), "Glance")
        except (DownloadFailed, UsageError):
            return "the place that the [glance] options name"

    def get(self, path: str, headers: Mapping[str, str]) -> requests.Response:
        url = self._endpoint() + path
        try:
            return self._adapter.get(
                url,
                headers={"Connection": "close", "Accept-Encoding": "identity", **headers},
                timeout=self._timeout,
                stream=True,
                redirect=False,
                raise_exc=False,
                rate_semaphore=_NO_LIMIT,
                log=False,  # Locations hold credentials.
            )
        except _REFUSED as error:
            raise _refused(error) from error
        except (exceptions.ClientException, OSError) as error:
            raise not_asked(place_of(url, "Glance"), error) from error

    def close(self) -> None:
        """Close nothing: each request has its own connection."""

    def _endpoint(self) -> str:
        try:
            found = self._adapter.get_endpoint()
        except _REFUSED as error:
            raise _refused(error) from error
        except (exceptions.ClientException, OSError) as error:
            raise not_asked("the place that Keystone names", error) from error
        if not found:
            raise DownloadFailed(
                DownloadCode.BAD_ANSWER, "Keystone's catalogue has no image service for this region and interface"
            )
        return without_version(found)


def _refused(error: Exception) -> DownloadFailed:
    return DownloadFailed(
        DownloadCode.FORBIDDEN, f"Keystone does not accept what the [glance] options say ({type(error).__name__})"
    )


def _register_options(conf: cfg.ConfigOpts) -> None:
    loading.register_auth_conf_options(conf, GROUP)
    loading.register_session_conf_options(conf, GROUP)
    loading.register_adapter_conf_options(conf, GROUP)
    conf.set_default("service_type", "image", group=GROUP)
    conf.set_default("valid_interfaces", ["internal", "public"], group=GROUP)
