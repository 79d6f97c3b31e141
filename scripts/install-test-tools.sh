#!/usr/bin/env bash
# Installs what `make test` needs beside Rust: Dovecot for the tests to start themselves, promtool and
# systemd-analyze to check the deployment files, Python's venv, cargo-nextest. Debian 12; may be run
# again at any time. No system service is started.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(dovecot-imapd dovecot-lmtpd prometheus python3-venv systemd procps)

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done

if [ "${#missing[@]}" -gt 0 ]; then
    # invoke-rc.d asks this program before it starts anything; 101 is "no".
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        trap 'as_root rm -f "$policy"' EXIT
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
fi

if ! command -v cargo-nextest >/dev/null && [ ! -x "$HOME/.cargo/bin/cargo-nextest" ]; then
    cargo install --locked cargo-nextest
fi

# The schemas that the Kubernetes files are checked against come with this package.
kubernetes_validate=1.37.0
if ! .venv/bin/python -c "
import importlib.metadata, sys
sys.exit(importlib.metadata.version('kubernetes-validate') != '$kubernetes_validate')" 2>/dev/null; then
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check "kubernetes-validate==$kubernetes_validate"
fi
