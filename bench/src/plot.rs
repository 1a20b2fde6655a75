//! The picture of a run: latency by percentile, and messages with latencies over time.

use std::fmt::Display;
use std::ops::Range;

use anyhow::anyhow;
use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::{
    ChartBuilder, DrawingArea, IntoDrawingArea, IntoFont, LineSeries, PathElement, RGBColor,
    SeriesLabelPosition, TextStyle, WHITE,
};

use crate::report::Report;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const SIZE: (u32, u32) = (1200, 900);
const FONT: &str = "sans-serif";
const TITLE_SIZE: i32 = 26;
const TEXT_SIZE: i32 = 17;
const MARGIN: i32 = 14;
const LABELS: i32 = 74;

/// Colours that the colour-blind tell apart (Okabe and Ito), dark ones first.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILION: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const GREY: RGBColor = RGBColor(90, 90, 90);

/// The curves over time, and their percentiles.
const OVER_TIME: [(&str, f64, RGBColor); 3] = [
    ("p50", 50.0, GREEN),
    ("p99", 99.0, BLUE),
    ("max", 100.0, VERMILION),
];

impl Report {
    /// Draws the run as SVG.
    ///
    /// # Errors
    /// When there is nothing to draw, or the drawing fails.
    pub fn picture(&self) -> anyhow::Result<String> {
        if self.latency.count() == 0 {
            return Err(anyhow!("there is nothing to be drawn: nothing was timed"));
        }
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            self.draw(&root)
                .map_err(|error| anyhow!("cannot draw: {error}"))?;
        }
        Ok(svg)
    }

    fn draw(&self, root: &Area<'_>) -> Result<(), String> {
        root.fill(&WHITE).map_err(text)?;
        let root = root.margin(MARGIN, MARGIN, MARGIN, MARGIN);
        let title = TextStyle::from((FONT, TITLE_SIZE).into_font());
        let root = root.titled(&self.title(), title).map_err(text)?;
        let small = (FONT, TEXT_SIZE).into_font().color(&GREY);
        let root = root.titled(&self.subtitle(), small).map_err(text)?;
        let slices = self.slices.all().len();
        let has_time = slices > 0 && self.slices.length().as_nanos() > 0;
        let rows = if has_time { 2 } else { 1 };
        let panels = root.split_evenly((rows, 1));
        if self.client_bottleneck.is_some() {
            draw_note(&panels[0], "no latency: the client was the bottleneck")?;
        } else if has_time {
            let halves = panels[0].split_evenly((1, 2));
            self.draw_percentiles(&halves[0])?;
            self.draw_latency_over_time(&halves[1])?;
        } else {
            self.draw_percentiles(&panels[0])?;
        }
        if has_time {
            self.draw_throughput(&panels[1])?;
        }
        root.present().map_err(text)
    }

    fn title(&self) -> String {
        let rate = match (&self.traffic, &self.churn) {
            (Some(traffic), _) => format!(", {:.0} messages/s", traffic.messages_per_second),
            (None, Some(churn)) => format!(", {:.0} turns/s", churn.turns_per_second),
            (None, None) => String::new(),
        };
        let connections = self.connections_opened;
        format!("{} — {connections} connections{rate}", self.command)
    }

    fn subtitle(&self) -> String {
        let host = &self.host;
        let pace = match &self.traffic {
            Some(traffic) => format!(
                "{} loop, {} bytes, ",
                traffic.kind, traffic.message_size_bytes
            ),
            None => String::new(),
        };
        format!(
            "{pace}{}; Linux {}, {} cores; tidegate-bench {}",
            self.url, host.kernel, host.cores, self.version
        )
    }

    /// The latency that so many do not exceed, with the last few stretched: each nine has the
    /// same width.
    fn draw_percentiles(&self, area: &Area<'_>) -> Result<(), String> {
        #[expect(clippy::cast_precision_loss, reason = "it is a picture")]
        let nines = (self.latency.count() as f64).log10().clamp(1.0, 6.0);
        let steps = 200;
        let points: Vec<(f64, f64)> = (0..=steps)
            .map(|step| {
                let nine = nines * f64::from(step) / f64::from(steps);
                let percent = 100.0 * (1.0 - 10_f64.powf(-nine));
                (nine, milliseconds(self.latency.percentile(percent)))
            })
            .collect();
        let name = |nine: &f64| percent_of(*nine);
        draw_lines(
            area,
            &Frame {
                title: "Latency by percentile",
                x: (0.0..nines, "percentile"),
                labels: 8,
                y: "ms",
                name: &name,
                logarithmic: true,
            },
            &[("", BLUE, points)],
        )
    }

    fn draw_latency_over_time(&self, area: &Area<'_>) -> Result<(), String> {
        let length = self.slices.length().as_secs_f64();
        let curves = OVER_TIME.map(|(name, percent, color)| {
            let slices = (0..).zip(self.slices.all());
            let points = slices
                .filter(|(_, slice)| slice.latency.count() > 0)
                .map(|(index, slice)| {
                    let at = (f64::from(index) + 0.5) * length;
                    (at, milliseconds(slice.latency.percentile(percent)))
                })
                .collect();
            (name, color, points)
        });
        draw_lines(
            area,
            &Frame {
                title: "Latency over time",
                x: (0.0..self.time(), "seconds"),
                labels: 11,
                y: "ms",
                name: &short,
                logarithmic: true,
            },
            &curves,
        )
    }

    fn draw_throughput(&self, area: &Area<'_>) -> Result<(), String> {
        let length = self.slices.length().as_secs_f64();
        let slices = (0..).zip(self.slices.all());
        #[expect(clippy::cast_precision_loss, reason = "it is a picture")]
        let points = slices
            .map(|(index, slice)| {
                let at = (f64::from(index) + 0.5) * length;
                (at, slice.messages as f64 / length)
            })
            .collect();
        draw_lines(
            area,
            &Frame {
                title: "Throughput",
                x: (0.0..self.time(), "seconds"),
                labels: 11,
                y: "messages per second",
                name: &short,
                logarithmic: false,
            },
            &[("", BLUE, points)],
        )
    }

    /// How long the slices are together, in seconds.
    fn time(&self) -> f64 {
        let count = u32::try_from(self.slices.all().len()).unwrap_or(u32::MAX);
        self.slices.length().as_secs_f64() * f64::from(count)
    }
}

/// What stands around the curves.
struct Frame<'a> {
    title: &'a str,
    x: (Range<f64>, &'a str),
    /// How many numbers the x axis has at most.
    labels: usize,
    y: &'a str,
    /// How a number of the x axis is written.
    name: &'a dyn Fn(&f64) -> String,
    logarithmic: bool,
}

type Curve<'a> = (&'a str, RGBColor, Vec<(f64, f64)>);

/// How far above the curves a logarithmic axis goes on, for their names.
const LEGEND_ROOM: f64 = 8.0;

/// What the smallest value of a logarithmic axis must exceed: a tenth of a microsecond.
const SMALLEST: f64 = 1e-4;

fn draw_lines(area: &Area<'_>, frame: &Frame<'_>, curves: &[Curve<'_>]) -> Result<(), String> {
    let values = || curves.iter().flat_map(|(.., points)| points);
    let named = curves.iter().any(|(name, ..)| !name.is_empty());
    // The names of the curves stand above the curves.
    let room = if named { LEGEND_ROOM } else { 1.15 };
    let most = values().map(|(_, y)| *y).fold(SMALLEST, f64::max) * room;
    let least = values().map(|(_, y)| *y).fold(most, f64::min).max(SMALLEST) / 1.3;
    let mut builder = ChartBuilder::on(area);
    builder
        .caption(frame.title, (FONT, TITLE_SIZE))
        .margin(MARGIN)
        .x_label_area_size(LABELS * 2 / 3)
        .y_label_area_size(LABELS);
    let x = frame.x.0.clone();
    // Two types, for which the library has no common name.
    macro_rules! finish {
        ($chart:expr) => {{
            let mut chart = $chart.map_err(text)?;
            chart
                .configure_mesh()
                .x_desc(frame.x.1)
                .x_labels(frame.labels)
                .y_desc(frame.y)
                .x_label_formatter(frame.name)
                .y_label_formatter(&short)
                .label_style((FONT, TEXT_SIZE))
                .light_line_style(WHITE)
                .draw()
                .map_err(text)?;
            for (name, color, points) in curves {
                let color = *color;
                let line = LineSeries::new(points.iter().copied(), wide(color));
                let series = chart.draw_series(line).map_err(text)?;
                if !name.is_empty() {
                    series.label(*name).legend(move |(x, y)| {
                        PathElement::new(vec![(x, y), (x + 20, y)], wide(color))
                    });
                }
            }
            if named {
                chart
                    .configure_series_labels()
                    .position(SeriesLabelPosition::UpperRight)
                    .label_font((FONT, TEXT_SIZE))
                    .border_style(GREY)
                    .background_style(WHITE)
                    .draw()
                    .map_err(text)?;
            }
            Ok(())
        }};
    }
    if frame.logarithmic {
        finish!(builder.build_cartesian_2d(x, (least..most).log_scale()))
    } else {
        finish!(builder.build_cartesian_2d(x, 0.0..most))
    }
}

fn draw_note(area: &Area<'_>, note: &str) -> Result<(), String> {
    let style = (FONT, TITLE_SIZE).into_font().color(&VERMILION);
    area.draw_text(note, &style, (MARGIN * 4, MARGIN * 4))
        .map_err(text)
}

fn wide(color: RGBColor) -> plotters::style::ShapeStyle {
    plotters::style::ShapeStyle {
        color: plotters::style::Color::to_rgba(&color),
        filled: false,
        stroke_width: 3,
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

fn milliseconds(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e3).max(SMALLEST)
}

/// 0 is 0 %, 1 is 90 %, 2 is 99 %, and so on; what lies between has no name.
fn percent_of(nines: f64) -> String {
    let names = [
        "0 %",
        "90 %",
        "99 %",
        "99.9 %",
        "99.99 %",
        "99.999 %",
        "99.9999 %",
    ];
    let whole = (0..)
        .zip(names)
        .find(|(nine, _)| (f64::from(*nine) - nines).abs() < 0.01);
    whole.map_or_else(String::new, |(_, name)| name.to_owned())
}

/// A number in three digits.
fn short(number: &f64) -> String {
    match *number {
        0.0 => "0".to_owned(),
        number if number >= 1e6 => format!("{:.1}M", number / 1e6),
        number if number >= 1e4 => format!("{:.0}k", number / 1e3),
        number if number >= 10.0 => format!("{number:.0}"),
        number if number >= 1.0 => format!("{number:.1}"),
        number if number >= 0.1 => format!("{number:.1}"),
        number => format!("{number:.3}"),
    }
}
