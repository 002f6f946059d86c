"""SGLang's serving benchmark (bench_serving.py of 0.4.4.post1), and what the prefix-aware guide's benchmark.py adds."""
