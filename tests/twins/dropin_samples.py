"""The samples of the drop-in's data sets, asked for by its flags."""

from vllmperf.dropin.benchmark_serving import data
from vllmperf.dropin.benchmark_serving.flags import parse
from vllmperf.dropin.benchmark_serving.profiles import PROFILES


def samples(tokens, chance, version, n, dataset_name, path, *, seed=0, **settings):
    """settings: the data set's flags with underscores; None and False leave one out, True is a switch."""
    words = ["--model", "m", "--num-prompts", str(n), "--seed", str(seed), "--dataset-name", dataset_name]
    words += ["--dataset-path", path] if path else []
    for name, value in settings.items():
        if value is None or value is False:
            continue
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    profile = PROFILES[f"vllm-{version}"]
    return data.samples(parse(profile, words), profile, tokens, chance)
