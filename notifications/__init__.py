"""Front door 1: Glance's notifications come in through oslo.messaging and leave as domain events."""
