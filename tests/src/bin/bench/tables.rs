//! The tables of the page. No I/O.

use crate::case::{
    CONNECTIONS, CONNECTIONS_GROWING, CONNECTIONS_OF_DEPTHS, Case, DEPTHS, DEPTHS_GROWING, Quantity, WORKERS,
};
use crate::samples::{SampleKey, Samples};
use crate::server::Contestant;
use crate::target::{Judged, judged};
use crate::text::{self, large, table, time};

/// A part of the load's time beyond which it, and not the server, may be the limit.
const BUSY: f64 = 0.9;

/// What is to be reached, and whether it is.
pub(crate) fn targets(samples: &Samples) -> String {
    let header = std::iter::once("target").chain(Contestant::OURS.map(Contestant::name)).map(str::to_owned);
    let rows = judged(samples).into_iter().map(|(what, judged)| {
        let cells = judged.into_iter().map(|judged| match judged {
            Judged::NoTarget => String::new(),
            Judged::NotMeasured { bound } => format!("not measured; {bound}"),
            Judged::Reached(words) => format!("✓ {words}"),
            Judged::Missed(words) => format!("✗ {words}"),
        });
        std::iter::once(what.to_owned()).chain(cells).collect()
    });
    table(&header.collect::<Vec<_>>(), &rows.collect::<Vec<_>>())
}

/// Lines in a second.
pub(crate) fn lines(samples: &Samples) -> String {
    crowds(|case, server| {
        let busy = samples.typical(SampleKey { quantity: Quantity::LoadBusy, case, server });
        let mark = if busy.is_some_and(|busy| busy.median > BUSY) { "°" } else { "" };
        against_bare(samples, SampleKey { quantity: Quantity::PerSecond, case, server }, large)
            .map(|shown| format!("{shown}{mark}"))
    })
}

/// Processor time of a line.
pub(crate) fn processor(samples: &Samples) -> String {
    crowds(|case, server| against_bare(samples, SampleKey { quantity: Quantity::Processor, case, server }, time))
}

/// The same, from few to many.
pub(crate) fn growth(samples: &Samples) -> String {
    let cell = |case, server: Contestant| {
        let key = SampleKey { quantity: Quantity::Processor, case, server };
        server.is_watched_growing().then(|| against_bare(samples, key, time)).flatten()
    };
    let connections = CONNECTIONS_GROWING.map(|connections| Case::Lines { connections, depth: 1 });
    let depths = DEPTHS_GROWING.map(|depth| Case::Lines { connections: CONNECTIONS_OF_DEPTHS, depth });
    format!("{}\n{}", by_server(&connections, cell), by_server(&depths, cell))
}

/// How long lines take.
pub(crate) fn latency(samples: &Samples) -> String {
    crowds(|case, server| {
        let typical = |quantity| samples.typical(SampleKey { quantity, case, server });
        let shown = |quantity| typical(quantity).map(|typical| text::with_spread(typical, time));
        let [p50, p99, p999] = [Quantity::P50, Quantity::P99, Quantity::P999].map(shown);
        Some(format!("{} / {} / {}", p50?, p99?, p999?))
    })
}

/// What clients cost by themselves, and how long one waits for others.
pub(crate) fn clients(samples: &Samples) -> String {
    let header =
        ["", "visits/s", "CPU per visit", "idle connection", "polite p99 alone", "beside 8 greedy ones", "ratio"];
    let alone = Case::Lines { connections: 1, depth: 1 };
    let rows = Contestant::ALL.into_iter().filter_map(|server| {
        let key = |quantity, case| SampleKey { quantity, case, server };
        let shown = |quantity, case, show: fn(f64) -> String| {
            samples.typical(key(quantity, case)).map(|typical| text::with_spread(typical, show))
        };
        let beside = key(Quantity::P99, Case::Polite);
        let ratio = samples.ratio(beside, key(Quantity::P99, alone));
        let cells = [
            against_bare(samples, key(Quantity::PerSecond, Case::Visits), large),
            against_bare(samples, key(Quantity::Processor, Case::Visits), time),
            shown(Quantity::Memory, Case::Idle, text::bytes),
            shown(Quantity::P99, alone, time).filter(|_| ratio.is_some()),
            shown(Quantity::P99, Case::Polite, time),
            ratio.map(|ratio| text::with_spread(ratio, text::digits)),
        ];
        row(server, cells)
    });
    table(&header.map(str::to_owned), &rows.collect::<Vec<_>>())
}

/// What more workers bring.
pub(crate) fn expensive(samples: &Samples) -> String {
    let header = ["a reply", "1 worker", "2 workers", "4 workers"];
    let row = |words: &str, case: fn(usize) -> Case| {
        let key = |workers| SampleKey { quantity: Quantity::PerSecond, case: case(workers), server: Contestant::Pool };
        let cells = WORKERS.map(|workers| compared(samples, key(workers), key(1), large));
        std::iter::once(words.to_owned()).chain(cells.map(or_dash)).collect()
    };
    let rows = [
        row("waits for 1 ms", |workers| Case::Waiting { workers }),
        row("keeps a processor busy for 1 ms", |workers| Case::Working { workers }),
    ];
    table(&header.map(str::to_owned), &rows)
}

/// A table for each number of connections, with a column for each number of lines at once.
fn crowds(cell: impl Fn(Case, Contestant) -> Option<String>) -> String {
    let tables =
        CONNECTIONS.map(|connections| by_server(&DEPTHS.map(|depth| Case::Lines { connections, depth }), &cell));
    tables.join("\n")
}

/// A row for each server of which something was measured.
fn by_server(cases: &[Case], cell: impl Fn(Case, Contestant) -> Option<String>) -> String {
    let header: Vec<String> = std::iter::once(String::new()).chain(cases.iter().map(Case::to_string)).collect();
    let rows =
        Contestant::ALL.into_iter().filter_map(|server| row(server, cases.iter().map(|case| cell(*case, server))));
    table(&header, &rows.collect::<Vec<_>>())
}

fn row(server: Contestant, cells: impl IntoIterator<Item = Option<String>>) -> Option<Vec<String>> {
    let cells: Vec<_> = cells.into_iter().collect();
    let is_measured = cells.iter().any(Option::is_some);
    let name = std::iter::once(server.name().to_owned());
    is_measured.then(|| name.chain(cells.into_iter().map(or_dash)).collect())
}

fn or_dash(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| "–".to_owned())
}

fn against_bare(samples: &Samples, key: SampleKey, show: fn(f64) -> String) -> Option<String> {
    compared(samples, key, SampleKey { server: Contestant::BareLoop, ..key }, show)
}

/// The figure with its spread, and how many times as much as another it is.
fn compared(samples: &Samples, key: SampleKey, against: SampleKey, show: fn(f64) -> String) -> Option<String> {
    let shown = text::with_spread(samples.typical(key)?, show);
    Some(match samples.ratio(key, against) {
        Some(ratio) => format!("**{}** × · {shown}", text::digits(ratio.median)),
        None => shown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Samples {
        let mut samples = Samples::default();
        let mut add = |quantity, case, server, values: [f64; 3]| {
            for (round, value) in values.into_iter().enumerate() {
                samples.add(SampleKey { quantity, case, server }, round, value);
            }
        };
        let case = Case::Lines { connections: 64, depth: 16 };
        add(Quantity::PerSecond, case, Contestant::BareLoop, [1e6, 2e6, 4e6]);
        add(Quantity::PerSecond, case, Contestant::Pool, [2e6, 3e6, 4e6]);
        add(Quantity::LoadBusy, case, Contestant::Pool, [0.95, 0.2, 0.99]);
        add(Quantity::PerSecond, Case::Waiting { workers: 1 }, Contestant::Pool, [900.0; 3]);
        add(Quantity::PerSecond, Case::Waiting { workers: 4 }, Contestant::Pool, [3_600.0; 3]);
        samples
    }

    #[test]
    fn a_cell_has_its_ratio_its_median_and_its_spread() {
        let lines = lines(&samples());
        assert!(lines.contains("| pool of 2 | – | **1.50** × · 3.00 M (−33 +33 %)° | – |"), "{lines}");
        assert!(lines.contains("| bare loop | – | **1.00** × · 2.00 M (−50 +100 %) | – |"), "{lines}");
        assert!(!lines.contains("Redis"), "{lines}");
    }

    #[test]
    fn more_workers_are_compared_with_one() {
        let expensive = expensive(&samples());
        let row = "| waits for 1 ms | **1.00** × · 900 (−0 +0 %) | – | **4.00** × · 3.60 k (−0 +0 %) |";
        assert!(expensive.contains(row), "{expensive}");
    }

    #[test]
    fn a_target_that_was_not_measured_says_so() {
        let targets = targets(&samples());
        assert!(targets.contains("4 workers against one |  |  | ✓ 4.000 ×"), "{targets}");
        assert!(targets.contains("2 workers against one |  |  | not measured; ≥ 1.9 × |"), "{targets}");
    }
}
