"""Engines inside other servers: Ray Serve, KServe, TorchServe, Triton, BentoML, DJL Serving."""

import pytest
from parse_texts import START_0_7, START_0_11, config, log_of, said

from vllmperf.starts.result import StartupLog

OFFLINE = "".join(line for line in START_0_11.splitlines(keepends=True) if "APIServer" not in line)
OFFLINE_0_7 = "".join(
    line for line in START_0_7.splitlines(keepends=True) if "api_server" not in line and "INFO:" not in line
)
UVICORN = "INFO:     Started server process [1]\nINFO:     Application startup complete.\n"


def behind(text: str, form: str) -> str:
    return "".join(
        form.format(n=n % 60, ms=100 + n) + line + "\n" for n, line in enumerate(text.splitlines())
    )


TORCHSERVE = "2026-06-21T08:00:{n:02},{ms} [INFO ] W-9000-model_1.0-stdout MODEL_LOG - "
MAIN = "2026-06-21T08:00:00,001 [INFO ] main org.pytorch.serve.ModelServer - Metrics API bind to: x\nModel server started.\n"
KSERVE = (
    "2026-06-21 07:59:58.625 408300 kserve INFO [model_server.py:register_model():398] Registering model: m\n"
)
KSERVE_UP = "2026-06-21 08:00:57.250 408300 uvicorn.error INFO:     Application startup complete.\n"
RAY = "INFO 2026-06-21 08:00:00,210 default_VLLMDeployment ujj4diu5 replica.py:893 - Started initializing replica.\n"
HOSTED = {
    "TorchServe": MAIN + behind(OFFLINE, TORCHSERVE),
    "TorchServe, stderr too": MAIN + behind(OFFLINE, TORCHSERVE).replace("-stdout", "-stderr", 3),
    "TorchServe, 0.7": MAIN + behind(OFFLINE_0_7, TORCHSERVE),
    "Ray Serve": behind(OFFLINE, "(ServeReplica:default:LLMServer pid=28488) "),
    "Ray Serve, one name": behind(
        OFFLINE, "(ServeReplica:chat-direct:LLMServer:model-a pid=28488, ip=10.0.0.2) "
    ),
    "Ray Serve, 0.7": behind(OFFLINE_0_7, "(ServeReplica:default:VLLMDeployment pid=28488) "),
    "Ray Serve's own log": RAY + OFFLINE,
    "DJL Serving": behind(OFFLINE, "INFO  PyProcess W-187-model-stdout: "),
    "Triton": f'I0621 07:59:59.000000 1 python_be.cc:2055] "TRITONBACKEND_ModelInstanceInitialize: m_0"\n{OFFLINE}',
    "BentoML": f'2026-06-21T07:59:59+0000 [INFO] [cli] Starting production HTTP BentoServer from "a:B"\n{OFFLINE}',
    "KServe": KSERVE + OFFLINE,
    "KServe, up": KSERVE + OFFLINE + KSERVE_UP,
    "KServe, first uvicorn": KSERVE + UVICORN + OFFLINE + KSERVE_UP,
    "KServe, its module": OFFLINE.replace("INFO 06-21 08:00:08", KSERVE + "INFO 06-21 08:00:08"),
}


@pytest.mark.parametrize("name", HOSTED)
def test_an_engine_in_another_server_is_embedded(name: str) -> None:
    log = log_of(HOSTED[name])
    assert log.mode == "embedded"
    bare: StartupLog = log_of(OFFLINE_0_7 if "0.7" in name else OFFLINE)
    assert said(log) == said(bare)
    assert (log.model, log.tp) == (bare.model, bare.tp)


@pytest.mark.parametrize("name", ["KServe, up", "KServe, first uvicorn"])
def test_kserve_s_own_ready_line_is_that_of_the_engine_in_it(name: str) -> None:
    log = log_of(HOSTED[name])
    assert log.reached_ready
    assert log.ready_ts == "06-21 08:00:57"


def test_kserve_s_lines_tell_the_year() -> None:
    clock = log_of(KSERVE.replace("2026", "2021") + OFFLINE + KSERVE.replace("2026", "2021"), year=None).clock
    assert clock is not None
    assert (clock.year, clock.year_from) == (2021, "log")


def test_vllm_s_own_server_beside_such_names_is_a_server() -> None:
    assert log_of(KSERVE + START_0_11).mode == "serve"
    assert log_of(MAIN + START_0_11).mode == "serve"


def test_a_failure_in_a_hosted_engine_is_found() -> None:
    failed = (
        "INFO 10-07 22:54:54 llm_engine.py:226] Initializing an LLM engine (v0.6.1) with config: "
        + config()
        + "\n"
        "INFO 10-07 22:54:56 model_runner.py:1014] Starting to load model org/model...\n"
        "Traceback (most recent call last):\n"
        '  File "/x/vllm/worker/worker.py", line 183, in load_model\n'
        "torch.OutOfMemoryError: CUDA out of memory.\n"
    )
    log = log_of(MAIN + behind(failed, TORCHSERVE))
    assert log.failure is not None
    assert "CUDA out of memory" in log.failure.text
    assert log.failure.phase == "weights_load"


def test_what_fails_in_a_hosted_engine_that_was_up_is_no_failed_start() -> None:
    request = "Traceback (most recent call last):\nValueError: of a request\n"
    assert log_of(MAIN + behind(OFFLINE + request, TORCHSERVE)).failure is None
