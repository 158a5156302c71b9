//! The report as one page of HTML that needs nothing else: no script, no font, no network.

use std::time::Duration;

use super::Report;
use super::chart::{Axis, Chart, Point, Series, Style, add};
use super::text::{Headline, QUANTILES, grouped};
use crate::load::measure::aggregator::{Bin, BinTimes};
use crate::load::measure::latency::{Latency, ShortDuration, Time};
use crate::load::measure::thread_recorder::LoadErrorKind;
use crate::net::escape::xml_text;

/// Colours that can be told apart by everybody and on both backgrounds.
const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fff;--text:#1c1e21;--faint:#5f6670;--grid:#dfe3e8;--warn:#fff3cd;\
--c0:#0b62c4;--c1:#b3500b;--c2:#6b7280;--c3:#b42318}
@media(prefers-color-scheme:dark){:root{--back:#15181c;--text:#e6e8eb;--faint:#a0a7b1;--grid:#333a43;--warn:#4a3b0b;\
--c0:#6cb2ff;--c1:#ffad66;--c2:#9aa3af;--c3:#ff8f85}}
body{background:var(--back);color:var(--text);font:15px/1.45 system-ui,sans-serif;max-width:760px;margin:2em auto;padding:0 1em}
h1{font-size:1.3em}h2{font-size:1.05em;margin:1.8em 0 .3em}
p.note{color:var(--faint);margin:.2em 0}p.warn{background:var(--warn);padding:.5em .8em;border-radius:4px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.15em 1.2em .15em 0;text-align:right;font-weight:400}
th:first-child,td:first-child{text-align:left}th{color:var(--faint)}pre{white-space:pre-wrap;color:var(--faint);margin:.2em 0 .2em 1.5em}
svg{width:100%;height:auto}svg text{fill:var(--faint);font-size:11px}svg .x{text-anchor:middle}svg .y{text-anchor:end}
.grid{stroke:var(--grid)}polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}circle{opacity:0}circle:hover{opacity:1}
polyline.c0{stroke:var(--c0)}polyline.c1{stroke:var(--c1)}polyline.c2{stroke:var(--c2)}polyline.c3{stroke:var(--c3)}
circle.c0,rect.c0{fill:var(--c0)}circle.c1,rect.c1{fill:var(--c1)}circle.c2,rect.c2{fill:var(--c2)}circle.c3,rect.c3{fill:var(--c3)}
.legend{list-style:none;display:flex;gap:1.5em;margin:0;padding:0 0 0 68px;color:var(--faint);font-size:.9em}
.legend li::before{content:'';display:inline-block;width:1.4em;height:.2em;margin-right:.5em;vertical-align:middle;background:currentColor}
.legend .c0::before{background:var(--c0)}.legend .c1::before{background:var(--c1)}.legend .c2::before{background:var(--c2)}
.legend .c3::before{background:var(--c3)}
";

impl Report {
    /// Returns an HTML page that needs nothing else, without a newline at its end: figures, the
    /// curve of percentiles, and latency, throughput and errors over time.
    #[must_use]
    pub fn to_html(&self) -> String {
        render(self)
    }
}

fn render(report: &Report) -> String {
    let headline = xml_text(&Headline(report).to_string());
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n");
    add(&mut page, format_args!("<title>Load: {headline}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"));
    add(&mut page, format_args!("<h1>{headline}</h1>\n"));
    for warning in report.warnings() {
        add(&mut page, format_args!("<p class=\"warn\">{}</p>\n", xml_text(&warning)));
    }
    figures(report, &mut page);
    percentiles(report, &mut page);
    over_time(report, &mut page);
    page.push_str("</body>\n</html>");
    page
}

fn figures(report: &Report, page: &mut String) {
    let units = report.units();
    let (right, errors) = (grouped(report.counts.replies), grouped(report.errors()));
    let per_second = report.per_second();
    add(page, format_args!("<p>{right} {units} right, {per_second:.0} in a second; {errors} errors.</p>\n"));
    add(page, format_args!("<p class=\"note\">Replies: {}.</p>\n", xml_text(&report.checked())));
    if let (Some(suspects), Some(example)) = (report.suspects(), &report.suspect) {
        add(page, format_args!("<p>{suspects}</p>\n<pre>first: {}</pre>\n", xml_text(example)));
    }
    if let Some(cost) = report.cost() {
        let busy = report.busy().map(|busy| format!("busy {:.0} % of the time, ", busy * 100.0)).unwrap_or_default();
        let (cost, unit) = (ShortDuration(cost), units.trim_end_matches('s'));
        add(page, format_args!("<p class=\"note\">Generator: {busy}{cost} of processor time a {unit}.</p>\n"));
    }
    for (kind, count) in
        LoadErrorKind::ALL.into_iter().zip(report.counts.errors_by_kind).filter(|(_, count)| *count > 0)
    {
        add(page, format_args!("<p>{} {}</p>\n", grouped(count), kind.label()));
        if let Some(example) = &report.examples[kind as usize] {
            add(page, format_args!("<pre>first: {}</pre>\n", xml_text(example)));
        }
    }
    let (latency, service) = (report.latency(), report.service());
    if latency.lines() == 0 {
        return;
    }
    let is_open = report.rate().is_some();
    page.push_str("<table>\n<tr><th></th>");
    page.push_str(if is_open {
        "<th>response time</th><th>service time</th></tr>\n"
    } else {
        "<th>service time</th></tr>\n"
    });
    for (name, quantile) in QUANTILES {
        let shown = |latency: Latency<'_>| latency.quantile(quantile).map(|time| time.to_string()).unwrap_or_default();
        add(page, format_args!("<tr><td>{name}</td><td>{}</td>", shown(latency)));
        if is_open {
            add(page, format_args!("<td>{}</td>", shown(service)));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

// The curve of percentiles.

/// How many points the curve has.
const CURVE_POINTS: u32 = 120;

fn percentiles(report: &Report, page: &mut String) {
    let (latency, service) = (report.latency(), report.service());
    if latency.lines() == 0 {
        return;
    }
    let mut series = vec![Series { name: "service time", style: Style::Line(0), points: curve(service) }];
    if report.rate().is_some() {
        series.insert(0, Series { name: "response time", style: Style::Line(1), points: curve(latency) });
    }
    let times = series.iter().flat_map(|series| &series.points).filter_map(|point| point.y);
    let Some(y) = time_axis(times) else { return };
    let nines = (latency.lines() as f64).log10();
    let mut marks = vec![(0.0, "0 %".to_owned()), (2_f64.log10(), "50 %".to_owned())];
    marks.extend((1..=nines as u32).map(|nines| (f64::from(nines), percent(nines))));
    let x = Axis { title: "percentile, on a scale of 1/(1-p)", from: 0.0, to: nines.max(0.1), marks };
    page.push_str("<h2>Percentiles</h2>\n");
    page.push_str(
        "<p class=\"note\">So many of all lines took no longer; each step to the right is ten times as rare.</p>\n",
    );
    page.push_str(&Chart { x, y, series }.render("time by percentile"));
    let unanswered = report.counts.unanswered;
    if unanswered > 0 {
        let (unanswered, units) = (grouped(unanswered), report.units());
        add(
            page,
            format_args!(
                "<p class=\"note\">{unanswered} {units} had no right reply: they lie beyond the curve's end.</p>\n"
            ),
        );
    }
}

/// `99.9 %` for 3.
fn percent(nines: u32) -> String {
    match nines {
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more as usize - 2)),
    }
}

/// Over log₁₀ of 1/(1-p), the logarithm of the time. It ends where replies never came.
fn curve(latency: Latency<'_>) -> Vec<Point> {
    let nines = (latency.lines() as f64).log10();
    let points = (0..=CURVE_POINTS).map(|step| {
        let x = nines * f64::from(step) / f64::from(CURVE_POINTS);
        let quantile = if step == CURVE_POINTS { 1.0 } else { (1.0 - 10_f64.powf(-x)).clamp(0.0, 1.0) };
        let time = latency.quantile(quantile);
        let y = match time {
            Some(Time::After(time)) => Some(logarithm(time)),
            Some(Time::Never) | None => None,
        };
        let shown = time.map(|time| time.to_string()).unwrap_or_default();
        Point { x, y, words: format!("{} % in {shown}", quantile * 100.0) }
    });
    points.collect()
}

// How it went over time.

fn over_time(report: &Report, page: &mut String) {
    let bins = &report.bins;
    let Some(Bin { start, length, .. }) = bins.last() else { return };
    let end = (*start + *length).as_secs_f64();
    let x = || Axis::linear("seconds since the end of the warm-up", end, |value| format!("{value}")).up_to(end);
    let line = |name, colour, pick: fn(&BinTimes) -> Duration| Series {
        name,
        style: Style::Line(colour),
        points: bins.iter().map(|bin| point_of(bin, bin.times.as_ref().map(pick))).collect(),
    };
    let series =
        vec![line("max", 2, |times| times.max), line("p99", 1, |times| times.p99), line("p50", 0, |times| times.p50)];
    if let Some(y) = time_axis(series.iter().flat_map(|series| &series.points).filter_map(|point| point.y)) {
        let kind = if report.rate().is_some() { "Response" } else { "Service" };
        add(page, format_args!("<h2>{kind} time over time</h2>\n"));
        page.push_str(&Chart { x: x(), y, series }.render("time by when the reply came"));
    }
    let width = bins[0].length.as_secs_f64();
    let bars = |bins: &[Bin], name, colour, count: fn(&Bin) -> f64, unit: &str| {
        let points = bins.iter().map(|bin| {
            let (x, y) = (bin.start.as_secs_f64(), count(bin));
            Point { x, y: Some(y), words: format!("{y:.0} {unit} from {x:.1} s") }
        });
        vec![Series { name, style: Style::Bars { colour, width }, points: points.collect() }]
    };
    let most = |count: fn(&Bin) -> f64| bins.iter().map(count).fold(0.0, f64::max);
    // What comes after the end is no throughput: nothing is sent any more.
    let in_time = &bins[..bins.partition_point(|bin| bin.start < report.measured)];
    let rate: fn(&Bin) -> f64 = |bin| bin.replies as f64 / bin.length.as_secs_f64();
    let y = Axis::linear("right replies in a second", most(rate), short);
    page.push_str("<h2>Throughput</h2>\n");
    page.push_str(
        &Chart { x: x(), y, series: bars(in_time, "replies", 0, rate, "in a second") }.render("replies over time"),
    );
    page.push_str("<h2>Errors</h2>\n");
    if report.errors() == 0 {
        page.push_str("<p>None.</p>\n");
        return;
    }
    let errors: fn(&Bin) -> f64 = |bin| bin.errors as f64;
    let y = Axis::linear("errors", most(errors), short);
    page.push_str(&Chart { x: x(), y, series: bars(bins, "errors", 3, errors, "errors") }.render("errors over time"));
}

fn point_of(bin: &Bin, time: Option<Duration>) -> Point {
    let x = (bin.start + bin.length / 2).as_secs_f64();
    let shown = time.map(|time| ShortDuration(time).to_string()).unwrap_or_default();
    Point { x, y: time.map(logarithm), words: format!("{shown} at {x:.1} s") }
}

/// An axis of logarithms of times, marked at each power of ten.
fn time_axis(times: impl Iterator<Item = f64>) -> Option<Axis> {
    let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
    for time in times {
        (from, to) = (from.min(time.floor()), to.max(time.ceil()));
    }
    if !from.is_finite() {
        return None;
    }
    let to = to.max(from + 1.0);
    let decades = (to - from) as u32;
    // Where there are few powers of ten, their halves and fifths are marked, too.
    let factors: &[u64] = if decades <= 3 { &[1, 2, 5] } else { &[1] };
    let mut marks = Vec::new();
    for decade in 0..=decades {
        let power = 10_u64.pow(from as u32 + decade);
        for factor in factors {
            let time = Duration::from_nanos(power * factor);
            if logarithm(time) <= to {
                marks.push((logarithm(time), round(time)));
            }
        }
    }
    Some(Axis { title: "time", from, to, marks })
}

/// A duration that is a whole number of some unit.
fn round(time: Duration) -> String {
    match time.as_nanos() {
        nanoseconds @ ..1_000 => format!("{nanoseconds} ns"),
        nanoseconds @ ..1_000_000 => format!("{} µs", nanoseconds / 1_000),
        nanoseconds @ ..1_000_000_000 => format!("{} ms", nanoseconds / 1_000_000),
        nanoseconds => format!("{} s", nanoseconds / 1_000_000_000),
    }
}

fn logarithm(time: Duration) -> f64 {
    (time.as_nanos().max(1) as f64).log10()
}

/// A number that is short enough for an axis.
fn short(number: f64) -> String {
    match number {
        ..1e3 => format!("{number}"),
        ..1e6 => format!("{} k", number / 1e3),
        _ => format!("{} M", number / 1e6),
    }
}
