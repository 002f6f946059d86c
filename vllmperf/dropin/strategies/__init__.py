"""The prefix-aware guide's sweep_strategies.py: a server for each routing strategy, one benchmark on it, two CSV files."""
