#!/usr/bin/env bash
# Everything that has to hold before a change lands: formatting, lints, unit tests, simulation,
# transcripts, scenarios, real servers, deployment files.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "tools"
bash scripts/install-test-tools.sh
# shellcheck disable=SC1091
. scripts/test-env.sh

step "formatting"
cargo fmt --all --check

step "lints"
cargo clippy --locked --workspace --all-targets -- -D warnings

step "deployment files"
bash scripts/check-deploy.sh

step "tests"
cargo nextest run --locked --workspace

step "done"
