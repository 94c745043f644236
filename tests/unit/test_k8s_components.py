"""The components of k8s/, rendered by kustomize over the base: valid, and each process with files that it can read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.unit.test_k8s import BASE, KUBERNETES, PORTS, ROOT

RENDER_SECONDS = 60
FOLDER = "/etc/superstoryboard/tls"
Object = dict[str, Any]


def render(folder: Path, *components: str) -> dict[tuple[str, str], Object]:
    """Objects of an overlay with these components, by kind and name."""
    shutil.copytree(ROOT / "k8s", folder / "k8s")
    overlay = folder / "overlay"
    overlay.mkdir()
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../k8s/base"],
        "components": [f"../k8s/components/{name}" for name in components],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    command = [str(Path(sys.executable).with_name("kubectl")), "kustomize", str(overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RENDER_SECONDS)
    assert done.returncode == 0, done.stderr
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(done.stdout)}


def pod_of(objects: dict[tuple[str, str], Object], name: str) -> Object:
    if name == "sweep":
        spec = objects["CronJob", name]["spec"]["jobTemplate"]["spec"]
    else:
        spec = objects["Deployment", name]["spec"]
    return spec["template"]["spec"]  # type: ignore[no-any-return]  # yaml


@pytest.mark.parametrize("components", [(), ("tls",), ("tls", "mtls"), ("service-tokens", "tls", "mtls"), ("logins",)])
def test_every_object_is_valid_and_none_is_lost(tmp_path: Path, components: tuple[str, ...]) -> None:
    objects = render(tmp_path, *components)
    for each in objects.values():
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    files = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    assert len(objects) == sum(len(list(yaml.safe_load_all((BASE / name).read_text()))) for name in files)


@pytest.mark.parametrize("name", [*PORTS, "sweep"])
def test_each_pod_mounts_a_secret_of_its_own_that_it_can_read(tmp_path: Path, name: str) -> None:
    pod = pod_of(render(tmp_path, "tls"), name)
    (only,) = pod["containers"]
    assert {"name": "tls", "mountPath": FOLDER, "readOnly": True} in only["volumeMounts"]
    assert {"name": "tls", "secret": {"secretName": f"{name}-tls", "defaultMode": 0o440}} in pod["volumes"]
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {volume["name"] for volume in pod["volumes"]} == {"tmp", "tls"}


def test_services_serve_tls_and_the_sweep_speaks_it(tmp_path: Path) -> None:
    objects = render(tmp_path, "tls")
    settings = objects["ConfigMap", "superstoryboard"]["data"]
    assert (settings["GRPC_TLS_CERT"], settings["GRPC_TLS_KEY"]) == (f"{FOLDER}/tls.crt", f"{FOLDER}/tls.key")
    assert "GRPC_TLS_CLIENT_CA" not in settings
    env = {each["name"]: each.get("value") for each in pod_of(objects, "sweep")["containers"][0]["env"]}
    assert (env["INGEST_ADDRESS"], env["STORYBOARD_TLS_CA"]) == ("https://ingest:50051", f"{FOLDER}/ca.crt")
    assert set(env) == {"INGEST_ADDRESS", "STORYBOARD_TOKEN", "STORYBOARD_TLS_CA"}


def test_mutual_tls_asks_clients_and_the_sweep_has_a_certificate(tmp_path: Path) -> None:
    objects = render(tmp_path, "tls", "mtls")
    assert objects["ConfigMap", "superstoryboard"]["data"]["GRPC_TLS_CLIENT_CA"] == f"{FOLDER}/ca.crt"
    env = {each["name"]: each.get("value") for each in pod_of(objects, "sweep")["containers"][0]["env"]}
    assert (env["STORYBOARD_TLS_CERT"], env["STORYBOARD_TLS_KEY"]) == (f"{FOLDER}/tls.crt", f"{FOLDER}/tls.key")


def test_every_service_reads_the_file_of_service_tokens_also_over_tls(tmp_path: Path) -> None:
    objects = render(tmp_path, "tls", "mtls", "service-tokens")
    folder = PurePosixPath(objects["ConfigMap", "superstoryboard"]["data"]["SERVICE_TOKENS_FILE"]).parent
    for name in PORTS:
        pod = pod_of(objects, name)
        (only,) = pod["containers"]
        assert {"name": "service-tokens", "mountPath": str(folder), "readOnly": True} in only["volumeMounts"]
        secret = {"secretName": "service-tokens", "defaultMode": 0o444}
        assert {"name": "service-tokens", "secret": secret} in pod["volumes"]
        assert {volume["name"] for volume in pod["volumes"]} == {"tmp", "tls", "service-tokens"}
    assert {volume["name"] for volume in pod_of(objects, "sweep")["volumes"]} == {"tmp", "tls"}


def test_with_logins_only_migrate_reads_the_owners_address(tmp_path: Path) -> None:
    objects = render(tmp_path, "logins")
    read = {}
    for (kind, name), each in objects.items():
        if kind in ("Deployment", "Job"):
            [container] = each["spec"]["template"]["spec"]["containers"]
            read[name] = {
                entry["valueFrom"]["secretKeyRef"]["name"]
                for entry in container["env"]
                if entry["name"] in ("DATABASE_URL", "DATABASE_LISTEN_URL")
            }
    migrate = next(name for name in read if name.startswith("migrate"))
    assert read.pop(migrate) == {"superstoryboard"}
    assert read == {name: {f"{name}-database"} for name in PORTS}
