//! What greeter is to reach, and whether it did. No I/O.

use crate::case::{Case, Quantity};
use crate::samples::{SampleKey, Samples, Typical};
use crate::server::Contestant;
use crate::text;

/// Something to be reached.
struct SpeedTarget {
    what: &'static str,
    quantity: Quantity,
    case: Case,
    against: Against,
    in_place: Option<TargetBound>,
    pool: Option<TargetBound>,
}

/// What a figure is compared with.
#[derive(Clone, Copy)]
enum Against {
    Server(Contestant),
    /// A server in another case.
    ServerIn(Contestant, Case),
    /// Those of the article: its first program for what answers in place, its second one for the
    /// pool.
    Article,
    /// The same server in another case.
    Itself(Case),
    /// Nothing: it is a number of bytes.
    Bytes,
}

#[derive(Clone, Copy)]
enum TargetBound {
    Least(f64),
    Most(f64),
    /// At most so many times; but whatever is faster than that, in nanoseconds, is fast enough.
    MostOrTime(f64, f64),
}

const fn lines(connections: usize, depth: usize) -> Case {
    Case::Lines { connections, depth }
}

const fn waiting(workers: usize) -> Case {
    Case::Waiting { workers }
}

const ALONE: Case = lines(1, 1);
const FEW: Case = lines(64, 1);
const SOME: Case = lines(64, 16);
const MOST: Case = lines(64, 256);
const MANY: Case = lines(1_000, 1);

const BARE: Against = Against::Server(Contestant::BareLoop);
const GO: Against = Against::Server(Contestant::Go);
const LINES_CODEC: Against = Against::Server(Contestant::TokioLines);
const BATCHED: Against = Against::Server(Contestant::TokioBatched);
const REDIS: Against = Against::Server(Contestant::Redis);
/// `redis-benchmark -P 16` is what Redis's own manual measures it with.
const REDIS_BY_16: Against = Against::ServerIn(Contestant::Redis, SOME);

const TARGETS: [SpeedTarget; 15] = {
    use Against::{Article, Bytes, Itself};
    use Quantity::{Memory, P99, PerSecond, Processor};

    [
        target("lines/s at 64 × 256, against server.go (in place), server2.go (pool)", PerSecond, MOST, Article)
            .at_least(40.0, 150.0),
        target("the same, against tokio with LinesCodec", PerSecond, MOST, LINES_CODEC).at_least(40.0, 40.0),
        target("the same, against Redis PING at its own pipelining, 16 at once", PerSecond, MOST, REDIS_BY_16)
            .at_least(10.0, 10.0),
        target("the same, against Redis PING, pipelined as deep", PerSecond, MOST, REDIS).at_least(10.0, 10.0),
        target("CPU per line at 64 × 1, against server.go (in place), server2.go (pool)", Processor, FEW, Article)
            .at_most(0.65, 0.65),
        target("the same, against the bare loop", Processor, FEW, BARE).at_most(1.10, 1.30),
        target("CPU per line at 64 × 16, against the bare loop", Processor, SOME, BARE).at_most(1.10, 1.40),
        target("CPU per line at 64 × 256, against the bare loop", Processor, MOST, BARE).at_most(1.10, 1.30),
        target("CPU per line at 1,000 × 1, against batched tokio", Processor, MANY, BATCHED).at_most(1.0, 1.15),
        target("p99 at 1,000 × 1, against batched tokio", P99, MANY, BATCHED).at_most(0.7, 0.7),
        target("memory of an idle connection", Memory, Case::Idle, Bytes).at_most(400.0, 400.0),
        target("visits/s, against server.go", PerSecond, Case::Visits, GO).at_least(1.3, 1.2),
        target("replies that wait for 1 ms: 2 workers against one", PerSecond, waiting(2), Itself(waiting(1)))
            .of_pool(TargetBound::Least(0.95 * 2.0)),
        target("the same: 4 workers against one", PerSecond, waiting(4), Itself(waiting(1)))
            .of_pool(TargetBound::Least(0.95 * 4.0)),
        target("a polite client's p99 beside 8 greedy ones, against its p99 alone", P99, Case::Polite, Itself(ALONE))
            .of_both(TargetBound::MostOrTime(15.0, 5e6)),
    ]
};

const fn target(what: &'static str, quantity: Quantity, case: Case, against: Against) -> SpeedTarget {
    SpeedTarget { what, quantity, case, against, in_place: None, pool: None }
}

/// Whether a target stands or falls with what this server does here, and rounds differ so much that
/// a few do not decide it. Two threads in place are no default, so nothing is close for them.
pub(crate) fn is_close(case: Case, server: Contestant) -> bool {
    let is_noisy = matches!(case, Case::Lines { .. } | Case::Visits);
    is_noisy && TARGETS.iter().any(|target| target.compares().contains(&(case, server)))
}

/// The targets, each with what came of it for each of [`Contestant::OURS`].
pub(crate) fn judged(samples: &Samples) -> Vec<(&'static str, [Judged; 3])> {
    TARGETS.iter().map(|target| (target.what, Contestant::OURS.map(|server| target.judge(server, samples)))).collect()
}

/// What came of a target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Judged {
    /// There is nothing to be reached.
    NoTarget,
    /// It, or what it is compared with, was not measured.
    NotMeasured {
        bound: String,
    },
    Reached(String),
    Missed(String),
}

impl SpeedTarget {
    const fn at_least(self, in_place: f64, pool: f64) -> Self {
        Self { in_place: Some(TargetBound::Least(in_place)), pool: Some(TargetBound::Least(pool)), ..self }
    }

    const fn at_most(self, in_place: f64, pool: f64) -> Self {
        Self { in_place: Some(TargetBound::Most(in_place)), pool: Some(TargetBound::Most(pool)), ..self }
    }

    const fn of_both(self, bound: TargetBound) -> Self {
        Self { in_place: Some(bound), pool: Some(bound), ..self }
    }

    const fn of_pool(self, bound: TargetBound) -> Self {
        Self { pool: Some(bound), ..self }
    }

    /// All that has a part in it.
    fn compares(&self) -> Vec<(Case, Contestant)> {
        let ours = [Contestant::InPlace, Contestant::Pool].map(|server| (self.case, server));
        let others = match self.against {
            Against::Server(other) => vec![(self.case, other)],
            Against::ServerIn(other, case) => vec![(case, other)],
            Against::Article => vec![(self.case, Contestant::Go), (self.case, Contestant::GoJobs)],
            // Of what is compared with itself, the polite client and the idle one, a few rounds
            // tell enough.
            Against::Itself(_) | Against::Bytes => vec![],
        };
        [&ours[..], &others].concat()
    }

    fn judge(&self, server: Contestant, samples: &Samples) -> Judged {
        let bound = if server == Contestant::Pool { self.pool } else { self.in_place };
        let Some(bound) = bound else { return Judged::NoTarget };
        let key = SampleKey { quantity: self.quantity, case: self.case, server };
        let value = samples.typical(key);
        let compared = match self.against {
            Against::Bytes => value,
            Against::Server(other) => samples.ratio(key, SampleKey { server: other, ..key }),
            Against::ServerIn(server, case) => samples.ratio(key, SampleKey { server, case, ..key }),
            Against::Article if server == Contestant::Pool => {
                samples.ratio(key, SampleKey { server: Contestant::GoJobs, ..key })
            }
            Against::Article => samples.ratio(key, SampleKey { server: Contestant::Go, ..key }),
            Against::Itself(case) => samples.ratio(key, SampleKey { case, ..key }),
        };
        let limit = self.limit(bound);
        let (Some(value), Some(compared)) = (value, compared) else { return Judged::NotMeasured { bound: limit } };
        let words = format!("{}; {limit}", self.shown(value, compared, bound));
        if bound.holds(value.median, compared.median) { Judged::Reached(words) } else { Judged::Missed(words) }
    }

    fn shown(&self, value: Typical, compared: Typical, bound: TargetBound) -> String {
        let Typical { median, least, most } = compared;
        // One digit more than the limit has, so that one sees on which side of it that is.
        let plain = |number: f64| match self.against {
            Against::Bytes => format!("{number:.1}"),
            _ if number < 9.9995 => format!("{number:.3}"),
            _ => format!("{number:.1}"),
        };
        let shown = format!("{}{} ({}–{})", plain(median), self.unit(), plain(least), plain(most));
        match bound {
            TargetBound::MostOrTime(..) => format!("{}, {shown}", text::time(value.median)),
            TargetBound::Least(_) | TargetBound::Most(_) => shown,
        }
    }

    const fn unit(&self) -> &'static str {
        if matches!(self.against, Against::Bytes) { " B" } else { " ×" }
    }

    fn limit(&self, bound: TargetBound) -> String {
        let unit = self.unit();
        match bound {
            TargetBound::Least(limit) => format!("≥ {limit}{unit}"),
            TargetBound::Most(limit) => format!("≤ {limit}{unit}"),
            TargetBound::MostOrTime(limit, time) => format!("≤ {} or {limit}{unit}", text::time(time)),
        }
    }
}

impl TargetBound {
    fn holds(self, value: f64, compared: f64) -> bool {
        match self {
            Self::Least(limit) => compared >= limit,
            Self::Most(limit) => compared <= limit,
            Self::MostOrTime(limit, time) => compared <= limit || value <= time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_a_target_is_close() {
        for (case, servers) in [
            (
                FEW,
                &[Contestant::BareLoop, Contestant::InPlace, Contestant::Pool, Contestant::Go, Contestant::GoJobs][..],
            ),
            (MANY, &[Contestant::InPlace, Contestant::Pool, Contestant::TokioBatched]),
            (Case::Visits, &[Contestant::InPlace, Contestant::Pool, Contestant::Go]),
            (ALONE, &[]),
            (Case::Idle, &[]),
            (Case::Polite, &[]),
        ] {
            let close: Vec<_> = Contestant::ALL.into_iter().filter(|&server| is_close(case, server)).collect();
            assert_eq!(close, servers, "{case}");
        }
    }

    fn samples(figures: &[(Quantity, Case, Contestant, f64)]) -> Samples {
        let mut samples = Samples::default();
        for &(quantity, case, server, value) in figures {
            samples.add(SampleKey { quantity, case, server }, 1, value);
        }
        samples
    }

    fn of(samples: &Samples, what: &str) -> [Judged; 3] {
        let judged = judged(samples).into_iter().find(|(target, _)| target.contains(what));
        judged.expect("there is such a target").1
    }

    #[test]
    fn in_place_is_compared_with_the_first_program_and_the_pool_with_the_second() {
        let samples = samples(&[
            (Quantity::PerSecond, MOST, Contestant::InPlace, 400.0),
            (Quantity::PerSecond, MOST, Contestant::Pool, 400.0),
            (Quantity::PerSecond, MOST, Contestant::Go, 10.0),
            (Quantity::PerSecond, MOST, Contestant::GoJobs, 4.0),
        ]);
        assert_eq!(
            of(&samples, "lines/s at 64 × 256"),
            [
                Judged::Reached("40.0 × (40.0–40.0); ≥ 40 ×".into()),
                Judged::NotMeasured { bound: "≥ 40 ×".into() },
                Judged::Missed("100.0 × (100.0–100.0); ≥ 150 ×".into()),
            ]
        );
    }

    #[test]
    fn redis_is_met_as_it_pipelines_and_as_we_do() {
        let samples = samples(&[
            (Quantity::PerSecond, MOST, Contestant::Pool, 90.0),
            (Quantity::PerSecond, MOST, Contestant::Redis, 10.0),
            (Quantity::PerSecond, SOME, Contestant::Redis, 9.0),
        ]);
        let [.., as_it_does] = of(&samples, "at its own pipelining");
        assert_eq!(as_it_does, Judged::Reached("10.0 × (10.0–10.0); ≥ 10 ×".into()));
        let [.., as_deep] = of(&samples, "pipelined as deep");
        assert_eq!(as_deep, Judged::Missed("9.000 × (9.000–9.000); ≥ 10 ×".into()));
    }

    #[test]
    fn a_number_of_bytes_is_compared_with_nothing() {
        let samples = samples(&[(Quantity::Memory, Case::Idle, Contestant::Pool, 401.0)]);
        let [.., pool] = of(&samples, "memory");
        assert_eq!(pool, Judged::Missed("401.0 B (401.0–401.0); ≤ 400 B".into()));
    }

    #[test]
    fn workers_are_for_the_pool() {
        let samples = samples(&[
            (Quantity::PerSecond, Case::Waiting { workers: 1 }, Contestant::Pool, 900.0),
            (Quantity::PerSecond, Case::Waiting { workers: 2 }, Contestant::Pool, 1_710.0),
        ]);
        let [in_place, on_two, pool] = of(&samples, "2 workers");
        assert_eq!((in_place, on_two), (Judged::NoTarget, Judged::NoTarget));
        assert_eq!(pool, Judged::Reached("1.900 × (1.900–1.900); ≥ 1.9 ×".into()));
    }

    #[test]
    fn a_polite_client_waits_not_much_longer_or_not_long() {
        let case = |beside: f64| {
            samples(&[
                (Quantity::P99, lines(1, 1), Contestant::InPlace, 1e6),
                (Quantity::P99, Case::Polite, Contestant::InPlace, beside),
                (Quantity::P99, lines(1, 1), Contestant::Pool, 1e5),
                (Quantity::P99, Case::Polite, Contestant::Pool, beside),
            ])
        };
        let verdicts = |beside| {
            let [in_place, _, pool] = of(&case(beside), "polite");
            [in_place, pool].map(|judged| matches!(judged, Judged::Reached(_)))
        };
        assert_eq!(verdicts(5e6), [true, true], "that is 5 and 50 times as long, but fast enough");
        assert_eq!(verdicts(6e6), [true, false]);
        assert_eq!(verdicts(16e6), [false, false]);
    }
}
