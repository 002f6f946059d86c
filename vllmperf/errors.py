"""Errors meant for people: one line, what is wrong and what to do, with the exit code of the command line."""

from vllmperf.exit_codes import FAILED, TARGET, USAGE


class VllmperfError(Exception):
    """Something the user can do something about."""

    exit_code = FAILED


class CheckError(VllmperfError):
    """The run finished, but failed its own checks or the asked service level."""

    exit_code = FAILED


class UsageError(VllmperfError):
    """Bad arguments or bad input files."""

    exit_code = USAGE


class TargetError(VllmperfError):
    """The server cannot be reached or does not answer as one."""

    exit_code = TARGET
