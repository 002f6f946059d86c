"""The drop-in for vLLM's benchmark_serving.py and `vllm bench serve`: same flags, requests, times, output and files."""
