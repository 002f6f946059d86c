"""The formats that `fit --emit` writes, as JSON schemas of their own: names, types and what is required. Unknown keys are errors,
as for the strict decoders that read them. vllmperf/report/emit.py names the sources."""

from typing import Any

Schema = dict[str, Any]


def closed(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


TEXT: Schema = {"type": "string", "minLength": 1}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 1}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}
META = closed(("name",), name=TEXT, namespace=TEXT, labels=TEXTS)


def many(item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": 1}


# apix/config/v1alpha1/endpointpickerconfig_types.go of llm-d/llm-d-router, read 2026-11
ROUTER = closed(
    ("apiVersion", "kind", "plugins", "schedulingProfiles"),
    apiVersion=one_of("llm-d.ai/v1alpha1"),
    kind=one_of("EndpointPickerConfig"),
    plugins=many(closed(("type",), name=TEXT, type=TEXT, parameters={"type": "object"})),
    schedulingProfiles=many(
        closed(
            ("name", "plugins"),
            name=TEXT,
            plugins=many(closed(("pluginRef",), pluginRef=TEXT, weight=NUMBER)),
        )
    ),
)
# Config of .../filter/prefixcacheaffinity/plugin.go, decoded strictly
AFFINITY = closed(
    peakPrefillThroughput={"type": "number", "exclusiveMinimum": 0},
    affinityThreshold=NUMBER,
    explorationProbability=NUMBER,
    maxTTFTPenaltyMs=NUMBER,
    ttftSource=one_of("prefillThroughput", "latencyPredictor"),
)
# p2p-source-producer's README in the same tree
COST_MODEL = closed(
    ("prefillMicrosecondsPerToken", "transferMicrosecondsPerToken"),
    prefillMicrosecondsPerToken=NUMBER,
    transferMicrosecondsPerToken=NUMBER,
    transferFixedMs=NUMBER,
    sourceWaitMs=NUMBER,
    requeueMs=NUMBER,
    fleetWeight=NUMBER,
    busyQueueThreshold=COUNT,
)

# config/crd/bases/keda.sh_scaledobjects.yaml of kedacore/keda (with scalingModifiers: 2.12 and later)
KEDA = closed(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion=one_of("keda.sh/v1alpha1"),
    kind=one_of("ScaledObject"),
    metadata=META,
    spec=closed(
        ("scaleTargetRef", "triggers"),
        scaleTargetRef=closed(("name",), apiVersion=TEXT, kind=TEXT, name=TEXT, envSourceContainerName=TEXT),
        minReplicaCount=COUNT,
        maxReplicaCount=COUNT,
        pollingInterval=COUNT,
        cooldownPeriod=COUNT,
        advanced={"type": "object"},
        fallback={"type": "object"},
        triggers=many(
            closed(
                ("type", "metadata"),
                type=one_of("prometheus"),
                name=TEXT,
                metricType=one_of("AverageValue", "Value", "Utilization"),
                useCachedMetrics={"type": "boolean"},
                # keda.sh/docs/latest/scalers/prometheus: all values of metadata are texts
                metadata=closed(
                    ("serverAddress", "query", "threshold"),
                    serverAddress=TEXT,
                    query=TEXT,
                    threshold={"type": "string", "pattern": r"^\d+(\.\d+)?$"},
                    activationThreshold={"type": "string", "pattern": r"^\d+(\.\d+)?$"},
                    namespace=TEXT,
                    authModes=TEXT,
                    ignoreNullValues=TEXT,
                    unsafeSsl=TEXT,
                ),
                authenticationRef=closed(("name",), name=TEXT, kind=TEXT),
            )
        ),
    ),
)

CONFIG_MAP = closed(
    ("apiVersion", "kind", "metadata", "data"),
    apiVersion=one_of("v1"),
    kind=one_of("ConfigMap"),
    metadata=META,
    data=TEXTS,
)
# QueueingModelScalingConfig of llm-d-workload-variant-autoscaler, to v0.9.0; its Validate() is in the test
QUEUEING = closed(
    model_id=TEXT,
    namespace=TEXT,
    sloMultiplier={"type": "number", "exclusiveMinimum": 1},
    tuningEnabled={"type": "boolean"},
    targetTTFT={"type": "number", "exclusiveMinimum": 0},
    targetITL={"type": "number", "exclusiveMinimum": 0},
)

# config/crd/bases/llmd.ai_variantautoscalings.yaml of inferno-autoscaler, autumn 2025
VARIANT = closed(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion=one_of("llmd.ai/v1alpha1"),
    kind=one_of("VariantAutoscaling"),
    metadata=META,
    spec=closed(
        ("modelID", "sloClassRef", "modelProfile"),
        modelID=TEXT,
        sloClassRef=closed(("name", "key"), name=TEXT, key=TEXT),
        modelProfile=closed(
            ("accelerators",),
            accelerators=many(
                closed(
                    ("acc", "accCount", "maxBatchSize", "perfParms"),
                    acc=TEXT,
                    accCount=COUNT,
                    maxBatchSize=COUNT,
                    perfParms=closed(
                        ("decodeParms", "prefillParms"),
                        decodeParms=closed(("alpha", "beta"), alpha=TEXT, beta=TEXT),
                        prefillParms=closed(("gamma", "delta"), gamma=TEXT, delta=TEXT),
                    ),
                )
            ),
        ),
    ),
)
