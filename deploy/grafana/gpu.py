"""The GPUs behind the servers: NVIDIA's DCGM exporter, with the fields of its default list."""

from __future__ import annotations

from grafana.dashboard import Dashboard, Panel, Query, Row, Variable, stat

OF = 'Hostname=~"$host", gpu=~"$gpu"'
WHICH = "{{Hostname}} GPU {{gpu}}"
WINDOW = "$__rate_interval"
GREEN, YELLOW, RED = "green", "yellow", "red"

POWER = f"DCGM_FI_DEV_POWER_USAGE{{{OF}}}"
TDP_SHARE = f"({POWER} / DCGM_FI_DEV_POWER_MGMT_LIMIT{{{OF}}} or {POWER} / $tdp)"
"""Of the exporter's own limit where it gives one (it is not in the default list)."""
MJ_PER_J, J_PER_WH = 1000, 3600
WATTS = f"rate(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{OF}}}[{WINDOW}]) / {MJ_PER_J}"
MIB = 1024 * 1024
MEMORY_SHARE = f"DCGM_FI_DEV_FB_USED{{{OF}}} / (DCGM_FI_DEV_FB_USED{{{OF}}} + DCGM_FI_DEV_FB_FREE{{{OF}}})"
TOKENS = (
    f'sum(rate({{__name__=~"(ray_)?vllm[:_]generation_tokens_total", model_name=~"$model"}}[{WINDOW}]))',
    f'sum(rate({{__name__=~"(ray_)?vllm[:_]prompt_tokens_total", model_name=~"$model"}}[{WINDOW}]))',
)

VARIABLES = (
    Variable("host", "Host", "label_values(DCGM_FI_DEV_POWER_USAGE, Hostname)"),
    Variable("gpu", "GPU", 'label_values(DCGM_FI_DEV_POWER_USAGE{Hostname=~"$host"}, gpu)'),
    Variable(
        "model",
        "Model (for energy per token)",
        'label_values({__name__=~"(ray_)?vllm[:_]prompt_tokens_total"}, model_name)',
    ),
    Variable("tdp", "TDP of a GPU in W", "700", "textbox", many=False),
)


def each(title: str, description: str, expr: str, unit: str, **more: float) -> Panel:
    return Panel(title, description, (Query(expr, WHICH),), unit, **more)  # type: ignore[arg-type]


NOW = Row(
    "Now",
    (
        stat("GPUs", "That report.", f"count({POWER})"),
        stat("Power", "Of all GPUs chosen.", f"sum({POWER})", "watt"),
        stat(
            "Share of TDP",
            "Mean of the GPUs. Far below 100 % under full load, the GPU waits for something else: the rate may rise.",
            f"avg({TDP_SHARE})",
            "percentunit",
            steps=((None, YELLOW), (0.8, GREEN)),
        ),
        stat(
            "Utilisation",
            "Share of time in which any kernel ran.",
            f"avg(DCGM_FI_DEV_GPU_UTIL{{{OF}}})",
            "percent",
        ),
        stat(
            "Memory in use",
            "Of the fullest GPU. vLLM takes its share at the start and keeps it.",
            f"max({MEMORY_SHARE})",
            "percentunit",
        ),
        stat(
            "Hottest",
            "Temperature of the hottest GPU.",
            f"max(DCGM_FI_DEV_GPU_TEMP{{{OF}}})",
            "celsius",
            steps=((None, GREEN), (80, YELLOW), (87, RED)),
        ),
        stat(
            "Energy",
            "In the time range shown.",
            f"sum(increase(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{OF}}}[$__range])) / {MJ_PER_J * J_PER_WH}",
            "watth",
            is_now=True,
        ),
        stat(
            "Energy per output token",
            "Energy of the GPUs chosen by the output tokens of the model chosen. It holds when these GPUs serve that model only.",
            f"sum({WATTS}) / ({TOKENS[0]} > 0)",
            "joule",
        ),
    ),
)
POWER_ROW = Row(
    "Power",
    (
        each(
            "Power",
            "Draw of each GPU; the counter of energy has what lies between two scrapes.",
            POWER,
            "watt",
        ),
        Panel(
            "Share of TDP",
            "Against the GPU's power limit, or the TDP typed in above. At 100 % the GPU lowers its clock.",
            (Query(TDP_SHARE, WHICH),),
            "percentunit",
            least=0.0,
            steps=((None, GREEN), (0.95, YELLOW)),
        ),
        Panel(
            "Energy per token",
            "By the servers' own counters. Falls while the batch grows; its lowest point is the cheapest load.",
            (
                Query(f"sum({WATTS}) / ({TOKENS[0]} > 0)", "per output token"),
                Query(f"sum({WATTS}) / ({' + '.join(TOKENS)} > 0)", "per token, prompts included"),
            ),
            "joule",
        ),
        each(
            "Power by the energy counter",
            "Mean of the window: without gaps, so this is the one to integrate.",
            WATTS,
            "watt",
        ),
        each(
            "SM clock",
            "Falls when power or temperature is at its limit.",
            f"DCGM_FI_DEV_SM_CLOCK{{{OF}}} * 1e6",
            "hertz",
        ),
        each("Temperature", "Of each GPU.", f"DCGM_FI_DEV_GPU_TEMP{{{OF}}}", "celsius"),
    ),
)
USE = Row(
    "Use",
    (
        each(
            "Utilisation",
            "Share of time in which any kernel ran: 100 % does not mean that it is full.",
            f"DCGM_FI_DEV_GPU_UTIL{{{OF}}}",
            "percent",
            least=0.0,
            most=100.0,
        ),
        each("Memory in use", "Frame buffer.", f"DCGM_FI_DEV_FB_USED{{{OF}}} * {MIB}", "bytes"),
        each(
            "Memory copy utilisation",
            "Share of time in which memory was read or written.",
            f"DCGM_FI_DEV_MEM_COPY_UTIL{{{OF}}}",
            "percent",
            least=0.0,
            most=100.0,
        ),
        each(
            "Tensor cores busy",
            "Share of cycles. High in prefill, low in decode.",
            f"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{{{OF}}}",
            "percentunit",
            least=0.0,
            most=1.0,
        ),
        each(
            "Memory bandwidth busy",
            "Share of cycles. High in decode: a larger batch costs little until this is full.",
            f"DCGM_FI_PROF_DRAM_ACTIVE{{{OF}}}",
            "percentunit",
            least=0.0,
            most=1.0,
        ),
        each(
            "Engine busy",
            "Share of time in which the compute engine was active.",
            f"DCGM_FI_PROF_GR_ENGINE_ACTIVE{{{OF}}}",
            "percentunit",
            least=0.0,
            most=1.0,
        ),
    ),
)
GPU = Dashboard(
    "vllmperf-gpu",
    "vllmperf / GPU",
    "Power, energy per token and use of the GPUs, by NVIDIA's DCGM exporter.",
    VARIABLES,
    (NOW, POWER_ROW, USE),
)
