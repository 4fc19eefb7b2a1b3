# The developer's commands. Each does its own set-up, on a fresh Debian 12 or newer, and does it only when needed:
# the environment in .venv/ follows setup.cfg, constraints.txt and the one file in C.
#
#   make demo [IMAGE=file]   watch an image go from upload to verdict, with everything in one process
#   make serve               run the service with its embedded default configuration
#   make test                everything: lint, then all tests, with private RabbitMQ, PostgreSQL, MariaDB, Glance, Swift,
#                            Nova and Chromium
#   make test-fast           tests that need no server and start few processes; less than a minute
#   make fuzz                search for images that we read otherwise than qemu-img, until Ctrl-C or a find
#   make bench               measure against our peers, and write docs/performance.md; an hour, some GiB of cache
#   make lint                ruff and mypy
#   make install             only the environment
#   make clean               remove what these commands made, except what `serve` keeps in .state/

PYTHON ?= python3
export PYTHON

BIN := .venv/bin
# -qq: only errors.
PIP_INSTALL := $(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt

INSTALLED_FROM := setup.cfg setup.py constraints.txt manifest_service/disks/qcow2/native.c
TELL_IF_SLOW := $(BIN)/python -m manifest_service.disks.inflation | \
	sed -n 's/: Python$$/ clusters are inflated without native code, more slowly: see docs\/decisions\/inflating.md/p'

PROGRAMS := qemu-img=qemu-utils fsverity=fsverity bmaptool=bmap-tools mkfs.ext4=e2fsprogs systemd-analyze=systemd
SERVERS := rabbitmq-server=rabbitmq-server initdb=postgresql mariadbd=mariadb-server wrk=wrk
BROWSER := chromium=chromium chromedriver=chromium-driver
# To build native.c. Without them, clusters are inflated more slowly.
COMPILER := gcc=gcc python-headers=python3-dev
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
	@tools/install-packages $(PROGRAMS) $(SERVERS) $(BROWSER) $(GUEST)
	@PYTHON=$(BIN)/python tools/make-test-venv glance >/dev/null
	@PYTHON=$(BIN)/python tools/make-test-venv nova >/dev/null
	@PYTHON=$(BIN)/python tools/make-test-venv swift >/dev/null
	-@tools/make-test-kernel >/dev/null # Without it, its tests are skipped with a sentence, and fail where CI is set.
	$(BIN)/pytest

test-fast: .venv/for-development
	@tools/install-packages $(PROGRAMS)
	$(BIN)/pytest -m "not servers and not slow"

fuzz: .venv/for-development
	@tools/install-packages $(PROGRAMS)
	$(BIN)/python -m tests.fuzz

bench: .venv/for-development
	@tools/install-packages $(PROGRAMS) nbdcopy=libnbd-bin openssl=openssl wrk=wrk initdb=postgresql
	@PYTHON=$(BIN)/python tools/make-test-venv glance >/dev/null
	$(BIN)/python -m tests.bench

lint: .venv/for-development
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

install: .venv/for-service

clean:
	rm -rf manifest_service/disks/qcow2/native*.so
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are written last, so that an interrupted installation is done again.
.venv/made:
	@tools/make-venv .venv
	@touch $@

.venv/for-service: .venv/made $(INSTALLED_FROM)
	-@tools/install-packages $(COMPILER)
	@echo "Installing into .venv what the service needs"
	@$(PIP_INSTALL) -e '.[service,postgresql,mysql]'
	@$(TELL_IF_SLOW)
	@touch $@

.venv/for-development: .venv/made $(INSTALLED_FROM)
	-@tools/install-packages $(COMPILER)
	@echo "Installing into .venv what development needs"
	@$(PIP_INSTALL) -e '.[dev]'
	@$(TELL_IF_SLOW)
	@touch .venv/for-service $@
