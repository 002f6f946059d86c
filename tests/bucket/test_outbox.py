"""The outbox against a server in memory: what is noted, what is sent, what stays."""

import json
import os
import sqlite3
from contextlib import closing

import pytest
from fake_s3 import FakeS3, refusal

from vllmperf.bucket.outbox import Outbox, outboxes
from vllmperf.bucket.place import Place
from vllmperf.bucket.snapshot import snapshot
from vllmperf.bucket.words import told
from vllmperf.errors import UsageError

PLACE = Place("b", "p", "http://minio:9000")
PART = 1000
LARGE = os.urandom(2 * PART + 1)


@pytest.fixture
def s3():
    made = FakeS3()
    yield made
    assert made.n_open == 0


@pytest.fixture
def outbox(tmp_path, s3):
    return Outbox(tmp_path / "run", s3.connect, PART)


def put(outbox, name, content=b"x", **how):
    outbox.folder.mkdir(exist_ok=True)
    (outbox.folder / name).write_bytes(content)
    outbox.add(outbox.folder / name, PLACE / name, **how)


def states(outbox):
    return [(one.name, one.state) for one in outbox.uploads]


def raises(error, *names, times=1000):
    left = [times]

    def before(name, _arguments):
        if name in names and left[0]:
            left[0] -= 1
            raise error

    return before


@pytest.mark.parametrize("content", [b"", b"x", b"x" * PART, LARGE])
def test_what_is_uploaded_is_what_was_there(outbox, s3, content):
    put(outbox, "a.bin", content)
    assert outbox.upload() == []
    assert s3.objects["p/a.bin"]["data"] == content
    assert states(outbox) == [("a.bin", "uploaded")]
    assert ("upload_part" in s3.calls) == (len(content) > PART)
    assert s3.calls[-1] == "head_object"  # confirmed


def test_an_empty_outbox_asks_nobody(tmp_path, s3):
    assert Outbox(tmp_path, s3.connect).upload() == []
    assert list(tmp_path.iterdir()) == []
    assert s3.calls == []


def test_an_object_that_is_not_what_was_sent_keeps_waiting(outbox, s3):
    def spoil(name, _arguments):
        if name == "head_object":
            s3.objects["p/a.json"]["data"] = b"other"

    s3.before = spoil
    put(outbox, "a.json")
    assert "has another content" in outbox.upload()[0].error


def test_an_encrypted_bucket_confirms_without_an_md5(outbox, s3):
    s3.encrypts = True
    put(outbox, "a.json", LARGE)
    assert outbox.upload() == []


def test_a_server_without_conditions_gets_the_file_without_one(outbox, s3):
    def before(name, arguments):
        if "IfNoneMatch" in arguments:
            raise refusal("NotImplemented", 501)

    s3.before = before
    put(outbox, "a.json")
    put(outbox, "run.vllmperf", LARGE)
    assert outbox.upload() == []
    assert {key: one["data"] for key, one in s3.objects.items()} == {
        "p/a.json": b"x",
        "p/run.vllmperf": LARGE,
    }
    assert s3.begun == {}


def test_one_file_that_fails_does_not_hold_up_the_others(outbox, s3):
    def before(name, arguments):
        if name == "put_object" and arguments["Key"] == "p/a.json":
            arguments["Body"].read()
            raise OSError(5, "Input/output error", "a.json")

    s3.before = before
    put(outbox, "a.json")
    put(outbox, "b.json")
    assert [one.error for one in outbox.upload()] == ["Input/output error: a.json"]
    assert states(outbox) == [("a.json", "waiting"), ("b.json", "uploaded")]


def test_a_server_that_refuses_is_not_asked_for_each_file(outbox, s3):
    s3.before = raises(refusal("AccessDenied", 403), "put_object")
    for name in "abc":
        put(outbox, f"{name}.json")
    waiting = outbox.upload()
    assert {one.error for one in waiting} == {
        "no right to write to s3://b/p/a.json: the credentials need s3:PutObject and s3:GetObject there"
    }
    assert s3.calls == ["put_object"]


def test_words_of_a_server_are_not_repeated(outbox, s3):
    s3.before = raises(refusal("Odd\nCode <b>", 418), "put_object")
    put(outbox, "a.json")
    assert outbox.upload()[0].error == "http://minio:9000 answered OddCodeb (HTTP 418)"
    assert "secret words" not in (outbox.folder / "uploads.json").read_text()


def test_parts_that_cannot_be_taken_back_are_noted_and_taken_back_later(outbox, s3):
    s3.before = raises(refusal("InternalError", 500), "complete_multipart_upload", "abort_multipart_upload")
    put(outbox, "a.bin", LARGE)
    outbox.upload()
    assert len(s3.begun) == 1
    s3.before = lambda _name, _arguments: None
    assert Outbox(outbox.folder, s3.connect, PART).upload() == []
    assert s3.begun == {}


def test_parts_under_a_second_name_are_taken_back_later_too(outbox, s3):
    s3.objects["p/a.bin"] = {"data": b"of somebody", "metadata": {}, "etag": '"x"'}
    put(outbox, "a.bin", LARGE)

    def before(name, arguments):
        if arguments["Key"] == "p/a-2.bin" and name in ("upload_part", "abort_multipart_upload"):
            raise refusal("InternalError", 500)

    s3.before = before
    outbox.upload()
    assert [one["key"] for one in s3.begun.values()] == ["p/a-2.bin"]
    s3.before = lambda _name, _arguments: None
    assert outbox.upload() == []
    assert s3.begun == {}
    assert s3.objects["p/a-2.bin"]["data"] == LARGE


def test_a_local_file_that_is_gone_is_lost_and_said(outbox, s3):
    put(outbox, "a.json")
    put(outbox, "b.json")
    before = outbox.waiting
    (outbox.folder / "a.json").unlink()
    assert outbox.upload() == []
    assert states(outbox) == [("a.json", "lost"), ("b.json", "uploaded")]
    assert told(outbox, before) == (
        f"uploaded 1 file (1 bytes) to s3://b/p/b.json; s3://b/p/a.json is lost: {outbox.folder / 'a.json'} is gone"
    )


def test_a_newer_version_noted_during_its_upload_goes_on_waiting(outbox, s3):
    def again(name, _arguments):
        if name == "put_object" and s3.calls.count("put_object") == 1:
            put(outbox, "a.json", b"minute 2", replace=True)

    s3.before = again
    put(outbox, "a.json", b"minute 1", replace=True)
    assert [one.version for one in outbox.upload()] == [2]
    assert outbox.upload() == []
    assert s3.objects["p/a.json"]["data"] == b"minute 2"


def test_a_copy_goes_when_its_upload_is_confirmed_and_not_before(outbox, s3):
    s3.before = raises(refusal("SlowDown", 503), "put_object", times=1)
    put(outbox, "a.json", is_copy=True)
    outbox.upload()
    assert (outbox.folder / "a.json").exists()
    assert outbox.upload() == []
    assert not (outbox.folder / "a.json").exists()


def test_a_file_elsewhere_is_noted_with_its_whole_path(tmp_path, outbox, s3):
    (tmp_path / "elsewhere.json").write_bytes(b"y")
    outbox.add(tmp_path / "elsewhere.json", PLACE / "e.json")
    assert outbox.uploads[0].path == str(tmp_path / "elsewhere.json")
    assert outbox.upload() == []


def test_a_journal_of_a_newer_program_is_left_alone(outbox):
    put(outbox, "a.json")
    path = outbox.folder / "uploads.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(UsageError, match="written by a newer vllmperf"):
        outbox.upload()


def test_a_journal_has_fields_that_a_newer_one_adds_to_it(outbox):
    put(outbox, "a.json")
    path = outbox.folder / "uploads.json"
    data = json.loads(path.read_text())
    data["uploads"][0]["colour"] = "red"
    path.write_text(json.dumps(data))
    assert states(outbox) == [("a.json", "waiting")]


def test_without_boto3_files_wait_and_the_reason_names_the_extra(outbox, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    put(outbox, "a.json")
    waiting = Outbox(outbox.folder).upload()
    assert waiting[0].error == "a place s3://… needs boto3: pip install 'vllmperf[s3]'"


def test_outboxes_are_found_below_a_folder(tmp_path, s3):
    for name in ("b", "a"):
        put(Outbox(tmp_path / name, s3.connect), "x.json")
    (tmp_path / "c").mkdir()
    assert [one.folder.name for one in outboxes(tmp_path)] == ["a", "b"]
    assert outboxes(tmp_path / "none") == []


def test_a_snapshot_of_a_file_that_is_written_is_consistent(tmp_path, outbox, s3):
    path = tmp_path / "run 1%.vllmperf"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("create table t (x)")
        db.execute("insert into t values (1)")
        db.execute("begin")
        db.execute("insert into t values (2)")
        outbox.add_snapshot(path, PLACE / "run.vllmperf")
        db.execute("commit")
    assert outbox.upload() == []
    (tmp_path / "back").write_bytes(s3.objects["p/run.vllmperf"]["data"])
    with closing(sqlite3.connect(tmp_path / "back")) as db:
        assert db.execute("select x from t").fetchall() == [(1,)]
    assert {one.name for one in outbox.folder.iterdir()} == {"uploads.json", ".uploading"}


def test_a_snapshot_of_no_run_file_is_an_error_in_one_line(tmp_path):
    (tmp_path / "x").write_text("no database at all, but long enough to look at")
    for path in (tmp_path / "x", tmp_path / "none"):
        with pytest.raises(UsageError, match="cannot be copied"):
            snapshot(path, tmp_path / "copy")
    assert {one.name for one in tmp_path.iterdir()} == {"x"}
