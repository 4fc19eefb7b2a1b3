"""`python -m manifest_service` is `manifest-service`."""

from manifest_service.commands.main import main

main()
