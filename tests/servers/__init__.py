"""Real servers for tests: RabbitMQ, PostgreSQL, MariaDB and Glance, each private to one test run.

Every instance has its own data folder and a free port on loopback, so the machine's own servers are never touched.
Tests ask for them as fixtures (tests/conftest.py); without one installed they are skipped, or fail where CI is set.
"""
