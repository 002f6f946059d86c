"""Result tables pasted into a text or a page: vLLM's and SGLang's clients, guidellm 0.2 and 0.3, llm_bench."""

from __future__ import annotations

import math
from pathlib import Path

from vllmperf.data_file import File
from vllmperf.formats.foreign_run import ForeignRun, row, summary_of
from vllmperf.formats.pasted import tables
from vllmperf.formats.pasted.table import Table
from vllmperf.run import Run


def recognise(file: File) -> bool:
    is_json = file.text[:1] in ("{", "[") and bool(
        file.data
    )  # of a format of its own, whose lines look like fields
    return not is_json and bool(tables(file.text))


def read(file: File) -> list[Run]:
    return [_run(file.path, table) for table in tables(file.text)]


def _run(path: Path, table: Table) -> Run:
    figures = {
        name: one.value if one.half or not math.isfinite(one.value) else int(one.value)
        for name, one in table.figures.items()
    }
    done = figures.get("requests.completed", 0)
    completed = int(done) if math.isfinite(done) else None
    rows = {
        key: row(
            completed, values["mean"].value, **{n: one.value for n, one in values.items() if n != "mean"}
        )
        for key, values in table.rows.items()
        if "mean" in values
    }
    rounding = {name: one.half for name, one in table.figures.items()}
    rounding |= {
        f"metrics.{key}.{n}": one.half for key, values in table.rows.items() for n, one in values.items()
    }
    summary = summary_of(table.tool, figures, rows, table.plan)
    return ForeignRun(path, table.tool, summary, line=table.line, rounding=rounding, remarks=table.remarks)
