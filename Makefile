# The developer's commands. Each does its own set-up, on a fresh Debian 12 or newer, and does it only when needed:
# the environment in .venv/ follows setup.cfg, constraints.txt and the two files in C.
#
#   make demo [IMAGE=file]   watch an image go from upload to verdict, with everything in one process
#   make serve               run the service with its embedded default configuration
#   make test                everything: lint, then all tests, with private RabbitMQ, PostgreSQL, MariaDB, Glance,
#                            Keystone, Swift, Nova and Chromium
#   make test-fast           tests that need no server and start few processes; less than a minute
#   make fuzz                search for images that we read otherwise than qemu-img, until Ctrl-C or a find
#   make faults              500 uploads and more under faults with each database, into docs/reliability.md; minutes
#   make bench               measure against our peers, and write docs/performance.md; an hour, some GiB of cache
#   make lint                ruff, mypy and bandit
#   make audit               ask for known vulnerabilities of all that constraints.txt pins; needs pypi.org
#   make outdated            what is installed in .venv and behind the newest release of pip's index
#   make docs                the documentation as a site, in docs/_build; a warning is an error
#   make install             only the environment
#   make clean               remove what these commands made, except what `serve` keeps in ~/.local/state

PYTHON ?= python3
export PYTHON

BIN := .venv/bin
# -qq: only errors.
PIP_INSTALL := $(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt

INSTALLED_FROM := setup.cfg setup.py constraints.txt $(wildcard manifest_service/*/native*.c manifest_service/*/*/native*.c)
TELL_IF_SLOW := $(BIN)/python -m manifest_service.disks.inflation | \
	sed -n 's/: Python$$/ clusters are inflated without native code, more slowly: see docs\/decisions\/inflating.md/p'

# Two at a time, each with servers of its own; the tests of one file stay together.
IN_PARALLEL := -n 2 --dist loadfile

PROGRAMS := promtool=prometheus qemu-img=qemu-utils fsverity=fsverity bmaptool=bmap-tools mkfs.ext4=e2fsprogs systemd-analyze=systemd
SERVERS := rabbitmq-server=rabbitmq-server initdb=postgresql mariadbd=mariadb-server wrk=wrk nginx=nginx haproxy=haproxy
BROWSER := chromium=chromium chromedriver=chromium-driver
# To build the files native*.c. Without them, inflating and hashing take longer.
COMPILER := gcc=gcc python-headers=python3-dev
# For tests in a virtual machine with another kernel; only an x86_64 machine runs them.
GUEST := $(if $(filter x86_64,$(shell uname -m)),qemu-system-x86_64=qemu-system-x86 cpio=cpio)

.PHONY: help demo serve test test-fast fuzz faults bench lint audit outdated docs install clean

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
	@PYTHON=$(BIN)/python tools/make-test-venv keystone >/dev/null
	@PYTHON=$(BIN)/python tools/make-test-venv nova >/dev/null
	@PYTHON=$(BIN)/python tools/make-test-venv swift >/dev/null
	-@tools/make-test-kernel >/dev/null # Without it, its tests are skipped with a sentence, and fail where CI is set.
	$(BIN)/pytest $(IN_PARALLEL)

test-fast: .venv/for-development
	@tools/install-packages $(PROGRAMS)
	$(BIN)/pytest $(IN_PARALLEL) -m "not servers and not slow"

fuzz: .venv/for-development
	@tools/install-packages $(PROGRAMS)
	$(BIN)/python -m tests.fuzz

faults: .venv/for-development
	@tools/install-packages $(PROGRAMS) $(SERVERS) $(COMPILER)
	$(BIN)/python -m tests.faults

bench: .venv/for-development
	@tools/install-packages $(PROGRAMS) nbdcopy=libnbd-bin openssl=openssl wrk=wrk initdb=postgresql
	@PYTHON=$(BIN)/python tools/make-test-venv glance >/dev/null
	$(BIN)/python -m tests.bench

lint: .venv/for-development
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/bandit -q -c pyproject.toml -r manifest_service api notifications

# Asked first for a release with known vulnerabilities: pip-audit takes an answer without any for a release without any.
audit: .venv/for-development
	@echo urllib3==1.24.1 | $(BIN)/pip-audit -r /dev/stdin --no-deps --disable-pip -f json 2>/dev/null | grep -q CVE- || { \
		echo "Nothing was audited: pypi.org does not tell here of the vulnerabilities that urllib3 1.24.1 is known to" \
			"have. Run make audit where https://pypi.org/pypi/urllib3/1.24.1/json can be read; see docs/releasing.md." >&2; \
		exit 1; }
	$(BIN)/pip-audit --strict -r constraints.txt --no-deps --disable-pip

# pip lists nothing where it cannot reach its index, so that is asked first.
outdated: .venv/for-development
	@$(BIN)/pip index versions setuptools >/dev/null 2>&1 || { \
		echo "Nothing was compared: pip finds no releases in its index; pip config list says which that is." >&2; exit 1; }
	@$(BIN)/pip list --disable-pip-version-check --outdated --exclude-editable

docs: .venv/for-development
	$(BIN)/sphinx-build -q -E -W -n --keep-going docs docs/_build
	@echo "docs/_build/index.html"

install: .venv/for-service

clean:
	rm -rf manifest_service/disks/qcow2/native*.so manifest_service/digests/native*.so
	rm -rf .venv build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
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
