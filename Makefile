# What a person types. Cargo does the work; what else is needed is installed by the scripts in tools/.
.DEFAULT_GOAL := help
.PHONY: help dev build image check test test-compose test-fleet soak reference bench bench-cluster bench-log bench-proxy bench-routing bench-scheduler contenders tools clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

dev: ## run everything in one process, with a demo workload
	cargo run --release --locked -- dev

build: ## build the program, target/release/plimsoll
	cargo build --release --locked

image: build ## build the image plimsoll:VERSION of target/release/plimsoll, pulling none
	deploy/docker/build

check: ## format, lints, documentation, licences, sources, advisories
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	tools/cargo-deny --locked check licenses bans sources
	tools/advisories
	tools/chart-readme --check

test: tools ## run all tests, against real servers
	cargo test --workspace --locked --no-fail-fast

test-compose: tools ## run deploy/compose on a Docker engine of its own (as root; 5 minutes)
	tests/compose/run

test-fleet: tools build ## 5,000 topics on eight collectors that join, stop, die and freeze (2 minutes after the build, on a machine of its own)
	PLIMSOLL_TEST_PROGRAM="$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/plimsoll" \
		cargo test --workspace --locked --test fleet -- --ignored --nocapture

soak: ## five minutes of clients that leave, backends that break and endpoints that come and go (PLIMSOLL_SOAK_SECONDS)
	PLIMSOLL_SOAK_SECONDS=$${PLIMSOLL_SOAK_SECONDS:-300} cargo test --workspace --locked --test soak -- --nocapture

# By its own test, which needs no build of its own.
reference: ## write docs/reference/ (flags, metrics, API) from the program, and the list of decisions; `make test` checks them
	tools/guide-decisions
	PLIMSOLL_UPDATE_REFERENCE=1 cargo test --workspace --locked --test guide -- the_reference_is_what_the_program_says

bench: tools build contenders ## run the benchmarks and print their figures
	cargo run --release --locked -p plimsoll-bench

bench-cluster: tools build ## interceptor and manager with 10,000 resources and 50,000 endpoints in a cluster (minutes, as root)
	PLIMSOLL_TEST_PROGRAM="$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/plimsoll" \
		cargo test --workspace --locked --test cluster -- --ignored --nocapture

bench-log: tools ## measure the log with up to 20,000 topics
	cargo run --release --locked -p plimsoll-bench -- log

bench-proxy: tools build contenders ## the proxy beside nginx, HAProxy and Go's
	cargo run --release --locked -p plimsoll-bench -- proxy

bench-routing: ## measure looking up routes, up to 100,000, and replacing them
	cargo run --release --locked -p plimsoll-bench -- routing

bench-scheduler: ## measure planning with up to 100,000 topics on 1,000 collectors
	cargo run --release --locked -p plimsoll-bench -- scheduler

# What the proxy is measured beside; Go's is built where cargo puts its own.
contenders:
	tools/debian-packages wrk nginx-light haproxy nghttp2-client
	cd benches/reverse-proxy && CGO_ENABLED=0 go build -buildvcs=false -trimpath -o "$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/reverse-proxy" .

tools: ## install the servers that tests run against (into ~/.cache/plimsoll, or PLIMSOLL_CACHE)
	tools/kafka/fetch
	tools/etcd/build
	tools/kubernetes/build
	tools/h2spec/build
	interceptor/tests/grpc/build
	tools/browser/fetch
	tools/debian-packages curl nghttp2-client python3-prometheus-client

clean: ## remove what was built here; servers stay in ~/.cache/plimsoll
	cargo clean
