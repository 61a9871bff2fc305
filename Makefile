PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 80
TYPESCRIPT := 7.0.2
TSC := $(VENV)/typescript-$(TYPESCRIPT)/node_modules/.bin/tsc

.PHONY: help install check check-page test test-slow test-gpu test-hostile demo bench starter format clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Create the environment in .venv, with exact versions

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here: install Python 3.11 or newer, or set PYTHON="; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --no-compile --constraint constraints.txt torch
	$(PIP) install --quiet --no-compile --constraint constraints.txt \
		--config-settings editable_mode=compat --editable '.[photos,server,heic,tracking,export,dev]'
	@# On all cores, which pip does not; templates that are no Python yet fail, as they may.
	-@$(BIN)/python -W ignore -m compileall -qq --workers 0 $(VENV)/lib
	touch $@

check: install check-page ## Formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check-page: ## Types of the page's JavaScript, where npm is
	@test -x $(TSC) || npm install --silent --no-audit --no-fund --ignore-scripts \
		--prefix $(VENV)/typescript-$(TYPESCRIPT) typescript@$(TYPESCRIPT) 2>/dev/null \
		|| echo "TypeScript $(TYPESCRIPT) cannot be had here (by npm): types of the page are not checked"
	@test ! -x $(TSC) || { echo "tsc --project jsconfig.json"; $(TSC) --project jsconfig.json; }

test: install ## What holds every promise, on the CPU and without a model hub
	$(PYTEST) -m 'not gpu and not slow'

test-slow: install ## What takes longest: more engines, more ways to be killed; before a release
	$(PYTEST) -m 'slow and not gpu'

test-gpu: install ## What needs an NVIDIA GPU
	$(BIN)/python -m pytest -m gpu

test-hostile: install ## Ten thousand hostile requests to the server; some minutes
	NUM_ATTACKS=10000 $(BIN)/python -m pytest -s tests/lakesight/online/test_hostile.py

demo: install ## The main job on photos and scenes: S3, Ray Data, Parquet, FAISS, reports
	$(BIN)/lakesight demo

bench: install ## Measure; takes long, and wants the machine to itself
	$(BIN)/python -m benchmarks.detect
	$(BIN)/python -m benchmarks.plumbing
	$(BIN)/python -m benchmarks.runtimes
	$(BIN)/python -m benchmarks.train
	$(BIN)/python -m benchmarks.metrics
	$(BIN)/python -m benchmarks.caption
	$(BIN)/python -m benchmarks.caption --model starter-blip2-write --batch 16 --tokens 64 --dtype float32
	$(BIN)/python -m benchmarks.retrieval
	$(BIN)/python -m benchmarks.serve
	$(BIN)/python -m benchmarks.following

starter: install ## Train the starter weights again, into .starter; takes hours
	mkdir -p .starter
	cd .starter && ../$(BIN)/lakesight scenes scenes --num-images 16000 --num-val 1000 --size 320 --seed 7
	cd .starter && for task in detect segment pose obb classify; do \
		../$(BIN)/lakesight train scenes starter-yolo-$$task \
			--config ../lakesight/starter/yolo-$$task/settings.yaml || exit 1; \
	done
	cd .starter && ../$(BIN)/lakesight scenes heldout --num-images 0 --num-val 1000 --seed 1007
	cd .starter && for task in detect segment pose obb classify; do \
		../$(BIN)/lakesight evaluate ./starter-yolo-$$task heldout --bootstrap || exit 1; \
	done
	cd .starter && ../$(BIN)/lakesight scenes small --num-images 30000 --num-val 1000 --size 224 --seed 7
	cd .starter && from=../lakesight/starter && \
		../$(BIN)/lakesight train small tower --num-workers 2 --config $$from/blip2-retrieve/tower.yaml && \
		../$(BIN)/lakesight train small starter-blip2-retrieve --num-workers 2 \
			--config $$from/blip2-retrieve/settings.yaml && \
		../$(BIN)/lakesight train small writer --num-workers 2 --config $$from/blip2-write/first.yaml
	cd .starter && ../$(BIN)/lakesight scenes big --num-images 100000 --num-val 1000 --size 224 --seed 7
	cd .starter && ../$(BIN)/lakesight scenes half --num-images 50000 --num-val 1000 --size 224 --seed 7
	cd .starter && from=../lakesight/starter/blip2-write && \
		../$(BIN)/lakesight train big writer2 --num-workers 2 --config $$from/second.yaml && \
		../$(BIN)/lakesight train big writer3 --num-workers 2 --config $$from/third.yaml && \
		../$(BIN)/lakesight train half starter-blip2-write --num-workers 2 --config $$from/settings.yaml
	cd .starter && ../$(BIN)/lakesight scenes small-heldout --num-images 0 --num-val 1000 --size 224 --seed 1007
	cd .starter && for judged in \
		"./starter-blip2-retrieve small-heldout --captions description" \
		"./starter-blip2-write small-heldout --captions description" \
		"./starter-blip2-write small-heldout --task answer --slice kind"; do \
		../$(BIN)/lakesight evaluate $$judged --bootstrap || exit 1; \
	done

format: install ## Rewrite the code as `check` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what make made, but not the environment
	rm -rf build dist .demo .mypy_cache .pytest_cache .ruff_cache *.egg-info
