//! The report as JSON, for programs.

use std::time::Duration;

use super::text::QUANTILES;
use super::{LoadEnd, Report};
use crate::load::measure::aggregator::Bin;
use crate::load::measure::latency::{Latency, Time};
use crate::load::measure::thread_recorder::LoadErrorKind;
use crate::net::escape::json_string;

impl Report {
    /// Returns one JSON object in one line, without a newline at its end: all figures, times in
    /// nanoseconds, and [`None`] as null.
    #[must_use]
    pub fn to_json(&self) -> String {
        render(self)
    }
}

fn render(report: &Report) -> String {
    let load = &report.load;
    let mut object = JsonObject::new();
    object.text("target", &load.target.to_string());
    object.text("loop", if report.rate().is_some() { "open" } else { "closed" });
    object.raw("rate_per_second", &or_null(report.rate().map(|rate| rate.per_second())));
    object.text("unit", report.units());
    object.raw("connections", &load.connections.to_string());
    object.raw("threads", &load.threads.to_string());
    object.raw("pipeline", &load.pipeline.to_string());
    object.raw("count", &or_null(load.total()));
    object.raw("warmup_ns", &load.warmup.as_nanos().to_string());
    object.raw("measured_ns", &report.measured.as_nanos().to_string());
    object.raw("complete", if report.end == LoadEnd::Complete { "true" } else { "false" });
    object.raw("sent", &report.sent().to_string());
    object.raw("right", &report.counts.replies.to_string());
    object.raw("right_per_second", &report.per_second().to_string());
    object.raw("lines_not_compared", &or_null((!report.compares_nothing()).then_some(report.counts.uncompared)));
    object.raw("lines_like_errors", &report.counts.suspect.to_string());
    object.raw("errors", &errors(report));
    object.raw("last_lost_ns", &or_null((report.counts.last_lost > 0).then_some(report.counts.last_lost)));
    object.raw("examples", &examples(report));
    object.raw("response", &report.rate().map_or_else(|| "null".to_owned(), |_| latency(report.latency())));
    object.raw("service", &latency(report.service()));
    object.raw("late", &report.late().to_string());
    object.raw("late_max_ns", &report.counts.max_late.to_string());
    object.raw("generator_busy", &or_null(report.busy()));
    object.raw("generator_ns_per_reply", &or_null(report.cost().map(|cost| cost.as_nanos())));
    object.raw("warnings", &array(report.warnings().iter().map(|warning| json_string(warning))));
    object.raw("timeline", &array(report.bins.iter().map(bin)));
    object.end()
}

fn errors(report: &Report) -> String {
    let mut object = JsonObject::new();
    object.raw("total", &report.errors().to_string());
    for (kind, count) in LoadErrorKind::ALL.into_iter().zip(report.counts.errors_by_kind) {
        object.raw(kind.key(), &count.to_string());
    }
    object.end()
}

fn examples(report: &Report) -> String {
    let mut object = JsonObject::new();
    for (kind, example) in LoadErrorKind::ALL.into_iter().zip(&report.examples) {
        if let Some(example) = example {
            object.text(kind.key(), example);
        }
    }
    object.end()
}

fn latency(latency: Latency<'_>) -> String {
    let mut object = JsonObject::new();
    object.raw("lines", &latency.lines().to_string());
    for (name, quantile) in QUANTILES {
        let nanoseconds = match latency.quantile(quantile) {
            Some(Time::After(time)) => Some(time.as_nanos()),
            Some(Time::Never) | None => None,
        };
        object.raw(&format!("{name}_ns"), &or_null(nanoseconds));
    }
    object.end()
}

fn bin(bin: &Bin) -> String {
    let mut object = JsonObject::new();
    let time = |time: Option<Duration>| or_null(time.map(|time| time.as_nanos()));
    object.raw("start_ns", &bin.start.as_nanos().to_string());
    object.raw("length_ns", &bin.length.as_nanos().to_string());
    object.raw("right", &bin.replies.to_string());
    object.raw("errors", &bin.errors.to_string());
    object.raw("p50_ns", &time(bin.times.map(|times| times.p50)));
    object.raw("p99_ns", &time(bin.times.map(|times| times.p99)));
    object.raw("max_ns", &time(bin.times.map(|times| times.max)));
    object.end()
}

impl LoadErrorKind {
    const fn key(self) -> &'static str {
        match self {
            Self::Mismatch => "wrong",
            Self::Unsolicited => "unasked",
            Self::Unanswered => "unanswered",
            Self::Unsent => "unsent",
            Self::Unconnected => "unconnected",
            Self::Lost => "lost",
        }
    }
}

/// An object in the making.
struct JsonObject(String);

impl JsonObject {
    fn new() -> Self {
        Self("{".to_owned())
    }

    fn text(&mut self, key: &str, value: &str) {
        self.raw(key, &json_string(value));
    }

    /// `value` is JSON.
    fn raw(&mut self, key: &str, value: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.extend([&json_string(key), ":", value]);
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn array(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(","))
}

fn or_null(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "null".to_owned(), |number| number.to_string())
}
