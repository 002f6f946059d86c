"""fw-ai's llm_bench: its command line, its requests, its figures, sent by our engine (docs/llm_bench.md).

The originals are fw-ai/benchmark llm_bench/load_test.py at a312b2b (2024-10) and 05acc7f (2026-06), under
locust 2.18.1. Nothing of them is needed or started here.
"""
