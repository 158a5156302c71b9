//! The report as text for a terminal.

use std::fmt;
use std::time::Duration;

use super::Report;
use crate::load::config::LoadContent;
use crate::load::measure::latency::{Latency, ShortDuration};
use crate::load::measure::thread_recorder::LoadErrorKind;

/// The percentiles that are shown.
pub(crate) const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

/// How many columns the histogram has.
const COLUMNS: usize = 60;

const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Headline(self))?;
        let (errors, units) = (self.errors(), self.units());
        writeln!(f, "\n  {:<11}{} right, {:.0}/s", units, grouped(self.counts.replies), self.per_second())?;
        writeln!(f, "  {:<11}{}", "replies", self.checked())?;
        if let Some(suspects) = self.suspects() {
            writeln!(f, "    {suspects}")?;
        }
        if let Some(suspect) = &self.suspect {
            writeln!(f, "      first: {suspect}")?;
        }
        write!(f, "  {:<11}{}", "errors", grouped(errors))?;
        let percent = self.error_rate() * 100.0;
        match self.failed() {
            _ if errors == 0 => {}
            failed if failed == errors => write!(f, " ({percent:.2} % of all {units})")?,
            failed => write!(f, ", of which {} are {units} ({percent:.2} % of all {units})", grouped(failed))?,
        }
        writeln!(f)?;
        for (kind, count) in
            LoadErrorKind::ALL.into_iter().zip(self.counts.errors_by_kind).filter(|(_, count)| *count > 0)
        {
            writeln!(f, "    {} {}", grouped(count), kind.label())?;
            if let Some(example) = &self.examples[kind as usize] {
                writeln!(f, "      first: {}", example.replace('\n', "\n        "))?;
            }
            if kind == LoadErrorKind::Lost && count > 1 {
                writeln!(f, "      the last after {}", ShortDuration(Duration::from_nanos(self.counts.last_lost)))?;
            }
        }
        self.table(f)?;
        writeln!(f)?;
        self.generator(f)
    }
}

impl Report {
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (latency, service) = (self.latency(), self.service());
        if latency.lines() == 0 {
            return Ok(());
        }
        match self.rate() {
            Some(_) => writeln!(f, "\n  {:<11}{:>14}{:>14}", "", "response time", "service time")?,
            None => writeln!(f, "\n  {:<11}{:>14}", "", "service time")?,
        }
        for (name, quantile) in QUANTILES {
            write!(f, "  {name:<11}{:>14}", shown(latency, quantile))?;
            if self.rate().is_some() {
                write!(f, "{:>14}", shown(service, quantile))?;
            }
            writeln!(f)?;
        }
        if let Some(histogram) = HistogramLine::of(latency) {
            writeln!(f, "\n  {histogram}")?;
        }
        Ok(())
    }

    fn generator(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.units().trim_end_matches('s');
        let busy = self.busy().map(|busy| format!("busy {:.0} % of the time", busy * 100.0));
        let cost = self.cost().map(|cost| format!("{} of processor time for each {unit}", ShortDuration(cost)));
        let late = self.rate().map(|_| format!("{} of {} late", grouped(self.late()), grouped(self.sent())));
        let known: Vec<String> = busy.into_iter().chain(cost).chain(late).collect();
        let known = if known.is_empty() { "not measured".to_owned() } else { known.join(", ") };
        write!(f, "  {:<11}{known}", "generator")
    }
}

/// So many seconds, to the millisecond.
fn seconds(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// What was done, in a line.
pub(crate) struct Headline<'a>(pub(crate) &'a Report);

impl fmt::Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = &self.0.load;
        match self.0.rate() {
            Some(rate) => write!(f, "open loop, {rate}")?,
            None => write!(f, "closed loop")?,
        }
        f.write_str(if self.0.compares_nothing() { ", nothing compared: " } else { ": " })?;
        match &load.content {
            LoadContent::Lines(_) => {
                write!(f, "{} connection{} to {}", load.connections, plural(load.connections), load.target)?;
                match load.pipeline {
                    1 => write!(f, ", 1 line at a time on each")?,
                    lines => write!(f, ", up to {lines} lines at a time on each")?,
                }
            }
            LoadContent::Scripts(_) => {
                write!(f, "up to {} session{} with {}", load.connections, plural(load.connections), load.target)?;
                write!(f, " at a time")?;
            }
        }
        match (load.total(), load.warmup) {
            (None, warmup) => write!(f, ", {} after {} of warm-up", seconds(self.0.measured), seconds(warmup)),
            (Some(total), warmup) => {
                let (units, time) = (self.0.units(), seconds(self.0.elapsed));
                let unit = if total == 1 { units.trim_end_matches('s') } else { units };
                write!(f, ", {} {unit} in all, in {time}", grouped(total))?;
                if warmup.is_zero() { Ok(()) } else { write!(f, ", of which {} of warm-up", seconds(warmup)) }
            }
        }
    }
}

impl LoadErrorKind {
    /// What so many are.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Mismatch => "wrong",
            Self::Unsolicited => "unasked for",
            Self::Unanswered => "unanswered",
            Self::Unsent => "due and never sent",
            Self::Unconnected => "could not connect",
            Self::Lost => "connections lost",
        }
    }
}

fn shown(latency: Latency<'_>, quantile: f64) -> String {
    latency.quantile(quantile).map_or_else(String::new, |time| time.to_string())
}

/// A number with a comma after each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) const fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// A histogram in one line: from the shortest to the longest time, each column as much longer than
/// the one before by the same factor.
struct HistogramLine {
    columns: [u64; COLUMNS],
    from: Duration,
    to: Duration,
}

impl HistogramLine {
    fn of(latency: Latency<'_>) -> Option<Self> {
        let (mut from, mut to) = (u64::MAX, 0);
        for (value, _) in latency.steps() {
            (from, to) = (from.min(value), to.max(value));
        }
        if to == 0 {
            return None;
        }
        let mut columns = [0; COLUMNS];
        let range = (to as f64 / from as f64).ln();
        for (value, count) in latency.steps() {
            let place = if range > 0.0 { (value as f64 / from as f64).ln() / range } else { 0.0 };
            columns[((place * COLUMNS as f64) as usize).min(COLUMNS - 1)] += count;
        }
        Some(Self { columns, from: Duration::from_nanos(from), to: Duration::from_nanos(to) })
    }
}

impl fmt::Display for HistogramLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.columns.iter().copied().max().unwrap_or_default().max(1);
        write!(f, "{} ", ShortDuration(self.from))?;
        for count in self.columns {
            // What there is, however little, can be seen.
            let height = (count * (BARS.len() as u64 - 1)).div_ceil(most);
            write!(f, "{}", BARS[usize::try_from(height).unwrap_or_default()])?;
        }
        write!(f, " {}", ShortDuration(self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::thread_recorder::histogram;

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn the_histogram_shows_where_the_times_are() {
        let mut times = histogram();
        times.record_n(1_000, 80).unwrap();
        times.record_n(33_000, 40).unwrap();
        times.record_n(1_000_000, 1).unwrap();
        let line = HistogramLine::of(Latency::new(&times, 3)).unwrap().to_string();
        let blank = " ".repeat(29);
        assert_eq!(line, format!("1.00 µs █{blank}▄{}▁ 1.00 ms", " ".repeat(COLUMNS - 32)));
    }
}
