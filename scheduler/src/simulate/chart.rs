//! The day as a picture.

use std::fmt::Write as _;

use super::report::{Report, Sample};

const WIDTH: f64 = 960.0;
const PANEL: f64 = 150.0;
const GAP: f64 = 42.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 56.0;
/// Points of a line at most: more can't be seen.
const POINTS_MAX: usize = 720;
/// Okabe and Ito's colours, which colour-blind people can tell apart.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// A figure of each sample, and how neighbours become one point.
struct Panel {
    title: &'static str,
    value: fn(&Sample) -> f64,
    fold: fn(f64, f64) -> f64,
    /// What the scale begins with.
    floor: f64,
}

const PANELS: [Panel; 5] = [
    Panel { title: "load of all topics", value: |sample| sample.load, fold: f64::max, floor: 0.0 },
    Panel { title: "collectors", value: |sample| sample.collectors as f64, fold: f64::max, floor: 0.0 },
    Panel {
        title: "hottest collector over the mean (1: as even as can be)",
        value: |sample| sample.hottest,
        fold: f64::max,
        floor: 1.0,
    },
    Panel { title: "moves", value: |sample| sample.moves as f64, fold: |a, b| a + b, floor: 0.0 },
    Panel { title: "topics without an answer", value: |sample| sample.unanswered as f64, fold: f64::max, floor: 0.0 },
];

/// The course of the day under each policy, as SVG.
#[must_use]
pub fn chart(reports: &[Report]) -> String {
    let height = TOP + PANELS.len() as f64 * (PANEL + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, report) in reports.iter().enumerate() {
        let (x, colour) = (LEFT + index as f64 * 200.0, COLOURS[index % COLOURS.len()]);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"16\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"26\">{}</text>",
            x + 18.0,
            escaped(&report.policy)
        );
    }
    for (index, panel) in PANELS.iter().enumerate() {
        panel.draw(&mut svg, reports, TOP + index as f64 * (PANEL + GAP));
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel {
    fn draw(&self, svg: &mut String, reports: &[Report], top: f64) {
        let lines: Vec<Vec<(f64, f64)>> = reports.iter().map(|report| self.points(&report.samples)).collect();
        let all = || lines.iter().flatten();
        let most = all().map(|(_, value)| *value).fold(self.floor, f64::max);
        let most = if most > self.floor { most } else { self.floor + 1.0 };
        let hours = all().map(|(hour, _)| *hour).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let (right, bottom) = (WIDTH - 16.0, top + PANEL);
        let x = |hour: f64| LEFT + hour / hours * (right - LEFT);
        let y = |value: f64| bottom - (value - self.floor) / (most - self.floor) * PANEL;
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}</text>", top - 6.0, self.title);
        for part in [0.0, 0.5, 1.0] {
            let value = self.floor + part * (most - self.floor);
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
                y(value),
                LEFT - 6.0,
                y(value) + 4.0,
                number(value)
            );
        }
        for part in 0..=4 {
            let hour = hours * f64::from(part) / 4.0;
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{} h</text>",
                x(hour),
                bottom + 16.0,
                number(hour)
            );
        }
        for (index, line) in lines.iter().enumerate() {
            let points: Vec<String> =
                line.iter().map(|(hour, value)| format!("{:.1},{:.1}", x(*hour), y(*value))).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" stroke-opacity=\"0.8\"/>",
                points.join(" "),
                COLOURS[index % COLOURS.len()]
            );
        }
    }

    fn points(&self, samples: &[Sample]) -> Vec<(f64, f64)> {
        let of_point = |samples: &[Sample]| {
            let value = samples.iter().map(self.value).reduce(self.fold)?;
            Some((samples.first()?.hour, value))
        };
        samples.chunks(samples.len().div_ceil(POINTS_MAX).max(1)).filter_map(of_point).collect()
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
