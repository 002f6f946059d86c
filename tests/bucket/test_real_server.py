"""Uploads to a real S3 server: whole, in parts, refused, down, slow, full, cut in the middle, killed."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from faulty_proxy import CUT, PASS, TRICKLE, passing
from s3_server import BUCKET, LIMIT_S, SECRET

from vllmperf.bucket.client import check, connected
from vllmperf.bucket.outbox import Outbox, outboxes
from vllmperf.bucket.place import Place
from vllmperf.bucket.uploader import Uploader
from vllmperf.bucket.words import told
from vllmperf.errors import UsageError

PART = 5 * 1024 * 1024
LARGE = os.urandom(2 * PART + 1234)


def place(endpoint):
    return Place.of(f"s3://{BUCKET}/team/day", endpoint)


def outbox_with(tmp_path, endpoint, **contents):
    """An outbox whose files wait for the bucket; a_json stands for a.json."""
    outbox = Outbox(tmp_path / "run", part_bytes=PART)
    outbox.folder.mkdir()
    for name, content in contents.items():
        path = outbox.folder / name.replace("_", ".")
        path.write_bytes(content)
        outbox.add(path, place(endpoint) / path.name)
    return outbox


def eventually(condition):
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_files_arrive_whole_and_local_copies_stay(tmp_path, server):
    outbox = outbox_with(tmp_path, server.endpoint, a_json=b"{}", b_html=b"<p>", empty_csv=b"")
    before = outbox.waiting
    assert outbox.upload() == []
    assert server.objects() == {
        "team/day/a.json": b"{}",
        "team/day/b.html": b"<p>",
        "team/day/empty.csv": b"",
    }
    assert [(one.name, one.state, one.size_bytes) for one in outbox.uploads] == [
        ("a.json", "uploaded", 2), ("b.html", "uploaded", 3), ("empty.csv", "uploaded", 0),
    ]  # fmt: skip
    assert (outbox.folder / "a.json").read_bytes() == b"{}"
    assert told(outbox, before) == f"uploaded 3 files (5 bytes) to s3://{BUCKET}/team/day"
    with connected(server.endpoint) as client:
        assert client.head_object(Bucket=BUCKET, Key="team/day/a.json")["ContentType"] == "application/json"


def test_a_large_file_goes_in_parts_and_leaves_none_behind(tmp_path, server):
    outbox = outbox_with(tmp_path, server.endpoint, run_vllmperf=LARGE)
    assert outbox.upload() == []
    assert server.objects() == {"team/day/run.vllmperf": LARGE}
    assert server.begun() == []
    assert outbox.uploads[0].parts is None


def test_a_name_that_is_taken_gets_a_number_and_the_other_object_stays(tmp_path, server):
    with connected(server.endpoint) as client:
        client.put_object(Bucket=BUCKET, Key="team/day/a.json", Body=b"of another pod")
        client.put_object(Bucket=BUCKET, Key="team/day/run.vllmperf", Body=b"of another pod")
    outbox = outbox_with(tmp_path, server.endpoint, a_json=b"mine", run_vllmperf=LARGE)
    assert outbox.upload() == []
    assert server.objects() == {
        "team/day/a.json": b"of another pod", "team/day/a-2.json": b"mine",
        "team/day/run.vllmperf": b"of another pod", "team/day/run-2.vllmperf": LARGE,
    }  # fmt: skip
    assert [one.name for one in outbox.uploads] == ["a-2.json", "run-2.vllmperf"]
    assert server.begun() == []


def test_the_same_file_that_is_there_already_counts_as_uploaded(tmp_path, server):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        outbox = outbox_with(tmp_path / folder, server.endpoint, a_json=b"same")
        assert outbox.upload() == []
    assert server.objects() == {"team/day/a.json": b"same"}


def test_a_rolling_file_replaces_what_is_there(tmp_path, server):
    outbox = outbox_with(tmp_path, server.endpoint, a_json=b"minute 1")
    outbox.upload()
    (outbox.folder / "a.json").write_bytes(b"minute 2")
    outbox.add(outbox.folder / "a.json", place(server.endpoint) / "a.json", replace=True)
    assert outbox.upload() == []
    assert server.objects() == {"team/day/a.json": b"minute 2"}
    assert len(outbox.uploads) == 1


def test_a_good_place_is_found_good_and_nothing_stays_there(server):
    assert check(place(server.endpoint)) is None
    assert server.objects() == {}
    assert server.begun() == []


def test_no_such_bucket_is_found_before_the_run(tmp_path, server):
    with pytest.raises(UsageError, match=r"there is no bucket nobodys at http://127.0.0.1"):
        check(Place.of("s3://nobodys/x", server.endpoint))
    outbox = Outbox(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    outbox.add(tmp_path / "a.json", Place.of("s3://nobodys/x/a.json", server.endpoint))
    assert "there is no bucket nobodys" in outbox.upload()[0].error


def test_a_wrong_secret_is_one_line_without_the_secret(tmp_path, server, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed-secret-77")
    with pytest.raises(UsageError, match="refuses the credentials: check AWS_ACCESS_KEY_ID") as caught:
        check(place(server.endpoint))
    outbox = outbox_with(tmp_path, server.endpoint, a_json=b"{}")
    waiting = outbox.upload()
    assert "refuses the credentials" in waiting[0].error
    written = (outbox.folder / "uploads.json").read_text() + str(caught.value) + told(outbox, waiting)
    assert "guessed" not in written
    assert "test-access" not in written


def test_no_credentials_are_found_before_the_run(server, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UsageError, match=r"no credentials for http://.*: set AWS_ACCESS_KEY_ID"):
        check(place(server.endpoint))


def test_while_the_server_is_down_files_wait_and_go_when_it_is_back(tmp_path, server):
    server.stop()
    assert f"{server.endpoint} does not answer" in (check(place(server.endpoint)) or "")
    outbox = outbox_with(tmp_path, server.endpoint, a_json=b"{}", b_html=b"<p>")
    waiting = outbox.upload()
    assert [one.error for one in waiting] == [f"{server.endpoint} does not answer"] * 2
    assert f"2 files for s3://{BUCKET}/team/day wait in {outbox.folder}: " in told(outbox, waiting)
    server.start()
    assert Outbox(outbox.folder).upload() == []
    assert set(server.objects()) == {"team/day/a.json", "team/day/b.html"}


def test_an_uploader_goes_on_until_the_server_is_back(tmp_path, server, monkeypatch):
    monkeypatch.setattr("vllmperf.bucket.uploader.FIRST_PAUSE_S", 0.05)
    server.stop()
    outbox, said = outbox_with(tmp_path, server.endpoint, a_json=b"{}"), []
    uploader = Uploader(lambda: outboxes(tmp_path), said.append)
    uploader.start()
    eventually(lambda: said)
    server.start()
    eventually(lambda: not outbox.waiting)
    eventually(lambda: len(said) > 1)
    uploader.close()
    assert "does not answer" in said[0]
    assert said[-1] == f"uploaded 1 file (2 bytes) to s3://{BUCKET}/team/day/a.json"


def test_a_slow_server_gets_a_limited_time_and_no_half_object_is_seen(tmp_path, server, proxy):
    proxy.rule = lambda request: TRICKLE if "partNumber" in request else PASS
    outbox = outbox_with(tmp_path, proxy.endpoint, run_vllmperf=LARGE)
    waiting = outbox.upload(within_s=2)
    assert waiting[0].error == "it took too long, or was stopped"
    assert server.objects() == {}
    eventually(lambda: server.begun() == [])
    proxy.released.set()
    assert outbox.upload() == []
    assert server.objects() == {"team/day/run.vllmperf": LARGE}


def test_stop_ends_an_upload_that_is_going_on(tmp_path, server, proxy):
    proxy.rule = lambda request: TRICKLE if "partNumber" in request else PASS
    outbox = outbox_with(tmp_path, proxy.endpoint, run_vllmperf=LARGE)
    assert len(outbox.upload(stop=lambda: any("partNumber" in one for one in proxy.seen))) == 1
    assert server.objects() == {}


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (507, "InsufficientStorage", "has no space left for"),
        (500, "InternalError", r"answered InternalError \(HTTP 500\)"),
        (503, "SlowDown", "is overloaded"),
        (403, "AccessDenied", "no right to write to s3://results/team/day"),
    ],
)
def test_a_server_that_refuses_a_part_gets_it_later(tmp_path, server, proxy, status, code, words):
    proxy.rule = lambda request: status if "partNumber=2" in request else PASS
    proxy.code = code
    outbox = outbox_with(tmp_path, proxy.endpoint, run_vllmperf=LARGE)
    (waiting,) = outbox.upload()
    assert re.search(words, waiting.error)
    assert server.objects() == {}
    assert server.begun() == []
    proxy.rule = passing
    assert outbox.upload() == []
    assert server.objects() == {"team/day/run.vllmperf": LARGE}


def test_a_connection_cut_in_a_part_is_tried_again_within_the_same_upload(tmp_path, server, proxy):
    proxy.rule = lambda request: CUT if "partNumber=2" in request and len(proxy.seen) < 4 else PASS
    outbox = outbox_with(tmp_path, proxy.endpoint, run_vllmperf=LARGE)
    assert outbox.upload() == []
    assert server.objects() == {"team/day/run.vllmperf": LARGE}


def test_a_server_that_goes_away_in_the_middle_leaves_no_half_object(tmp_path, server, proxy):
    proxy.rule = lambda _: CUT if any("partNumber=2" in one for one in proxy.seen) else PASS
    outbox = outbox_with(tmp_path, proxy.endpoint, run_vllmperf=LARGE)
    (waiting,) = outbox.upload()
    assert waiting.error == f"{proxy.endpoint} does not answer"
    assert waiting.parts is not None  # what could not be taken back is noted
    assert server.objects() == {}
    assert server.begun() == ["team/day/run.vllmperf"]
    proxy.rule = passing
    assert outbox.upload() == []
    assert server.objects() == {"team/day/run.vllmperf": LARGE}
    assert server.begun() == []


KILLED = """
import sys
from pathlib import Path
from vllmperf.bucket.outbox import Outbox
Outbox(Path(sys.argv[1]), part_bytes=5 * 1024 * 1024).upload()
"""


def test_after_a_kill_in_the_middle_the_next_start_uploads_and_clears_the_parts(tmp_path, server, proxy):
    proxy.rule = lambda request: TRICKLE if "partNumber=2" in request else PASS
    outbox = outbox_with(tmp_path, proxy.endpoint, a_json=b"{}", run_vllmperf=LARGE, z_csv=b"1")
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(outbox.folder)])
    eventually(lambda: any("partNumber=2" in one for one in proxy.seen))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [one.state for one in outbox.uploads] == ["uploaded", "waiting", "waiting"]
    assert set(server.objects()) == {"team/day/a.json"}
    assert server.begun() == ["team/day/run.vllmperf"]
    proxy.rule = passing
    assert outbox.upload() == []
    assert server.objects() == {
        "team/day/a.json": b"{}",
        "team/day/run.vllmperf": LARGE,
        "team/day/z.csv": b"1",
    }
    assert server.begun() == []


def test_two_at_a_time_upload_each_file_once(tmp_path, server, proxy):
    outbox = outbox_with(tmp_path, proxy.endpoint, a_json=b"{}", b_html=b"<p>")
    threads = [threading.Thread(target=Outbox(outbox.folder).upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outbox.upload() == []
    assert sorted(one for one in proxy.seen if one.startswith("PUT")) == [
        "PUT /results/team/day/a.json", "PUT /results/team/day/b.html",
    ]  # fmt: skip


def test_secrets_stand_in_no_file_of_the_outbox(tmp_path, server):
    outbox = outbox_with(tmp_path, server.endpoint, a_json=b"{}")
    outbox.upload()
    assert SECRET not in "".join(path.read_text() for path in outbox.folder.iterdir())
