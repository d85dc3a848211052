"""The vocabulary of what is published: families, samples, and their rendering.

A family is declared once, as a constant beside the collector that fills it. Samples are plain values;
nothing is kept between scrapes, so a series that was not counted in a scrape is not in it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, UnknownMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

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


def _metric(family: Family, *, openmetrics: bool) -> Metric:
    if family.kind == "counter":
        # OpenMetrics names a counter's family without `_total`, where the gauge unioncore_audit_events
        # already is: two families of one name are invalid there. Untyped, the family keeps its full name.
        if openmetrics:
            return UnknownMetricFamily(family.name, family.documentation)
        return CounterMetricFamily(family.name, family.documentation)
    return GaugeMetricFamily(family.name, family.documentation)


class _Exposition:
    """The registry face (`collect`) that prometheus_client's encoders read."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


class _Format:
    """One exposition format. Each line is prometheus_client's own, remembered up to its value.

    To write some 250 lines anew takes it over half of a scrape's time; between scrapes, only values differ.
    """

    def __init__(self, accept: str) -> None:
        self._encode, self.content_type = choose_encoder(accept)
        self._openmetrics = self.content_type.startswith("application/openmetrics-text")
        self._heads: dict[str, str] = {}
        self._lines: dict[tuple[str, tuple[str, ...], tuple[str, ...]], str] = {}

    def render(self, samples: Iterable[Sample]) -> bytes:
        """Render samples; those of one family need not stand together."""
        if len(self._lines) > _MOST_LINES:
            self._lines.clear()
        families: dict[str, list[str]] = {}
        for sample in samples:
            lines = families.get(sample.family.name)
            if lines is None:
                lines = families[sample.family.name] = [self._head(sample.family)]
            lines.append(f"{self._line(sample)}{_number(sample.value)}\n")
        end = "# EOF\n" if self._openmetrics else ""
        return "".join([*("".join(lines) for lines in families.values()), end]).encode()

    def _head(self, family: Family) -> str:
        head = self._heads.get(family.name)
        if head is None:
            head = self._heads[family.name] = self._encoded(_metric(family, openmetrics=self._openmetrics))
        return head

    def _line(self, sample: Sample) -> str:
        # Not the family itself: its hash is that of its documentation, too.
        key = (sample.family.name, sample.family.labels, sample.labels)
        line = self._lines.get(key)
        if line is None:
            metric = _metric(sample.family, openmetrics=self._openmetrics)
            metric.add_sample(sample.family.name, dict(zip(sample.family.labels, sample.labels, strict=True)), 0.0)
            whole = self._encoded(metric).removeprefix(self._head(sample.family))
            line = self._lines[key] = whole.removesuffix("0.0\n")
        return line

    def _encoded(self, metric: Metric) -> str:
        return self._encode(_Exposition(metric)).decode().removesuffix("# EOF\n")


_MOST_LINES = 20_000
_number: Callable[[float], str] = floatToGoString
_format = lru_cache(maxsize=32)(_Format)


def render(samples: Iterable[Sample], *, accept: str = "", names: Collection[str] = ()) -> tuple[bytes, str]:
    """Render samples in the format that the scraper asks for.

    Args:
        samples: The samples; those of one family need not stand together.
        accept: The request's Accept header: text format, or OpenMetrics where it is asked for.
        names: If given, only these families (the `name[]` filter of client libraries).

    Returns:
        The body and its content type.
    """
    wanted = (sample for sample in samples if sample.family.name in names) if names else samples
    chosen = _format(accept)
    return chosen.render(wanted), chosen.content_type
