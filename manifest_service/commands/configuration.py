"""A configuration that is held by a running process, and read again when somebody asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oslo_config import cfg
from oslo_log import log

from manifest_service import config
from manifest_service.errors import UsageError

LOG = log.getLogger(__name__)

Overrides = Sequence[tuple[str, str, Any]]

_LOG_LEVELS = {("DEFAULT", "debug"), ("DEFAULT", "default_log_levels")}
"""What oslo.log takes over from a configuration while it runs."""


@dataclass(frozen=True)
class Configuration:
    """What the files said at one moment.

    files: as --config-file named them. overrides: what the command line says; it stands above all files.
    conf: the options. written: (section, option) → the values, as they stand in the files.
    """

    files: Sequence[str]
    overrides: Overrides
    conf: cfg.ConfigOpts
    written: Mapping[tuple[str, str], Sequence[str]]

    @classmethod
    def read(cls, files: Sequence[str], overrides: Overrides = ()) -> Configuration:
        """Read the files. Raises UsageError."""
        conf = config.load(files, overrides)
        return cls(files, overrides, conf, _written_in(conf.default_config_files))

    def read_again(self) -> Configuration:
        """What the same files say now. Raises UsageError."""
        return self.read(self.files, self.overrides)

    def differs_in_log_levels_alone(self, other: Configuration) -> bool:
        """Whether all that has changed are log levels, which need no new process."""
        options = self.written.keys() | other.written.keys()
        changed = {option for option in options if self.written.get(option) != other.written.get(option)}
        return bool(changed) and changed <= _LOG_LEVELS


def reload_log_levels(configuration: Configuration) -> None:
    """Take over the log levels that the files have now; of other changes oslo.config says that they are ignored."""
    try:
        configuration.read_again()
    except UsageError as error:
        LOG.error("the configuration is not reloaded, and the old one goes on: %s", error)  # noqa: TRY400
        return
    configuration.conf.mutate_config_files()
    LOG.info("log levels are reloaded; for anything else, start this process again")


def _written_in(files: Sequence[str]) -> Mapping[tuple[str, str], Sequence[str]]:
    sections: dict[str, dict[str, list[str]]] = {}
    try:
        for file in files:
            cfg.ConfigParser(file, sections).parse()
    except (cfg.ParseError, OSError) as error:
        raise UsageError("bad-configuration", f"the configuration cannot be used: {error}") from error
    return {(section, name): values for section, options in sections.items() for name, values in options.items()}
