"""Front door 1: Glance's notifications come in through oslo.messaging and leave as domain events."""

from oslo_service import backend

# oslo.messaging takes its base classes from oslo.service the moment it is imported, and by default those of eventlet.
# This package is the only one that imports oslo.messaging.
backend.init_backend(backend.BackendType.THREADING)
