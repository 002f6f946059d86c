"""The search in virtual time against servers of known law, and its parts."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")

from vllmperf.errors import CheckError, UsageError
from vllmperf.loadgen.task import Task
from vllmperf.model.arrivals import arrivals
from vllmperf.model.calibrate import law_capacity
from vllmperf.model.capacity import Capacity, Carried, Step, carried, surely_carried
from vllmperf.model.early_stop import EarlyStop
from vllmperf.model.estimate import Found, estimate, lengths, needed_budget_s
from vllmperf.model.goodput_curve import curve_capacity
from vllmperf.model.law import measured
from vllmperf.model.parameters import Parameter
from vllmperf.model.rehearsal import cut, rehearse
from vllmperf.model.rehearsed_search import RehearsedSearch, looked_at, poisson_s
from vllmperf.model.search import Search
from vllmperf.model.server_law import server_law
from vllmperf.model.simulate import Replica
from vllmperf.model.slo import Answer, Limits, answer, judged
from vllmperf.model.slots import seen_slots
from vllmperf.model.steps import steps
from vllmperf.plan import Plan

SERVER = {"alpha_ms": 7.0, "beta_ms": 0.1, "gamma_ms": 1.0, "delta_ms": 0.01, "max_num_seqs": 16}
LIMITS = Limits(ttft_ms=400, tpot_ms=20)


def task(**more):
    usual = {"input_len": 64, "output_len": 64, "random_range_ratio": 0.2, "num_prompts": 1, "seed": 5}
    return Task(Plan.of(base_url="http://127.0.0.1:1", model="m", **{**usual, **more}))


def search(folder, limits=LIMITS, budget_s=90.0, server=SERVER, **more):
    return RehearsedSearch(server, task(**more), limits, budget_s, folder, stamp_ms=0.1)


@pytest.fixture(scope="module")
def truth():
    replica = Replica(7.0, 0.1, 1.0, 0.01, 0.0, 16)
    rng = np.random.default_rng(1)
    lengths = rng.integers(51, 78, 60_000), rng.integers(51, 78, 60_000)
    return law_capacity(replica, lengths, LIMITS, seeds=4, requests=60_000)[0]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return search(tmp_path_factory.mktemp("capacity")).run()


def test_the_capacity_of_a_known_server_is_found_within_its_interval(found, truth):
    assert found.method == "law"
    assert found.low <= truth <= found.high
    assert found.estimate_per_s == pytest.approx(truth, rel=0.05)
    assert found.needed_budget_s is None or found.high > 1.1 * found.low
    assert found.high < 1.15 * found.low


def test_the_rate_that_is_said_to_be_carried_is_one_that_passed_and_lies_below_all_that_failed(found, truth):
    passed = [step.rate_per_s for step in found.steps if step.answer.verdict == "pass"]
    assert found.rate_per_s in passed
    assert 0.8 * truth < found.rate_per_s <= truth
    assert found.rate_per_s <= found.low
    assert found.confidence == 0.95
    assert all(step.rate_per_s > found.rate_per_s for step in found.steps if step.answer.verdict == "fail")


def step(rate, verdict, met, tmp_path="x"):
    return Step(
        rate, Answer(verdict, 0.0 if met else 0.5, 0.0, 1.0, 100), not met, 5.0, False, tmp_path, met=met
    )


def test_what_was_seen_is_told_apart_from_what_nobody_saw():
    passes = [step(8, "pass", True), step(16, "pass", True), step(22, "unclear", True)]
    assert carried([*passes, step(58, "fail", False)]) == Carried(16, 0.95, 22)
    assert carried([*passes, step(58, "fail", False)], most_per_s=15.0) == Carried(8, 0.95, 22)
    assert carried([*passes, step(12, "fail", False)]) == Carried(8, 0.95, None)
    assert carried([step(22, "unclear", True), step(58, "fail", False)]) == Carried(22, None, None)
    assert carried([step(58, "fail", False), step(30, "unclear", False)]) == Carried(None, None, None)
    unsure = [step(8, "unclear", True), step(22, "unclear", True), step(58, "fail", False)]
    assert carried(unsure, most_per_s=15.0) == Carried(8, None, None)
    assert carried(unsure, most_per_s=7.0) == Carried(None, None, None)
    assert carried(unsure, most_unsure_per_s=15.0) == Carried(8, None, None)
    assert carried([*passes, step(58, "fail", False)], most_unsure_per_s=9.0) == Carried(16, 0.95, 22)


def test_no_rate_above_the_estimate_is_the_headline_though_its_few_requests_met_the_slo(tmp_path):
    busy = search(tmp_path)
    busy.steps = [step(9, "unclear", True), step(35, "unclear", True), step(70, "fail", False)]
    busy._law = lambda: (None, "steps cannot be told apart")
    times = poisson_s(10, 10, 1)
    lengths = np.random.default_rng(1).integers(51, 78, (2, len(times)))
    run = rehearse(SERVER, {}, *lengths, arrival_s=times)
    failed = replace(run, requests=run.requests.copy())
    failed.requests["outcome"] = 1
    busy.alone, busy.recordings = run, [run, run, failed]
    result = busy._estimate()
    assert (result.method, result.confidence) == ("windows", None)
    assert result.rate_per_s <= result.low


def test_an_interval_without_a_law_begins_at_a_rate_that_was_surely_carried():
    short = [step(10, "pass", True), step(13, "unclear", True), step(26, "fail", False)]
    assert surely_carried(short) == 10
    assert surely_carried(short[1:]) == 13
    assert surely_carried([step(3, "unclear", True), *short[1:]]) == 3


def test_rates_between_a_sure_one_and_a_failed_one_are_all_possible(tmp_path):
    times = poisson_s(10, 10, 1)
    lengths = np.random.default_rng(1).integers(51, 78, (2, len(times)))
    run = rehearse(SERVER, {}, *lengths, arrival_s=times)
    failed = replace(run, requests=run.requests.copy())
    failed.requests["outcome"] = 1
    met = [step(rate, "unclear", True) for rate in (3, 6, 13)]
    steps = [*met, step(26, "fail", False), step(10, "pass", True)]
    limits = Limits(ttft_ms=400, tpot_ms=None, share=0.9)
    found = estimate(steps, [run, run, run, failed, run], limits, None, "too few requests")
    assert found.low == 10


def test_a_pass_above_the_headline_says_that_it_does_not_count():
    from vllmperf.report.capacity import sheet

    shown = told(None, estimate_per_s=27.0, low=26.5, high=27.5)
    rates = replace(shown, steps=(step(26, "pass", True), step(28, "pass", True), step(58, "fail", False)))
    lines = sheet(rates).text().splitlines()
    assert [line.split()[-1] for line in lines if line.strip()[:2] in ("1 ", "2 ", "3 ")] == [
        "pass",
        "counted",
        "fail",
    ]


def test_without_a_step_nothing_is_said_of_rates():
    from vllmperf.report.capacity import sheet

    none = replace(told(None), rate_per_s=None, estimate_per_s=None, steps=(), method="steps")
    assert "no rate failed" not in sheet(none).text()


def test_a_wide_interval_names_the_time_that_would_narrow_it():
    wide = Found(58.08, 25.94, 69.08, "windows")
    assert needed_budget_s(wide, 60.0) == 240
    assert needed_budget_s(Found(50, 46, 54, "law"), 60.0) == 180  # 8 % to 5 %: 2.56 times 60 s
    assert needed_budget_s(Found(50, 48, 52, "law"), 60.0) is None
    assert needed_budget_s(Found(50, 50, None, "steps"), 60.0) is None


def told(wide, **more):
    usual = {"confidence": 0.95, "unsure_per_s": None, "estimate_per_s": 58.08, "low": 25.94, "high": 69.08}
    steps = (step(26, "pass", True), step(58, "fail", False))
    return Capacity(
        26.0,
        **{**usual, **more},
        method="windows",
        limits=LIMITS,
        steps=steps,
        elapsed_s=60.0,
        needed_budget_s=wide,
    )


def test_the_headline_is_what_was_seen_and_the_estimate_comes_after_it_or_the_interval_alone_where_it_is_wide():
    from vllmperf.report.capacity import sheet

    shown = " ".join(sheet(told(240.0)).text().split())
    assert shown.startswith("The server carries at least 26.00 requests/s, seen with 95 % confidence.")
    assert (
        "lies between 25.94 and 69.08 requests/s (95 %); a budget of 4 min 00 s would give about ±5 %"
        in shown
    )
    narrow = sheet(told(None, estimate_per_s=27.0, low=26.5, high=27.5)).text()
    assert "estimated at 27.00 requests/s (95 %: 26.50 … 27.50)." in narrow
    assert "budget" not in narrow


def test_steps_are_drawn_by_whether_their_requests_met_the_slo():
    pytest.importorskip("matplotlib", reason="matplotlib (the extra `plots`) is not installed")
    from vllmperf.report.plots.capacity import kind

    assert [
        kind(step(9, verdict, met))
        for verdict, met in (("pass", True), ("unclear", True), ("unclear", False))
    ] == [
        "pass",
        "pass",
        "fail",
    ]


def test_the_number_of_sequences_that_the_server_serves_at_once_is_seen(found):
    assert found.max_num_seqs == 16


def test_the_budget_is_kept(found):
    assert found.elapsed_s <= 90 + 10


def test_a_step_far_above_the_capacity_fails_and_is_cut_short(found):
    worst = max(found.steps, key=lambda step: step.rate_per_s)
    assert worst.answer.verdict == "fail"
    assert worst.above


def test_the_json_has_the_keys_of_the_schema(found):
    data = json.loads(json.dumps(found.to_dict()))
    assert data["schema"] == 2
    assert data["estimate_per_s"]["ci95"][0] <= data["estimate_per_s"]["value"]
    assert data["carried_per_s"]["confidence"] == 0.95
    assert data["slo"] == {"ttft_ms": 400, "tpot_ms": 20, "goodput": 0.99}
    assert {"rate_per_s", "verdict", "bad_share", "elapsed_s"} <= set(data["steps"][0])
    assert data["elapsed_s"] > 0


def test_an_slo_that_a_request_alone_breaks_is_said_at_once(tmp_path):
    with pytest.raises(CheckError, match="single requests break the SLO"):
        search(tmp_path, Limits(ttft_ms=3, tpot_ms=None)).run()


def test_an_slo_that_one_single_request_of_ten_breaks_is_said_too(tmp_path):
    with pytest.raises(CheckError, match="no rate keeps it"):
        # outputs of 51 to 77 tokens: 1/10 of the prompts takes longer than this
        search(tmp_path, Limits(ttft_ms=8.74, tpot_ms=None), budget_s=1000).run()


def test_a_budget_without_a_failing_rate_gives_a_lower_bound_only(tmp_path):
    result = search(tmp_path, budget_s=9).run()
    assert result.at_least
    assert result.high is None
    assert any("lies above" in warning for warning in result.warnings)


def test_a_server_that_the_law_does_not_describe_is_estimated_from_its_goodput(tmp_path, truth):
    class Merged(RehearsedSearch):
        """All chunks carry two tokens: steps cannot be told apart."""

        def _carry_out(self, *args):
            made = super()._carry_out(*args)
            return replace(made, gaps=replace(made.gaps, tokens=np.full(len(made.gap_tokens), 2, np.uint16)))

    result = Merged(SERVER, task(), LIMITS, 90.0, tmp_path).run()
    assert result.method == "windows"
    assert result.estimate_per_s == pytest.approx(truth, rel=0.15)
    assert any("several tokens" in warning for warning in result.warnings)


def test_a_tpot_limit_is_met_by_a_server_without_a_limit_of_sequences(tmp_path):
    server = {**SERVER, "max_num_seqs": 512, "beta_ms": 0.2}
    result = search(tmp_path, Limits(ttft_ms=400, tpot_ms=14), server=server).run()
    assert result.max_num_seqs is None
    rng = np.random.default_rng(2)
    lengths = rng.integers(51, 78, 40_000), rng.integers(51, 78, 40_000)
    known = law_capacity(Replica(7.0, 0.2, 1.0, 0.01, 0.0, 512), lengths, Limits(400, 14), 2)[0]
    assert result.estimate_per_s == pytest.approx(known, rel=0.05)


def test_ctrl_c_keeps_what_came(tmp_path):
    class Impatient(RehearsedSearch):
        def _step(self, rate):
            if len(self.steps) == 2:
                raise KeyboardInterrupt
            super()._step(rate)

    result = Impatient(SERVER, task(), LIMITS, 90.0, tmp_path).run()
    assert result.interrupted
    assert len(result.steps) == 2


def test_a_client_that_sends_late_says_so(tmp_path):
    class Slow(RehearsedSearch):
        def _carry_out(self, *args):
            made = super()._carry_out(*args)
            made.requests["scheduled_ns"] -= 60_000_000
            return made

    result = Slow(SERVER, task(), LIMITS, 30.0, tmp_path).run()
    assert any("client itself" in warning for warning in result.warnings)


def test_a_folder_of_another_search_is_refused(tmp_path):
    search(tmp_path, budget_s=4).run()
    with pytest.raises(UsageError, match="another input_len"):
        search(tmp_path, budget_s=4, input_len=99).run()


def test_slots_are_not_seen_where_nobody_waits():
    times = poisson_s(5, 60, 3)
    made = rehearse(SERVER, {}, np.full(len(times), 64), np.full(len(times), 64), arrival_s=times)
    assert seen_slots([steps(arrivals(made))]) is None


def with_long_prompts(folder):
    """Limits, steps and recordings of a search on a server of long prompts, the second one overloaded; and its law."""
    server = {"alpha_ms": 6.0, "beta_ms": 0.06, "gamma_ms": 0.5, "delta_ms": 0.04, "max_num_seqs": 128}
    limits = Limits(2000, 40)

    def made(rate, seconds, seed):
        times = poisson_s(rate, seconds, seed)
        lengths = np.random.default_rng(seed).integers([[900], [100]], [[1100], [150]], (2, len(times)))
        whole = rehearse(server, {"request_rate": rate}, *lengths, arrival_s=times, stamp_ms=0.05)
        return cut(whole, 1.15e9 * seconds)

    runs = [made(12, 30, 1), made(35, 8, 2)]
    steps = [
        Step(run.plan["request_rate"], judged(run.requests, limits), above, 10.0, False, folder)
        for run, above in zip(runs, (False, True), strict=True)
    ]
    alone = rehearse(server, {}, np.full(20, 1000), np.full(20, 125), concurrency=1)
    law, _ = server_law([measured("x", arrivals(run)) for run in (alone, *runs)], alone.requests, 128)
    return limits, steps, runs, law


def test_an_overloaded_run_that_ended_by_itself_does_not_make_the_law_look_slow(tmp_path):
    """What completed in it was served beside what did not: replayed alone it would be faster than it was."""
    limits, steps, runs, law = with_long_prompts(tmp_path)
    found = estimate(steps, runs, limits, law, "")
    assert found.method == "law"
    assert found.slowness == pytest.approx(1, abs=0.005)


def test_an_estimate_is_no_surer_than_what_a_step_with_several_prompts_takes(tmp_path):
    """The work for one prompt of 1,000 tokens is the same when a token takes 0.03 ms more and a step 30 ms less."""
    limits, steps, runs, law = with_long_prompts(tmp_path)
    unsure = {**law.fit.parameters, "step_delta": Parameter(0.02, -0.04, 0.08)}
    replica = replace(law.replica, step_gamma_ms=20.5, step_delta_ms=0.02)
    law = replace(law, replica=replica, fit=replace(law.fit, parameters=unsure))
    found = estimate(steps, runs, limits, law, "")
    assert found.method == "law"
    right = law_capacity(
        replace(replica, step_gamma_ms=0.5, step_delta_ms=0.04), lengths(runs), limits, seeds=2
    )[0]
    assert found.rate > 1.05 * right
    assert found.low < right


def test_a_law_that_the_server_failed_far_below_is_not_believed(tmp_path, truth):
    times = poisson_s(0.5 * truth, 60, 1)
    lengths = np.random.default_rng(1).integers(51, 78, (2, len(times)))
    run = rehearse(SERVER, {}, *lengths, arrival_s=times)
    failed = replace(run, requests=run.requests.copy())
    failed.requests["outcome"][::5] = 1
    law, _ = server_law([measured("x", arrivals(run))], run.requests, 16)
    steps = [
        Step(0.5 * truth, judged(one.requests, LIMITS), above, 60.0, False, tmp_path)
        for one, above in ((run, False), (failed, True))
    ]
    found = estimate(steps, [run, failed], LIMITS, law, "")
    assert found.method == "windows"
    assert "already failed" in found.warnings[0]


def test_a_gap_between_the_good_and_the_bad_rates_is_the_interval():
    steps = [(rate, np.full(100, rate < 50), np.arange(100)) for rate in (10.0, 20.0, 40.0, 80.0)]
    best, low, high = curve_capacity(steps, 0.99)
    assert low < 42
    assert 45 < best < 75
    assert high > 70


def test_windows_that_fail_more_and_more_often_give_the_rate_of_the_goal():
    rng = np.random.default_rng(1)
    rates = (10, 20, 25, 27, 30, 35, 40, 80)
    share = {rate: 1 / (1 + (rate / 32) ** 30) for rate in rates}
    steps = [(float(rate), rng.random(20 * rate) < share[rate], np.arange(20 * rate)) for rate in rates]
    best, low, high = curve_capacity(steps, 0.99)
    assert low < 32 / 99 ** (1 / 30) < high
    assert best == pytest.approx(32 / 99 ** (1 / 30), rel=0.05)


class Hanging(RehearsedSearch):
    """After its first overload the server answers no more."""

    def _single_requests(self, task):
        made = super()._single_requests(task)
        if self.steps:
            made.requests["outcome"] = 3
        return made


def test_a_server_that_hangs_after_an_overload_is_said_to(tmp_path):
    result = Hanging(SERVER, task(), LIMITS, 40.0, tmp_path).run()
    assert any("did not come back" in warning for warning in result.warnings)


def looked(rate, seconds, early):
    times = poisson_s(rate, seconds, 3)
    lengths = np.random.default_rng(3).integers(51, 78, (2, len(times)))
    looks = EarlyStop(LIMITS, seconds, early)
    run = looked_at(rehearse(SERVER, {}, *lengths, arrival_s=times, stamp_ms=0.05), looks)
    return looks, run, len(times)


def test_a_step_that_is_clearly_fine_ends_early_with_all_that_was_sent_answered(truth):
    looks, run, planned = looked(0.4 * truth, 60, early=True)
    assert looks.cleared
    assert 100 <= len(run.requests) < 0.6 * planned
    assert (run.requests["outcome"] == 0).all()
    assert len(arrivals(run).at_ns) == run.requests["output_tokens"].sum()


def test_a_step_above_the_capacity_or_one_that_is_to_run_whole_does_not_end_as_clearly_fine(truth):
    assert not looked(1.5 * truth, 60, early=True)[0].cleared
    assert not looked(0.4 * truth, 60, early=False)[0].cleared


@pytest.mark.parametrize(
    ("seconds", "part_of_limits", "verdict"),
    [(4, 0.7, "unclear"), (20, 0.7, "pass"), (4, 0.3, "pass"), (20, 0.99, "unclear")],
)
def test_a_window_too_short_for_the_queue_to_fill_passes_only_when_it_is_clearly_fine(
    seconds, part_of_limits, verdict
):
    scheduled = np.linspace(0, seconds * 1e9, 400).astype(np.int64)
    use = part_of_limits * np.exp(np.random.default_rng(1).normal(0, 0.05, 400))
    found = answer(scheduled, use <= 2, scheduled + 10**8, LIMITS, use)
    assert found.verdict == verdict


def test_a_step_far_above_ends_at_the_first_sure_failure(truth):
    looks, run, planned = looked(3 * truth, 60, early=True)
    assert looks.cut
    assert len(run.requests) < 0.6 * planned


def test_a_run_that_is_cut_has_no_token_after_its_end():
    times = poisson_s(30, 20, 3)
    whole = rehearse(SERVER, {}, np.full(len(times), 64), np.full(len(times), 64), arrival_s=times)
    part = cut(whole, 5e9)
    seen = arrivals(part)
    assert seen.at_ns.max() <= 5e9 + 1000  # gaps are float32
    full = arrivals(whole)
    assert len(seen.at_ns) == pytest.approx((full.at_ns <= 5e9).sum(), abs=2)
    assert (part.requests["outcome"] != 0).any()


def test_a_rehearsed_run_has_the_steps_of_the_replay():
    made = rehearse(SERVER, {}, np.full(40, 64), np.full(40, 30), concurrency=8, stamp_ms=0.05)
    run = measured("x", arrivals(made))
    assert run.why_not is None
    assert int(run.steps.decodes.max()) == 8


def test_a_live_search_leaves_run_files_and_goes_on_from_them(tmp_path):
    from vllmperf.sim import Server

    settings = {"mode": "batching", "alpha_ms": 3.0, "beta_ms": 0.2, "delta_ms": 0.002, "max_num_seqs": 8}
    with Server(**settings) as server:
        asked = task(input_len=16, output_len=16).replace(base_url=server.url, model=None)
        first = Search(asked, Limits(300, 50), 14.0, tmp_path).run()
        files = sorted(path.name for path in tmp_path.glob("*.vllmperf"))
        again = Search(asked, Limits(300, 50), 1.0, tmp_path).run()
    assert "alone.vllmperf" in files
    assert len(files) > 1  # how many steps there is time for is up to the machine
    assert [step.rate_per_s for step in again.steps] == [step.rate_per_s for step in first.steps]
    assert again.rate_per_s == first.rate_per_s
    assert again.estimate_per_s == pytest.approx(first.estimate_per_s, rel=0.02)
