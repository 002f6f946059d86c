"""Where a vLLM server's start time goes: `parse` a log, `watch` pods or a command."""
