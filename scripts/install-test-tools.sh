#!/usr/bin/env bash
# Installs what `make test` needs beside Rust: Dovecot for the tests to start themselves, promtool and
# systemd-analyze to check the deployment files, openssl for certificates in all their files, Python's
# venv with PyJWT, Node with two packages, cargo-nextest. Debian 12; may be run again at any time. No system service is started.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(dovecot-imapd dovecot-lmtpd prometheus python3-venv systemd procps openssl)
command -v node >/dev/null && command -v npm >/dev/null || packages+=(nodejs npm)

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

# The schemas that the Kubernetes files are checked against, the library that judges the assertions
# which postrider signs, a parser for the PowerShell that it prints, as there is no PowerShell here, and
# the library that receivers verify with.
python_packages=(kubernetes-validate==1.37.0 PyJWT==2.15.1 cryptography==50.0.2
    tree-sitter==0.26.1 tree-sitter-powershell==0.26.4 standardwebhooks==1.1.0)
if ! .venv/bin/python -c "
import importlib.metadata, sys
for package in sys.argv[1:]:
    name, version = package.split('==')
    if importlib.metadata.version(name) != version:
        sys.exit(1)" "${python_packages[@]}" 2>/dev/null; then
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check "${python_packages[@]}"
fi

# A small IMAP server of independent origin, which XOAUTH2 is checked against, and the library that
# receivers verify with.
node_packages=(hoodiecrow-imap@2.1.0 standardwebhooks@1.1.1)
for package in "${node_packages[@]}"; do
    installed=$(node -p "require('./.node/node_modules/${package%@*}/package.json').version" 2>/dev/null || true)
    if [ "$installed" != "${package##*@}" ]; then
        timeout 300 npm install --prefix .node --no-audit --no-fund --ignore-scripts --loglevel=error \
            "${node_packages[@]}"
        break
    fi
done
