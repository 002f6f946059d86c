"""Data set files: streamed, and a bad row is named."""

import itertools
import json

import pytest

from vllmperf.datasets import Spec, custom, rows, sharegpt
from vllmperf.errors import UsageError


def written(tmp_path, text):
    path = tmp_path / "data"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def conversation(*turns):
    return {"id": "x", "conversations": [{"from": "human", "value": turn} for turn in turns]}


def pairs(path):
    found = sharegpt.pairs(str(path))
    for pair in found:
        pair.check()
    return [(pair.question, pair.answer) for pair in found]


def read_custom(path, n=2, **more):
    """(prompt, length of the answer) of the first rows."""
    spec = Spec(dataset_name="custom", dataset_path=str(path), num_prompts=n, **more)
    return [
        (json.loads(each.json), each.output_len) for each in itertools.islice(custom.prompts(spec, None), n)
    ]


TALKS = [conversation(f'frage {i} [,] ] \\ " ü\n', f"antwort {i}", "mehr") for i in range(20)]
EXPECTED = [(f'frage {i} [,] ] \\ " ü\n', f"antwort {i}") for i in range(20)]
FORMS = [
    json.dumps(TALKS),
    json.dumps(TALKS, indent=2, ensure_ascii=False),
    "\n".join(map(json.dumps, TALKS)),
    "[" + ",\n".join(map(json.dumps, TALKS)) + "\n]\n",
]


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("text", FORMS)
def test_sharegpt_files_of_every_form_give_the_same_pairs_however_they_are_cut(
    tmp_path, monkeypatch, text, piece
):
    monkeypatch.setattr(rows, "PIECE", piece)
    assert pairs(written(tmp_path, text)) == EXPECTED


def test_conversations_of_one_turn_are_left_out(tmp_path):
    path = written(tmp_path, json.dumps([conversation("only"), {"id": 1}, 5, conversation("a", "b")]))
    assert pairs(path) == [("a", "b")]


GOOD = json.dumps(conversation("a", "b"))


@pytest.mark.parametrize("piece", [16, 1 << 20])
@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        (f"[{GOOD},\n{GOOD},\n{{nope}}]", "row 3, line 3", "no JSON"),
        (f'[{GOOD},\n\n{{"conversations": [{{"value": 1}}, {{"value": "b"}}]}}]', "row 2, line 3", "value"),
        (f"[{GOOD},\n{GOOD[:-5]}", "row 2, line 2", "no JSON"),
        (f'[{GOOD},\n{{"conversations":\n\n [unquoted]}}]', "row 2, line 4", "no JSON"),
    ],
)
def test_a_bad_sharegpt_row_is_named_with_file_row_and_line(tmp_path, monkeypatch, text, place, what, piece):
    monkeypatch.setattr(rows, "PIECE", piece)
    with pytest.raises(UsageError, match=what) as refused:
        pairs(written(tmp_path, text))
    assert f"{tmp_path}" in str(refused.value)
    assert place in str(refused.value)


def test_a_bad_row_ends_the_reading_there_and_not_at_the_end_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "PIECE", 100)
    path = written(tmp_path, "[" + GOOD + ",{nope}," + ",".join([GOOD] * 100) + "]")
    with path.open("rb") as file:
        with pytest.raises(UsageError):
            list(rows._values(rows.File(path), file))
        assert file.tell() < 1000


def test_custom_rows_are_texts_or_token_ids_with_or_without_a_length(tmp_path):
    path = written(tmp_path, '{"prompt": "a", "output_tokens": 3}\n\n{"prompt": [1, 2]}\n')
    assert read_custom(path) == [("a", 3), ([1, 2], custom.OUTPUT_LEN)]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
        ('{"text": "x"}', "prompt"),
        ('{"prompt": ""}', "prompt"),
        ('{"prompt": [1, "a"]}', "prompt"),
        ('{"prompt": [true]}', "prompt"),
        ('{"prompt": "x", "output_tokens": 0}', "output_tokens"),
        ('{"prompt": "x", "output_tokens": true}', "output_tokens"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_a_bad_custom_row_is_named_with_file_row_and_line(tmp_path, row, what):
    with pytest.raises(UsageError, match=what) as refused:
        read_custom(written(tmp_path, '{"prompt": "a"}\n\n' + row))
    assert "row 2, line 3" in str(refused.value)


def test_token_ids_are_refused_for_chat(tmp_path):
    with pytest.raises(UsageError, match="chat"):
        read_custom(written(tmp_path, '{"prompt": [1]}'), takes_ids=False)


@pytest.mark.parametrize(
    "read",
    [
        rows.lines,
        lambda path: list(rows.rows(path)),
        *(
            lambda path, form=form: list(rows.rows(path, form=form))
            for form in (*rows.LINES, ".json", ".csv", *rows.COLUMNAR)
        ),
    ],
)
def test_a_file_that_is_missing_a_folder_or_no_text_is_refused(tmp_path, read):
    for path in (tmp_path / "none", tmp_path, written(tmp_path, b'{"prompt": "\xff"}')):
        with pytest.raises(UsageError):
            read(path)


def test_lines_leave_empty_ones_out_and_keep_line_ends(tmp_path):
    assert rows.lines(written(tmp_path, "a\r\n\n b\n")) == ["a\n", " b\n"]
    with pytest.raises(UsageError, match="empty"):
        rows.lines(written(tmp_path, "\n\n"))
