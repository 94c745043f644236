"""Write the CycloneDX list of what the image installs: each locked package with version, license, hashes and needs."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from supply.licenses import UNKNOWN, licensed
from supply.lock import IMAGE_LOCK, PROJECT, ROOT, Locked, read_lock

OUTPUT = ROOT / "dist" / "sbom.cdx.json"


def main() -> int:
    """Write the file; exit 1 where it would not be valid CycloneDX."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the file to write")
    path = parser.parse_args().output
    packages = [package for package in read_lock() if package.in_image]
    text = JsonV1Dot6(bill(packages)).output_as_string(indent=2)
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.stderr.write(f"The list is not valid CycloneDX: {wrong}\n")
        return 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    sys.stdout.write(f"Wrote {path}: {len(packages)} packages.\n")
    return 0


def bill(packages: list[Locked]) -> Bom:
    """The list. The same lock gives the same list, but for its time: SOURCE_DATE_EPOCH, else now."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    image = Component(
        type=ComponentType.CONTAINER,
        name=PROJECT,
        version=project["version"],
        licenses=[LicenseFactory().make_from_string(project["license"])],
        bom_ref=PROJECT,
    )
    components = {package.name: _component(package) for package in packages}
    made = Bom(
        serial_number=UUID(bytes=hashlib.sha256(IMAGE_LOCK.read_bytes()).digest()[:16], version=4),
        components=components.values(),
    )
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    made.metadata.timestamp = datetime.fromtimestamp(int(seconds), UTC) if seconds else datetime.now(UTC)
    made.metadata.component = image
    for name, component in {PROJECT: image, **components}.items():
        made.register_dependency(component, [components[each.name] for each in packages if name in each.needed_by])
    return made


def _component(package: Locked) -> Component:
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(f"https://pypi.org/simple/{package.name}/"),
        comment="The image has one of the files with these hashes.",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in package.hashes],
    )
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=PackageURL("pypi", None, package.name, package.version),
        bom_ref=f"{package.name}=={package.version}",
        licenses=_licenses(package),
        external_references=[files],
    )


def _licenses(package: Locked) -> list[LicenseExpression | DisjunctiveLicense]:
    """One SPDX expression: the package's own license, and those of libraries in its wheel."""
    found = licensed(package)
    if found.license == UNKNOWN:
        return []
    parts = [found.license, *found.bundled]
    if len(parts) == 1:
        return [LicenseFactory().make_from_string(found.license)]
    return [LicenseExpression(" AND ".join(f"({part})" if " " in part else part for part in parts))]


if __name__ == "__main__":
    sys.exit(main())
