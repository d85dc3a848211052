"""The vocabulary of what is published: families, samples, and their rendering.

A family is declared once, as a constant beside the collector that fills it. Samples are plain values;
nothing is kept between scrapes, so a series that was not counted in a scrape is not in it.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, UnknownMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

Kind = Literal["gauge", "counter"]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family of the public contract.

    Attributes:
        name: The full name, as a sample of it is called (a counter's ends in `_total`).
        documentation: The HELP text: what one sample means, in base units.
        labels: Label names, in the order in which samples give their values.
        kind: `gauge` or `counter`.
        example: A PromQL expression that an operator would use it in.
    """

    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    kind: Kind = "gauge"
    example: str = ""

    def __call__(self, value: float, *labels: str) -> "Sample":
        """Make a sample of this family.

        Args:
            value: The value, in the family's unit.
            *labels: One value for each of `labels`, in order.

        Raises:
            ValueError: The number of label values is not the number of labels.
        """
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} takes the labels {self.labels}, not {labels}")
        return Sample(self, labels, value)


class Sample(NamedTuple):
    """One value of a family."""

    family: Family
    labels: tuple[str, ...]
    value: float


class CollectError(Exception):
    """A collector could not count; the message is one sentence for the operator, free of secrets."""


Encoder = Callable[[Iterable[Metric]], bytes]


def _metric(family: Family, *, openmetrics: bool) -> Metric:
    if family.kind == "counter":
        # OpenMetrics names a counter's family without `_total`, where the gauge unioncore_audit_events
        # already is: two families of one name are invalid there. Untyped, the family keeps its full name.
        if openmetrics:
            return UnknownMetricFamily(family.name, family.documentation, labels=family.labels)
        return CounterMetricFamily(family.name, family.documentation, labels=family.labels)
    return GaugeMetricFamily(family.name, family.documentation, labels=family.labels)


class _Exposition:
    """The registry face (`collect`) that prometheus_client's encoders read."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


def render(samples: Iterable[Sample], *, accept: str = "", names: Collection[str] = ()) -> tuple[bytes, str]:
    """Render samples in the format that the scraper asks for.

    Args:
        samples: The samples; those of one family need not stand together.
        accept: The request's Accept header: text format, or OpenMetrics where it is asked for.
        names: If given, only these families (the `name[]` filter of client libraries).

    Returns:
        The body and its content type.
    """
    encode, content_type = choose_encoder(accept)
    openmetrics = content_type.startswith("application/openmetrics-text")
    metrics: dict[str, Metric] = {}
    for family, labels, value in samples:
        if names and family.name not in names:
            continue
        metric = metrics.get(family.name)
        if metric is None:
            metric = metrics[family.name] = _metric(family, openmetrics=openmetrics)
        metric.add_sample(family.name, dict(zip(family.labels, labels, strict=True)), value)
    return encode(_Exposition(list(metrics.values()))), content_type
