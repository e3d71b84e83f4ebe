# make            builds bin/hostler
# make run        builds it and serves examples/ on 127.0.0.1:8000
# make test       runs every test, and installs what they need into build/
# make help       lists the rest
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := bin/hostler

VERSION := $(shell cat VERSION)
PAYLOAD := cmd/hostler/payload
GOFILES := $(shell find . -path ./build -prune -o \( -name '*.go' -o -name '*.c' -o -name '*.h' -o -name '*.py' -o -name '*.ld' \) -print) go.mod go.sum
PYTHON  := python3
VENV    := build/venv
APPS    := build/apps
ASGI    := build/asgi
GEVENT  := build/gevent
SOCKETS := build/sockets

# What a fresh machine lacks is said in words, for apt and dnf.
need = command -v $(1) >/dev/null || { echo "make: $(1) is missing. Debian, Ubuntu: apt-get install $(2); Fedora, RHEL: dnf install $(3)" >&2; exit 1; }

.PHONY: help run test test-go test-asan test-pythons test-deploy test-install test-musl test-arm64 test-packages test-container packages release wheel chaos bench bench-check fuzz autobahn lint site screenshots reproducible reproducible-release generated tools clean check-tools

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9\/-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check-tools:
	@$(call need,go,golang-go,golang)
	@$(call need,cc,gcc libc6-dev,gcc glibc-devel)
	@$(call need,$(PYTHON),python3,python3)
	@go list -m >/dev/null 2>&1 || { echo "make: $$(go version) cannot build this module, go.mod asks for Go $$(awk '$$1 == "go" {print $$2}' go.mod): take a newer one from https://go.dev/dl/" >&2; exit 1; }

# The worker library, without Python headers. netgo: it looks
# no names up, and need not have libresolv in every worker. late.ld: its runtime
# does not start before the library is told to. shared: what Python has is left undefined.
LIBRARY = CGO_ENABLED=1 go build -buildvcs=false -tags netgo,shared -trimpath -buildmode=c-shared -ldflags='$(1) -buildid= -extldflags=-Wl,-T,$(CURDIR)/cmd/hostler-worker/late.ld' -o $(2) ./cmd/hostler-worker

# The same with AddressSanitizer in its C, and a binary that has it.
build/asan/worker.so: export CGO_CFLAGS := -g -fsanitize=address -fno-omit-frame-pointer
build/asan/worker.so: export CGO_LDFLAGS := -fsanitize=address
build/asan/worker.so: $(GOFILES) | check-tools
	$(call LIBRARY,,$@)

build/asan/hostler: build/asan/worker.so $(PAYLOAD)/worker.so $(GOFILES) VERSION
	echo '{"Replace": {"$(CURDIR)/$(PAYLOAD)/worker.so": "$(CURDIR)/build/asan/worker.so"}}' > build/asan/overlay.json
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -overlay build/asan/overlay.json -o $@ ./cmd/hostler

$(PAYLOAD)/worker.so: $(GOFILES) | check-tools
	$(call LIBRARY,-s -w,build/worker.so)
	cp build/worker.so $@

build/worker.debug.so: $(GOFILES) | check-tools ## the worker library with its symbols, for gdb
	$(call LIBRARY,,$@)

bin/hostler: $(PAYLOAD)/worker.so $(GOFILES) VERSION ## build bin/hostler
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags='-s -w -buildid= -X main.version=$(VERSION)' -o $@ ./cmd/hostler

EXAMPLE ?= auto
run: bin/hostler ## serve examples/ on 127.0.0.1:8000 (EXAMPLE=plain, flask, django, … of examples/)
	@scripts/run-example $(EXAMPLE)

# --- tests -----------------------------------------------------------------

# Debian's names; each is asked for by its command, so that nothing is installed
# twice.
NODE := node:nodejs
APT := $(NODE) python3-dbg:python3-dbg nginx:nginx apache2:apache2 haproxy:haproxy prometheus:prometheus systemd-analyze:systemd systemd-socket-activate:systemd \
	zsh:zsh fish:fish /usr/share/bash-completion/bash_completion:bash-completion unshare:util-linux wrk:wrk h2load:nghttp2-client slowhttptest:slowhttptest chromium:chromium \
	/usr/lib/postgresql:postgresql
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0

$(VENV)/.done: scripts/requirements.txt
	@$(call need,$(PYTHON),python3,python3)
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/apt-tools ensurepip:python3-venv
	@$(PYTHON) -m venv $(VENV) || { echo "make: python3 cannot make a virtual environment. Debian, Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(VENV)/bin/pip -q install -r scripts/requirements.txt
	touch $@

# Real frameworks and applications, apart from what the other tests have.
$(APPS)/.done: scripts/requirements-apps.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/apt-tools ensurepip:python3-venv
	@$(PYTHON) -m venv $(APPS)
	$(APPS)/bin/pip -q install --no-deps -r scripts/requirements-apps.txt
	touch $@

# Frameworks and clients of ASGI; beside them what the checks need on other CPythons.
$(ASGI)/.done: scripts/requirements-asgi.txt scripts/asgi-packages
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/apt-tools ensurepip:python3-venv
	@$(PYTHON) -m venv $(ASGI)
	$(ASGI)/bin/pip -q install --no-deps -r scripts/requirements-asgi.txt
	scripts/asgi-packages $(ASGI)/bin/python $(ASGI)
	touch $@

# gevent, for each CPython.
$(GEVENT)/.done: scripts/gevent-packages | $(ASGI)/.done
	scripts/gevent-packages $(ASGI)/bin/python $(GEVENT)
	touch $@

# WebSockets for WSGI, likewise.
$(SOCKETS)/.done: scripts/sockets-packages | $(ASGI)/.done
	scripts/sockets-packages $(ASGI)/bin/python $(SOCKETS)
	touch $@

# The newest Gunicorn: config/foreign has to know all its settings, and what testdata
# has of them is what this one printed.
build/gunicorn/.done: scripts/gunicorn-settings
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/apt-tools ensurepip:python3-venv
	@$(PYTHON) -m venv build/gunicorn
	build/gunicorn/bin/pip -q install --upgrade gunicorn
	touch $@

# The newest of those whose flags are known, likewise, and what runs servers for people.
build/peers/.done: scripts/peer-flags
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/apt-tools ensurepip:python3-venv
	@$(PYTHON) -m venv build/peers
	build/peers/bin/pip -q install --upgrade uvicorn granian hypercorn honcho supervisor
	touch $@

# axe-core, which looks at a page as those do who cannot see it, or not well: one script, which
# this package has in it.
build/axe/.done: | $(VENV)/.done
	$(VENV)/bin/pip -q install --no-deps --upgrade --target build/axe axe-playwright-python==0.1.8
	touch $@

build/h2spec: e2e/h2spec/go.mod e2e/h2spec/go.sum
	go -C e2e/h2spec build -o ../../build/h2spec github.com/summerwind/h2spec/cmd/h2spec

# An authority of ACME's, and a DNS for it.
PEBBLE := github.com/letsencrypt/pebble/v2/cmd
build/pebble/.done: | check-tools
	GOBIN=$(CURDIR)/build/pebble CGO_ENABLED=0 go install $(PEBBLE)/pebble@v2.10.3 $(PEBBLE)/pebble-challtestsrv@v2.10.3
	touch $@

tools: check-tools $(VENV)/.done $(APPS)/.done $(ASGI)/.done $(GEVENT)/.done $(SOCKETS)/.done build/gunicorn/.done build/peers/.done build/axe/.done build/h2spec build/pebble/.done ## install what the tests need: Debian packages (as root), Python packages into build/
	@scripts/apt-tools $(APT)

# The same minute for everybody; make chaos has another one each time.
test: CHAOS_SEED := 6
test: bin/hostler tools ## everything
	go vet ./...
	go test -race -p 1 $$(go list ./... | grep -v '/e2e$$')
	$(PYTHON) -m unittest discover -s bench
	$(MAKE) test-deploy
	go test -count=1 -timeout 60m ./e2e
	$(MAKE) test-pythons
	CHAOS_SEED=$(CHAOS_SEED) CHAOS_MINUTES=1 go run ./e2e/chaos

test-deploy: bin/hostler ## deploy/kubernetes and deploy/compose as Kubernetes, Helm and Compose read them
	go -C deploy/internal/kubetest vet ./...
	go -C deploy/internal/kubetest test ./...

# CPythons that this machine's Debian does not have yet, in a root of their own.
build/sid: scripts/debian-root | check-tools
	scripts/debian-root $@ sid python3,python3.14,python3.15,python3.15-dbg,python3-flask,python3-django,util-linux

# No Debian has a package of this one.
build/python3.13t: scripts/free-threaded | check-tools
	scripts/free-threaded $@

SID_ASGI := TestASGIBridge|TestASGIChecks|TestASGILifespan|TestASGIScope|TestASGIDisconnect|TestASGITimeout|TestASGIInterrupt|TestASGIStop|TestASGIStopNow|TestASGIPreload|TestWebSocket|TestWebSocketHTTP2
SID_CORE := ^(TestFlask|TestReadyPath|TestReadyPathReplacement|TestDjango|TestPreload|TestPreloadKills|TestHooks|TestReload|TestBrokenReload|TestUpgrade|TestTimeout|TestInterrupted|TestInterruptedStream|TestTimeoutInC|TestDeadline|TestStuckWithGIL|TestValidated|TestExceptions|TestThreadsAndForks|TestWatchCode|TestCtlProfile|TestErrorPages|TestDebug|TestOtelSpans|TestThreadsAuto|TestRoutesStay|TestRoutesBound|$(SID_ASGI))$$
# That root has no gevent.
SID_SKIP := ^(TestReadyPath|TestErrorPages|TestDebug)$$/^gevent$$

test-pythons: bin/hostler build/sid build/python3.13t $(ASGI)/.done ## the bridge on a free-threaded CPython, and on 3.14 and 3.15, there with the core of e2e
	PYTHONS=$(CURDIR)/build/python3.13t/bin/python3.13t go test -count=1 -run TestEveryPython ./worker/python
	go test -count=1 -tags freethreaded -run TestFreeThreaded ./e2e
	PYTHONS=$(CURDIR)/build/python3.13t/bin/python3.13t go test -count=1 ./worker/bootstrap
	CGO_ENABLED=1 go test -c -o build/python.test ./worker/python
	CGO_ENABLED=0 go test -c -o build/bootstrap.test ./worker/bootstrap
	CGO_ENABLED=0 go test -c -o build/e2e.test ./e2e
	scripts/in-root build/sid worker/python env PYTHONS=/usr/bin/python3.14:/usr/bin/python3.15 DEBUG_PYTHON=/usr/bin/python3.15d ../../build/python.test -test.skip '^TestNoCircles$$' # that compiles
	scripts/in-root build/sid worker/bootstrap env PYTHONS=/usr/bin/python3.14:/usr/bin/python3.15 ../../build/bootstrap.test
	for v in 3.14 3.15; do scripts/in-root build/sid e2e env E2E_PYTHON=/usr/bin/python$$v ../build/e2e.test -test.timeout 20m -test.run '$(SID_CORE)' -test.skip '$(SID_SKIP)'; done

ASAN_CORE := ^(TestASGIReferences|TestASGIFiles|TestASGITrailers|TestASGIDisconnect|TestASGIBackPressure|TestASGIReload|TestASGITimeout|TestWebSocket|TestWSGISockets|TestInterrupted)$$

test-asan: build/asan/hostler ## the core of e2e with the bridge's C, and what it does with Python's memory, under AddressSanitizer
	CGO_ENABLED=0 go test -c -o build/asan/e2e.test ./e2e
	scripts/with-asan build/asan/reports e2e ../build/asan/e2e.test -test.timeout 30m -test.run '$(ASAN_CORE)'

test-go: check-tools bin/hostler build/gunicorn/.done build/peers/.done ## the quick part: unit tests
	@scripts/apt-tools $(NODE)
	go test -race -p 1 $$(go list ./... | grep -v '/e2e$$')

# --- what is given to others -----------------------------------------------

DIST    := build/dist
RELEASE := build/release-tools
TARGETS := x86_64-gnu aarch64-gnu x86_64-musl aarch64-musl
PATH_RELEASE = PATH=$(abspath $(RELEASE))/bin:$$PATH

$(RELEASE)/.done: scripts/requirements-release.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/apt-tools ensurepip:python3-venv
	@$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/pip -q install -r scripts/requirements-release.txt
	touch $@

# The zig that links them has old glibcs and musl, for both architectures.
$(TARGETS:%=$(DIST)/%/hostler): $(DIST)/%/hostler: $(GOFILES) VERSION scripts/build.py | check-tools $(RELEASE)/.done
	$(RELEASE)/bin/python scripts/build.py $@ $(subst -, ,$*)

wheel: $(TARGETS:%=$(DIST)/%/hostler) ## wheels for x86-64 and arm64, glibc and musl, and an sdist, in build/dist
	rm -f $(DIST)/*.whl $(DIST)/*.tar.gz
	$(foreach t,$(TARGETS),SOURCE_DATE_EPOCH=$(DATE) $(PATH_RELEASE) scripts/wheel $(DIST) $(DIST)/$t/hostler $(subst -, ,$t) &&) true
	SOURCE_DATE_EPOCH=$(DATE) $(PATH_RELEASE) scripts/sdist $(DIST)

# nfpm, which makes them, is built from the Go module proxy.
build/nfpm: scripts/tools/go.mod scripts/tools/go.sum
	go -C scripts/tools build -o ../../build/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm

# The date in what is given to others: the source's, not this minute.
DATE = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct),$(error there is no commit to take the date from: give SOURCE_DATE_EPOCH))
GNU := x86_64 aarch64
BINARIES = $(foreach a,$(GNU),$a=$(DIST)/$a-gnu/hostler)

packages: build/nfpm $(GNU:%=$(DIST)/%-gnu/hostler) ## .deb and .rpm for x86-64 and arm64, in build/dist
	rm -f $(DIST)/*.deb $(DIST)/*.rpm
	SOURCE_DATE_EPOCH=$(DATE) scripts/packages $(DIST) build/nfpm $(VERSION) $(BINARIES)

build/cyclonedx-gomod: scripts/tools/go.mod scripts/tools/go.sum
	go -C scripts/tools build -o ../../build/cyclonedx-gomod github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod

build/release/SHA256SUMS: wheel packages build/cyclonedx-gomod
	SOURCE_DATE_EPOCH=$(DATE) PYTHON=$(PYTHON) scripts/release build/release $(DIST) $(VERSION) build/cyclonedx-gomod $(TARGETS)

release: build/release/SHA256SUMS ## all that is given to others, with checksums and a bill of materials, in build/release

# The oldest Debian that the mirrors have, without systemd, and the newest, which is booted.
build/bullseye: scripts/debian-root | check-tools
	scripts/debian-root $@ bullseye python3,python3-flask

build/sid-systemd: scripts/debian-root | check-tools
	scripts/debian-root $@ sid python3,python3-flask,python3-venv,systemd,man-db,procps

NEXT := $(DIST)/next
test-packages: packages build/bullseye build/sid-systemd ## the packages in Debian's oldest and newest, from installation to purge
	@scripts/apt-tools lintian:lintian rpmlint:rpmlint rpm:rpm ip:iproute2
	rm -rf $(NEXT)
	SOURCE_DATE_EPOCH=$(DATE) scripts/packages $(NEXT) build/nfpm $(VERSION).1 $(firstword $(BINARIES))
	unshare --mount --net --propagation private sh -c 'ip link set lo up && exec $(PYTHON) scripts/test_packages.py build/bullseye build/sid-systemd $(DIST) $(NEXT)'

test-container: build/sid-systemd $(DIST)/x86_64-gnu/hostler ## the images of deploy/container, built without a daemon, and run as process 1
	@scripts/apt-tools buildah:buildah ip:iproute2
	unshare --mount --net --propagation private sh -c 'ip link set lo up && exec $(PYTHON) scripts/test_container.py build/sid-systemd $(DIST)/x86_64-gnu/hostler'

test-install: wheel build/sid ## the wheel in new environments: pip, uv, pipx and poetry, Python 3.8 to 3.15
	scripts/wheelhouse build/wheelhouse $(RELEASE)/bin/pip 3.8 3.13 3.15
	$(RELEASE)/bin/python scripts/test_install.py $(DIST) build/wheelhouse $(RELEASE)
	scripts/in-root build/sid . /usr/bin/python3.15 scripts/test_install.py $(DIST) build/wheelhouse $(RELEASE) 3.15

build/arm64: scripts/debian-root | check-tools
	scripts/debian-root $@ trixie python3,python3-venv arm64

# pip is the host's, which takes the wheel that fits the other machine; emulated it is too slow.
test-arm64: wheel build/arm64 ## the wheel for arm64, installed by pip for a Debian of that kind: Flask, run by qemu
	@scripts/apt-tools qemu-aarch64-static:qemu-user-static
	ARCH=aarch64 scripts/wheelhouse build/wheelhouse-arm64 $(RELEASE)/bin/pip 3.13
	rm -rf build/arm64-installed
	$(RELEASE)/bin/pip -q install --disable-pip-version-check --target build/arm64-installed --only-binary=:all: --implementation cp --python-version 3.13 --platform manylinux2014_aarch64 --platform manylinux_2_28_aarch64 --no-index --find-links build/wheelhouse-arm64/3.13 --find-links $(DIST) hostler flask
	scripts/in-arm64 scripts/in-root build/arm64 . /usr/bin/python3 scripts/test_install.py --installed build/arm64-installed 3.13

# No Debian has a package of this one either.
build/python3.13-musl: scripts/musl-python | check-tools
	scripts/musl-python $@

MUSL_CORE := ^(TestMusl|TestPreload|TestPreloadKills|TestHooks|TestReload|TestBrokenReload|TestUpgrade|TestTimeout|TestInterrupted|TestInterruptedStream|TestDeadline|TestValidated|TestExceptions|TestThreadsAndForks|TestWatchCode|TestCtlProfile)$$

test-musl: build/python3.13-musl $(DIST)/x86_64-musl/hostler ## the core of e2e with a CPython and a hostler for musl
	HOSTLER=$(CURDIR)/$(DIST)/x86_64-musl/hostler E2E_PYTHON=$(CURDIR)/build/python3.13-musl/bin/python3.13 go test -count=1 -tags musl -run '$(MUSL_CORE)' ./e2e

chaos: bin/hostler $(VENV)/.done $(ASGI)/.done ## torment a server under load (CHAOS_SEED, CHAOS_MINUTES=10)
	go run ./e2e/chaos

bench: bin/hostler ## measure side by side with the peers; writes docs/benchmarks.md
	$(PYTHON) bench/run.py

bench-check: bin/hostler ## compare the CPU of a request with that of another revision (BASE=HEAD), on a busy machine, too
	$(PYTHON) bench/check.py --base $(or $(BASE),HEAD) $(CHECK)

FUZZTIME ?= 30s
fuzz: check-tools ## run each fuzz target for FUZZTIME
	@scripts/apt-tools $(NODE)
	@FUZZTIME=$(FUZZTIME) scripts/fuzz

autobahn: bin/hostler $(ASGI)/.done ## Autobahn's fuzzing client against an ASGI echo: cleartext, TLS, HTTP/2 (AUTOBAHN="1.* 12.1.1" for some cases)
	go test -tags autobahn -count=1 -timeout 120m -v -run TestAutobahn ./e2e

build/site-tools/.done: scripts/requirements-site.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/apt-tools ensurepip:python3-venv
	@$(PYTHON) -m venv build/site-tools
	build/site-tools/bin/pip -q install -r scripts/requirements-site.txt
	touch $@

site: build/site-tools/.done ## the documentation as a site, in build/site; a link that leads nowhere ends it
	NO_MKDOCS_2_WARNING=1 build/site-tools/bin/mkdocs build --strict

screenshots: bin/hostler $(VENV)/.done ## the pictures of docs/status.md, of a busy server in a real Chromium
	go run ./e2e/screenshots

reproducible: bin/hostler ## the same bytes come of a build in another folder, with nothing cached
	scripts/reproducible bin/hostler

reproducible-release: build/release/SHA256SUMS ## likewise for all that is given to others
	scripts/reproducible build/release/SHA256SUMS RELEASE=$(CURDIR)/$(RELEASE) SOURCE_DATE_EPOCH=$(DATE) -o $(CURDIR)/$(RELEASE)/.done

generated: check-tools ## what is generated is as the code has it
	@was=$$(git diff | sha256sum); go generate ./...; [ "$$was" = "$$(git diff | sha256sum)" ] || { echo "make: go generate has changed something: commit that, too" >&2; exit 1; }

lint: check-tools $(VENV)/.done ## gofmt, go vet, staticcheck, ruff, C with warnings as errors
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	$(VENV)/bin/ruff check .
	cc -std=gnu11 -O2 -Wall -Wextra -Wshadow -Wconversion -Werror -fsyntax-only worker/python/*.c

clean: ## remove what make made
	rm -rf bin build $(PAYLOAD)/worker.so
