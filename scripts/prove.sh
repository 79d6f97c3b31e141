#!/usr/bin/env bash
# Long simulations, faults in random order on the running daemon, big bursts on a real Dovecot; writes
# docs/RELIABILITY.md. About 70 minutes on two cores. It ends at the first loss, and writes nothing then.
#
# POSTRIDER_SIM_SEEDS (100000)   seeds of the simulation
# POSTRIDER_PROVE_SEEDS (2)      seeds of the faults on the running daemon, about 9 minutes each
# POSTRIDER_PROVE_FROM (1)       the first of them; odd seeds have a disk that can be filled, so one has to be odd
set -euo pipefail
cd "$(dirname "$0")/.."

export POSTRIDER_SIM_SEEDS="${POSTRIDER_SIM_SEEDS:-100000}"
export POSTRIDER_PROVE_SEEDS="${POSTRIDER_PROVE_SEEDS:-2}"
export POSTRIDER_PROVE_FROM="${POSTRIDER_PROVE_FROM:-1}"

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "tools"
bash scripts/install-test-tools.sh
# shellcheck disable=SC1091
. scripts/test-env.sh

target="${CARGO_TARGET_DIR:-target}"
figures="$target/prove"
mkdir -p "$figures"
rm -f "$figures/faults.json" "$figures/expiry.json" "$figures/lag.json" "$figures/places.json" "$figures"/simulation*.txt "$target/e2e-figures.txt"

step "simulation: $POSTRIDER_SIM_SEEDS seeds"
cargo nextest run --profile prove --locked -p postrider-core --test sim seeds_break --no-capture 2>&1 | tee "$figures/simulation.txt"
echo "$POSTRIDER_SIM_SEEDS" > "$figures/simulation-seeds.txt"

step "faults on the running daemon: $POSTRIDER_PROVE_SEEDS seeds from $POSTRIDER_PROVE_FROM"
cargo nextest run --profile prove --locked -p postrider --test scenarios faults_in_random_order --no-capture

step "200 mailboxes through 20 expiries"
POSTRIDER_PROVE=1 cargo nextest run --profile prove --locked -p postrider --test scenarios no_mail_waits --no-capture

step "endpoints beside one another; 1,000 deaths between claim and settlement"
POSTRIDER_PROVE=1 cargo nextest run --profile prove --locked -p postrider --test scenarios lag:: places:: --no-capture

step "bursts and faults on a real Dovecot"
POSTRIDER_PROVE=1 cargo nextest run --profile prove --locked -p postrider --test e2e

step "the page"
POSTRIDER_PROVE_WRITE=1 cargo nextest run --profile prove --locked -p postrider --test scenarios reliability
echo "docs/RELIABILITY.md is written ($SECONDS s)"
