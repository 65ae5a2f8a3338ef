# SPDX-License-Identifier: MIT
# The commands of the README; CMake does the work. `make` alone builds build/vlm.
PREFIX ?= /usr/local
BUILD ?= build
SECONDS ?= 300
MODEL ?=
IMAGE ?=

.PHONY: all deps build demo test test-long install asan tsan clang bench bench-peers eval fuzz fuzz-long format docs verify parity clean

all: build

deps:
	@tools/install-deps.sh

build: deps
	@cmake --preset default -B $(BUILD) >/dev/null
	@cmake --build $(BUILD)

demo: build
	@tools/demo.sh $(BUILD)

test: build
	@cd $(BUILD) && ctest -j "$$(nproc)" --output-on-failure

test-long: build
	@cd $(BUILD) && ctest -C nightly -L nightly --verbose

install: build
	@cmake --install $(BUILD) --prefix $(PREFIX)

asan: deps
	@cmake --preset asan >/dev/null
	@cmake --build build-asan
	@cd build-asan && ctest -j "$$(nproc)" --output-on-failure

tsan: deps
	@cmake --preset tsan >/dev/null
	@cmake --build build-tsan
	@cd build-tsan && ctest --output-on-failure -R 'threads|session'

clang:
	@tools/install-deps.sh clang
	@cmake --preset clang >/dev/null
	@cmake --build build-clang

bench: build
	@tools/bench.sh $(BUILD)

bench-peers: build
	@$${PYTHON:-python3} bench/peers/run.py --vlm $(BUILD)/vlm $(PEERS)

eval: build
	@tools/eval.sh $(BUILD) $(if $(MODEL),--model $(MODEL))

fuzz:
	@tools/install-deps.sh clang
	@cmake --preset fuzz >/dev/null
	@cmake --build build-fuzz
	@tools/fuzz.sh build-fuzz $(SECONDS)

fuzz-long:
	@$(MAKE) fuzz SECONDS=1800

format:
	@tools/install-deps.sh format
	@git ls-files '*.c' '*.h' | xargs clang-format -i

docs:
	@tools/install-deps.sh docs
	@doxygen docs/Doxyfile
	@echo "docs: build/docs/html/index.html"

verify: build
	@python3 tools/verify.py $(MODEL) $(IMAGE) $(BUILD)/vlm

parity: build
	@python3 tools/parity.py $(BUILD)

clean:
	@rm -rf build build-asan build-tsan build-clang build-fuzz build-debug
