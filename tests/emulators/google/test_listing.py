"""The emulator's lists of operations and generated files, and the webhook of a submit."""

import httpx
import pytest

from tests.emulators.google_fixture import VIDEO_MODEL, GoogleEmulator, report, script

OPERATIONS = f"/v1beta/models/{VIDEO_MODEL}/operations"
WEBHOOK = {"uris": ["https://hook.example/x"], "userMetadata": {"call": "7"}}


def submit(client: httpx.Client, **fields: object) -> httpx.Response:
    body = {"instances": [{"prompt": "a fox"}], "parameters": {"durationSeconds": 4}} | fields
    return client.post(f"/v1beta/models/{VIDEO_MODEL}:predictLongRunning", json=body)


def test_operations_are_listed_newest_first_page_by_page_with_what_was_asked(client: httpx.Client) -> None:
    names = [submit(client, webhookConfig=WEBHOOK).json()["name"] for _ in range(3)]
    first = client.get(OPERATIONS, params={"pageSize": 2}).json()
    second = client.get(OPERATIONS, params={"pageSize": 2, "pageToken": first["nextPageToken"]}).json()
    listed = [*first["operations"], *second["operations"]]
    assert [each["name"] for each in listed[:3]] == names[::-1]
    metadata = listed[0]["metadata"]
    assert (metadata["prompt"], metadata["userMetadata"]) == ("a fox", {"call": "7"})
    assert metadata["parameters"] == {"aspectRatio": "16:9", "durationSeconds": 4, "resolution": "720p"}
    files = client.get("/v1beta/generatedFiles").json()["generatedFiles"]
    assert {each["name"].partition("/")[0] for each in files} == {"generatedFiles"}
    assert client.get(OPERATIONS, params={"pageToken": "x"}).status_code == 400


def test_the_webhook_of_a_submit_is_shown_and_checked(client: httpx.Client) -> None:
    assert submit(client, webhookConfig=WEBHOOK).status_code == 200
    assert report(client)["requests"][0]["webhook"] == WEBHOOK
    wrong_ones: list[object] = [{"uris": "x"}, {"userMetadata": {}}, {"uris": ["https://x"], "userMetadata": []}, []]
    for wrong in wrong_ones:
        assert submit(client, webhookConfig=wrong).status_code == 400


def test_lists_can_be_scripted_away_or_missing(client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> None:
    script(client, {"on": "list", "status": 500})
    assert [client.get(OPERATIONS).status_code for _ in range(2)] == [500, 200]
    with GoogleEmulator(tmp_path_factory.mktemp("bare"), "--no-listing").running() as bare, bare.client() as other:
        for path in (OPERATIONS, "/v1beta/generatedFiles"):
            answer = other.get(path)
            assert (answer.status_code, answer.json()["error"]["status"]) == (501, "UNIMPLEMENTED")
