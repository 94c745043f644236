"""Help, version, `migrate`, `up` and `demo`."""

import re
import socket
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from services.asset_writer.settings import AssetWriterSettings
from services.image_worker.settings import ImageWorkerSettings
from services.ingest.settings import IngestSettings
from services.video_worker.settings import VideoWorkerSettings
from superstoryboard.config.server import ServerSettings
from tests.unit.cli_fixture import Cli, running_cli

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["image", "image-edit", "video", "batch-images", "batch-videos", "watch", "jobs", "job", "process"]
STEERING_COMMANDS = ["cancel", "retry", "queues", "pause", "resume", "dead-letters"]
STORYBOARD_COMMANDS = ["owner", "share", "unshare", "transfer"]
OPERATOR_COMMANDS = ["models", "migrate", "doctor", "up", "demo", "token"]


def env_example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    with running_cli(capsys, monkeypatch) as running:
        yield running


def test_help_names_every_command_and_exit_code(cli: Cli) -> None:
    result = cli("--help")
    assert result.code == 0
    for word in [
        *COMMANDS,
        *STEERING_COMMANDS,
        *STORYBOARD_COMMANDS,
        *OPERATOR_COMMANDS,
        "Generate",
        "Follow",
        "Operate",
        "Exit codes",
        "INGEST_ADDRESS",
    ]:
        assert word in result.out


@pytest.mark.parametrize("command", [*COMMANDS, *STEERING_COMMANDS, *STORYBOARD_COMMANDS, *OPERATOR_COMMANDS])
def test_every_command_has_help(cli: Cli, command: str) -> None:
    result = cli(command, "--help")
    assert result.code == 0
    assert f"storyboard {command}" in result.out


def test_version(cli: Cli) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", cli("--version").out)


def test_migrate_needs_a_database(cli: Cli) -> None:
    result = cli("migrate")
    assert result.code == 2
    assert "DATABASE_URL" in result.err


def test_migrate_of_an_unreachable_database_exits_3_and_keeps_the_password(cli: Cli) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cli.set(DATABASE_URL=f"postgresql://someone:a-password@127.0.0.1:{port}/none")
    result = cli("migrate")
    assert result.code == 3
    assert "not reachable" in result.err
    assert "a-password" not in result.err


def test_migrate_with_a_url_that_cannot_be_read_exits_1(cli: Cli) -> None:
    cli.set(DATABASE_URL="postgresql://someone:a-password@127.0.0.1/none?nonsense=1")
    result = cli("migrate")
    assert (result.code, "The database reported an error" in result.err) == (1, True)
    assert "a-password" not in result.err


@pytest.mark.parametrize("command", ["up", "demo"])
def test_without_the_devstack_its_commands_say_how_to_install_it(
    cli: Cli, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"superstoryboard.devstack.{command}", None)
    result = cli(command)
    assert result.code == 1
    assert "pip install 'superstoryboard[devstack]'" in result.err


@pytest.mark.parametrize("kind", [IngestSettings, ImageWorkerSettings, VideoWorkerSettings, AssetWriterSettings])
def test_env_example_holds_the_settings_of_every_service_with_their_defaults(kind: type[ServerSettings]) -> None:
    example = env_example()
    for field, facts in kind.model_fields.items():
        assert field.upper() in example
        if field not in {"grpc_listen", "drain_seconds"} and isinstance(facts.default, int | float | str):
            assert example[field.upper()] in {str(facts.default), str(facts.default).lower()}


def test_env_example_holds_every_setting_once_with_a_comment() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    names = [line.split("=")[0] for line in lines if line and not line.startswith("#")]
    assert len(names) == len(set(names))
    for before, line in pairwise(lines):
        if "=" in line and not line.startswith("#"):
            assert before.startswith("# "), line
