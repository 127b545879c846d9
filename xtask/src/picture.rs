//! Draws the chart's dashboard from what a Prometheus answered to its panels: docs/img/dashboard.svg.
//!
//! Says what the panels say, not how Grafana paints it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

/// Width of one of the dashboard's 24 columns.
const COLUMN: f64 = 52.0;
/// Height of one of its rows.
const ROW: f64 = 27.0;
/// Between two panels.
const GAP: f64 = 6.0;
/// Above the first row, for the title and what this is.
const HEAD: f64 = 64.0;
/// Lines of a legend.
const LEGEND: u16 = 2;
const COLOURS: [&str; 8] = ["#3274d9", "#e0752d", "#56a64b", "#8f3bb8", "#e02f44", "#13a0a0", "#b8860b", "#6b7280"];

/// A dashboard, as far as it is drawn.
#[derive(Deserialize)]
pub(crate) struct Dashboard {
    title: String,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Panel {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    grid_pos: Place,
    #[serde(default)]
    field_config: FieldConfig,
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Place {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

#[derive(Default, Deserialize)]
struct FieldConfig {
    defaults: Defaults,
}

#[derive(Default, Deserialize)]
struct Defaults {
    unit: Option<String>,
    thresholds: Option<Thresholds>,
}

#[derive(Deserialize)]
struct Thresholds {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    color: String,
    value: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    #[serde(default)]
    legend_format: String,
}

/// What was asked at which time, by the titles of panels; one list for each of a panel's questions.
#[derive(Deserialize)]
pub(crate) struct Answers {
    start: f64,
    end: f64,
    panels: BTreeMap<String, Vec<Vec<Series>>>,
}

/// One series, as Prometheus' API has it: a value, or values over time.
#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    value: Option<(f64, String)>,
}

/// A series with what its legend says.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// The picture.
pub(crate) fn draw(dashboard: &Dashboard, answers: &Answers) -> String {
    let height = dashboard.panels.iter().map(|panel| panel.grid_pos.y + panel.grid_pos.h).fold(0.0, f64::max);
    let (width, height) = (24.0 * COLUMN + GAP, HEAD + height * ROW + GAP);
    let hours = (answers.end - answers.start) / 3600.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#f4f5f5\"/>\n\
         <text x=\"{GAP}\" y=\"26\" font-size=\"18\" fill=\"#1f2328\">{}</text>\n\
         <text x=\"{GAP}\" y=\"46\" fill=\"#57606a\">Drawn by `make picture` from what Prometheus answered after {hours:.1} h of an \
         operator and a simulated Zoho, the clock moved on: not a screenshot of Grafana.</text>\n",
        escaped(&dashboard.title)
    );
    for panel in &dashboard.panels {
        let place = &panel.grid_pos;
        let at = Area {
            x: place.x * COLUMN + GAP,
            y: HEAD + place.y * ROW,
            width: place.w * COLUMN - GAP,
            height: place.h * ROW - GAP,
        };
        let none = Vec::new();
        let found = answers.panels.get(&panel.title).unwrap_or(&none);
        svg.push_str(&draw_panel(panel, found, (answers.start, answers.end), &at));
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where something is drawn.
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

fn draw_panel(panel: &Panel, found: &[Vec<Series>], time: (f64, f64), at: &Area) -> String {
    let title = escaped(&panel.title.replace("$top", "10"));
    let Area { x, y, width, height } = at;
    if panel.kind == "row" {
        return format!("<text x=\"{x}\" y=\"{}\" font-size=\"14\" fill=\"#1f2328\">{title}</text>\n", y + 17.0);
    }
    let mut svg = format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"3\" fill=\"#fff\" stroke=\"#d8dee4\"/>\n\
         <text x=\"{}\" y=\"{}\" font-size=\"12\" font-weight=\"600\" fill=\"#1f2328\">{title}</text>\n",
        x + 8.0,
        y + 17.0
    );
    let inner = Area { x: x + 8.0, y: y + 24.0, width: width - 16.0, height: height - 32.0 };
    svg.push_str(&match panel.kind.as_str() {
        "stat" => draw_figure(panel, found, &inner),
        "table" => draw_table(found, &inner),
        _ => draw_lines(panel, &lines(panel, found), time, &inner),
    });
    svg
}

fn draw_figure(panel: &Panel, found: &[Vec<Series>], at: &Area) -> String {
    let value = found.iter().flatten().find_map(|series| series.value.as_ref()?.1.parse::<f64>().ok());
    let steps = panel.field_config.defaults.thresholds.iter().flat_map(|thresholds| &thresholds.steps);
    let is_reached = |step: &&Step| step.value.is_none_or(|least| value.is_some_and(|value| value >= least));
    let colour = match steps.rev().find(is_reached).map(|step| step.color.as_str()) {
        Some("green") => "#56a64b",
        Some("red") => "#e02f44",
        Some("orange" | "yellow") => "#e0752d",
        _ => "#3274d9",
    };
    let text = value.map_or_else(|| "–".into(), |value| shown(value, panel.field_config.defaults.unit.as_deref()));
    format!(
        "<text x=\"{}\" y=\"{}\" font-size=\"30\" text-anchor=\"middle\" fill=\"{colour}\">{text}</text>\n",
        at.x + at.width / 2.0,
        at.y + at.height / 2.0 + 12.0
    )
}

fn draw_table(found: &[Vec<Series>], at: &Area) -> String {
    let columns = ["namespace", "name", "type", "reason"];
    let mut rows: Vec<[&str; 4]> = found
        .iter()
        .flatten()
        .map(|series| columns.map(|column| series.metric.get(column).map_or("", String::as_str)))
        .collect();
    rows.sort_unstable();
    rows.insert(0, columns);
    let mut svg = String::new();
    for (y, row) in (0_u16..).zip(rows) {
        for (x, text) in (0_u16..).zip(row) {
            let (x, y) = (at.x + f64::from(x) * at.width / 4.0, at.y + 14.0 + f64::from(y) * 17.0);
            let colour = if y > at.y + 20.0 { "#1f2328" } else { "#57606a" };
            writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\">{}</text>", escaped(text)).expect("a text");
        }
    }
    svg
}

fn lines(panel: &Panel, found: &[Vec<Series>]) -> Vec<Line> {
    let of = |(series, target): (&Vec<Series>, &Target)| -> Vec<Line> {
        let named = |series: &Series| Line {
            name: legend(&target.legend_format, &series.metric),
            points: series.values.iter().filter_map(|(at, value)| Some((*at, value.parse().ok()?))).collect(),
        };
        series.iter().map(named).collect()
    };
    found.iter().zip(&panel.targets).flat_map(of).collect()
}

/// A legend with the labels of a series in place of `{{label}}`.
fn legend(format: &str, metric: &BTreeMap<String, String>) -> String {
    let mut parts = format.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (label, rest) = part.split_once("}}").unwrap_or((part, ""));
        text.push_str(metric.get(label.trim()).map_or("", String::as_str));
        text.push_str(rest);
    }
    text.trim().to_owned()
}

fn draw_lines(panel: &Panel, lines: &[Line], (start, end): (f64, f64), at: &Area) -> String {
    let unit = panel.field_config.defaults.unit.as_deref();
    let values =
        || lines.iter().flat_map(|line| line.points.iter().map(|point| point.1)).filter(|value| value.is_finite());
    let (least, most) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let most = if most > least { most } else { least + 1.0 };
    let plot = Area { x: at.x + 50.0, y: at.y + 4.0, width: at.width - 54.0, height: at.height - 42.0 };
    let x = |time: f64| plot.x + (time - start) / (end - start) * plot.width;
    let y = |value: f64| plot.y + plot.height - (value - least) / (most - least) * plot.height;
    let mut svg = String::new();
    for value in [least, f64::midpoint(least, most), most] {
        let (at, text) = (y(value), shown(value, unit));
        let (left, right) = (plot.x, plot.x + plot.width);
        writeln!(
            svg,
            "<path d=\"M{left:.0} {at:.1}H{right:.0}\" stroke=\"#eaeef2\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#57606a\" font-size=\"10\">{text}</text>",
            left - 5.0,
            at + 3.5
        )
        .expect("a text");
    }
    for (number, line) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let mut path = String::new();
        let mut before = f64::NEG_INFINITY;
        for (time, value) in line.points.iter().filter(|point| point.1.is_finite()) {
            // Where a series was not there, there is no line.
            let mark = if time - before > 180.0 { 'M' } else { 'L' };
            write!(path, "{mark}{:.1} {:.1}", x(*time), y(*value)).expect("a text");
            before = *time;
        }
        writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>").expect("a text");
    }
    let below = Area { x: at.x, y: plot.y + plot.height + 20.0, width: at.width, height: 0.0 };
    svg + &draw_legend(lines, &below)
}

/// The names of the first lines, in columns, and how many more there are.
fn draw_legend(lines: &[Line], at: &Area) -> String {
    let columns: u16 = if at.width > 500.0 { 3 } else { 2 };
    let (column, named) = (at.width / f64::from(columns), usize::from(columns * LEGEND));
    let mut svg = String::new();
    for (number, line) in (0_u16..).zip(lines.iter().take(named)) {
        let (x, y) = (at.x + f64::from(number % columns) * column, at.y + f64::from(number / columns) * 13.0);
        let colour = COLOURS[usize::from(number) % COLOURS.len()];
        let rest = lines.len() - usize::from(number) - 1;
        let more = if usize::from(number) + 1 == named && rest > 0 { format!(" (+{rest})") } else { String::new() };
        let name = cut(&line.name, column - 16.0) + &more;
        writeln!(
            svg,
            "<path d=\"M{x:.0} {:.0}h8\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{:.0}\" y=\"{y:.0}\" font-size=\"10\" fill=\"#57606a\">{}</text>",
            y - 3.0,
            x + 12.0,
            escaped(&name)
        )
        .expect("a text");
    }
    svg
}

/// A text that fits into so many points at size 10.
fn cut(text: &str, width: f64) -> String {
    let mut room = width / 5.5;
    let fits = |_: &char| {
        room -= 1.0;
        room > 0.0
    };
    let kept: String = text.chars().take_while(fits).collect();
    if kept.len() == text.len() { kept } else { kept + "…" }
}

/// A value in its unit.
fn shown(value: f64, unit: Option<&str>) -> String {
    let short = |value: f64| {
        let decimals = if value.abs() < 0.1 { 4 } else { 2 };
        let text = if value.abs() < 10.0 { format!("{value:.decimals$}") } else { format!("{value:.0}") };
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
        if text == "-0" { "0".to_owned() } else { text }
    };
    match unit {
        Some("s") if value.abs() >= 7200.0 => format!("{} h", short(value / 3600.0)),
        Some("s") if value.abs() >= 120.0 => format!("{} min", short((value / 60.0).round())),
        Some("s") if value != 0.0 && value.abs() < 1.0 => format!("{} ms", short(value * 1000.0)),
        Some("s") => format!("{} s", short(value)),
        Some("bytes") => format!("{} MiB", short(value / 1024.0 / 1024.0)),
        Some("ops" | "reqps") => format!("{}/s", short(value)),
        _ => short(value),
    }
}

/// As text of an XML element or value of an attribute.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legend_has_the_labels_of_its_series() {
        let labels =
            [("namespace", "patching"), ("name", "patch")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let metric = BTreeMap::from(labels);
        for (format, expected) in [
            ("{{cluster}} {{namespace}}/{{name}}", "patching/patch"),
            ("{{name}} median", "patch median"),
            ("99 %", "99 %"),
            ("{{name", "patch"),
        ] {
            assert_eq!(legend(format, &metric), expected, "{format}");
        }
    }

    #[test]
    fn values_have_their_unit() {
        for (value, unit, expected) in [
            (1800.0, Some("s"), "30 min"),
            (-4620.0, Some("s"), "-77 min"),
            (9000.0, Some("s"), "2.5 h"),
            (0.25, Some("s"), "250 ms"),
            (0.0, Some("s"), "0 s"),
            (33.0 * 1024.0 * 1024.0, Some("bytes"), "33 MiB"),
            (0.03, Some("ops"), "0.03/s"),
            (0.0012, None, "0.0012"),
            (7.0, None, "7"),
            (-0.000_01, None, "0"),
            (120.0, None, "120"),
        ] {
            assert_eq!(shown(value, unit), expected, "{value}");
        }
    }

    #[test]
    fn what_is_too_long_is_cut() {
        assert_eq!(cut("patching/patch", 200.0), "patching/patch");
        assert_eq!(cut("patching/patch", 40.0), "patchin…");
    }

    #[test]
    fn line_ends_where_its_series_was_not_there() {
        let point = |at: u32| (f64::from(at), 1.0);
        let lines = [Line { name: "one".into(), points: vec![point(0), point(120), point(600), point(720)] }];
        let area = Area { x: 0.0, y: 0.0, width: 300.0, height: 100.0 };
        let panel = r#"{"type": "timeseries", "title": "t", "gridPos": {"x": 0, "y": 0, "w": 1, "h": 1}}"#;
        let svg = draw_lines(&serde_json::from_str(panel).expect("a panel"), &lines, (0.0, 720.0), &area);
        let path = svg.lines().find(|line| line.contains("stroke-width=\"1.5\"")).expect("a line");
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 2), "{path}");
    }
}
