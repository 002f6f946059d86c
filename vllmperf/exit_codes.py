"""The exit codes of all commands. Help, docs (docs/exit_codes.md) and tests read this table."""

from __future__ import annotations

OK, FAILED, USAGE, TARGET, CANNOT_TELL, INTERRUPTED = 0, 1, 2, 3, 4, 130

EXIT_CODES = {
    OK: "fine",
    FAILED: "the command finished but failed its own checks, or stdout could not be written (a reader that left is fine)",
    USAGE: "bad arguments or unreadable input",
    TARGET: "server not reachable",
    CANNOT_TELL: "no `--fail-if` condition holds, but one cannot be judged: too few requests, or a number "
    "that was not measured",
    INTERRUPTED: "interrupted; the results so far are written",
}

CHECKS = {
    "bench": "the numbers are untrustworthy, or the run gave up (`--max-errors`, `--max-error-rate`, no space for its file): "
    "the verdict names the reasons; or a `--fail-if` condition holds",
    "stress": "as `bench`; also when the server was lost and did not come back in time (`--on-server-loss wait:T`)",
    "report": "a `--fail-if` condition holds",
    "compare": "a `--fail-if` condition holds",
    "startup": "a server did not come up, or a sleep that was asked for could not be measured",
    "parse-log": "a start in a log failed, or a file holds no line of a vLLM server",
    "check": "figures disagree, or our own verdict is untrusted",
    "capacity": "a request alone already misses the SLO: no rate meets it",
    "sweep": "a set-up did not get ready, or a point failed",
    "kube": "`check`: a right is missing; `clean`: you declined",
    "selftest": "this machine adds more than 1 ms even to a single stream",
    "sim": "the start-up that it plays fails (137 when that one is killed)",
    "guidellm": "the run gave up after many failed requests in a row",
}
"""What 1 means, for the commands that have checks of their own."""


def help_text(width: int = 100) -> str:
    """The table as the help shows it."""
    import textwrap

    head = "exit codes: "
    text = "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
    return textwrap.fill(text, width, initial_indent=head, subsequent_indent=" " * len(head))


def page() -> str:
    """docs/exit_codes.md, written by `python -m vllmperf.exit_codes > docs/exit_codes.md`."""
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    checks = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in CHECKS.items())
    return (
        "# Exit codes\n\nEvery command ends with one of these codes. The tables are written by "
        "`python -m vllmperf.exit_codes`.\n\n"
        f"| code | meaning |\n| --- | --- |\n{rows}\n"
        f"| command | when it ends with 1 |\n| --- | --- |\n{checks}"
    )


if __name__ == "__main__":
    print(page(), end="")
