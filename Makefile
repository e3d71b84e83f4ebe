# make            builds bin/hostler
# make run        builds it and serves examples/ on 127.0.0.1:8000
# make test       runs every test, and installs what they need into build/
# make help       lists the rest
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := bin/hostler

VERSION := $(shell cat VERSION)
PAYLOAD := cmd/hostler/payload
GOFILES := $(shell find . -path ./build -prune -o \( -name '*.go' -o -name '*.c' -o -name '*.h' -o -name '*.py' \) -print) go.mod go.sum
PYTHON  := python3
VENV    := build/venv

# What a fresh machine lacks is said in words, for apt and dnf.
need = command -v $(1) >/dev/null || { echo "make: $(1) is missing. Debian, Ubuntu: apt-get install $(2); Fedora, RHEL: dnf install $(3)" >&2; exit 1; }

.PHONY: help run test test-go test-e2e bench fuzz lint tools clean check-tools

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9\/-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check-tools:
	@$(call need,go,golang-go,golang)
	@$(call need,cc,gcc libc6-dev,gcc glibc-devel)
	@$(call need,$(PYTHON),python3,python3)

$(PAYLOAD)/worker.so: $(GOFILES)
	@$(MAKE) --no-print-directory check-tools
	CGO_ENABLED=1 go build -trimpath -buildmode=c-shared -ldflags='-s -w' -o build/worker.so ./cmd/hostler-worker
	cp build/worker.so $@

$(PAYLOAD)/bootstrap.py: worker/python/bootstrap.py
	cp $< $@

bin/hostler: $(PAYLOAD)/worker.so $(PAYLOAD)/bootstrap.py $(GOFILES) VERSION ## build bin/hostler
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w -X main.version=$(VERSION)' -o $@ ./cmd/hostler
