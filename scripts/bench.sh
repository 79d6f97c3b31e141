#!/usr/bin/env bash
# Latency, catch-up and memory of the release build on this machine, with Dovecot and the sandbox's
# server; writes the figures into docs/PERFORMANCE.md. Takes some eight minutes, after the build.
# POSTRIDER_BENCH_QUICK=1: a minute, and no document.
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/install-test-tools.sh
# shellcheck disable=SC1091
. scripts/test-env.sh

cargo bench --locked -p postrider --bench performance
