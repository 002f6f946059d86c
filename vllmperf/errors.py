"""Errors meant for people: one line, what is wrong and what to do, with the exit code of the command line."""

from collections.abc import Callable

from vllmperf.exit_codes import FAILED, TARGET, USAGE


class VllmperfError(Exception):
    """Something the user can do something about."""

    exit_code = FAILED

    def told(self, _name: Callable[[str], str], /) -> str:
        """The message; `_name` gives what the reader calls a setting."""
        return str(self)


class CheckError(VllmperfError):
    """The run finished, but failed its own checks or the asked service level."""

    exit_code = FAILED


class UsageError(VllmperfError):
    """Bad arguments or bad input files."""

    exit_code = USAGE


class SettingError(UsageError):
    """A setting that makes no sense.

    words: the message, with settings and values in braces: "{max_concurrency} must be at least 1 (got {got})". Names
    without a value are settings, which Python, a file and the command line call by different names.
    """

    def __init__(self, words: str, **values: object) -> None:
        self.words, self.values = words, values
        super().__init__(self.told(str))

    def told(self, name: Callable[[str], str], /) -> str:
        return self.words.format_map(_Words(name, self.values))


class _Words(dict[str, object]):
    def __init__(self, name: Callable[[str], str], values: dict[str, object]) -> None:
        super().__init__(values)
        self._name = name

    def __missing__(self, setting: str) -> str:
        return self._name(setting)


class TargetError(VllmperfError):
    """The server cannot be reached or does not answer as one."""

    exit_code = TARGET
