"""vllmperf serve: runs behind HTTP. Each is carried out by a process of its own, which calls what the command line calls."""
