"""Several processes of one command under a supervisor (cotyledon), which starts anew what dies.

    supervisor ── holds the configuration; has no connection and no thread of ours, so that nothing of it is inherited
      ├── process 0 ── makes the command's parts, and runs them
      └── process 1

SIGTERM and SIGINT drain: each process ends what is under way, within [DEFAULT] graceful_shutdown_timeout.
SIGHUP reads the configuration again. It is tried in a process of its own first: a bad one changes nothing.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection

import cotyledon
from cotyledon.types import WorkerId
from oslo_config import cfg
from oslo_log import log

from manifest_service.commands.configuration import Configuration
from manifest_service.commands.ending import ending_in_order
from manifest_service.commands.running import Part, running
from manifest_service.commands.wiring import begin_to_log
from manifest_service.errors import ManifestServiceError, UsageError

LOG = log.getLogger(__name__)

MakeParts = Callable[[cfg.ConfigOpts, int], AbstractContextManager[Sequence[Part]]]
"""Makes what one process runs. int: the process's number, from 0; the number of one that died is given again."""

TIME_TO_GIVE_BACK = 30
"""Seconds beyond graceful_shutdown_timeout after which a process that has not ended is ended."""
TRIAL = 60.0
"""Seconds that a configuration is tried while the service runs on another one."""
TIME_TO_CLOSE = 2.0
"""Seconds that a trial is given to close what it has opened."""
EXIT_UNUSABLE = 2

# Children share what the supervisor has loaded. To fork is safe here, since it has nothing else: see above.
_PROCESSES = multiprocessing.get_context("fork")


def supervise(configuration: Configuration, section: str, make_parts: MakeParts) -> None:
    """Run as many processes as [`section`] processes says, until SIGTERM or SIGINT; does not return.

    Raises UsageError where the parts cannot be made from this configuration.
    """
    begin_to_log(configuration.conf)
    with ending_in_order():
        _try_out(configuration.conf, make_parts)
    _Supervisor(configuration, section, make_parts).run()


class _Supervisor(cotyledon.ServiceManager):
    """Holds the configuration that processes are started with."""

    def __init__(self, configuration: Configuration, section: str, make_parts: MakeParts) -> None:
        super().__init__(
            graceful_shutdown_timeout=configuration.conf.graceful_shutdown_timeout + TIME_TO_GIVE_BACK,
            mp_context=_PROCESSES,
        )
        self.configuration = configuration
        self._section = section
        self._make_parts = make_parts
        self._processes = self.add(_Process, self._wanted(), args=(self, make_parts))

    def _wanted(self) -> int:
        return int(self.configuration.conf[self._section].processes)

    def _on_signal_received(self, sig: int) -> None:
        # cotyledon ends at once on SIGINT: whoever presses Ctrl-C would leave images to wait for their leases' end.
        if sig == signal.SIGINT:
            sig = signal.SIGTERM
        if sig == signal.SIGHUP and not self._take_new_configuration():
            return
        super()._on_signal_received(sig)

    def _take_new_configuration(self) -> bool:
        """Read the configuration again, and see whether processes can be started with it."""
        try:
            fresh = self.configuration.read_again()
            _try_out(fresh.conf, self._make_parts, TRIAL)
        except ManifestServiceError as error:
            LOG.error("the configuration is not reloaded, and the old one goes on: %s", error)  # noqa: TRY400
            return False
        self.configuration = fresh
        begin_to_log(fresh.conf)
        self._graceful_shutdown_timeout = fresh.conf.graceful_shutdown_timeout + TIME_TO_GIVE_BACK
        self.reconfigure(self._processes, self._wanted())
        LOG.info("the configuration is reloaded")
        return True


class _Process(cotyledon.Service):
    """One process: the parts of the command, made from the configuration that the supervisor held when it forked."""

    name = "process"

    def __init__(self, worker_id: WorkerId, supervisor: _Supervisor, make_parts: MakeParts) -> None:
        super().__init__(worker_id)
        # On a terminal, Ctrl-C goes to all processes at once; the supervisor's SIGTERM is what counts.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._configuration = supervisor.configuration
        self._make_parts = make_parts
        self._has_begun, self._has_ended = threading.Event(), threading.Event()
        self._stop = threading.Event()

    def run(self) -> None:
        """Run the parts until somebody asks for the end."""
        try:
            with self._make_parts(self._configuration.conf, self.worker_id) as parts:
                self._has_begun.set()
                if self._stop.is_set():
                    return
                with running(parts):
                    self._stop.wait()
        except ManifestServiceError as error:
            LOG.error("%s", error)  # noqa: TRY400
            raise SystemExit(EXIT_UNUSABLE) from error
        finally:
            self._has_ended.set()

    def terminate(self) -> None:
        """End in good order; where nothing has begun, as while a database is waited for, at once."""
        self._stop.set()
        if self._has_begun.is_set():
            self._has_ended.wait()

    def reload(self) -> None:
        """Take over new log levels; for anything else end, to be started anew by the supervisor."""
        try:
            fresh = self._configuration.read_again()
        except UsageError:
            return  # It was usable a moment ago, when the supervisor looked; the next signal tells.
        if not self._configuration.differs_in_log_levels_alone(fresh):
            super().reload()
            return
        self._configuration.conf.mutate_config_files()
        self._configuration = fresh


def _try_out(conf: cfg.ConfigOpts, make_parts: MakeParts, patience: float | None = None) -> None:
    """Make the parts in a process of its own, and forget them. Raises UsageError where that fails.

    patience: seconds after which it has failed; with any, a database that does not answer is not waited for.
    """
    ours, theirs = _PROCESSES.Pipe(duplex=False)
    trial = _PROCESSES.Process(target=_make_and_forget, args=(conf, make_parts, theirs, patience is None))
    trial.start()
    theirs.close()
    try:
        if not ours.poll(patience):
            raise UsageError("bad-configuration", f"what it says was tried for {patience:g} seconds without an end")
        failure = ours.recv()
        trial.join(TIME_TO_CLOSE)
    except EOFError:
        raise UsageError("bad-configuration", "the process that tried it died; its log says why") from None
    finally:
        trial.kill()
        trial.join()
        ours.close()
    if failure is not None:
        raise UsageError(*failure)


def _make_and_forget(conf: cfg.ConfigOpts, make_parts: MakeParts, answer: Connection, waits: bool) -> None:
    """Answer with code and reason of what went wrong, or with None. waits: for a database that does not answer."""
    signal.set_wakeup_fd(-1)  # The supervisor's own, which reads there what signals it has got.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if not waits:
        conf.set_override("max_retries", 0, group="database")
    try:
        with make_parts(conf, 0):
            answer.send(None)
    except ManifestServiceError as error:
        answer.send((error.code, error.reason))
