"""Engines in Ray Serve: which of its lines say that the engine's replica is up. The forms are those of a run of Ray 2.60."""

import pytest
from parse_texts import START_0_11, log_of, parsed, said
from test_parse_hosts import OFFLINE, OFFLINE_0_7

PREFIX = "(ServeReplica:llm:LLMServer:tiny pid=20395) "
REPLICA = "llm_LLMServer:tiny 7zp9kavw"


def hosted(text: str, prefix: str = PREFIX) -> str:
    return "".join(f"{prefix}{line}\n" for line in text.splitlines())


def at(clock: str, who: str, message: str) -> str:
    return f"INFO 2026-06-21 {clock},210 {who} -- {message}\n"


def controller(clock: str, message: str) -> str:
    return f"(ServeController pid=20102) {at(clock, 'controller 20102', message)}"


def started(clock: str, deployment: str = "LLMServer:tiny", pid: int = 20395) -> str:
    return controller(
        clock,
        f"Replica(id='7zp9kavw', deployment='{deployment}', app='llm') started successfully on node 'e956' after 62.7s "
        f"(PID: {pid}). Replica constructor, reconfigure method, and initial health check took 47.1s.",
    )


BEFORE = (
    at("07:59:50", "serve 20080", 'Started Serve in namespace "serve".')
    + controller("07:59:51", "Deploying new app 'llm'.")
    + "(ProxyActor pid=20101) "
    + at(
        "07:59:52",
        "proxy 127.0.0.4",
        "Started <ray.serve._private.router.SharedRouterLongPollClient object at 0x7f>.",
    )
    + controller("07:59:53", "Adding 1 replica to Deployment(name='LLMServer:tiny', app='llm').")
    + started("07:59:55", "OpenAiIngress", 20194)
    + PREFIX
    + at("07:59:56", REPLICA, "Started initializing replica.")
)
ENGINE = BEFORE + hosted(OFFLINE)
READY = {
    "controller": started("08:01:07"),
    "replica": PREFIX + at("08:01:07", REPLICA, "Finished initializing replica."),
    "client": at("08:01:07", "serve 20080", "Application 'llm' is ready at http://127.0.0.1:8000/."),
    "client, without a URL": at("08:01:07", "serve 20080", "Application 'llm' is ready."),
    "client, deployed": at("08:01:07", "serve 20080", "Deployed app 'llm' successfully."),
    "client, with its file": "INFO 2026-06-21 08:01:07,210 serve 594 client.py:312 - Application 'llm' is ready at x.\n",
    "client, in Ray's format": "2026-06-21 08:01:07,210\tINFO api.py:583 -- Deployed app 'llm' successfully.\n",
    "client, 2.9": "INFO 2026-06-21 08:01:07,210 serve 9 client.py:492 - Deployment 'LLMServer:s8' is ready at `x`.\n",
}


@pytest.mark.parametrize("name", READY)
def test_ray_serve_s_own_line_says_ready(name: str) -> None:
    log = log_of(ENGINE + READY[name])
    assert (log.mode, log.reached_ready, log.ready_ts) == ("embedded", True, "06-21 08:01:07")
    assert said(log) == said(log_of(OFFLINE))
    assert next(phase.duration_s for phase in log.phases if phase.name == "frontend") == 13
    assert log.clock is not None
    assert (log.clock.year, log.failure) == (2026, None)


@pytest.mark.parametrize(
    "after",
    [
        "",
        at("08:00:55", REPLICA, "Started vLLM engine."),
        "(ProxyActor pid=1) "
        + at("08:01:00", "proxy 10.0.0.1", "Started <ray.serve._private.router.X object at 0x7f>."),
        started("08:01:00", "OpenAiIngress", 20194),
        "(ServeReplica:llm:OpenAiIngress pid=20194) "
        + at("08:01:00", "llm_OpenAiIngress t306ydt2", "Finished initializing replica."),
        at("08:01:00", "serve 20080", "Application 'other' is ready at http://127.0.0.1:8000/."),
        at(
            "08:01:00", REPLICA, "Application 'llm' is ready at http://127.0.0.1:8000/."
        ),  # a text of the replica's own
        PREFIX + at("08:01:00", REPLICA, started("08:01:00").partition(" -- ")[2].strip()),
        "(ServeReplica:llm:OpenAiIngress pid=20194) "
        + at("08:01:00", "llm_OpenAiIngress t306ydt2 2eff79e8-5846", "GET /v1/models 200 8.5ms"),
        controller(
            "08:01:00",
            "Deployment 'LLMServer:tiny' in application 'llm' has 1 replicas that have taken more than 30s",
        ),
        "2026-06-21 08:01:00,210\tSUCC scripts.py:546 -- Submitted deploy config successfully.\n",
    ],
)
def test_what_others_say_is_not_the_engine_s_replica(after: str) -> None:
    log = log_of(ENGINE + after)
    assert (log.mode, log.reached_ready, log.failure) == ("embedded", False, None)


@pytest.mark.parametrize("name", READY)
def test_no_line_says_ready_before_the_engine_is_up(name: str) -> None:
    half = BEFORE + hosted(OFFLINE.split("(EngineCore_DP0 pid=2) INFO 06-21 08:00:53")[0])
    early = READY[name].replace("08:01:07", "07:59:59")
    assert not log_of(half + READY[name].replace("08:01:07", "08:00:50")).reached_ready
    assert not log_of(early + ENGINE).reached_ready


def test_the_note_says_that_the_engine_was_up() -> None:
    note = "the engine in Ray Serve's replica was up; the log does not say that the replica was"
    assert note in log_of(ENGINE + PREFIX + at("08:00:55", REPLICA, "Started vLLM engine.")).notes
    assert note not in log_of(ENGINE).notes


@pytest.mark.parametrize(
    "answer",
    [
        PREFIX + at("08:02:00", f"{REPLICA} 3b3d97a0-5735", "CALL completions OK 51.3ms"),
        "(ServeReplica:llm:OpenAiIngress pid=20194) "
        + at("08:02:00", "llm_OpenAiIngress t306ydt2 3b3d97a0-5735", "POST /v1/completions 200 1328.8ms"),
        PREFIX
        + f"INFO 2026-06-21 08:02:00,210 {REPLICA} 6da86f01 / llm replica.py:376 - __CALL__ OK 2.5ms\n",
    ],
)
def test_an_answered_request_shows_that_the_replica_was_up(answer: str) -> None:
    log = log_of(ENGINE + answer)
    assert (log.reached_ready, log.ready_ts) == (True, None)


@pytest.mark.parametrize("order", ["engine first", "controller first"])
def test_the_files_of_ray_s_processes_may_be_joined_in_any_order(order: str) -> None:
    output = (
        ":job_id:01000000\n:actor_name:ServeReplica:llm:LLMServer:tiny\n"
        "(MainProcess pid=20395) INFO 06-21 08:00:03 [model.py:547] Resolved architecture: LlamaForCausalLM\n"
        + OFFLINE
    )
    own = started("07:59:55", "OpenAiIngress", 20194) + started("08:01:07")
    own = own.replace("(ServeController pid=20102) ", "")
    log = log_of(output + own if order == "engine first" else own + output)
    assert (log.mode, log.reached_ready, log.ready_ts) == ("embedded", True, "06-21 08:01:07")
    ingress = own.splitlines(keepends=True)[0].replace("07:59:55", "08:01:07")
    assert not log_of(output + ingress).reached_ready
    assert not log_of(ingress + output).reached_ready
    cut = log_of(output + own.splitlines(keepends=True)[0])
    assert [phase.name for phase in cut.phases] == [phase.name for phase in log_of(output).phases]


@pytest.mark.parametrize("text", [OFFLINE, OFFLINE_0_7])
def test_a_driver_s_log_without_names_of_processes_is_embedded_and_ready(text: str) -> None:
    one = at("07:59:50", "default_VLLMDeployment ujj4diu5", "Started initializing replica.")
    ready = at("08:01:07", "default_VLLMDeployment ujj4diu5", "Finished initializing replica.")
    day = "02-24 13" if text is OFFLINE_0_7 else "06-21 08"
    ready = ready.replace("06-21 08:01", "02-24 14:01") if text is OFFLINE_0_7 else ready
    log = log_of(one.replace("06-21 07", day) + text + ready)
    assert (log.mode, log.reached_ready) == ("embedded", True)
    other = one.replace("VLLMDeployment ujj4diu5", "Ingress x1")
    assert not log_of(
        one + other + text + ready.replace("VLLMDeployment ujj4diu5", "Ingress x1")
    ).reached_ready


def test_a_replica_that_failed_and_the_next_one_are_two_starts() -> None:
    failed = hosted(
        OFFLINE.split("(EngineCore_DP0 pid=2) INFO 06-21 08:00:33")[0]
        + "(EngineCore_DP0 pid=2) ERROR 06-21 08:00:34 [core.py:708] EngineCore failed to start.\n"
        "(EngineCore_DP0 pid=2) ERROR 06-21 08:00:34 [core.py:708] torch.OutOfMemoryError: CUDA out of memory.\n"
    )
    again = hosted(
        OFFLINE.replace("pid=2)", "pid=3)").replace("06-21 08", "06-21 09"), PREFIX.replace("20395", "20777")
    )
    ready = started("09:01:07", pid=20777)
    found = parsed(BEFORE + failed + again + ready)
    assert [(log.reached_ready, log.failure is not None) for log in found.attempts] == [
        (False, True),
        (True, False),
    ]
    other = parsed(BEFORE + failed + again + started("09:01:07"))  # of the replica that failed
    assert not other.main.reached_ready


def test_vllm_s_own_server_needs_its_own_ready_line() -> None:
    server = START_0_11.removesuffix("(APIServer pid=1) INFO:     Application startup complete.\n")
    assert not log_of(BEFORE + server + READY["client"]).reached_ready
