"""The worker's `power` lines: what the GPUs draw together, their limit, and the energy of the run."""

from __future__ import annotations

import pytest

from vllmperf.service.power import PowerWatch


def watch(**settings):
    return PowerWatch(list, **settings)


def test_power_and_limits_are_summed_and_energy_is_the_counters_rise():
    made = watch()
    first = [("0", "power_w", 600.0), ("0", "limit_w", 700.0), ("0", "energy_j", 1e6)]
    second = [("1", "power_w", 500.0), ("1", "limit_w", 700.0), ("1", "energy_j", 5e6)]
    assert made.taken([*first, *second], 10.0)["energy_joules"] == 0.0
    later = [(gpu, name, value + 5500 * (name == "energy_j")) for gpu, name, value in (*first, *second)]
    assert made.taken(later, 20.0) == {
        "event": "power",
        "watts": 1100.0,
        "limit_watts": 1400.0,
        "energy_joules": 11000.0,
    }


def test_without_a_counter_power_is_integrated():
    made = watch(tdp_w=700.0)
    made.taken([("0", "power_w", 600.0)], 10.0)
    assert made.taken([("0", "power_w", 400.0)], 15.0)["energy_joules"] == pytest.approx(2000.0)


def test_without_a_limit_of_every_gpu_there_is_none():
    two = [("0", "power_w", 600.0), ("0", "limit_w", 700.0), ("1", "power_w", 600.0)]
    assert "limit_watts" not in watch().taken(two, 1.0)
    assert watch(tdp_w=350.0).taken(two, 1.0)["limit_watts"] == 1050.0


def test_a_page_without_gpus_is_no_line():
    assert watch().taken([("0", "energy_j", 1.0)], 1.0) is None
