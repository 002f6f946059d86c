"""/metrics of the service: its state as Prometheus text or OpenMetrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from vllmperf.service.series import BOUNDS_S, SUBJECTS, Histogram, Sample, Series, ServiceState, subject_name


def page(state: ServiceState, accept: str = "") -> tuple[bytes, str]:
    """What GET /metrics answers, and its content type, by the Accept header of whoever asks. Its registry is its own: nothing
    that other libraries count is on the page."""
    registry = CollectorRegistry()
    registry.register(StateCollector(state))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class StateCollector(Collector):
    """Every series of the tables."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        for label, table, subjects in SUBJECTS:
            all_of_it = list(subjects(self._state))
            for series in table:
                labelled = (
                    ((subject_name(subject),) if label else (), sample)
                    for subject in all_of_it
                    for sample in series.of(subject)
                )
                yield _family(series, ((label,) if label else ()) + series.labels, labelled)


def _family(
    series: Series, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], Sample]]
) -> Metric:
    name = series.full_name.removesuffix("_total")
    if series.kind == "histogram":
        return _histogram_family(series, name, labels, samples)
    kind = CounterMetricFamily if series.kind == "counter" else GaugeMetricFamily
    family = kind(name, series.help, labels=labels, unit=series.unit)
    for subject, (own, value) in samples:
        assert not isinstance(value, Histogram)
        family.add_metric((*subject, *own), value)
    return family


def _histogram_family(
    series: Series,
    name: str,
    labels: tuple[str, ...],
    samples: Iterable[tuple[tuple[str, ...], Sample]],
) -> Metric:
    family = HistogramMetricFamily(name, series.help, labels=labels, unit=series.unit)
    for subject, (own, value) in samples:
        assert isinstance(value, Histogram)
        bounds = BOUNDS_S[series.name]
        buckets = [(str(bound), n) for bound, n in zip(bounds, value.buckets, strict=True)]
        family.add_metric((*subject, *own), [*buckets, ("+Inf", value.count)], value.sum_s)
    return family
