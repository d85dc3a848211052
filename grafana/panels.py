"""The kinds of panel, each with the same few things to say: a thin layer over the SDK's models.

Stats, bars and tables show the present: an instant query, so that a number which is no longer measured disappears. One
that is the last of a range, as Grafana offers it, would go on showing what was true a month ago.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import (
    bargauge,
    common,
    dashboard,
    logs,
    loki,
    prometheus,
    stat,
    statetimeline,
    table,
    text,
    timeseries,
)

from grafana import fields
from grafana.fields import DATASOURCE, LOGS, PLAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana.queries import Query

Overrides = "Sequence[dashboard.DashboardFieldConfigSourceOverrides]"
PROMETHEUS = common.DataSourceRef(type_val="prometheus", uid=f"${{{DATASOURCE}}}")
_LOKI = common.DataSourceRef(type_val="loki", uid=f"${{{LOGS}}}")
_SPACED = fields.transformation("renameByRegex", regex="/_/g", renamePattern=" ")
"""Labels as people write them."""
_SIZES = common.VizTextDisplayOptions(title_size=12, value_size=16)
_LAST = common.ReduceDataOptions(calcs=["lastNotNull"], fields="", values=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What every panel says.

    Attributes:
        title: What it shows.
        description: What that is, and what to do when it looks wrong.
        unit: Grafana's id of the unit; none for a panel without values.
        links: Where one looks next: a runbook, or another dashboard.
        queries: What it asks Prometheus.
        no_value: What it says instead of nothing.
        width: Of 24 columns.
        height: In units of 38 pixels.
        steps: The limits; where there are none, the value has no judging colour.
        mappings: Values that are shown as words.
        decimals: Digits after the point; Grafana's choice if left out.
        overrides: How single fields differ.
        transformations: What is done to the data before it is shown.
        minimum: The lowest value of the scale.
        maximum: The highest.
    """

    title: str
    description: str
    unit: str = ""
    links: Sequence[dashboard.DashboardLink]
    queries: Sequence[Query] = ()
    no_value: str = "Not measured"
    width: int = 8
    height: int = 7
    steps: dashboard.ThresholdsConfig | None = None
    mappings: Sequence[dashboard.ValueMapping] = ()
    decimals: int | None = None
    overrides: Sequence[dashboard.DashboardFieldConfigSourceOverrides] = ()
    transformations: Sequence[dashboard.DataTransformerConfig] = ()
    minimum: float | None = None
    maximum: float | None = None

    def build(self) -> dashboard.Panel:
        """Return it as the SDK has it, still without its id and its place."""
        raise NotImplementedError

    def _panel(
        self,
        kind: str,
        options: object,
        *,
        color: dashboard.FieldColor,
        custom: object = None,
        instant: bool = True,
        tables: bool = False,
    ) -> dashboard.Panel:
        # What is not there is judged no more than what has no limit.
        nothing = dashboard.SpecialValueMap(
            options=dashboard.DashboardSpecialValueMapOptions(
                match=dashboard.SpecialValueMatch.NULL_AND_NAN,
                result=dashboard.ValueMappingResult(text=self.no_value, color=PLAIN, index=len(self.mappings)),
            )
        )
        named = kind != "table" and any("{{" in query.legend for query in self.queries)
        defaults = dashboard.FieldConfig(
            unit=self.unit or None,
            decimals=self.decimals,
            min_val=self.minimum,
            max_val=self.maximum,
            mappings=[*self.mappings, nothing] if kind == "stat" else list(self.mappings),
            thresholds=self.steps or fields.plain(),
            color=color,
            no_value=self.no_value,
            custom=custom,
        )
        targets = [
            prometheus.Dataquery(
                ref_id=letter,
                datasource=PROMETHEUS,
                expr=query.expr,
                legend_format=query.legend,
                editor_mode=prometheus.QueryEditorMode.CODE,
                format_val=prometheus.PromQueryFormat.TABLE if tables else prometheus.PromQueryFormat.TIME_SERIES,
                instant=instant,
                range_val=not instant,
            )
            for letter, query in zip(string.ascii_uppercase, self.queries, strict=False)
        ]
        return dashboard.Panel(
            type_val=kind,
            title=self.title,
            description=self.description,
            datasource=PROMETHEUS,
            links=list(self.links),
            targets=list(targets),
            transformations=[*self.transformations, *([_SPACED] if named else [])],
            options=options,
            field_config=dashboard.FieldConfigSource(defaults=defaults, overrides=list(self.overrides)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat(Panel):
    """One number, or a few.

    Attributes:
        solid: The colour fills the panel: for a verdict, not a number.
    """

    width: int = 4
    height: int = 4
    solid: bool = False

    def build(self) -> dashboard.Panel:
        """Return it as the SDK has it, still without its id and its place."""
        judged = self.steps is not None or self.mappings
        mode = common.BigValueColorMode.BACKGROUND_SOLID if self.solid else common.BigValueColorMode.VALUE
        several = len(self.queries) > 1 or any("{{" in query.legend for query in self.queries)
        named = common.BigValueTextMode.VALUE_AND_NAME if several else common.BigValueTextMode.VALUE
        options = stat.Options(
            graph_mode=common.BigValueGraphMode.NONE,
            color_mode=mode if judged else common.BigValueColorMode.NONE,
            justify_mode=common.BigValueJustifyMode.AUTO,
            text_mode=named,
            reduce_options=_LAST,
            orientation=common.VizOrientation.AUTO,
        )
        color = dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS) if judged else fields.colour(PLAIN)
        return self._panel("stat", options, color=color)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars(Panel):
    """A horizontal bar for each series."""

    def build(self) -> dashboard.Panel:
        """Return it as the SDK has it, still without its id and its place."""
        options = bargauge.Options(
            display_mode=common.BarGaugeDisplayMode.BASIC,
            value_mode=common.BarGaugeValueMode.TEXT,
            name_placement=common.BarGaugeNamePlacement.LEFT,
            show_unfilled=True,
            sizing=common.BarGaugeSizing.AUTO,
            orientation=common.VizOrientation.HORIZONTAL,
            reduce_options=_LAST,
            text=_SIZES,
            legend=common.VizLegendOptions(show_legend=False, display_mode=common.LegendDisplayMode.LIST),
        )
        return self._panel("bargauge", options, color=fields.colour(fields.DEEP))


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph(Panel):
    """Lines over time.

    Attributes:
        stacked: The lines add up.
        bars: Bars instead of lines.
        stepped: A value holds until the next one.
        soft_minimum: The scale reaches at least down to here.
        soft_maximum: The scale reaches at least up to here, so that a limit is in sight.
        backups: Backups are marked: they explain what it shows.
        interval: The least time between two points.
    """

    stacked: bool = False
    bars: bool = False
    stepped: bool = False
    soft_minimum: float | None = None
    soft_maximum: float | None = None
    interval: str | None = None
    backups: bool = False

    def build(self) -> dashboard.Panel:
        """Return it as the SDK has it, still without its id and its place."""
        custom = common.GraphFieldConfig(
            draw_style=common.GraphDrawStyle.BARS if self.bars else common.GraphDrawStyle.LINE,
            line_interpolation=common.LineInterpolation.STEP_AFTER if self.stepped else common.LineInterpolation.LINEAR,
            line_width=1 if self.bars or self.stacked else 2,
            fill_opacity=70 if self.bars else 40 if self.stacked else 8,
            show_points=common.VisibilityMode.NEVER,
            stacking=common.StackingConfig(
                mode=common.StackingMode.NORMAL if self.stacked else common.StackingMode.NONE, group="A"
            ),
            thresholds_style=common.GraphThresholdsStyleConfig(
                mode=common.GraphThresholdsStyleMode.DASHED if self.steps else common.GraphThresholdsStyleMode.OFF
            ),
            axis_soft_min=self.soft_minimum,
            axis_soft_max=self.soft_maximum,
        )
        options = timeseries.Options(
            legend=common.VizLegendOptions(
                show_legend=True,
                display_mode=common.LegendDisplayMode.LIST,
                placement=common.LegendPlacement.BOTTOM,
                calcs=[],
            ),
            tooltip=common.VizTooltipOptions(mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING),
        )
        color = dashboard.FieldColor(mode=dashboard.FieldColorModeId.PALETTE_CLASSIC)
        panel = self._panel("timeseries", options, color=color, custom=custom, instant=False)
        panel.interval = self.interval
        return panel


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline(Panel):
    """When each series had which state."""

    def build(self) -> dashboard.Panel:
        """Return it as the SDK has it, still without its id and its place."""
        options = statetimeline.Options(
            show_value=common.VisibilityMode.NEVER,
            merge_values=True,
            row_height=0.8,
            legend=common.VizLegendOptions(
                show_legend=True,
                display_mode=common.LegendDisplayMode.LIST,
                placement=common.LegendPlacement.BOTTOM,
                calcs=[],
            ),
            tooltip=common.VizTooltipOptions(mode=common.TooltipDisplayMode.SINGLE, sort=common.SortOrder.NONE),
        )
        color = dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS)
        custom = statetimeline.FieldConfig(line_width=0, fill_opacity=80)
        return self._panel("state-timeline", options, color=color, custom=custom, instant=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Panel):
    """A row for each series.

    Attributes:
        sort: The column that it is sorted by; a minus before it for the largest first.
    """

    sort: str = ""

    def build(self) -> dashboard.Panel:
        """Return it as the SDK has it, still without its id and its place."""
        order = [common.TableSortByFieldState(display_name=self.sort.removeprefix("-"), desc=self.sort.startswith("-"))]
        options = table.Options(
            show_header=True, cell_height=common.TableCellHeight.SM, sort_by=order if self.sort else []
        )
        custom = common.TableFieldOptions(
            min_width=110,
            align=common.FieldTextAlignment.AUTO,
            cell_options=common.TableAutoCellOptions(),
            inspect=False,
        )
        color = dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS)
        panel = self._panel("table", options, color=color, custom=custom, tables=True)
        # What an empty table says is not what an empty cell says.
        if panel.field_config and panel.field_config.overrides is not None:
            panel.field_config.overrides.insert(0, fields.each(noValue="-"))
        return panel


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Panel):
    """Words and links.

    Attributes:
        content: In Markdown.
    """

    content: str

    def build(self) -> dashboard.Panel:
        """Return it as the SDK has it, still without its id and its place."""
        options = text.Options(mode=text.TextMode.MARKDOWN, content=self.content)
        return self._panel("text", options, color=fields.colour(PLAIN))


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs(Panel):
    """Lines of logs, from Loki.

    Attributes:
        expr: In LogQL.
    """

    expr: str

    def build(self) -> dashboard.Panel:
        """Return it as the SDK has it, still without its id and its place."""
        options = logs.Options(
            show_time=True,
            wrap_log_message=True,
            enable_log_details=True,
            sort_order=common.LogsSortOrder.DESCENDING,
            dedup_strategy=common.LogsDedupStrategy.NONE,
        )
        panel = self._panel("logs", options, color=fields.colour(PLAIN))
        panel.datasource = _LOKI
        panel.targets = [loki.Dataquery(ref_id="A", datasource=_LOKI, expr=self.expr, query_type="range")]
        return panel
