"""`storyboard migrate` on a bare database, and every statement that is shipped in examples/ (SPEC A12, B4)."""

import json
import re
import subprocess
import sys
from pathlib import Path

import psycopg

from devstack.emulators.storage.metadata import Metadata

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "examples" / "monitoring.sql"
COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


def statements(file: Path) -> list[str]:
    """The statements of a file without strings that hold a semicolon."""
    return [part.strip() for part in COMMENT.sub("", file.read_text()).split(";") if part.strip()]


def migrate(database_url: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "storyboard", "migrate"]
    environment = {"DATABASE_URL": database_url, "ENV_FILE": ""} | settings
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)


async def storage_tables(database_url: str) -> None:
    """Buckets and an object, made by what keeps them on the devstack."""
    metadata = Metadata(database_url)
    await metadata.open()
    await metadata.ping()
    await metadata.close()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into storage.buckets (id, name, public) values ('storyboard-images', 'storyboard-images', true)"
        )
        connection.execute(
            "insert into storage.objects (bucket_id, name, metadata)"
            " values ('storyboard-images', 'board/scene-001_1.png', '{\"size\": 2048}')"
        )


def test_migrate_makes_the_schema_and_can_be_repeated(empty_database_url: str) -> None:
    first = migrate(empty_database_url, KV_TABLE="my_kv")
    assert first.returncode == 0, first.stderr
    assert "Created table my_kv." in first.stdout
    assert migrate(empty_database_url, KV_TABLE="my_kv").stdout == "Nothing to do: the schema is up to date.\n"
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select count(*) from my_kv").fetchone() == (0,)


def test_migrate_refuses_a_changed_file(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("update superstoryboard.schema_migrations set checksum = 'other'")
    done = migrate(database_url)
    assert done.returncode == 1
    assert "has changed since it was applied" in done.stderr
    assert "Traceback" not in done.stderr


def test_enqueue_example_enqueues_three_scenes(sql: psycopg.Connection) -> None:
    for statement in statements(ROOT / "examples" / "enqueue-test-images.sql"):
        sql.execute(statement.encode())
    bodies = [row[0] for row in sql.execute("select message from pgmq.image_generation_queue order by msg_id")]
    assert [body["sceneId"] for body in bodies] == ["scene-001", "scene-002", "scene-003"]
    assert all(set(body) == {"storyboardId", "sceneId", "prompt"} for body in bodies)


async def test_every_monitoring_statement_runs(database_url: str, sql: psycopg.Connection) -> None:
    await storage_tables(database_url)
    value = json.dumps({"imageUrl": "u", "updatedAt": "2026-11-21T04:16:00.123Z", "scenes": [{"id": "1"}]})
    for key in ("scene:board:1", "character:board:c", "storyboard:board"):
        sql.execute("insert into kv_store_7ee7668a values (%s, %s)", (key, value))
    sql.execute("""select pgmq.send('image_generation_queue', '{"sceneId": "1"}')""")
    sql.execute("""select pgmq.archive('video_generation_queue', (select pgmq.send('video_generation_queue', '{}')))""")
    rows = {statement: sql.execute(statement.encode()).fetchall() for statement in statements(MONITORING)}
    assert len(rows) > 15
    [preview] = [
        cells for statement, cells in rows.items() if "pgmq.read('image_generation_queue', 30, 10)" in statement
    ]
    assert len(preview) == 1
    [stored] = [cells for statement, cells in rows.items() if "bucket_id = 'storyboard-images'" in statement]
    assert stored[0][2] == "2048 bytes"


def test_every_monitoring_statement_has_a_comment() -> None:
    blocks = [block for block in MONITORING.read_text().split("\n\n") if block.strip()]
    assert all(re.match(r"-- .+\.?\n(-- .+\n)*select\s", block) for block in blocks[1:])
    for word in (
        "pgmq.read(",
        "archived_at",
        "storage.objects",
        "storage.buckets",
        "pg_size_pretty",
        "key like 'scene:%'",
    ):
        assert word in MONITORING.read_text()
