# The developer's commands. Each does its own set-up, on a fresh Debian 12 or newer, and does it only when needed:
# the environment in .venv/ follows setup.cfg and constraints.txt.
#
#   make demo [IMAGE=file]   watch an image go from upload to verdict, with everything in one process
#   make serve               run the service with its embedded default configuration
#   make test                everything: lint, then all tests, with private RabbitMQ, PostgreSQL, MariaDB, Glance, Nova
#   make test-fast           tests that need no server and start few processes; less than a minute
#   make fuzz                search for images that we read otherwise than qemu-img, until Ctrl-C or a find
#   make bench               measure against our peers, and write docs/performance.md; half an hour, some GiB of cache
#   make lint                ruff and mypy
#   make install             only the environment
#   make clean               remove what these commands made, except what `serve` keeps in .state/

PYTHON ?= python3
export PYTHON

BIN := .venv/bin
# -qq: only errors.
PIP_INSTALL := $(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt

PROGRAMS := qemu-img=qemu-utils fsverity=fsverity bmaptool=bmap-tools mkfs.ext4=e2fsprogs systemd-analyze=systemd
SERVERS := rabbitmq-server=rabbitmq-server initdb=postgresql mariadbd=mariadb-server
# For tests in a virtual machine with another kernel; only an x86_64 machine runs them.
GUEST := $(if $(filter x86_64,$(shell uname -m)),qemu-system-x86_64=qemu-system-x86 cpio=cpio)

.PHONY: help demo serve test test-fast fuzz bench lint install clean

help:
	@sed -n 's/^#   //p' Makefile

demo: .venv/for-service
	@tools/install-packages qemu-img=qemu-utils
	@$(BIN)/manifest-service demo $(if $(IMAGE),'$(IMAGE)')

serve: .venv/for-service
	@$(BIN)/manifest-service serve

test: lint
	@tools/install-packages $(PROGRAMS) $(SERVERS) $(GUEST)
	@PYTHON=$(BIN)/python tools/make-test-venv glance >/dev/null
	@PYTHON=$(BIN)/python tools/make-test-venv nova >/dev/null
	-@tools/make-test-kernel >/dev/null # Without it, its tests are skipped with a sentence, and fail where CI is set.
	$(BIN)/pytest

test-fast: .venv/for-development
	@tools/install-packages $(PROGRAMS)
	$(BIN)/pytest -m "not servers and not slow"

fuzz: .venv/for-development
	@tools/install-packages $(PROGRAMS)
	$(BIN)/python -m tests.fuzz

bench: .venv/for-development
	@tools/install-packages $(PROGRAMS) nbdcopy=libnbd-bin openssl=openssl
	$(BIN)/python -m tests.bench

lint: .venv/for-development
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

install: .venv/for-service

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are written last, so that an interrupted installation is done again.
.venv/made:
	@tools/make-venv .venv
	@touch $@

.venv/for-service: .venv/made setup.cfg constraints.txt
	@echo "Installing into .venv what the service needs"
	@$(PIP_INSTALL) -e '.[service,postgresql,mysql]'
	@touch $@

.venv/for-development: .venv/made setup.cfg constraints.txt
	@echo "Installing into .venv what development needs"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch .venv/for-service $@
