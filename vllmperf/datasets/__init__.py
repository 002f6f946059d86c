"""The data sets of vLLM's benchmark clients, prompt for prompt, one file each.

A data set is a plain function of its own options: it gives samples in the order in which they are sent, and
draws from the same generators as the original in the same order, so that a seed gives the same prompts. What
differs between vLLM 0.6.4, 0.8.5 and 0.33 stands in the function.
"""
