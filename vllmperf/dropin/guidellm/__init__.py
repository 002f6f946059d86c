"""guidellm 0.2/0.3 in one binary: its flags and variables in, our engine, its console and its files out."""
