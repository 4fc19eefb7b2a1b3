"""keystonemiddleware around the application. Imported only where it is asked for: it is large."""

from __future__ import annotations

from typing import Any

from flask import Flask
from keystoneauth1 import exceptions, loading
from keystonemiddleware import auth_token
from oslo_config import cfg
from oslo_log import log

from api.authentication import AWAY
from manifest_service.config import is_configured
from manifest_service.errors import UsageError

LOG = log.getLogger(__name__)

GROUP = "keystone_authtoken"

_UNREACHABLE = (
    exceptions.ConnectFailure,
    exceptions.DiscoveryFailure,
    exceptions.RequestTimeout,
    auth_token.ServiceError,
)
"""What keystonemiddleware makes an invalid token of, when it is not to decide itself."""


class _KeystoneAway(Exception):
    """Keystone cannot be asked, or does not accept our own user: nothing is known of the token."""


class _Authentication(auth_token.AuthProtocol):  # type: ignore[misc]
    """Asks Keystone about each token, and leaves what follows from it to the application.

    So what is public needs no token, and every refusal is a problem document.
    """

    def process_request(self, request: Any) -> None:
        """Have Keystone's answer in the request's headers, where nobody else's are left."""
        try:
            super().process_request(request)
        except _KeystoneAway:
            request.environ[AWAY] = True
            request.user_token_valid = False

    def process_response(self, response: Any) -> Any:
        """Leave it as it is: the application says where to authenticate."""
        return response

    def fetch_token(self, token: str, **options: Any) -> Any:
        """Ask Keystone. Its being away is not the same as an invalid token, which our base class takes it for."""
        try:
            return super().fetch_token(token, **options)
        except auth_token.InvalidToken as error:
            if isinstance(error.__context__, _UNREACHABLE):
                raise _away(error.__context__) from error
            raise
        except (exceptions.ClientException, auth_token.ServiceError) as error:
            raise _away(error) from error


def authenticate(app: Flask, conf: cfg.ConfigOpts) -> str | None:
    """Have every request of this application authenticated. Answers where callers get their tokens, if that is said.

    Raises UsageError.
    """
    loading.register_auth_conf_options(conf, GROUP)
    if not is_configured(conf, GROUP, "auth_type", "auth_section"):
        raise UsageError(
            "bad-configuration",
            f"[api] auth_strategy is keystone, and [{GROUP}] auth_type is not set: docs/authentication.md shows how",
        )
    options = {"oslo_config_config": conf, "delay_auth_decision": True, "include_service_catalog": True}
    try:
        app.wsgi_app = _Authentication(app.wsgi_app, options)  # type: ignore[method-assign]
    except (exceptions.ClientException, cfg.Error, TypeError, ValueError) as error:
        raise UsageError("bad-configuration", f"the [{GROUP}] options cannot be used: {error}") from error
    where: str | None = conf[GROUP].www_authenticate_uri
    return where


def _away(error: BaseException) -> _KeystoneAway:
    LOG.warning("Keystone cannot be asked about a token: %s", error)
    return _KeystoneAway()
