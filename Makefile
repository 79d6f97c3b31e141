# postrider's commands for people and machines. `make demo` and `make test` work on a fresh Debian 12
# with Rust and the usual build tools; `make test` installs what the tests need from Debian's packages.

.PHONY: demo test prove bench

demo:
	cargo run --release --locked --bin postrider -- demo

test:
	bash scripts/test.sh

# Long simulations and big bursts; writes docs/RELIABILITY.md.
prove:
	bash scripts/prove.sh

# Latency, catch-up and memory on this machine; see docs/PERFORMANCE.md.
bench:
	bash scripts/bench.sh
