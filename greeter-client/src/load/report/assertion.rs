//! What must hold of a report: `p99<5ms`, `errors=0`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Report;
use crate::load::measure::latency::{Latency, Time};

/// A bound that a report keeps or not.
///
/// | written | means |
/// |---|---|
/// | `p99<5ms`, `p99.9<=20ms`, `max<1s` | a percentile of the response times; in a closed loop, of the service times |
/// | `service p99<5ms` | the same of the service times |
/// | `errors=0`, `errors<1%` | the errors, counted or as a part of all lines |
/// | `rate>=4900/s` | the right replies in a second |
///
/// ```
/// use greeter_client::load::Assertion;
///
/// let assertion: Assertion = "p99<5ms".parse()?;
/// assert_eq!(assertion.to_string(), "p99<5ms");
/// assert!("p101<5ms".parse::<Assertion>().is_err());
/// # Ok::<(), greeter_client::load::AssertionError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    text: String,
    bound: AssertionBound,
    comparison: Comparison,
}

/// What is compared with what.
#[derive(Clone, Copy, Debug, PartialEq)]
enum AssertionBound {
    Time { is_service: bool, quantile: f64, limit: Duration },
    Errors { limit: u64 },
    ErrorRate { limit: f64 },
    Rate { limit: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

impl Comparison {
    /// The longer ones first, so that they are found first.
    const ALL: [(&'static str, Self); 5] =
        [("<=", Self::AtMost), (">=", Self::AtLeast), ("<", Self::Less), (">", Self::More), ("=", Self::Equal)];

    fn holds<T: PartialOrd + Copy>(self, value: T, limit: T) -> bool {
        match self {
            Self::Less => value < limit,
            Self::AtMost => value <= limit,
            Self::Equal => value == limit,
            Self::AtLeast => value >= limit,
            Self::More => value > limit,
        }
    }
}

/// Whether an [`Assertion`] holds, with the measured value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// The measured value, for people.
    pub measured: String,
}

impl Assertion {
    /// Checks the assertion against `report`. Nothing holds of times that were not measured.
    #[must_use]
    pub fn check(&self, report: &Report) -> Verdict {
        let comparison = self.comparison;
        match self.bound {
            AssertionBound::Time { is_service, quantile, limit } => {
                let latency: Latency<'_> = if is_service { report.service() } else { report.latency() };
                let time = latency.quantile(quantile);
                Verdict {
                    holds: time.is_some_and(|time| comparison.holds(time, Time::After(limit))),
                    measured: time.map_or_else(|| "nothing was measured".to_owned(), |time| time.to_string()),
                }
            }
            AssertionBound::Errors { limit } => {
                let errors = report.errors();
                Verdict { holds: comparison.holds(errors, limit), measured: errors.to_string() }
            }
            AssertionBound::ErrorRate { limit } => {
                let percent = report.error_rate() * 100.0;
                Verdict { holds: comparison.holds(percent, limit), measured: format!("{percent:.3}%") }
            }
            AssertionBound::Rate { limit } => {
                let rate = report.per_second();
                Verdict { holds: comparison.holds(rate, limit), measured: format!("{rate:.1}/s") }
            }
        }
    }

    /// Returns whether the assertion bounds the number of errors.
    #[must_use]
    pub const fn is_about_errors(&self) -> bool {
        matches!(self.bound, AssertionBound::Errors { .. } | AssertionBound::ErrorRate { .. })
    }
}

impl FromStr for Assertion {
    type Err = AssertionError;

    fn from_str(text: &str) -> Result<Self, AssertionError> {
        let at = text.find(['<', '>', '=']).ok_or(AssertionError::NoComparison)?;
        let (metric, rest) = text.split_at(at);
        let (sign, comparison) =
            Comparison::ALL.into_iter().find(|(sign, _)| rest.starts_with(sign)).ok_or(AssertionError::NoComparison)?;
        let (metric, value) = (metric.trim(), rest[sign.len()..].trim());
        let bound = match metric {
            "errors" => match value.strip_suffix('%') {
                Some(percent) => AssertionBound::ErrorRate { limit: number(percent).ok_or(AssertionError::Errors)? },
                None => AssertionBound::Errors { limit: value.parse().map_err(|_| AssertionError::Errors)? },
            },
            "rate" => {
                let rate = value.strip_suffix("/s").and_then(number).ok_or(AssertionError::Rate)?;
                AssertionBound::Rate { limit: rate }
            }
            _ => {
                let service = metric.strip_prefix("service ").map(str::trim);
                let quantile = quantile(service.unwrap_or(metric)).ok_or(AssertionError::Metric)?;
                let limit = crate::talk::parse_duration(value).ok_or(AssertionError::Time)?;
                AssertionBound::Time { is_service: service.is_some(), quantile, limit }
            }
        };
        Ok(Self { text: text.trim().to_owned(), bound, comparison })
    }
}

/// `p99.9`, `max`.
fn quantile(metric: &str) -> Option<f64> {
    if metric == "max" {
        return Some(1.0);
    }
    let percent = number(metric.strip_prefix('p')?)?;
    (percent <= 100.0).then_some(percent / 100.0)
}

/// Digits with or without a point: `f64::from_str` would accept more.
fn number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    Some(text).filter(|_| is_plain).and_then(|text| text.parse().ok())
}

/// As it was written.
impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An error of parsing an [`Assertion`]; its message says what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssertionError {
    /// Nothing is compared.
    #[error("there is no comparison: write it as p99<5ms, with <, <=, =, >= or >")]
    NoComparison,
    /// What is compared is not known.
    #[error("only p50, p99.9 and the like, max, errors and rate can be compared; 'service p99' for service times")]
    Metric,
    /// The limit is no duration.
    #[error("a percentile is compared with a duration: write it as 5ms, 200us or 1s")]
    Time,
    /// The limit is no number of errors.
    #[error("errors are compared with a number or a percentage: write it as errors=0 or errors<1%")]
    Errors,
    /// The limit is no rate.
    #[error("the rate is compared with so many in a second: write it as rate>=4900/s")]
    Rate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_written_is_parsed() {
        let time = |is_service, quantile, limit| AssertionBound::Time { is_service, quantile, limit };
        let ms = Duration::from_millis;
        for (text, bound, comparison) in [
            ("p99<5ms", time(false, 0.99, ms(5)), Comparison::Less),
            ("p50 <= 1s", time(false, 0.5, ms(1000)), Comparison::AtMost),
            ("max>200us", time(false, 1.0, Duration::from_micros(200)), Comparison::More),
            ("service p99.9<5ms", time(true, 99.9 / 100.0, ms(5)), Comparison::Less),
            ("errors=0", AssertionBound::Errors { limit: 0 }, Comparison::Equal),
            ("errors<0.5%", AssertionBound::ErrorRate { limit: 0.5 }, Comparison::Less),
            ("rate>=4900/s", AssertionBound::Rate { limit: 4900.0 }, Comparison::AtLeast),
        ] {
            let assertion: Assertion = text.parse().unwrap();
            assert_eq!((assertion.bound, assertion.comparison), (bound, comparison), "{text}");
            assert_eq!(assertion.is_about_errors(), text.starts_with("errors"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_would_be_right() {
        for (text, error) in [
            ("", AssertionError::NoComparison),
            ("p99", AssertionError::NoComparison),
            ("p99!5ms", AssertionError::NoComparison),
            ("p101<5ms", AssertionError::Metric),
            ("p<5ms", AssertionError::Metric),
            ("p-1<5ms", AssertionError::Metric),
            ("p1e1<5ms", AssertionError::Metric),
            ("mean<5ms", AssertionError::Metric),
            ("service errors=0", AssertionError::Metric),
            ("<5ms", AssertionError::Metric),
            ("p99<5", AssertionError::Time),
            ("p99<", AssertionError::Time),
            ("p99==5ms", AssertionError::Time),
            ("errors=none", AssertionError::Errors),
            ("errors<1.5", AssertionError::Errors),
            ("errors<-1", AssertionError::Errors),
            ("errors<x%", AssertionError::Errors),
            ("rate>4900", AssertionError::Rate),
            ("rate>inf/s", AssertionError::Rate),
        ] {
            assert_eq!(text.parse::<Assertion>(), Err(error), "{text}");
        }
    }

    #[test]
    fn each_comparison_holds_on_its_own_side_of_the_limit() {
        for (sign, holds) in [
            ("<", [true, false, false]),
            ("<=", [true, true, false]),
            ("=", [false, true, false]),
            (">=", [false, true, true]),
            (">", [false, false, true]),
        ] {
            let (_, comparison) = Comparison::ALL.into_iter().find(|(known, _)| *known == sign).unwrap();
            assert_eq!([4, 5, 6].map(|value| comparison.holds(value, 5)), holds, "{sign} 5");
        }
    }
}
