"""The Kubernetes objects: valid, locked down, and each process with the settings and secrets that are its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.asset_writer.settings import AssetWriterSettings
from services.image_worker.settings import ImageWorkerSettings
from services.ingest.settings import IngestSettings
from services.video_worker.settings import VideoWorkerSettings
from superstoryboard.config.server import ServerSettings
from tests.unit.settings_names import names_of

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "k8s" / "base"
KUBERNETES = "1.31"
SECRET = "superstoryboard"
SECRET_VALUES = {
    "DATABASE_URL": "postgresql://storyboard@database:5432/postgres",
    "DATABASE_LISTEN_URL": "postgresql://storyboard@database:5432/postgres",
    "AMQP_URL": "amqp://broker:5672/",
    "EVENTS_AMQP_URL": "amqp://events@broker:5672/",
    "SUPABASE_JWT_SECRET": "a-secret-of-the-tests-that-is-long-enough",
    "GOOGLE_GENERATIVE_AI_API_KEY": "emulator-key",
    "GOOGLE_VERTEX_API_KEY": "emulator-key",
    "SUPABASE_STAGING_KEY": "staging-key",
    "SUPABASE_ANON_KEY": "anon-key",
    "SUPABASE_SECRET_KEY": "secret-key",
    "STORYBOARD_TOKEN": "token",
}
WORKER_SECRETS = {
    "DATABASE_URL",
    "DATABASE_LISTEN_URL",
    "AMQP_URL",
    "SUPABASE_JWT_SECRET",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "SUPABASE_STAGING_KEY",
    "SUPABASE_ANON_KEY",
}
# Who may hold which secret (decision 0001).
SECRETS = {
    "ingest": {"DATABASE_URL", "DATABASE_LISTEN_URL", "EVENTS_AMQP_URL", "SUPABASE_JWT_SECRET"},
    "image-worker": WORKER_SECRETS,
    "video-worker": WORKER_SECRETS | {"GOOGLE_VERTEX_API_KEY"},
    "asset-writer": {
        "DATABASE_URL",
        "DATABASE_LISTEN_URL",
        "AMQP_URL",
        "SUPABASE_JWT_SECRET",
        "SUPABASE_SECRET_KEY",
    },
    "migrate": {"DATABASE_URL"},
    "sweep": {"STORYBOARD_TOKEN"},
}
SETTINGS: dict[str, type[ServerSettings]] = {
    "ingest": IngestSettings,
    "image-worker": ImageWorkerSettings,
    "video-worker": VideoWorkerSettings,
    "asset-writer": AssetWriterSettings,
}
PORTS = {"ingest": 50051, "image-worker": 50052, "video-worker": 50053, "asset-writer": 50054}
HEALTH_PORT = 9465
Object = dict[str, Any]


def rendered() -> Iterator[Object]:
    """What kustomize renders of a base that only lists resources."""
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    assert set(kustomization) == {"apiVersion", "kind", "resources"}, "more than resources needs a real kustomize"
    for name in kustomization["resources"]:
        yield from yaml.safe_load_all((BASE / name).read_text())


OBJECTS = list(rendered())
IDS = [f"{each['kind']}/{each['metadata']['name']}" for each in OBJECTS]


def named(kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] == kind}


def pods() -> dict[str, Object]:
    """Pod templates by the name of their Deployment, Job or CronJob."""
    cron = {name: each["spec"]["jobTemplate"]["spec"]["template"] for name, each in named("CronJob").items()}
    others = {name: each["spec"]["template"] for kind in ("Deployment", "Job") for name, each in named(kind).items()}
    return others | cron


def container(pod: Object) -> Object:
    (only,) = pod["spec"]["containers"]
    assert "initContainers" not in pod["spec"]
    return only  # type: ignore[no-any-return]  # yaml


def environment(pod: Object, *, optional: bool) -> dict[str, str]:
    """What the container sees; with or without the optional secrets."""
    values: dict[str, str] = {}
    for source in container(pod).get("envFrom", []):
        values |= named("ConfigMap")[source["configMapRef"]["name"]]["data"]
    for entry in container(pod)["env"]:
        origin = entry.get("valueFrom", {})
        if "secretKeyRef" in origin:
            if optional or not origin["secretKeyRef"].get("optional", False):
                values[entry["name"]] = SECRET_VALUES[origin["secretKeyRef"]["key"]]
        elif "configMapKeyRef" in origin:
            reference = origin["configMapKeyRef"]
            values[entry["name"]] = named("ConfigMap")[reference["name"]]["data"][reference["key"]]
        else:
            values[entry["name"]] = entry["value"]
    return values


@pytest.fixture
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    return monkeypatch


def test_every_file_of_the_base_is_listed_and_every_object_is_there_once() -> None:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in BASE.iterdir()} == {*listed, "kustomization.yaml"}
    assert len(IDS) == len(set(IDS))
    assert set(named("Deployment")) == set(PORTS)
    assert set(pods()) == set(SECRETS)


@pytest.mark.parametrize("each", OBJECTS, ids=IDS)
def test_objects_are_valid_and_belong_to_no_namespace(each: Object) -> None:
    kubernetes_validate.validate(each, KUBERNETES, strict=True)
    assert "namespace" not in each["metadata"]
    assert each["kind"] != "Secret"


@pytest.mark.parametrize("name", SECRETS)
def test_pods_are_locked_down(name: str) -> None:
    spec = pods()[name]["spec"]
    assert spec["serviceAccountName"] == name
    assert named("ServiceAccount")[name]["automountServiceAccountToken"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    only = container(pods()[name])
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert only["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a volume of its own
    assert [set(volume) for volume in spec["volumes"]] == [{"name", "emptyDir"}]
    assert set(only["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in only["resources"]["limits"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)


@pytest.mark.parametrize("name", SECRETS)
def test_a_pod_holds_only_the_secrets_of_its_security_context(name: str) -> None:
    only = container(pods()[name])
    references = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"]
        for entry in only["env"]
        if "secretKeyRef" in entry.get("valueFrom", {})
    }
    assert set(references) == SECRETS[name]
    assert all(reference["name"] == SECRET for reference in references.values())
    assert all(reference["key"] == variable for variable, reference in references.items())
    assert all(set(source) == {"configMapRef"} for source in only.get("envFrom", []))
    plain = {entry["name"] for entry in only["env"] if "value" in entry}
    configured = {key for each in named("ConfigMap").values() for key in each["data"]}
    assert not (plain | configured) & set(SECRET_VALUES), "a secret is never a plain value"


@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_a_service_are_accepted_with_authentication_on(
    name: str, optional: bool, empty_environment: pytest.MonkeyPatch
) -> None:
    values = environment(pods()[name], optional=optional)
    for variable, value in values.items():
        empty_environment.setenv(variable, value)
    settings = SETTINGS[name].read()
    assert settings.grpc_listen == f"0.0.0.0:{PORTS[name]}"
    assert not settings.auth_disabled
    own = {entry["name"] for entry in container(pods()[name])["env"]}
    assert own <= names_of(SETTINGS[name])
    drain_seconds: float = getattr(settings, "drain_seconds")  # noqa: B009 - a field of every service
    assert pods()[name]["spec"]["terminationGracePeriodSeconds"] > drain_seconds


def test_every_configured_name_is_a_setting_of_somebody() -> None:
    known = {name for settings in SETTINGS.values() for name in names_of(settings)} | {"ANON_MAY_SEND"}
    (config,) = named("ConfigMap").values()
    assert set(config["data"]) <= known


@pytest.mark.parametrize(("name", "port"), PORTS.items())
def test_probes_services_and_selectors_meet_the_container(name: str, port: int) -> None:
    deployment = named("Deployment")[name]
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"]
    service = named("Service")[name]["spec"]
    only = container(pod)
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["selector"].items() <= labels.items()
    assert sum(service["selector"].items() <= each["metadata"]["labels"].items() for each in pods().values()) == 1
    assert only["ports"] == [
        {"name": "grpc", "containerPort": port},
        {"name": "health", "containerPort": HEALTH_PORT},
    ]
    assert [(each["port"], each["targetPort"]) for each in service["ports"]] == [(port, "grpc")]
    assert only["readinessProbe"]["grpc"] == {"port": HEALTH_PORT}
    assert environment(pod, optional=False)["HEALTH_LISTEN"] == f"0.0.0.0:{HEALTH_PORT}"
    liveness = only["livenessProbe"]
    assert liveness["tcpSocket"] == {"port": "health"}
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60


def test_one_image_of_this_version_runs_every_command() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {container(pod)["image"] for pod in pods().values()} == {f"superstoryboard:{version}"}
    for name, pod in pods().items():
        module = ["storyboard", name] if name in {"migrate", "sweep"} else [f"services.{name.replace('-', '_')}"]
        assert container(pod)["command"] == ["python", "-m", *module]


@pytest.mark.parametrize("name", ["migrate", "sweep"])
def test_the_commands_of_the_jobs_exist(name: str) -> None:
    arguments = container(pods()[name])["command"][1:]
    done = subprocess.run(
        [sys.executable, *arguments, "--help"], capture_output=True, text=True, check=False, cwd=ROOT, timeout=30
    )
    assert done.returncode == 0, done.stderr


def test_the_sweep_runs_every_five_minutes_and_asks_ingest() -> None:
    cron = named("CronJob")["sweep"]["spec"]
    assert (cron["schedule"], cron["concurrencyPolicy"]) == ("*/5 * * * *", "Forbid")
    address = environment(pods()["sweep"], optional=True)["INGEST_ADDRESS"]
    assert address == f"ingest:{named('Service')['ingest']['spec']['ports'][0]['port']}"


def test_the_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stdout


def test_the_image_gets_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
    assert "*" in ignored
    assert all((ROOT / path).exists() for path in copied)
    assert any(line.startswith("USER 10001") for line in lines)
