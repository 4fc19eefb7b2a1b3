"""What can go wrong, by cause: each with a stable code, a sentence of what was found, and the next step to take.

Two families follow the states of a manifest. An `ImageRefused` is a property of the content: trying again cannot help.
A `ComputationFailed` is a property of the attempt; a retriable one is tried again by the worker before it is final.
"""

from __future__ import annotations

from enum import StrEnum


class RefusalCode(StrEnum):
    """Why an image's content can never have a manifest. Nova would refuse it too, or should."""

    BACKING_FILE = "backing-file"
    DATA_FILE = "data-file"
    ENCRYPTED = "encrypted"
    CORRUPT_HEADER = "corrupt-header"
    CORRUPT_TABLE = "corrupt-table"
    CORRUPT_DATA = "corrupt-data"
    TRUNCATED = "truncated"
    UNSUPPORTED_FEATURE = "unsupported-feature"
    FORMAT_MISMATCH = "format-mismatch"
    UNSUPPORTED_FORMAT = "unsupported-format"
    UNSUPPORTED_CONTAINER = "unsupported-container"
    VIRTUAL_SIZE_LIMIT = "virtual-size-limit"


class FailureCode(StrEnum):
    """Why an attempt at a manifest failed. An operator may ask for it again."""

    SOURCE_MISMATCH = "source-mismatch"
    SOURCE_NOT_FOUND = "source-not-found"
    SOURCE_UNREADABLE = "source-unreadable"
    SOURCE_CHANGED = "source-changed"
    STORE_UNSUPPORTED = "store-unsupported"
    STORE_BROKEN = "store-broken"
    SPOOL_LIMIT = "spool-limit"
    GLANCE_AWAY = "glance-away"
    GLANCE_FORBIDDEN = "glance-forbidden"
    QEMU_IMG_MISSING = "qemu-img-missing"
    CONVERSION_LIMIT = "conversion-limit"
    SCRATCH_FULL = "scratch-full"
    TIME_LIMIT = "time-limit"
    WORKER_LOST = "worker-lost"
    INTERNAL_ERROR = "internal-error"


class OutputCode(StrEnum):
    """Why a file that somebody asked for was not written."""

    OUTPUT_FAILED = "output-failed"
    OUTPUT_EXISTS = "output-exists"
    DIGEST_MISMATCH = "digest-mismatch"


class ProcessCode(StrEnum):
    """Why a command was ended though nothing was wrong with what it was given."""

    OUT_OF_MEMORY = "out-of-memory"


class DownloadCode(StrEnum):
    """Why an image could not be had from Glance."""

    GLANCE_AWAY = "glance-away"
    NOT_FOUND = "not-found"
    FORBIDDEN = "forbidden"
    NO_DATA = "no-data"
    BAD_ANSWER = "bad-answer"
    DOWNLOAD_BROKEN = "download-broken"
    NO_MANIFEST = "no-manifest"
    NOT_VERIFIED = "not-verified"
    SOURCE_MISMATCH = "source-mismatch"


class KeyCode(StrEnum):
    """Why a key cannot be used, or was not made."""

    BAD_KEY = "bad-key"
    KEY_EXISTS = "key-exists"
    NO_KEY = "no-key"


class StatementCode(StrEnum):
    """Why a signed statement is not believed, or the manifest that it is of."""

    BAD_STATEMENT = "bad-statement"
    NOT_VERIFIED = "not-verified"
    NO_STATEMENT = "no-statement"
    MANIFEST_TAMPERED = "manifest-tampered"


class AccessCode(StrEnum):
    """Why a command was not let in."""

    NOT_AUTHENTICATED = "not-authenticated"
    NOT_ALLOWED = "not-allowed"
    BAD_CLOUD = "bad-cloud"
    BAD_CERTIFICATE = "bad-certificate"
    KEYSTONE_AWAY = "keystone-away"


class BundleCode(StrEnum):
    """Why manifests were not written to a file, or not taken from one."""

    BAD_EXPORT = "bad-export"
    EXPORT_BROKEN = "export-broken"
    BAD_BUNDLE = "bad-bundle"
    NO_TRUSTED_KEY = "no-trusted-key"
    DATABASE_AWAY = "database-away"


NEXT_STEPS: dict[str, str] = {
    RefusalCode.BACKING_FILE: "Flatten it with `qemu-img convert` where its backing file is trusted, and upload that.",
    RefusalCode.DATA_FILE: "Convert it with `qemu-img convert` where its data file is trusted, and upload that.",
    RefusalCode.ENCRYPTED: "Upload it decrypted; Nova does not convert encrypted images.",
    RefusalCode.CORRUPT_HEADER: "Check the file with `qemu-img check` where it was made, and upload it anew.",
    RefusalCode.CORRUPT_TABLE: "Check the file with `qemu-img check` where it was made, and upload it anew.",
    RefusalCode.CORRUPT_DATA: "Check the file with `qemu-img check` where it was made, and upload it anew.",
    RefusalCode.TRUNCATED: "The upload was cut or the file was incomplete: upload the whole file again.",
    RefusalCode.UNSUPPORTED_FEATURE: "Rewrite it with `qemu-img convert -O qcow2`, which drops unknown features.",
    RefusalCode.FORMAT_MISMATCH: "Upload it again under the disk_format that it really has.",
    RefusalCode.UNSUPPORTED_FORMAT: "Convert it to qcow2 or raw with `qemu-img convert`, and upload that.",
    RefusalCode.UNSUPPORTED_CONTAINER: "Unpack the container and upload the disk in it with container_format bare.",
    RefusalCode.VIRTUAL_SIZE_LIMIT: "Raise [limits] virtual_size if an image of this size is meant.",
    FailureCode.SOURCE_MISMATCH: (
        "The store holds other bytes than Glance recorded. Treat the image as damaged or replaced: compare it with its"
        " origin before anyone boots it."
    ),
    FailureCode.SOURCE_NOT_FOUND: (
        "Check that this service's store sections are those of glance-api.conf, and that [glance] lets it ask Glance."
    ),
    FailureCode.SOURCE_UNREADABLE: "Check the store, and that this service's user may read it; then compute again.",
    FailureCode.SOURCE_CHANGED: "It changed while it was read: find out what writes to the store, then compute again.",
    FailureCode.STORE_UNSUPPORTED: (
        "Configure the store that Glance keeps the image in as glance-api.conf does, or add `download` to [glance]"
        " resolve; then compute again."
    ),
    FailureCode.STORE_BROKEN: (
        "Look at the store, and the network to it. Where it breaks off at the same byte each time, the image in the"
        " store ends there. Then compute again."
    ),
    FailureCode.SPOOL_LIMIT: (
        "Raise [limits] scratch_size if [DEFAULT] scratch_path has the room, or rewrite the image with `qemu-img"
        " convert`, which writes tables first; then compute again."
    ),
    FailureCode.GLANCE_AWAY: "Check that Glance and Keystone run, and the [glance] options; then compute again.",
    FailureCode.GLANCE_FORBIDDEN: (
        "Give the user of the [glance] options the role `service` (or `admin`) in a project; then compute again."
    ),
    FailureCode.QEMU_IMG_MISSING: (
        "Install qemu-img (Debian package qemu-utils) where the workers run, and let them start it; then compute again."
    ),
    FailureCode.CONVERSION_LIMIT: (
        "Raise [limits] conversion_memory, conversion_time or scratch_size if the image is meant; then compute again."
    ),
    FailureCode.SCRATCH_FULL: "Make room in [DEFAULT] scratch_path, or name another folder; then compute again.",
    FailureCode.TIME_LIMIT: "Raise [limits] computation_time, or look at why the store is slow; then compute again.",
    FailureCode.WORKER_LOST: "Workers died on this image each time. Look at their logs (memory?); then compute again.",
    FailureCode.INTERNAL_ERROR: "This is a defect of the service: report it with the worker's log; then compute again.",
    OutputCode.OUTPUT_FAILED: "Nothing was written. Make room or name another output, then do it again.",
    OutputCode.OUTPUT_EXISTS: "Name another output, or replace the file that is there with --force.",
    KeyCode.BAD_KEY: "Name a file with an Ed25519 key in PEM; `manifest-service keys generate FILE` makes one.",
    KeyCode.KEY_EXISTS: "Name another file: a key that statements were signed with is never replaced.",
    KeyCode.NO_KEY: "Name the key in [attestations] signing_key; `manifest-service keys generate FILE` makes one.",
    AccessCode.NOT_AUTHENTICATED: (
        "Name a cloud of clouds.yaml by --os-cloud, or put a token that is still valid into OS_TOKEN; `openstack"
        " --os-cloud NAME token issue` shows whether Keystone accepts it."
    ),
    AccessCode.NOT_ALLOWED: (
        "Have an operator give its user the role that this needs: `service` for a compute node; docs/authentication.md"
        " says which role may what."
    ),
    AccessCode.BAD_CLOUD: "`openstack --os-cloud NAME token issue` reads the same files: try it with that.",
    AccessCode.BAD_CERTIFICATE: "Name the certificate of the authority that signed it by --cacert, or OS_CACERT.",
    AccessCode.KEYSTONE_AWAY: "Check that Keystone answers at the auth_url, from this machine.",
    BundleCode.BAD_EXPORT: "docs/export.md says which formats and filters there are.",
    BundleCode.EXPORT_BROKEN: "Export again; the API's log says what went wrong.",
    BundleCode.BAD_BUNDLE: "Name a file of `manifest-service export`, or - for standard input.",
    BundleCode.NO_TRUSTED_KEY: "Name the other site's public key by --trusted-key, or say --unsigned.",
    BundleCode.DATABASE_AWAY: "Do it again when the database answers; what was done before stays.",
    StatementCode.NO_STATEMENT: (
        "Statements are made where workers have an [attestations] signing_key; `manifest-service keys sign` makes those"
        " of manifests from before there was a key."
    ),
    StatementCode.MANIFEST_TAMPERED: (
        "Somebody edited the database past the service: `manifest-service audit` says what. Find out who, then compute"
        " the image again."
    ),
    OutputCode.DIGEST_MISMATCH: (
        "Nothing was written. Check that the image and the digest belong together; if they do, the image is not what"
        " the digest was computed from."
    ),
}

DOWNLOAD_STEPS: dict[DownloadCode, str] = {
    DownloadCode.GLANCE_AWAY: "Check that Glance runs, its URL (--glance-url), and OS_CACERT for its certificate.",
    DownloadCode.NOT_FOUND: "Check the image's id, and that the token's project may see it: `openstack image show`.",
    DownloadCode.FORBIDDEN: "Put a valid token of a project that may download the image into OS_TOKEN.",
    DownloadCode.NO_DATA: (
        "If its status is active, the store has lost the image's data: look into the store. Otherwise wait for the"
        " upload."
    ),
    DownloadCode.BAD_ANSWER: "Check that the URL is that of the image API itself, and not of another service.",
    DownloadCode.DOWNLOAD_BROKEN: (
        "Look at Glance's log. Where it breaks off at the same byte each time, the image in the store ends there."
    ),
    DownloadCode.NO_MANIFEST: "Wait for the manifest, or leave out --url: Glance's checksums are verified anyway.",
    DownloadCode.NOT_VERIFIED: (
        "Nothing was written. Check that the key is the one that the operator's workers sign with: `manifest-service"
        " keys show`. If it is, somebody has put another manifest in its place."
    ),
    DownloadCode.SOURCE_MISMATCH: (
        "Nothing was written. Fetch it again; if that fails too, treat the image as damaged or replaced in its store,"
        " and compare it with its origin before anyone boots it."
    ),
}
"""Apart from the others, since some codes mean something else to those who ask our own API."""


class ManifestServiceError(Exception):
    """Base of all errors that a user may cause or meet.

    code: stable, lower case with hyphens; scripts may hold on to it.
    reason: one sentence: what was expected, what was found, where.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = str(code)
        self.reason = reason

    @property
    def next_step(self) -> str:
        """What the reader of this error should do next, in one sentence."""
        return NEXT_STEPS.get(self.code, "")

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"


class ImageRefused(ManifestServiceError):
    """The content can never be trusted or converted; no attempt will change that."""

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(code, reason)


class ComputationFailed(ManifestServiceError):
    """This attempt did not give a manifest.

    retriable: whether the same attempt may succeed later by itself (a store that is away), as against one that waits
        for an operator (source bytes that are not what Glance recorded).
    """

    def __init__(self, code: FailureCode, reason: str, *, retriable: bool) -> None:
        super().__init__(code, reason)
        self.retriable = retriable


class UsageError(ManifestServiceError):
    """The user asked for something that cannot be: a missing file, a bad option, an unreadable configuration."""


class OutputFailed(ManifestServiceError):
    """A file could not be written; nothing of it is left."""

    def __init__(self, reason: str) -> None:
        super().__init__(OutputCode.OUTPUT_FAILED, reason)


class DownloadFailed(ManifestServiceError):
    """An image could not be had from Glance, or is not what it should be."""

    def __init__(self, code: DownloadCode, reason: str) -> None:
        super().__init__(code, reason)

    @property
    def next_step(self) -> str:
        return DOWNLOAD_STEPS[DownloadCode(self.code)]
