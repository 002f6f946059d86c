"""What a fit tells routers and autoscalers, as YAML to paste; each number has its 95 % interval as a comment.

Sources, read in 2026-11:

- llm-d-router: EndpointPickerConfig of llm-d.ai/v1alpha1, apix/config/v1alpha1 of llm-d/llm-d-router (main), and the Go structs
  of its plugins prefix-cache-affinity-filter and p2p-source-producer;
- keda: the CRD of ScaledObject, keda.sh/v1alpha1, in kedacore/keda; metrics and queries of llm-d's guide
  workload-autoscaling/keda-epp-token-aware, which calls itself experimental (KEDA 2.20);
- wva-0.9: QueueingModelScalingConfig of llm-d-workload-variant-autoscaler, 2026-02 to v0.9.0, the last release;
- wva-crd-2025: the CRD of VariantAutoscaling, llmd.ai/v1alpha1, of autumn 2025, with spec.modelProfile.accelerators[].

Words in capitals (NAMESPACE, DEPLOYMENT, …) are yours to fill in: Kubernetes refuses them as they stand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from vllmperf.errors import UsageError
from vllmperf.model.parameters import MEANINGS, THREE, Fit, Parameter
from vllmperf.model.scaling import Scaling
from vllmperf.numbers import number
from vllmperf.report.fit import estimated, rests_on

Emitter = Callable[[Fit, Scaling], str]
MULTIPLIER = 3.0
"""WVA's sloMultiplier."""
RULE_OF_THUMB = "llm-d's rule of thumb, not measured"
PROMETHEUS = "https://llmd-kube-prometheus-stack-prometheus.llm-d-monitoring.svc.cluster.local:9090"


def emitted(target: str, fit: Fit, found: Scaling) -> str:
    """The text for a target of TARGETS. Raises UsageError for others."""
    if target not in TARGETS:
        raise UsageError(f"there is no target {target!r}: choose one of {', '.join(TARGETS)}")
    return TARGETS[target](fit, found)


def _head(fit: Fit, notes: Iterable[str], *lines: str) -> str:
    whole = [*lines, f"measured by vllmperf fit; rests on {rests_on(fit)}"]
    whole += [f"! {one}" for one in (*notes, *fit.warnings)]
    return "".join(f"# {' '.join(line.split())}\n" for line in whole)


def _digits(one: Parameter) -> str:
    return estimated(one)[0].replace(",", "")


def _told(one: Parameter, unit: str) -> str:
    """# 15,900 tokens/s; 95 %: …"""
    _, low, high = estimated(one)
    return f"# {unit}; " + (f"95 %: {low} … {high}" if low is not None else "no interval is known")


# ---- the router ----


def _needs_prompts(fit: Fit) -> None:
    if fit.gamma.value is None or fit.delta.value is None:
        raise UsageError(
            "the fit does not know gamma and delta, the cost of prompts: fit a server, or runs at concurrency 1 with two "
            "prompt lengths"
        )


def _router(fit: Fit, found: Scaling) -> str:
    _needs_prompts(fit)
    peak, each = found.peak_prefill_tokens_per_s, found.prefill_us_per_token
    return (
        _head(
            fit,
            found.notes,
            "llm-d router: merge the parameters into the plugins of your EndpointPickerConfig",
        )
        + f"""apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: inflight-load-producer
- type: approx-prefix-cache-producer
- type: token-load-scorer
- type: prefix-cache-affinity-filter
  parameters:
    peakPrefillThroughput: {_digits(peak)}  {_told(peak, f"tokens/s of a lone prompt of {found.chunk_tokens} tokens")}
# With KV caches shared between peers; transferMicrosecondsPerToken is not vllmperf's to measure, and must be smaller:
# - type: p2p-source-producer
#   parameters:
#     costModel:
#       prefillMicrosecondsPerToken: {_digits(each)}  {_told(each, "µs/token")}
#       transferMicrosecondsPerToken: MEASURE
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: prefix-cache-affinity-filter
  - pluginRef: token-load-scorer
"""
    )


# ---- KEDA ----


def _keda(fit: Fit, found: Scaling) -> str:
    if found.goals.ttft_ms is None and found.goals.tpot_ms is None:
        raise UsageError("keda needs a goal, ttft or tpot: its thresholds are what a replica has there")
    _needs_prompts(fit)
    peak = found.peak_prefill_tokens_per_s
    return (
        _head(fit, found.notes, f"KEDA: a replica that is at {_goals(found)}", f"for {_requests(found)}")
        + f"""apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: DEPLOYMENT-token-aware
  namespace: NAMESPACE
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: DEPLOYMENT
  minReplicaCount: 1
  maxReplicaCount: 10
  triggers:
  # peakPrefillThroughput {_digits(peak)} {_told(peak, "tokens/s")[2:]}
{_trigger("prefill-backlog-seconds", _backlog(peak), found.prefill_threshold_s, "s of prompts per replica", "1.5")}\
{_trigger("decode-kv-utilization", KV_USE, found.decode_kv_threshold, "of the KV cache per replica", "0.8")}"""
    )


def _backlog(peak: Parameter) -> str:
    return (
        '(sum(llm_d_epp_inflight_tokens{namespace="NAMESPACE",producer_name="inflight-load-producer"})'
        f" / {_digits(peak)}) or vector(0)"
    )


KV_USE = 'sum(vllm:kv_cache_usage_perc{namespace="NAMESPACE"}) or vector(0)'


def _trigger(name: str, query: str, threshold: Parameter, unit: str, usual: str) -> str:
    if threshold.value is None:
        value, told = usual, f"# {unit}; {RULE_OF_THUMB}"
    else:
        value, told = _digits(threshold), _told(threshold, unit)
    return f"""  - type: prometheus
    name: {name}
    metricType: AverageValue
    metadata:
      serverAddress: {PROMETHEUS}
      query: |
        {query}
      threshold: "{value}"  {told}
      activationThreshold: "0"
    authenticationRef:  # as in llm-d's guide; leave it out where Prometheus asks for none
      name: prometheus-auth
"""


def _goals(found: Scaling) -> str:
    said = []
    for name, limit in found.goals.limits:
        percentile = found.goals.percentile_of(name)
        said.append(f"{'mean' if percentile is None else f'p{percentile:g}'} {name.upper()} {limit:g} ms")
    return " or ".join(said)


def _requests(found: Scaling) -> str:
    load = found.load
    kind = "as recorded" if load.seen is not None else "Poisson arrivals"
    return f"requests of {load.input_tokens:.0f} and {load.output_tokens:.0f} tokens, {kind}"


# ---- WVA ----


def _wva(fit: Fit, found: Scaling) -> str:
    goals = found.goals
    if (goals.ttft_ms is None) != (goals.tpot_ms is None):
        raise UsageError("wva-0.9 needs both goals, ttft and tpot, or neither: WVA refuses one alone")
    both = goals.ttft_ms is not None
    targets = f"    targetTTFT: {goals.ttft_ms:g}\n    targetITL: {goals.tpot_ms:g}\n" if both else ""
    lines = ["WVA to v0.9.0 (deprecated; KEDA takes its place): it learns its three parameters itself"]
    inferred = (
        None
        if both
        else inferred_targets(fit.three_parameter, found.load.input_tokens, found.load.output_tokens)
    )
    if inferred:
        lines.append(
            f"with the three that vllmperf measured it aims at TTFT {number(inferred[0])} ms and ITL "
            f"{number(inferred[1])} ms for {_requests(found)}"
        )
    return (
        _head(fit, (), *lines)
        + f"""apiVersion: v1
kind: ConfigMap
metadata:
  name: wva-queueing-model-config
  namespace: workload-variant-autoscaler-system
data:
  default: |
    sloMultiplier: {MULTIPLIER}
    tuningEnabled: true
  measured: |
    model_id: {json.dumps(fit.model or "MODEL")}
    namespace: "NAMESPACE"
{targets}"""
    )


def _crd(fit: Fit, _: Scaling) -> str:
    _needs_prompts(fit)
    four = {name: fit.parameters[name] for name in ("alpha", "beta", "gamma", "delta")}
    rows = {name: f'"{one.value or 0.0:.6g}"  {_told(one, MEANINGS[name][0])}' for name, one in four.items()}
    return (
        _head(
            fit,
            _beyond_batch(fit),
            "VariantAutoscaling of autumn 2025; later releases have no perfParms: use --emit keda there",
        )
        + f"""apiVersion: llmd.ai/v1alpha1
kind: VariantAutoscaling
metadata:
  name: DEPLOYMENT
  namespace: NAMESPACE
spec:
  modelID: {json.dumps(fit.model or "MODEL")}
  sloClassRef:
    name: service-classes-config
    key: SERVICE_CLASS
  modelProfile:
    accelerators:
    - acc: ACCELERATOR
      accCount: 1
      maxBatchSize: {fit.max_num_seqs or int(fit.valid_batch[1])}
      perfParms:
        decodeParms:
          alpha: {rows["alpha"]}
          beta: {rows["beta"]}
        prefillParms:
          gamma: {rows["gamma"]}
          delta: {rows["delta"]}
"""
    )


def _beyond_batch(fit: Fit) -> list[str]:
    most = fit.max_num_seqs
    if most is None or most <= 1.05 * fit.valid_batch[1]:
        return []
    return [
        f"extrapolated: batches of {fit.valid_batch[0]:g} to {fit.valid_batch[1]:g} were seen, maxBatchSize is {most}"
    ]


def inferred_targets(
    three: dict[str, Parameter], input_tokens: float, output_tokens: float
) -> tuple[float, float] | None:
    """(TTFT, ITL) in ms that WVA infers at its sloMultiplier for requests of this shape, from the three parameters."""
    values = [three[name].value for name in THREE if name in three]
    if len(values) < len(THREE) or any(value is None for value in values):
        return None
    alpha, beta, gamma = (float(value or 0.0) for value in values)
    ttft = MULTIPLIER * alpha + (beta + gamma) * input_tokens
    itl = MULTIPLIER * alpha + beta + gamma * (input_tokens + (output_tokens + 1) / 2)
    return ttft, itl


def _json(fit: Fit, found: Scaling) -> str:
    return (
        json.dumps({"model": fit.model, **found.to_dict(), "warnings": list(fit.warnings)}, indent=2) + "\n"
    )


TARGETS: dict[str, Emitter] = {
    "llm-d-router": _router,
    "keda": _keda,
    "wva-0.9": _wva,
    "wva-crd-2025": _crd,
    "json": _json,
}
