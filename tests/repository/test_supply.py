"""What is known of the packages: vulnerabilities, licenses, the list of the image. Each program can fail."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from packaging.markers import Marker

from tests.repository.installed import ROOT
from tests.repository.supply import locked, script

HASH = "0" * 64
PYTHON = "3.11"
IMAGE = {
    "sys_platform": "linux",
    "platform_machine": "x86_64",
    "python_version": PYTHON,
    "python_full_version": f"{PYTHON}.0",
}
KNOWN = {
    "id": "OSV-1",
    "summary": "x",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "bad", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
            "versions": ["1.0"],
        }
    ],
}


class Osv(BaseHTTPRequestHandler):
    """Knows one vulnerability, of the package bad."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"vulns": [KNOWN]} if asked["package"]["name"] == "bad" else {}).encode()
        self.send_response(404 if asked["package"]["name"] == "strange" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def lock(folder: Path, *names: str) -> Path:
    path = folder / "lock.txt"
    path.write_text("".join(f"{name}==1.0 \\\n    --hash=sha256:{HASH}\n" for name in names))
    return path


def test_the_audit_passes_what_the_database_knows_no_harm_of(tmp_path: Path) -> None:
    with serving() as url:
        done = script("audit_packages.py", "--lock", lock(tmp_path, "good", "fine"), "--database", url)
    assert (done.returncode, done.stdout) == (0, "lock.txt: 2 packages, 0 known vulnerabilities.\n")


def test_the_audit_names_a_vulnerability_and_what_mends_it(tmp_path: Path) -> None:
    with serving() as url:
        done = script("audit_packages.py", "--lock", lock(tmp_path, "good", "bad"), "--database", url)
    assert done.returncode == 1
    assert "lock.txt: bad 1.0: OSV-1, fixed in 2.0\n" in done.stdout


@pytest.mark.parametrize("name", ["nowhere", "refusing"])
def test_an_audit_without_a_database_fails_and_says_what_to_do(tmp_path: Path, name: str) -> None:
    with serving() as url:
        database = url if name == "refusing" else "http://127.0.0.1:1/v1/query"
        done = script("audit_packages.py", "--lock", lock(tmp_path, "strange"), "--database", database)
    assert done.returncode == 2
    assert f"lock.txt: not audited. The database at {database} cannot be asked" in done.stdout
    assert "make audit DATABASE=URL" in done.stdout


def test_every_license_of_the_image_is_known_and_accepted() -> None:
    done = script("list_licenses.py")
    listed = re.findall(r"^(\S+) (\S+): (.+)$", done.stdout, re.MULTILINE)
    assert {(name, version) for name, version, _ in listed} == {
        (name, version) for name, (version, _, marker) in locked("image.txt").items() if in_image(marker)
    }
    assert done.returncode == 0, done.stdout
    by_name = {name: text for name, _, text in listed}
    assert by_name["psycopg"] == "LGPL-3.0-only"
    assert "GPL-2.0-or-later" in by_name["av"].split(" + ")


def in_image(marker: str) -> bool:
    return not marker or Marker(marker).evaluate(dict(IMAGE))


def test_a_license_that_nobody_accepted_is_refused(tmp_path: Path) -> None:
    """Hypothesis is MPL-2.0, and among the tools of development; nothing is known of a package that is not there."""
    path = tmp_path / "lock.txt"
    path.write_text(f"hypothesis=={locked('dev.txt')['hypothesis'][0]}\nno-such-package==1.0\n")
    done = script("list_licenses.py", "--lock", path)
    assert done.returncode == 1
    assert "hypothesis: NOT ACCEPTED" in done.stdout
    assert "no-such-package: LICENSE UNKNOWN" in done.stdout


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("sbom") / "dist" / "sbom.cdx.json"
    done = script("make_sbom.py", "--output", path, SOURCE_DATE_EPOCH="1700000000")
    assert (done.returncode, done.stderr) == (0, "")
    bill: dict[str, Any] = json.loads(path.read_text())
    return bill


def test_the_list_has_every_package_of_the_image_with_its_hashes(listed: dict[str, Any]) -> None:
    expected = {
        name: (version, f"pkg:pypi/{name}@{version}", set(hashes))
        for name, (version, hashes, marker) in locked("image.txt").items()
        if in_image(marker)
    }
    assert len(expected) > 60
    assert {each["name"]: (each["version"], each["purl"], hashes_of(each)) for each in listed["components"]} == expected
    assert all(each["licenses"] for each in listed["components"])


def hashes_of(component: dict[str, Any]) -> set[str]:
    (files,) = component["externalReferences"]
    assert {each["alg"] for each in files["hashes"]} == {"SHA-256"}
    return {each["content"] for each in files["hashes"]}


def test_the_list_is_cyclonedx_and_says_what_needs_what(listed: dict[str, Any]) -> None:
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.6")
    assert problem(listed) is None
    needs = {each["ref"]: each.get("dependsOn", []) for each in listed["dependencies"]}
    image = listed["metadata"]["component"]
    assert (image["name"], image["type"]) == ("superstoryboard", "container")
    assert any(ref.startswith("grpcio==") for ref in needs[image["bom-ref"]])
    reached, waiting = set(), [image["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        waiting += [each for each in needs[ref] if each not in reached]
        reached.add(ref)
    assert reached == {image["bom-ref"], *(each["bom-ref"] for each in listed["components"])}


def test_a_list_without_a_name_is_no_cyclonedx(listed: dict[str, Any]) -> None:
    nameless = listed | {"components": [{"type": "library", "version": "1"}]}
    assert problem(nameless) is not None


def problem(bill: dict[str, Any]) -> object:
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill))


def test_the_image_has_the_python_that_the_list_is_made_for() -> None:
    pythons = set(re.findall(r"^FROM python:([\d.]+)-slim", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert pythons == {PYTHON}
