#!/usr/bin/env bash
# Checks the files under deploy/ and the Dockerfile as far as that goes without a cluster, a systemd
# that runs, or a container engine.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "systemd unit: hardening score (0 best, 100 worst), at most 15"
systemd-analyze security --offline=true --threshold=15 --no-pager deploy/systemd/postrider.service | tail -n 1

echo "kubernetes: schema of every object"
for version in 1.27 1.31; do
    .venv/bin/kubernetes-validate --strict -k "$version" deploy/kubernetes/base/[!k]*.yaml | sed 's/^/  /'
done
.venv/bin/python scripts/check_kubernetes.py deploy/kubernetes/base

echo "prometheus: alerts and their tests"
promtool check rules deploy/prometheus/alerts.yml
(cd deploy/prometheus && promtool test rules alerts.test.yml)

echo "Dockerfile: every path it copies exists"
while read -r path; do
    [ -e "$path" ] || { echo "Dockerfile copies $path, which is not there"; exit 1; }
done < <(awk '$1 == "COPY" && $2 !~ /^--/ { for (i = 2; i < NF; i++) print $i }' Dockerfile)
