GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Neither the folder nor the build's own number gets into the program: the same source makes the same bytes.
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION)
# Google's library speaks gRPC as well, which nobody here asks for: without it the program has 13 MB less.
TAGS    := disable_grpc_modules
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -tags $(TAGS) -ldflags "$(LDFLAGS)"

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOSEC       := github.com/securego/gosec/v2/cmd/gosec@v2.22.10
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.3.0

# What gosec is not asked, because here the answer is always the same. Errors that are dropped are those of closing what
# was read, and of hashes, which have none (G104). Lengths and numbers of parts are small (G115). The operator names files
# and folders (G304), whose modes are those of registry:2, and secrets have one of their own (G301, G302, G306). MD5 and
# SHA-1 are what S3 and Swift ask for (G401, G501, G505). Random numbers without a secret spread retries and names (G404).
GOSEC_EXCLUDE := G104,G115,G301,G302,G304,G306,G401,G404,G501,G505
# Where govulncheck gets what is known of faults.
VULNDB := $(or $(GOVULNDB),https://vuln.go.dev)

.DEFAULT_GOAL := help
.PHONY: run test test-packages test-program tools build lint vuln bench bench-peers docs cover integration compose image images dist package help

run: build ## serve flavor dev (or $SETTINGS_FLAVOR) on port 5000, in the foreground
	@SETTINGS_FLAVOR=$${SETTINGS_FLAVOR-dev} exec ./bin/parfait serve

test: ## run every test; the tests fetch the tools they need
	@$(MAKE) --no-print-directory --keep-going --jobs 2 test-packages test-program

test-packages: # with the race detector, which has no use in SQLite, where it takes the most: that is C, made Go
	$(GO) test -race -gcflags=modernc.org/sqlite/lib=-race=false -timeout 40m $$($(GO) list ./... | grep -v '/integration$$')

test-program: # beside them, because it waits for much. What runs here is the program, which has no race detector in it.
	$(GO) test -timeout 40m ./integration

tools: ## build the programs that tests run, which they else do themselves when they need them
	$(GO) test -count 1 -timeout 60m -run '^(TestTools|TestAzurite)$$' ./integration/harness

build: ## build ./bin/parfait, one static binary
	$(BUILD) -o bin/parfait ./cmd/parfait

lint: ## gofmt, go vet, staticcheck, gosec, and govulncheck where its database can be reached
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(GOSEC) -quiet -exclude $(GOSEC_EXCLUDE) -exclude-dir integration -exclude-dir drivers/drivertest -tags $(TAGS) ./...
	@$(MAKE) --no-print-directory vuln

vuln: ## look up known faults in what the program is made of
	@if curl -fsS -m 10 -o /dev/null $(VULNDB)/index/db.json; then \
		$(GO) run $(GOVULNCHECK) -db $(VULNDB) -tags $(TAGS) ./cmd/parfait; \
	else \
		echo "govulncheck: NOT RUN, because $(VULNDB) cannot be reached; GOVULNDB=file:///path names a copy"; \
	fi

bench: ## run the Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -timeout 30m ./...

bench-peers: ## load parfait, distribution and an installed zot side by side (STORE=minio or collection, LOAD="-rounds 1 -scenario images")
	PARFAIT_BENCH_PEERS="$(or $(LOAD),-rounds 3)" $(GO) test -count 1 -v -timeout 120m -run '^TestPeers$$/^$(or $(STORE),local)$$' ./integration

docs: ## write docs/configuration.md anew, from the structs that the configuration is read into
	$(GO) generate ./cmd/parfait

cover: ## run the tests and show how much of each package they cover
	$(GO) test -timeout 40m -coverprofile cover.out ./...
	$(GO) tool cover -func cover.out | tail -n 1

integration: ## run the tests against real servers and real clients alone, docker-compose.yml included
	$(GO) test -count 1 -timeout 40m ./integration/...
	$(MAKE) compose

compose: ## run docker-compose.yml, and the tests of real clients and docker's own engine against it
	PARFAIT_COMPOSE=1 $(GO) test -count 1 -v -timeout 30m -run '^TestCompose$$' ./integration

# The image holds what this archive holds. Owners and modes are made here, because there is no shell in the image.
ROOTFS := bin/rootfs

image: ## build the container image parfait:latest with docker
	rm -rf $(ROOTFS) && mkdir -p $(ROOTFS)/tmp $(ROOTFS)/usr/bin $(ROOTFS)/var/lib/registry
	GOOS=linux $(BUILD) -o $(ROOTFS)/parfait ./cmd/parfait
	ln -s ../../parfait $(ROOTFS)/usr/bin/htpasswd
	chmod 1777 $(ROOTFS)/tmp
	tar -cf $(ROOTFS).tar -C $(ROOTFS) --numeric-owner --owner 0 --group 0 --mode go-w parfait usr
	tar -rf $(ROOTFS).tar -C $(ROOTFS) --numeric-owner --owner 0 --group 0 tmp
	tar -rf $(ROOTFS).tar -C $(ROOTFS) --numeric-owner --owner 65532 --group 65532 --mode 0755 var/lib/registry
	docker build -t parfait .

images: image ## build the images of docker-compose.yml with docker; nothing is pulled
	$(GO) run ./integration/images -parfait $(ROOTFS)/parfait bin/images
	for rootfs in bin/images/*/rootfs.tar; do \
		folder=$$(dirname $$rootfs) && docker build --quiet --tag parfait-$$(basename $$folder) $$folder || exit; \
	done

# What is released. An archive is the same whenever and wherever it is made of one commit.
DIST    := dist
CYCLONEDX ?= $(GO) run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
ARCHS   := amd64 arm64
EPOCH   := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
ARCHIVE := tar --sort=name --mtime=@$(EPOCH) --owner=0 --group=0 --numeric-owner --format=gnu --use-compress-program='gzip -9n' -cf

dist: ## make a release in dist/: programs, image, chart and bills of materials for amd64 and arm64, and checksums
	rm -rf $(DIST)
	$(BUILD) -o bin/parfait ./cmd/parfait
	for arch in $(ARCHS); do $(MAKE) --no-print-directory package ARCH=$$arch || exit; done
	$(GO) run ./deploy/oci -version $(VERSION) $(DIST)/image $(foreach arch,$(ARCHS),$(arch)=$(DIST)/parfait-linux-$(arch)/parfait)
	$(ARCHIVE) $(DIST)/parfait-image.tar.gz -C $(DIST)/image .
	$(ARCHIVE) $(DIST)/parfait-chart.tgz -C deploy/helm parfait
	cd $(DIST) && sha256sum *.tar.gz *.tgz *.cdx.json > SHA256SUMS

package: # of one ARCH: the program, and all that comes with it
	mkdir -p $(DIST)/parfait-linux-$(ARCH)/completions $(DIST)/parfait-linux-$(ARCH)/docs
	GOOS=linux GOARCH=$(ARCH) $(BUILD) -o $(DIST)/parfait-linux-$(ARCH)/parfait ./cmd/parfait
	./bin/parfait man $(DIST)/parfait-linux-$(ARCH)/man/man1
	for shell in bash zsh fish; do ./bin/parfait completion $$shell > $(DIST)/parfait-linux-$(ARCH)/completions/parfait.$$shell || exit; done
	cp README.md LICENSE config_sample.yml deploy/systemd/parfait.service $(DIST)/parfait-linux-$(ARCH)/
	cp docs/*.md $(DIST)/parfait-linux-$(ARCH)/docs/
	chmod -R u=rwX,go=rX $(DIST)/parfait-linux-$(ARCH)
	$(ARCHIVE) $(DIST)/parfait-linux-$(ARCH).tar.gz -C $(DIST) parfait-linux-$(ARCH)
	$(CYCLONEDX) bin -json -noserial -notimestamp -version $(VERSION) \
		-output $(DIST)/parfait-linux-$(ARCH).cdx.json $(DIST)/parfait-linux-$(ARCH)/parfait

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
