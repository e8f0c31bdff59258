# Each target sets up what it needs: a virtual environment with exactly the locked packages.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PEERS := .venv-peers
# Packages that do not go together have an environment each: tests/benchmarks/peers/NAME.txt is that of .venv-NAME.
MORE_PEERS := privsyn mbi synthcity opacus
RIVALS := .venv-federated
DOCS := .venv-docs
PACKAGES := core protocol client server deploy
# Tests import the helpers that lie beside them by their bare names. Folders are checked one by one, since mypy takes
# one conftest.py at a time.
TESTS := $(sort $(dir $(wildcard tests/*/*.py)))
BESIDE := .typing$(subst $() ,,$(TESTS:%/=:%)):tests/benchmarks/peers
export OMP_NUM_THREADS ?= 2
export FLWR_TELEMETRY_ENABLED = 0
export RAY_USAGE_STATS_ENABLED = 0

.PHONY: demo test lint audit bench-utility bench-ablation bench-peers bench-federated bench-speed bench-tables docs lock proto clean

demo: $(READY)
	$(BIN)/cohortmix demo

test: export OMP_NUM_THREADS = 1
test: lint
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder  # in the order of tests/conftest.py

lint: $(READY) .typing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.typing $(BIN)/mypy $(foreach p,$(PACKAGES),-p cohortmix.$(p))
	MYPYPATH=.typing:tests/benchmarks:tests/benchmarks/peers $(BIN)/mypy tests/*.py examples docs/figures.py
	for folder in $(TESTS); do MYPYPATH=$(BESIDE) $(BIN)/mypy $$folder || exit 1; done

# Is every planted fault caught, does the guarantee hold, and what does the published method leak?
audit: $(READY)
	$(BIN)/python tests/privacy/mutate.py
	$(BIN)/cohortmix audit
	COHORTMIX_KILLS=200 $(BIN)/python -m pytest tests/client/site/test_daemon_faults.py tests/deploy/test_loopback.py
	$(BIN)/python tests/benchmarks/bench_attack.py

# Utility against every anchor: the cells that docs/benchmarks.md quotes, as far as they are not stored yet.
bench-utility: $(READY)
	$(BIN)/python tests/benchmarks/bench_utility.py --quoted ours

# What is each part of the mechanism worth? The cells that are not stored yet.
bench-ablation: $(READY)
	$(BIN)/python tests/benchmarks/bench_ablation.py

# The utility of synthesizers of others, in environments of their own; a run has 30 minutes of CPU, and AIM takes them.
bench-peers: $(READY) $(PEERS)/ready $(MORE_PEERS:%=.venv-%/ready)
	$(BIN)/python tests/benchmarks/bench_utility.py --quoted peers

# Federated synthesizers of others, from checkouts of their repositories: make bench-federated FLAIM=DIR HETERO=DIR
bench-federated: $(READY) $(RIVALS)/ready
	$(BIN)/python tests/benchmarks/bench_federated.py $(FLAIM:%=--flaim %) $(HETERO:%=--hetero %)

# Seconds and memory over rows, columns and sites, beside peers: up to 10 minutes of CPU for each cell, hours in all.
bench-speed: $(READY) $(PEERS)/ready .venv-mbi/ready
	$(BIN)/python tests/benchmarks/bench_speed.py

# What is stored, written into README.md and docs/benchmarks.md; nothing is computed.
bench-tables: $(READY)
	$(BIN)/python tests/benchmarks/bench_utility.py --write
	$(BIN)/python tests/benchmarks/bench_ablation.py --write
	$(BIN)/python tests/benchmarks/bench_losses.py --write
	$(BIN)/python tests/benchmarks/bench_federated.py --write
	$(BIN)/python tests/benchmarks/bench_speed.py --write
	$(BIN)/python tests/benchmarks/bench_many_sites.py --write
	$(BIN)/python tests/benchmarks/bench_simulation.py --write
	$(BIN)/python tests/benchmarks/bench_condense.py --write
	$(BIN)/python tests/benchmarks/bench_outcomes.py --write
	$(BIN)/python tests/benchmarks/bench_rare.py --write
	$(BIN)/python tests/benchmarks/bench_frontier.py --write

$(PEERS)/ready: tests/benchmarks/peers/requirements.txt
	python3.11 -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --no-deps -r $<
	touch $@

$(MORE_PEERS:%=.venv-%/ready): .venv-%/ready: tests/benchmarks/peers/%.txt
	python3.11 -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --no-deps -r $<
	touch $@

$(RIVALS)/ready: tests/benchmarks/peers/federated.txt
	python3.11 -m venv $(RIVALS)
	$(RIVALS)/bin/python -m pip install --quiet --no-deps -r $<
	touch $@

# The site of all pages, the examples and the docstrings, in build/site; a link that leads nowhere fails it.
docs: $(DOCS)/ready .typing
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --config-file docs/site/mkdocs.yml

$(DOCS)/ready: docs/site/requirements.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --require-hashes --no-deps -r $<
	touch $@

# Resolve the dependencies anew. neural_tangents declares TensorFlow for a module that is never imported
# (core/steps/kernel.py); what only TensorFlow needs is left out, and the lock is installed without resolving.
lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --no-header -o requirements.lock
	awk '/^[^ ]/ {keep = !/sys_platform == .never./} keep' requirements.lock > requirements.tmp
	mv requirements.tmp requirements.lock
	$(BIN)/uv pip compile docs/site/requirements.in --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --no-header -o docs/site/requirements.txt

# The code of the daemon's protocol; a test holds that it is that of protocol/site.proto.
proto: $(READY) .typing
	$(BIN)/python -m grpc_tools.protoc -I .typing --python_out=.typing --pyi_out=.typing cohortmix/protocol/site.proto

clean:
	rm -rf $(VENV) $(PEERS) $(MORE_PEERS:%=.venv-%) $(RIVALS) $(DOCS) .typing build *.egg-info

$(READY): requirements.lock pyproject.toml deploy/package/__init__.py
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else \
		f"cohortmix needs Python 3.11 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}; name another with make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: on Debian, apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -c 'import lightgbm' || { echo "LightGBM needs libgomp: on Debian, apt-get install libgomp1"; exit 1; }
	touch $@

# mypy reads the packages under their installed names.
.typing:
	mkdir -p $@/cohortmix
	$(foreach p,$(PACKAGES),ln -sfn ../../$(p) $@/cohortmix/$(p);)
	ln -sfn ../../deploy/package/__init__.py $@/cohortmix/__init__.py
