"""The wheel: nothing of it depends on the checkout, and each extra is enough for what it is for."""

from __future__ import annotations

import tomllib
from pathlib import Path

import psycopg
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from superstoryboard.v1 import job_pb2, queue_service_pb2
from tests.repository.installed import NAME, ROOT, Installation, build_wheel

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SERVICES = ("ingest", "image_worker", "video_worker", "asset_writer")
OBSTACLE = "create schema superstoryboard; create table superstoryboard.jobs (made_by_somebody_else text)"
TABLES = "select count(*) from pg_class where relkind = 'r' and relnamespace::regnamespace::text = any(%s)"
SCHEMAS = ["superstoryboard", "pgmq"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("alone"), wheel, "")


@pytest.fixture(scope="module")
def cli(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("cli"), wheel, "cli")


@pytest.fixture(scope="module")
def worker(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("worker"), wheel, "worker")


def test_it_takes_two_names_in_site_packages(alone: Installation) -> None:
    assert alone.own == {"superstoryboard", "storyboard", f"{NAME}-{VERSION}.dist-info"}
    assert {path.name for path in alone.packages.glob("*.pth")} == set()


def test_every_file_that_is_read_is_in_it(alone: Installation) -> None:
    package = alone.packages / NAME
    for kept in ("py.typed", "providers/catalogue.toml", "devstack/demo/gallery.css", "examples/demo-storyboard.json"):
        assert (package / kept).is_file()
    assert names(package / "migrations") == names(ROOT / "migrations") != set()
    protos = Path("proto/superstoryboard/v1")
    assert names(package / protos) == names(ROOT / protos) != set()
    for source in ("v1", "jobs"):
        assert names(ROOT / NAME / source) <= names(package / source)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_a_client_needs_no_extra(alone: Installation) -> None:
    assert alone.imports("superstoryboard.v1") == ""


def test_the_command_says_what_to_install(alone: Installation) -> None:
    done = alone.run("storyboard", "--version")
    assert done.returncode == 1
    assert done.stderr.endswith("Install what this command needs: pip install 'superstoryboard[cli]'\n")


def test_the_extra_cli_is_enough_for_every_command(cli: Installation) -> None:
    assert cli.imports("storyboard") == ""
    assert cli.run("storyboard", "--version").stdout == f"{VERSION}\n"


def test_the_extra_worker_is_enough_for_every_service(worker: Installation) -> None:
    assert worker.imports("superstoryboard.services", "superstoryboard.media") == ""
    for service in SERVICES:
        done = worker.run("python", "-m", f"superstoryboard.services.{service}", "--check-config")
        assert done.returncode == 2
        assert "DATABASE_URL" in done.stderr


def test_the_extra_devstack_is_enough_for_the_whole_system(wheel: Path, tmp_path: Path) -> None:
    devstack = Installation(tmp_path, wheel, "devstack")
    assert devstack.imports("superstoryboard.devstack") == ""
    code = "import superstoryboard.devstack.demo.__main__ as demo; demo.STORYBOARD.read_bytes()"
    assert devstack.run("python", "-c", code).stderr == ""


def test_an_empty_database_is_brought_to_the_schema(cli: Installation, empty_database_url: str) -> None:
    first = cli.run("storyboard", "migrate", DATABASE_URL=empty_database_url)
    assert (first.returncode, first.stderr) == (0, "")
    again = cli.run("storyboard", "migrate", DATABASE_URL=empty_database_url)
    assert (again.returncode, again.stdout) == (0, "Nothing to do: the schema is up to date.\n")
    with psycopg.connect(empty_database_url) as connection:
        applied = connection.execute("select count(*) from superstoryboard.schema_migrations").fetchone()
    assert applied == (len(names(ROOT / "migrations")),)


def test_a_failure_leaves_nothing_half_made(cli: Installation, empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(OBSTACLE)
        failed = cli.run("storyboard", "migrate", DATABASE_URL=empty_database_url)
        assert failed.returncode == 1
        assert "Nothing was changed" in failed.stderr
        assert connection.execute(TABLES, (SCHEMAS,)).fetchone() == (1,)
        connection.execute("drop schema superstoryboard cascade")
        mended = cli.run("storyboard", "migrate", DATABASE_URL=empty_database_url)
        assert (mended.returncode, mended.stderr) == (0, "")


def test_an_installation_without_its_migrations_changes_nothing(
    wheel: Path, tmp_path: Path, empty_database_url: str
) -> None:
    broken = Installation(tmp_path, wheel, "cli")
    for file in (broken.packages / NAME / "migrations").iterdir():
        file.unlink()
    done = broken.run("storyboard", "migrate", DATABASE_URL=empty_database_url)
    assert done.returncode == 1
    assert "the installation is incomplete" in done.stderr
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute(TABLES, (SCHEMAS,)).fetchone() == (0,)


def test_the_descriptors_stand_alone(alone: Installation) -> None:
    files = FileDescriptorSet.FromString((alone.packages / NAME / "proto" / "descriptors.binpb").read_bytes())
    pool = DescriptorPool()
    for file in files.file:
        pool.Add(file)
    for module in (job_pb2, queue_service_pb2):
        for name, message in module.DESCRIPTOR.message_types_by_name.items():
            descriptor = pool.FindMessageTypeByName(message.full_name)
            assert {field.name for field in descriptor.fields} == {field.name for field in message.fields}, name


def test_an_installed_package_buf_goes_before_the_copy(alone: Installation) -> None:
    """A process can register the file of the rules once; bytes that differ by a comment are another file."""
    theirs = alone.folder / "buf" / "validate"
    theirs.mkdir(parents=True)
    copy = (ROOT / NAME / "v1" / "validate_copy_pb2.py").read_text()
    (theirs / "validate_pb2.py").write_text(copy + "\nTHEIRS = True\n")
    code = "from superstoryboard.v1 import job_pb2, validate_pb2; print(validate_pb2.THEIRS)"
    assert alone.run("python", "-c", code).stdout == "True\n"
