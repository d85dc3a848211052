"""The exposition: what is remembered of a line changes nothing in it."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, UnknownMetricFamily

from exporter.metrics import Family, Sample, render

PLAIN = Family("unioncore_plain", 'A "gauge"\nwith \\ in its help.')
LABELLED = Family("unioncore_labelled", "A gauge.", ("status", "classification"))
COUNTER = Family("unioncore_events_total", "A counter.", ("table",), kind="counter")
ACCEPT = ("", "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0", "*/*")

LABEL = st.text(max_size=12)
VALUE = st.floats() | st.integers(-(2**53), 2**53).map(float)
SAMPLE = st.one_of(
    st.builds(PLAIN, VALUE),
    st.builds(LABELLED, VALUE, LABEL, LABEL),
    st.builds(COUNTER, st.floats(min_value=0), LABEL),
)


class Registry:
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def library(samples: list[Sample], accept: str) -> tuple[bytes, str]:
    """The same by prometheus_client alone."""
    encode, content_type = choose_encoder(accept)
    made: dict[str, Metric] = {}
    for family, labels, value in samples:
        if family.name not in made:
            kind: type[Metric] = GaugeMetricFamily
            if family.kind == "counter":
                kind = UnknownMetricFamily if "openmetrics" in content_type else CounterMetricFamily
            made[family.name] = kind(family.name, family.documentation)  # type: ignore[call-arg]
        made[family.name].add_sample(family.name, dict(zip(family.labels, labels, strict=True)), value)
    return encode(Registry(list(made.values()))), content_type


@given(st.lists(SAMPLE, max_size=20), st.sampled_from(ACCEPT))
def test_the_exposition_is_prometheus_clients_byte_for_byte(samples: list[Sample], accept: str) -> None:
    assert render(samples, accept=accept) == library(samples, accept)
    assert render(samples, accept=accept) == library(samples, accept)


def test_a_sample_takes_as_many_label_values_as_its_family_has_labels() -> None:
    with pytest.raises(ValueError, match="unioncore_labelled takes the labels"):
        LABELLED(1.0, "active")
