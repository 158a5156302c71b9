//! What is measured, and of whom.

use std::fmt;
use std::str::FromStr;

use crate::server::Contestant;

/// Something that a server is put through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Case {
    /// So many connections send so many lines at once, wait for their replies, and send again.
    Lines { connections: usize, depth: usize },
    /// A connection sends one line at a time beside eight that send thousands.
    Polite,
    /// Connections that were greeted once and say nothing more.
    Idle,
    /// Clients come, are greeted once, and go.
    Visits,
    /// Each reply waits for a millisecond, on so many workers.
    Waiting { workers: usize },
    /// Each reply keeps a processor busy for a millisecond, on so many workers.
    Working { workers: usize },
}

/// A number that comes of a case. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quantity {
    /// Right replies in a second; where the case is visits, visits.
    PerSecond,
    /// Processor time of the server for each line, user and system; where the case is visits, for
    /// each visit.
    Processor,
    P50,
    P99,
    P999,
    /// Which part of the time the load was at work, from 0 to 1.
    LoadBusy,
    /// What the memory of the server grows by for each connection, in bytes.
    Memory,
}

impl Quantity {
    /// The name of its column in the raw figures.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::PerSecond => "per_second",
            Self::Processor => "processor_ns",
            Self::P50 => "p50_ns",
            Self::P99 => "p99_ns",
            Self::P999 => "p99.9_ns",
            Self::LoadBusy => "load_busy",
            Self::Memory => "memory_bytes",
        }
    }
}

/// Cases that belong together, and can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaseGroup {
    Lines,
    Growth,
    Fairness,
    Idle,
    Visits,
    Expensive,
}

impl CaseGroup {
    pub(crate) const ALL: [Self; 6] =
        [Self::Lines, Self::Growth, Self::Fairness, Self::Idle, Self::Visits, Self::Expensive];

    const fn key(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Growth => "growth",
            Self::Fairness => "fairness",
            Self::Idle => "idle",
            Self::Visits => "visits",
            Self::Expensive => "expensive",
        }
    }
}

impl FromStr for CaseGroup {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(&Self::ALL, |group| group.key(), text)
    }
}

/// The one of this name, or the names that there are.
pub(crate) fn named<T: Copy>(all: &[T], key: impl Fn(T) -> &'static str, text: &str) -> Result<T, String> {
    let known = || all.iter().map(|&one| key(one)).collect::<Vec<_>>().join(", ");
    all.iter().copied().find(|&one| key(one) == text).ok_or_else(|| format!("write one of {}", known()))
}

/// How many clients send as much as the server takes, beside a polite one.
pub(crate) const GREEDY: usize = 8;
/// How many connections there are in the tables.
pub(crate) const CONNECTIONS: [usize; 3] = [1, 64, 1_000];
/// How many lines at once.
pub(crate) const DEPTHS: [usize; 3] = [1, 16, 256];
/// Where the cost of one line at a time is looked at.
pub(crate) const CONNECTIONS_GROWING: [usize; 7] = [1, 8, 64, 256, 1_000, 4_000, 15_000];
/// Where the cost of lines on [`CONNECTIONS_OF_DEPTHS`] connections is.
pub(crate) const DEPTHS_GROWING: [usize; 6] = [1, 4, 16, 64, 256, 1_024];
pub(crate) const CONNECTIONS_OF_DEPTHS: usize = 64;
pub(crate) const WORKERS: [usize; 3] = [1, 2, 4];

impl Case {
    /// All cases of these groups that need no more connections than that.
    pub(crate) fn all(groups: &[CaseGroup], max_connections: usize, processors: usize) -> Vec<Self> {
        let mut cases = Vec::new();
        for group in CaseGroup::ALL.iter().filter(|group| groups.is_empty() || groups.contains(group)) {
            for case in Self::of(*group, processors) {
                if case.connections() <= max_connections && !cases.contains(&case) {
                    cases.push(case);
                }
            }
        }
        cases
    }

    fn of(group: CaseGroup, processors: usize) -> Vec<Self> {
        match group {
            CaseGroup::Lines => {
                let row = |connections| DEPTHS.map(|depth| Self::Lines { connections, depth });
                CONNECTIONS.into_iter().flat_map(row).collect()
            }
            CaseGroup::Growth => {
                let connections = CONNECTIONS_GROWING.map(|connections| Self::Lines { connections, depth: 1 });
                let depths = DEPTHS_GROWING.map(|depth| Self::Lines { connections: CONNECTIONS_OF_DEPTHS, depth });
                [&connections[..], &depths].concat()
            }
            // Its fairness is in how much longer that one waits than when it is alone.
            CaseGroup::Fairness => vec![Self::Lines { connections: 1, depth: 1 }, Self::Polite],
            CaseGroup::Idle => vec![Self::Idle],
            CaseGroup::Visits => vec![Self::Visits],
            CaseGroup::Expensive => {
                let waiting = WORKERS.map(|workers| Self::Waiting { workers });
                let working = WORKERS.into_iter().filter(|&workers| workers <= processors);
                waiting.into_iter().chain(working.map(|workers| Self::Working { workers })).collect()
            }
        }
    }

    /// How many connections it cannot do without.
    const fn connections(self) -> usize {
        match self {
            Self::Lines { connections, .. } => connections,
            // It makes do with as many as there may be.
            Self::Idle => 1,
            Self::Polite => 1 + GREEDY,
            Self::Visits | Self::Waiting { .. } | Self::Working { .. } => 64,
        }
    }

    /// Whether it says something about this server.
    pub(crate) fn is_for(self, server: Contestant) -> bool {
        match self {
            Self::Lines { connections, depth } => {
                let is_in_tables = CONNECTIONS.contains(&connections) && DEPTHS.contains(&depth);
                is_in_tables || server.is_watched_growing()
            }
            Self::Polite | Self::Idle | Self::Visits => true,
            Self::Waiting { .. } | Self::Working { .. } => server == Contestant::Pool,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines { connections, depth } => write!(f, "{connections} × {depth}"),
            Self::Polite => f.write_str("polite beside greedy"),
            Self::Idle => f.write_str("idle"),
            Self::Visits => f.write_str("visits"),
            Self::Waiting { workers } => write!(f, "waiting 1 ms × {workers}"),
            Self::Working { workers } => write!(f, "working 1 ms × {workers}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_two_groups_have_is_measured_once() {
        let cases = Case::all(&[], 15_000, 2);
        let alone = Case::Lines { connections: 1, depth: 1 };
        assert_eq!(cases.iter().filter(|case| **case == alone).count(), 1);
        assert_eq!(cases.len(), 9 + 4 + 3 + 1 + 1 + 1 + 3 + 2);
    }

    #[test]
    fn what_needs_too_many_connections_is_left_out() {
        let cases = Case::all(&[CaseGroup::Growth], 64, 2);
        assert!(cases.contains(&Case::Lines { connections: 64, depth: 1_024 }));
        assert!(!cases.contains(&Case::Lines { connections: 256, depth: 1 }));
    }

    #[test]
    fn cost_is_watched_growing_only_where_it_tells_something() {
        let many = Case::Lines { connections: 15_000, depth: 1 };
        assert!(many.is_for(Contestant::InPlace) && !many.is_for(Contestant::ThreadPool));
        assert!(Case::Lines { connections: 1_000, depth: 256 }.is_for(Contestant::ThreadPool));
    }
}
