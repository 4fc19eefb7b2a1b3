"""Authentication as openstacksdk is configured: clouds.yaml, secure.yaml, OS_ variables, every kind of credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keystoneauth1 import exceptions
from keystoneauth1.session import Session
from openstack import exceptions as sdk_exceptions
from openstack.config import OpenStackConfig

from manifest_service.errors import AccessCode, ManifestServiceError, UsageError

_TIMEOUT = 30.0
"""Seconds that Keystone may take for an answer."""
_REFUSED = (
    exceptions.Unauthorized,
    exceptions.Forbidden,
    exceptions.AuthorizationFailure,
    exceptions.MissingRequiredOptions,
    exceptions.NotFound,
)


class CloudAccess:
    """A cloud that is configured as for `openstack --os-cloud`. Its token is got when it is first needed, and kept."""

    def __init__(self, name: str | None, cacert: str | None = None) -> None:
        """name: of a cloud in clouds.yaml; None takes the variables alone. cacert: in place of what is configured.

        Raises UsageError.
        """
        self._where = f"the cloud {name} of clouds.yaml" if name else "OS_AUTH_URL and the other OS_ variables"
        try:
            config = OpenStackConfig(load_yaml_config=name is not None, app_name="manifest-service")
            options: dict[str, Any] = {"cacert": cacert} if cacert else {}
            region = config.get_one(cloud=name, **options)
            verify, _ = region.get_requests_verify_args()
            self.verify = True if verify is None else verify
            self._session: Session = region.get_session()
        except (sdk_exceptions.SDKException, exceptions.ClientException) as error:
            raise UsageError(AccessCode.BAD_CLOUD, f"{self._where} cannot be used: {_first_line(error)}") from None
        except Exception as error:
            # Whatever trips over a file that is not what it should be. Its words may quote a line, and so a password.
            raise UsageError(
                AccessCode.BAD_CLOUD, f"{self._where} cannot be used: the file is none ({type(error).__name__})"
            ) from None
        self._session.timeout = _TIMEOUT

    def headers(self) -> Mapping[str, str]:
        """The token of now; a new one where it is about to expire. Raises ManifestServiceError."""
        try:
            found = self._session.get_auth_headers()
        except exceptions.SSLError:
            raise UsageError(AccessCode.BAD_CERTIFICATE, "the certificate of Keystone does not verify") from None
        except _REFUSED as error:
            raise UsageError(
                AccessCode.NOT_AUTHENTICATED, f"Keystone does not accept {self._where} ({type(error).__name__})"
            ) from None
        except (exceptions.ClientException, OSError) as error:
            raise ManifestServiceError(
                AccessCode.KEYSTONE_AWAY, f"Keystone cannot be asked for a token ({type(error).__name__})"
            ) from None
        return dict(found or {})

    def renew(self) -> bool:
        """Have another token the next time."""
        return bool(self._session.invalidate())


def _first_line(error: Exception) -> str:
    """What an error says, short enough for a line."""
    return (str(error) or type(error).__name__).splitlines()[0][:200]
