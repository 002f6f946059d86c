"""The two extension modules. Everything that is data stands in pyproject.toml.

VLLMPERF_SANITIZE=address,undefined builds with sanitizers; VLLMPERF_COVERAGE=1 with gcov counters;
VLLMPERF_WERROR=1 makes warnings errors (CI does).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel

PY_LIMITED_API = "0x030B0000"
OLDEST_LIBCURL = (7, 81)
HOW_TO_INSTALL = (
    "Install its development package and try again:\n"
    "  Debian, Ubuntu:  apt-get install libcurl4-openssl-dev zlib1g-dev\n"
    "  Fedora, RHEL:    dnf install libcurl-devel zlib-devel\n"
    "  Alpine:          apk add curl-dev zlib-dev"
)


def sources(*folders: str, module: str) -> list[str]:
    core = [str(path) for folder in folders for path in sorted(Path("csrc", folder).glob("*.c"))]
    return core + [str(path) for path in sorted(Path("csrc/module").glob(f"{module}_*.c"))]


def ask(*command: str) -> list[str] | None:
    """The words that a configuration tool prints, or None when it is missing or does not know."""
    if shutil.which(command[0]) is None:
        return None
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.split() if answer.returncode == 0 else None


def libcurl() -> tuple[list[str], list[str]]:
    """Compiler and linker flags of libcurl, from pkg-config or curl-config."""
    for cflags, libs, version in (
        tuple(("pkg-config", option, "libcurl") for option in ("--cflags", "--libs", "--modversion")),
        tuple(("curl-config", option) for option in ("--cflags", "--libs", "--version")),
    ):
        found = ask(*libs)
        if found is None:
            continue
        number = (ask(*version) or ["0"])[-1]
        if tuple(int(part) for part in number.split(".")[:2]) < OLDEST_LIBCURL:
            oldest = ".".join(map(str, OLDEST_LIBCURL))
            sys.exit(f"vllmperf: libcurl {number} is too old, {oldest} or newer is needed.")
        return ask(*cflags) or [], found
    sys.exit(f"vllmperf: libcurl was not found by pkg-config or curl-config.\n{HOW_TO_INSTALL}")


def flags() -> tuple[list[str], list[str]]:
    """Compiler and linker flags of our own."""
    compile_args = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-fvisibility=hidden"]
    compile_args += ["-Wall", "-Wextra", "-Wshadow", "-Wvla"]
    link_args = ["-lz", "-lpthread", "-lm"]
    if os.environ.get("VLLMPERF_WERROR"):
        compile_args += ["-Wconversion", "-Wstrict-prototypes", "-Werror"]
    if sanitize := os.environ.get("VLLMPERF_SANITIZE"):
        compile_args += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-O1", "-g"]
        link_args.append(f"-fsanitize={sanitize}")
    if os.environ.get("VLLMPERF_COVERAGE"):
        compile_args += ["--coverage", "-O0"]
        link_args.append("--coverage")
    return compile_args, link_args


class AbiThreeWheel(bdist_wheel):
    """One wheel for CPython 3.11 and everything after it."""

    def finalize_options(self) -> None:
        self.py_limited_api = "cp311"
        super().finalize_options()


def extension(name: str, files: list[str], cflags: list[str], libs: list[str]) -> Extension:
    compile_args, link_args = flags()
    return Extension(
        f"vllmperf.{name}",
        files,
        include_dirs=["csrc"],
        define_macros=[("Py_LIMITED_API", PY_LIMITED_API)],
        py_limited_api=True,
        extra_compile_args=compile_args + cflags,
        extra_link_args=libs + link_args,
        depends=[str(path) for path in Path("csrc").glob("*/*.h")],
    )


curl_cflags, curl_libs = libcurl()
setup(
    ext_modules=[
        extension(
            "_engine", sources("engine", "stream", "stats", "scan", module="engine"), curl_cflags, curl_libs
        ),
        extension("_sim", sources("sim", module="sim"), [], []),
    ],
    cmdclass={"bdist_wheel": AbiThreeWheel},
)
