"""`python -m manifest_service` is `manifest-service`."""

import signal


def main() -> None:
    """Run the command line. Until that is imported, Ctrl-C ends the process without a traceback."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from manifest_service.commands.main import main as run  # noqa: PLC0415 - this is what takes the time

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
