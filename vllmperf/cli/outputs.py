"""--output DEST: all files of a command's result in a folder or a bucket. The one place that knows which files these are."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.errors import UsageError, VllmperfError
from vllmperf.paths import free

if TYPE_CHECKING:
    from vllmperf.bucket.place import Place

STDOUT = "-"
TABLE = {"json": ".json", "csv": ".csv", "html": ".html"}
MODEL = {"json": ".json", "plot": ".png"}
SETS: Mapping[str, Mapping[str, str]] = {
    "bench": {"record": ".vllmperf", "html": ".html"},
    "stress": {"html": ".html"},
    "startup": TABLE,
    "parse-log": TABLE,
    "report": TABLE,
    "fit": {**MODEL, "output_dir": ""},
    "capacity": {**MODEL, "output_dir": ""},
    "size": MODEL,
    "sweep": {"json": ".json", "csv": ".csv"},
    **{name: {"json": ".json"} for name in ("compare", "reconcile", "explain", "check", "selftest")},
}
"""For each command the arguments that --output gives a file to, and how its name ends."""
RESULT_JSON = ("bench", "stress")
"""Commands that also write vLLM's result JSON."""
OWN_FOLDER = ("startup", "sweep")
"""Commands that write more files into a folder themselves, and had an --output before: --json may print beside it."""
ALSO = ("record", "junit")
"""Arguments whose file, when one was given, belongs to the result."""
RUNS = Path("runs")
OUTBOX, STATE_HOME = "VLLMPERF_OUTBOX", "XDG_STATE_HOME"
LEFT_OVER_S = 30.0
"""For what earlier commands left, before this one begins."""


def add(parser: argparse.ArgumentParser) -> None:
    """--output, --output-layout and --output-endpoint. A command that has an --output of its own keeps its help."""
    group = parser.add_argument_group("where the result goes")
    if "--output" not in parser._option_string_actions:
        group.add_argument(
            "--output",
            metavar="DEST",
            help="write all files of the result to DEST, a folder or s3://BUCKET/PREFIX (docs/bucket.md)",
        )
    names = ["--output-layout"] + ["--layout"] * ("--layout" not in parser._option_string_actions)
    group.add_argument(
        *names,
        dest="output_layout",
        default="flat",
        choices=("flat", "llm-d"),
        help="layout of the files in DEST: flat, or SCENARIO/MODEL/HARDWARE/RUN (default: flat)",
    )
    group.add_argument(
        "--output-endpoint",
        metavar="URL",
        help="S3 server of DEST (default: BENCHMARK_RESULTS_ENDPOINT, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else Amazon's)",
    )


def carried_out(args: argparse.Namespace) -> int:
    """Run the command; with --output its files go there, also when it is interrupted or fails. Its exit code stays what it is."""
    command: Callable[[argparse.Namespace], int] = args.run
    if args.command not in SETS or not getattr(args, "output", None):
        return command(args)
    outputs = _begun(args)
    try:
        with outputs.held():
            return command(args)
    finally:
        outputs.finish(args)


def is_asked(args: argparse.Namespace) -> bool:
    """Whether the result goes to a DEST, where earlier results may lie."""
    return getattr(args, "outputs", None) is not None


def beside(args: argparse.Namespace, result: Path) -> None:
    """The command wrote its result JSON: the page that follows gets the same name."""
    outputs = getattr(args, "outputs", None)
    if outputs is not None:
        outputs.result = result
        if args.html in outputs.made:
            outputs.made.remove(args.html)
            args.html = free(result.with_suffix(".html"))
            outputs.made.append(args.html)


@dataclass
class Outputs:
    """The result of one command on its way. made: files that the command writes for us; given: those that the user named.

    place: in a bucket, None for a folder. The stress run puts its rolling results there, too."""

    command: str
    name: str
    folder: Path
    layout: str
    place: Place | None = None
    made: list[Path] = field(default_factory=list)
    given: list[Path] = field(default_factory=list)
    own: Path | None = None
    result: Path | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """While the command runs nobody else uploads from its folder. If it is killed, the next command uploads what its run file
        has by then."""
        from vllmperf.bucket.outbox import Outbox

        if self.place is None:
            yield
            return
        outbox = Outbox(self.folder)
        noted = [
            (path, self.place / path.name) for path in [*self.made, *self.given] if path.suffix == ".vllmperf"
        ]
        with outbox.held():
            for path, to in noted:
                outbox.add(path, to)
            yield
        outbox.withdraw([to for _, to in noted])

    def finish(self, args: argparse.Namespace) -> None:
        """Name the files, put them where they belong, say where they are."""
        self._name_record()
        from vllmperf.bucket import layout

        run = self.result.stem if self.result is not None else self.name
        folder = layout.folder(self.layout, self._facts(args), run)
        files = {layout.named(name, folder, run): path for path, name in self._files()}
        if self.place is not None:
            self._upload(files, self.place)
        elif folder:
            self._move(files)
        else:
            self._stay()
        if not files and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _name_record(self) -> None:
        """The run file gets the name of the result JSON, too."""
        record = self.folder / f"{self.name}.vllmperf"
        if self.result is not None and record.exists():
            self.made.remove(record)
            self.made.append(free(self.result.with_suffix(".vllmperf")))
            record.rename(self.made[-1])

    def _files(self) -> Iterator[tuple[Path, Path]]:
        """Each file and its name within the folder of the run."""
        for path in self.given:
            if path.is_dir():
                yield from ((one, RUNS / name) for one, name in _below(path))
            elif path.is_file():
                yield path, Path(self._name_of(path))
        if self.place is not None or self.layout != "flat":
            yield from _below(self.folder)
        if self.own is not None:
            yield from ((path, self.own.name / name) for path, name in _below(self.own))

    def _name_of(self, path: Path) -> str:
        """Of a file that the user named: run file and page have the name of the result JSON."""
        has_same = self.result is not None and path.suffix in (".vllmperf", ".html")
        return f"{self.result.stem}{path.suffix}" if has_same and self.result else path.name

    def _facts(self, args: argparse.Namespace) -> Any:
        from vllmperf.bucket.layout import Facts
        from vllmperf.record.plans import described
        from vllmperf.record.reader import header

        for _, path in sorted((name, path) for path, name in self._files() if path.suffix == ".vllmperf"):
            with suppress(VllmperfError):
                return Facts.of(described(header(path).meta))
        return Facts.of({"dataset_name": args.command, **vars(args)})

    def _stay(self) -> None:
        """They are where they belong already."""
        for path in self.given:
            _copy(path, self.folder / self._name_of(path))
        made = [path for path in [self.result, *self.made] if path is not None and path.exists()]
        if made:
            names = ", ".join(dict.fromkeys(path.name for path in made))
            print(f"vllmperf: the result is in {self.folder}: {names}", file=sys.stderr)

    def _upload(self, files: Mapping[str, Path], place: Place) -> None:
        from vllmperf.bucket.outbox import Outbox
        from vllmperf.bucket.words import told

        if not files:
            return
        outbox = Outbox(self.folder)
        for name, path in files.items():
            outbox.add(path, place / name)
        before = outbox.waiting
        try:
            left = outbox.upload()
        except KeyboardInterrupt:
            left = outbox.waiting
        next_time = f"; the next command with --output {place} uploads them" if left else ""
        print(f"vllmperf: {told(outbox, before)}{next_time}", file=sys.stderr)
        _remove_if_done(self.folder)

    def _move(self, files: Mapping[str, Path]) -> None:
        top = self.folder.parent
        for name, path in files.items():
            target = top / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if path in self.given:
                _copy(path, target)
            else:
                path.rename(free(target))
        shutil.rmtree(self.folder)
        if files:
            print(f"vllmperf: the result is in {(top / next(iter(files))).parent}", file=sys.stderr)


# ---- before the command ----


def _begun(args: argparse.Namespace) -> Outputs:
    """Everything checked, and the arguments filled in. Raises UsageError."""
    destination = str(args.output)
    name = f"{args.command}-{time.strftime('%Y%m%d-%H%M%S')}"
    place = _place(destination, args.output_endpoint)
    if place is not None:
        folder = _outbox_root() / f"{name}-{os.getpid()}"
    else:
        folder = Path(destination) if args.output_layout == "flat" else Path(destination) / name
    outputs = Outputs(args.command, name, folder, args.output_layout, place)
    _check_stdout(args)
    if place is not None:
        _check_bucket(place)
    _make(folder, destination)
    _fill_in(args, outputs)
    args.outputs = outputs
    return outputs


def _place(destination: str, endpoint: str | None) -> Place | None:
    from vllmperf.bucket.place import Place, is_place

    if is_place(destination):
        return Place.of(destination, endpoint)
    if "://" in destination:
        raise UsageError(f"--output {destination.split('://')[0]}://…: give a folder or s3://BUCKET/PREFIX")
    if endpoint:
        raise UsageError(
            "--output-endpoint is of a bucket: give --output s3://BUCKET/PREFIX, or leave it out"
        )
    return None


def _check_stdout(args: argparse.Namespace) -> None:
    for name in SETS[args.command]:
        if getattr(args, name, None) == STDOUT and args.command not in OWN_FOLDER:
            raise UsageError(
                f"--output writes what --{name} would print: leave --{name} out, or give it a FILE"
            )
    if args.command in RESULT_JSON and args.result_dir is not None:
        raise UsageError("--output writes the result JSON beside the rest: leave --result-dir out")


def _make(folder: Path, destination: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--output {destination}: the folder {folder} cannot be made: {error.strerror}"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--output {destination}: the folder {folder} cannot be written to")


def _check_bucket(place: Place) -> None:
    """What can never work ends the command here; what waits from before goes first."""
    from vllmperf.bucket.client import check

    trouble = check(place)
    if trouble is None:
        upload_left_over()
    else:
        print(f"vllmperf: {trouble}; the result waits in {_outbox_root()} until it does", file=sys.stderr)


def upload_left_over() -> None:
    """Upload what earlier commands left in the outbox of this user, for a short time."""
    from vllmperf.bucket.outbox import outboxes
    from vllmperf.bucket.words import told

    end = time.monotonic() + LEFT_OVER_S
    for outbox in outboxes(_outbox_root()):
        before = outbox.waiting
        if before and (left_s := end - time.monotonic()) > 0:
            outbox.upload(within_s=left_s)
            print(f"vllmperf: of an earlier command: {told(outbox, before)}", file=sys.stderr)
        _remove_if_done(outbox.folder)


def _fill_in(args: argparse.Namespace, outputs: Outputs) -> None:
    for name, suffix in _wanted(args):
        value = getattr(args, name, None)
        if value is not None:
            if value != STDOUT:
                outputs.given.append(Path(value))
            continue
        path = outputs.folder / (f"{outputs.name}{suffix}" if suffix else RUNS)
        setattr(args, name, path)
        outputs.made.append(path)
    if args.command in RESULT_JSON and not getattr(args, "repeat", None):
        args.result_dir = outputs.folder
        args.save_result = True
    if args.command == "startup":
        args.output = outputs.folder
    if args.command == "sweep":
        args.output = None if args.file.is_dir() else outputs.folder if outputs.place is None else None
        outputs.own = args.file.with_suffix("") if outputs.place is not None else None
    outputs.given += [
        Path(value)
        for name in ALSO
        if (value := getattr(args, name, None)) and Path(value) not in outputs.made
    ]
    if getattr(args, "resume", None):
        outputs.given.append(Path(args.resume))
    outputs.given = list(dict.fromkeys(outputs.given))


def _wanted(args: argparse.Namespace) -> Iterable[tuple[str, str]]:
    """The arguments that get a file in this case, and the ends of their names."""
    wanted = dict(SETS[args.command])
    if getattr(args, "repeat", None) and args.command == "bench":
        wanted = {"record": ".vllmperf", "json": ".json"}
    if getattr(args, "resume", None):
        wanted.pop("record", None)
    if args.command == "fit" and args.files:
        wanted.pop("output_dir", None)
    if "plot" in wanted and not _can_draw():
        del wanted["plot"]
    return wanted.items()


def _can_draw() -> bool:
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def _outbox_root() -> Path:
    """Where results wait that go to a bucket: VLLMPERF_OUTBOX, else a folder of this user."""
    if named := os.environ.get(OUTBOX):
        return Path(named)
    return Path(os.environ.get(STATE_HOME) or Path.home() / ".local/state", "vllmperf", "outbox")


# ---- files ----


def _below(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The files of a folder and their names in it, without hidden and half-written ones and the journal."""
    from vllmperf.bucket.journal import NAME

    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not is_hidden and path.name != NAME and path.suffix != ".part":
            yield path, name


def _remove_if_done(folder: Path) -> None:
    """The local copies go when everything is confirmed; they were made for the upload."""
    from vllmperf.bucket.outbox import Outbox

    outbox = Outbox(folder)
    if outbox.uploads and not outbox.waiting:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, target, dirs_exist_ok=True)
    elif path.exists() and path.absolute() != target.absolute():
        shutil.copyfile(path, free(target))
