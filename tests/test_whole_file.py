"""Our own text files are written whole or not at all."""

import os
import stat
import sys
from pathlib import Path
from typing import TextIO

import pytest

from vllmperf.errors import UsageError
from vllmperf.whole_file import check_place, write_whole


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fail(file: TextIO) -> None:
        file.write("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match="No space left"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


def test_a_file_keeps_its_rights_and_a_link_stays_one(tmp_path: Path) -> None:
    path, link = tmp_path / "a.csv", tmp_path / "link.csv"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_whole(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/fd")
def test_what_is_no_file_is_written_to_and_not_replaced() -> None:
    reader, writer = os.pipe()
    try:
        write_whole(Path(f"/dev/fd/{writer}"), "text")
        assert os.read(reader, 100) == b"text"
        write_whole(Path(os.devnull), "text")
        assert not Path(os.devnull).is_file()
    finally:
        os.close(reader)
        os.close(writer)


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*a\.csv: No such file"):
        write_whole(tmp_path / "gone" / "a.csv", "text")


def test_a_place_where_no_file_can_be_is_told_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    places = {"gone/a.json": "there is no folder", ".": "is a folder"}
    if os.geteuid() != 0:
        places["closed/a.json"] = "cannot be written to"
    for place, words in places.items():
        with pytest.raises(UsageError, match=f"--json .*{words}"):
            check_place("json", tmp_path / place)
    check_place("json", tmp_path / "a.json")
    check_place("json", Path("/dev/stdout"))
