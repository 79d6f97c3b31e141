"""Checks what a schema does not: kustomization complete, restricted pod security, one replica."""

import pathlib
import sys

import yaml

base = pathlib.Path(sys.argv[1])
kustomization = yaml.safe_load((base / "kustomization.yaml").read_text())
listed = set(kustomization["resources"])
present = {path.name for path in base.glob("*.yaml")} - {"kustomization.yaml"}
assert listed == present, f"kustomization lists {listed}, the folder has {present}"

deployment = yaml.safe_load((base / "deployment.yaml").read_text())["spec"]
assert deployment["replicas"] == 1, "SQLite allows one replica"
assert deployment["strategy"]["type"] == "Recreate", "two pods must not share the store"
pod = deployment["template"]["spec"]
assert pod["securityContext"]["runAsNonRoot"] is True
assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
mounts = set()
for container in pod["containers"]:
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"]["drop"] == ["ALL"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert probe in container, f"no {probe}"
    mounts |= {mount["name"] for mount in container["volumeMounts"]}
volumes = {volume["name"] for volume in pod["volumes"]}
assert mounts == volumes, f"mounted {mounts}, declared {volumes}"
namespace = yaml.safe_load((base / "namespace.yaml").read_text())
assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
print("  kustomization, pod security and volumes are as they should be")
