PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK_OF := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
LOCK := $(LOCK_OF) pyproject.toml
PEERS := $(notdir $(wildcard bench/peers/*))
PAGES := commands metrics
EXAMPLES := unit
PARTS := stream push pull sink latency fleet state profile
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
CONTAINERS ?= docker
HELM := v3.18.6
COMPOSE_READER := v2.8.1
SBOM = dist/punchstream-$(VERSION).cdx.json
.DEFAULT_GOAL := help
.PHONY: help install kerberos demo unit floors contracts stages servers test attack faults desk named-site soak types check docs format kafka bench performance lock image image-root sbom chart reader clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/runtime: requirements/runtime.txt pyproject.toml
	@echo "Installing into $(VENV); this takes a minute or two."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements/runtime.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev: $(VENV)/runtime requirements/dev.txt
	@echo "Installing the tools of a developer into $(VENV); this takes a minute or two."
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

install: $(VENV)/dev  ## everything a developer needs, in .venv

$(VENV)/kerberos: $(VENV)/dev requirements/kerberos.txt requirements/kerberos-build.txt
	$(BIN)/pip install --quiet --require-hashes -r requirements/kerberos-build.txt
	@# It is compiled for tests only, where the compiler takes longer than what it saves.
	CFLAGS=-O0 $(BIN)/pip install --quiet --require-hashes --no-build-isolation -r requirements/kerberos.txt
	@touch $@

kerberos: $(VENV)/kerberos  ## what GSSAPI needs, for its tests; needs a C compiler, libkrb5-dev, krb5-kdc, krb5-admin-server

demo: $(VENV)/runtime  ## a simulated fleet through the whole pipeline, ending with the audit
	$(BIN)/punchstream demo $(DEMO)

unit: $(VENV)/dev  ## the unit tests in two processes, and the floors of their coverage, about twelve minutes on two cores
	$(BIN)/pytest tests/unit -q -n 2 --dist worksteal --hypothesis-profile $(EXAMPLES) --cov --cov-report=
	$(MAKE) --no-print-directory floors

floors: $(VENV)/dev  ## the floors of the coverage that `make unit` has found
	$(BIN)/coverage json -q -o - | $(BIN)/python tests/coverage_floors.py

contracts: $(VENV)/dev  ## the tests against ERPNext's recorded answers and both brokers, in two processes
	$(BIN)/pytest tests/contract -q -n 2 --dist loadfile

stages: $(VENV)/dev  ## the stages on both brokers, and attacks on push, in three processes; those on Apache Kafka need `make kafka` once
	@# They wait for half of their time: with two, a processor would have nothing to do.
	$(BIN)/pytest tests/integration tests/attack -m "not long" -n 3 --dist loadfile

servers: $(VENV)/dev  ## whole pipelines, faults among them; those on Apache Kafka need `make kafka` once
	$(BIN)/pytest tests/faults tests/system

test:  ## every test, with more examples than `make unit`; those on Apache Kafka need `make kafka` once
ifdef TEST
test: $(VENV)/dev
	$(BIN)/pytest $(TEST)
else
test: EXAMPLES := shared
test: unit contracts stages servers
endif

attack: $(VENV)/dev  ## every attack on the real process, and the fuzzers, for longer than `make test` has them
	$(BIN)/pytest tests/attack

faults: $(VENV)/dev  ## the fault matrix on three brokers, about 40 minutes: SEED=7, CELLS='^sink', ABREAST=1, RESULTS=file, LIST=1, WRITE=1
	PYTHONPATH=tests/support$(if $(PYTHONPATH),:$(PYTHONPATH)) $(BIN)/python tests/faults/run_matrix.py $(if $(SEED),--seed $(SEED)) $(if $(CELLS),--cells '$(CELLS)') \
	  $(if $(ABREAST),--abreast $(ABREAST)) $(if $(RESULTS),--results $(RESULTS)) $(if $(LIST),--list) $(if $(WRITE),--write)

desk: named-site $(VENV)/dev  ## the app and the pipeline on a real ERPNext that is for trying things out: FRAPPE_BENCH=~/bench SITE=desk.localhost
	FRAPPE_BENCH='$(FRAPPE_BENCH)' SITE='$(SITE)' $(BIN)/pytest tests/desk -o timeout=1800 $(if $(TEST),-k '$(TEST)')

named-site:
	@test -n "$(SITE)" -a -d "$(FRAPPE_BENCH)/sites/$(SITE)" || { echo "make desk needs FRAPPE_BENCH, a bench with ERPNext and Frappe HR 15, and SITE, a site of it with allow_tests and the app" >&2; exit 2; }

soak: $(VENV)/dev  ## steady load with random faults, 20 minutes: MINUTES=5, SEED=7
	$(BIN)/python tests/faults/run_soak.py $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

types: $(VENV)/dev  ## the types
	$(BIN)/mypy

check: types  ## lint, types, import rules, dependencies, spelling and generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/codespell
	$(BIN)/punchstream settings --format markdown | diff docs/settings.md - || (echo "docs/settings.md: run make docs"; exit 1)
	set -e; for page in $(PAGES); do \
	  $(BIN)/python -m punchstream.reference $$page | diff docs/$$page.md - || (echo "docs/$$page.md: run make docs"; exit 1); done

docs: $(VENV)/dev  ## the generated pages of docs/
	$(BIN)/punchstream settings --format markdown > docs/settings.md
	set -e; for page in $(PAGES); do $(BIN)/python -m punchstream.reference $$page > docs/$$page.md; done
	set -e; for page in console-api asyncapi data-contract; do $(BIN)/python -m punchstream.reference $$page > docs/$$page.yaml; done
	$(BIN)/python -m punchstream.reference schemas docs/schemas

format: $(VENV)/dev  ## the code in its one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

kafka:  ## Apache Kafka for the tests and `DEMO="--broker kafka"`; needs Java 17 and Maven
	@# Two versions of a jar must never meet on the class path.
	rm -rf deploy/kafka/target
	mvn --quiet --batch-mode --file deploy/kafka/pom.xml dependency:copy-dependencies

bench/.venvs/%/done: bench/peers/%/requirements.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --require-hashes -r $<
	@touch $@

bench/.venvs/plots/done bench/.venvs/profiler/done: bench/.venvs/%/done: bench/%/requirements.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --require-hashes -r $<
	@touch $@

# Beside another checkout nothing else is measured, and nothing is kept for the page.
ifeq ($(findstring --other,$(BENCH)),)
bench: $(PEERS:%=bench/.venvs/%/done) bench/.venvs/profiler/done
endif
bench: $(VENV)/dev  ## benchmarks beside peers, or one: PART=push BENCH="--repetitions 1"; needs `make kafka`
	set -e; for part in $(or $(PART),$(PARTS)); do $(BIN)/python -m bench.$$part $(BENCH); done
	$(if $(findstring --other,$(BENCH)),,$(MAKE) performance)

performance: $(VENV)/dev bench/.venvs/plots/done  ## docs/performance.md and its plots from the last results of `make bench`
	bench/.venvs/plots/bin/python bench/plots/plots.py bench/results docs/performance
	$(BIN)/python -m bench.report > docs/performance.md

lock:  ## requirements/*.txt and those of the benchmarks anew
	$(LOCK) --extra embedded --extra build --extra console --extra ledger -o requirements/runtime.txt
	$(LOCK) --extra embedded --extra build --extra console --extra ledger --extra rocksdb --extra sql --extra tracing --extra zk-tcp --extra dev -c requirements/runtime.txt -o requirements/dev.txt
	$(LOCK) --extra console --extra embedded --extra ledger --extra rocksdb --extra sql --extra tracing -c requirements/dev.txt -o requirements/image.txt
	$(LOCK_OF) requirements/wheel.in -c requirements/runtime.txt -o requirements/wheel.txt
	$(LOCK) --extra kerberos -c requirements/dev.txt -o requirements/kerberos.txt
	$(LOCK_OF) requirements/kerberos-build.in -o requirements/kerberos-build.txt
	set -e; for in in bench/peers/*/requirements.in bench/plots/requirements.in bench/profiler/requirements.in; do $(LOCK_OF) $$in -o $${in%in}txt; done

image:  ## the container image, by Docker or CONTAINERS=podman; BASE=python:3.11-slim-bookworm@sha256:... pins the base
	$(CONTAINERS) build --file deploy/image/Containerfile --tag punchstream:$(VERSION) --build-arg VERSION=$(VERSION) \
	  $(if $(BASE),--build-arg BASE=$(BASE)) .

deploy/helm/target/helm:
	GOBIN=$(CURDIR)/$(@D) go install -ldflags="-s -w" helm.sh/helm/v3/cmd/helm@$(HELM)

deploy/compose/target/cmd:
	GOBIN=$(CURDIR)/$(@D) go install -ldflags="-s -w" github.com/compose-spec/compose-go/v2/cmd@$(COMPOSE_READER)

reader: deploy/compose/target/cmd  ## the library by which Docker Compose reads a file, for its test; needs Go 1.23

chart: $(VENV)/dev deploy/helm/target/helm  ## what helm renders of the chart, for the tests; needs Go 1.24, and minutes to build helm once
	$(BIN)/python tests/support/rendered_chart.py deploy/helm/target/helm
	$(BIN)/pytest -q tests/unit/deploy/test_chart.py tests/unit/deploy/helm_chart.py

image-root: $(VENV)/dev  ## the image's steps without a container daemon, then every stage and the demo from it; needs root, Debian, mmdebstrap
	unshare --mount --pid --fork --mount-proc $(BIN)/python deploy/image/root.py build .image-root $(VERSION)
	unshare --mount --pid --net --fork --mount-proc $(BIN)/python deploy/image/root.py check .image-root

sbom: $(VENV)/dev  ## what is in the image, as CycloneDX: dist/punchstream-VERSION.cdx.json
	@mkdir -p $(dir $(SBOM))
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-format JSON --output-file $(SBOM) requirements/image.txt

clean:  ## what was installed and built
	rm -rf $(VENV) bench/.venvs bench/results deploy/kafka/target deploy/helm/target deploy/compose/target .image-root .punchstream .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
