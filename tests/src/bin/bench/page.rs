//! The page with everything that was measured, its charts, and the samples. No I/O.

use std::fmt::Write;
use std::time::Duration;

use crate::case::{CONNECTIONS_GROWING, CONNECTIONS_OF_DEPTHS, Case, DEPTHS, DEPTHS_GROWING, Quantity};
use crate::chart::{Curves, Rows};
use crate::machine::Machine;
use crate::samples::{SampleKey, Samples};
use crate::server::Contestant;
use crate::{tables, text};

/// All there is to tell.
pub(crate) struct Page<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) rounds: usize,
    pub(crate) duration: Duration,
    pub(crate) idle: usize,
    /// What is not there, and why.
    pub(crate) left_out: &'a [String],
    pub(crate) samples: &'a Samples,
}

const LINES: &str = "benchmark/lines.svg";
const CONNECTIONS: &str = "benchmark/connections.svg";
const DEPTH: &str = "benchmark/depth.svg";
const LATENCY: &str = "benchmark/latency.svg";

const INTRODUCTION: &str = "\
# Benchmark

<!-- Written by the command below: do not edit. -->

greeter beside the same server as others would write it. [Speed](speed.md) says what the figures
mean. To repeat them, on a machine that does nothing else meanwhile:

```sh
cargo run --release -p greeter-tests --bin bench
```

The load comes from one thread of [`greeter_client::load`](load.md), and every reply is checked.
*64 × 16* are 64 connections, each of which sends 16 lines in one piece, waits for all their replies,
and sends again. In each round the servers take turns at each figure, each as a fresh process. Where a
target depends on lines or visits, they are measured in every round; all else in five of the rounds.

Each figure is the median of its rounds. The spread behind it is the distance of the lowest and of the
highest round from the median. A ratio is the median of the ratios within each round: compare only
ratios, and only within one run.

A run writes its samples, one line for each figure, server and round, to `benchmark/samples.csv` beside
this page. They are not kept in the source tree: they are thousands of lines, new with each run.

";

const COUNTED: &str = "\
In bold, how many times as many as the bare loop. °: the load was busy for over 90 % of the time, and the server may be able to do
more.
";

const USED: &str = "\
Processor time of the server, user and system. In bold, how many times as much as that of the bare loop.
";

const TAKEN: &str = "\
p50 / p99 / p99.9, from when a line is sent until its reply is there. –: nothing was both sent and answered in the time.
";

const CLIENTS: &str = "\
A visit is a connect, a line, its reply, and a close; 64 are under way at a time, from one thread. In bold, how many times as much
as the bare loop. An idle connection is one of {idle} that were greeted once; what it costs is what the resident memory grows by. A
polite client sends one line at a time, and each of 8 greedy ones beside it has 10,000 under way.
";

const EXPENSIVE: &str = "\
Lines in a second from 64 connections that send one at a time; in bold, how many times as many as with one worker. A wait shows how
work is dealt out, to more workers than there are processors, too. Work that keeps a processor busy is measured with as many workers
as there are processors; the load and the connection threads need their part of these.
";

impl Page<'_> {
    /// The files, by their paths in the folder of the documents.
    pub(crate) fn files(&self) -> Vec<(&'static str, String)> {
        let charts = self.charts();
        let mut files = vec![("benchmark.md", self.markdown(&charts)), ("benchmark/samples.csv", self.csv())];
        files.extend(charts);
        files
    }

    /// Those that have anything in them.
    fn charts(&self) -> Vec<(&'static str, String)> {
        let charts = [
            (LINES, self.lines_chart().render()),
            (CONNECTIONS, self.connections_chart().render()),
            (DEPTH, self.depth_chart().render()),
            (LATENCY, self.latency_chart().render()),
        ];
        charts.into_iter().filter_map(|(name, chart)| Some((name, chart?))).collect()
    }

    fn markdown(&self, charts: &[(&'static str, String)]) -> String {
        let chart = |name: &str, words: &str| {
            let is_there = charts.iter().any(|(chart, _)| *chart == name);
            if is_there { format!("![{words}]({name})\n\n") } else { String::new() }
        };
        let samples = self.samples;
        let clients = CLIENTS.replace("{idle}", &text::grouped(self.idle));
        [
            self.introduction(),
            section("Targets", "", &tables::targets(samples)),
            section("Lines in a second", &(chart(LINES, "Lines in a second") + COUNTED), &tables::lines(samples)),
            section(
                "CPU per line",
                &(chart(CONNECTIONS, "CPU per line, by connections")
                    + &chart(DEPTH, "CPU per line, by lines at once")
                    + USED),
                &format!("{}\nFrom few to many:\n\n{}", tables::processor(samples), tables::growth(samples)),
            ),
            section("How long a line takes", &(chart(LATENCY, "Service times") + TAKEN), &tables::latency(samples)),
            section("Clients", &clients, &tables::clients(samples)),
            section("An expensive responder", EXPENSIVE, &tables::expensive(samples)),
        ]
        .join("\n")
    }

    fn introduction(&self) -> String {
        let mut text = INTRODUCTION.to_owned();
        text.push_str("| server | what it is |\n|---|---|\n");
        for server in Contestant::ALL {
            add(&mut text, format_args!("| {} | {} |\n", server.name(), server.description()));
        }
        add(&mut text, format_args!("\nMeasured on {}, in {}:\n\n", self.machine.date, self.size()));
        for words in &self.machine.words {
            add(&mut text, format_args!("- {words}\n"));
        }
        if !self.left_out.is_empty() {
            text.push_str("\n**Left out:**\n\n");
            for words in self.left_out {
                add(&mut text, format_args!("- {}\n", words.split_whitespace().collect::<Vec<_>>().join(" ")));
            }
        }
        text
    }

    fn size(&self) -> String {
        let rounds = if self.rounds == 1 { "1 round".to_owned() } else { format!("{} rounds", self.rounds) };
        format!("{rounds} of {} s a figure, longer with thousands of connections", self.duration.as_secs_f64())
    }

    /// A line for each sample.
    fn csv(&self) -> String {
        let mut text = String::from("quantity,case,server,round,value\n");
        for (SampleKey { quantity, case, server }, round, value) in self.samples.iter() {
            add(&mut text, format_args!("{},{case},{},{round},{value}\n", quantity.key(), server.key()));
        }
        text
    }

    fn lines_chart(&self) -> Rows {
        let cases = DEPTHS.map(|depth| Case::Lines { connections: CONNECTIONS_OF_DEPTHS, depth });
        let key = |case, server| SampleKey { quantity: Quantity::PerSecond, case, server };
        // Without Go, there is always the bare loop.
        let is_there =
            |server: &Contestant| cases.iter().any(|case| self.samples.typical(key(*case, *server)).is_some());
        let base = [Contestant::Go, Contestant::BareLoop].into_iter().find(is_there).unwrap_or(Contestant::BareLoop);
        let ratio = |server| cases.map(|case| self.samples.ratio(key(case, server), key(case, base))).to_vec();
        Rows {
            title: format!("Lines in a second on 64 connections, against {}", base.name()),
            axis: "how many times as many",
            show: text::digits,
            series: DEPTHS
                .map(|depth| if depth == 1 { "1 line".into() } else { format!("{depth} lines at once") })
                .into(),
            rows: rows(ratio),
        }
    }

    fn latency_chart(&self) -> Rows {
        let case = Case::Lines { connections: 1_000, depth: 1 };
        let quantities = [Quantity::P50, Quantity::P99, Quantity::P999];
        let times =
            |server| quantities.map(|quantity| self.samples.typical(SampleKey { quantity, case, server })).to_vec();
        Rows {
            title: "How long a line takes on 1,000 connections, one at a time on each".into(),
            axis: "from when it is sent until its reply is there",
            show: text::time,
            series: ["p50", "p99", "p99.9"].map(str::to_owned).into(),
            rows: rows(times),
        }
    }

    fn connections_chart(&self) -> Curves {
        let cases = CONNECTIONS_GROWING.map(|connections| (connections, Case::Lines { connections, depth: 1 }));
        self.curves("CPU per line, one at a time on each connection", "connections", &cases)
    }

    fn depth_chart(&self) -> Curves {
        let cases = DEPTHS_GROWING.map(|depth| (depth, Case::Lines { connections: CONNECTIONS_OF_DEPTHS, depth }));
        self.curves("CPU per line on 64 connections", "lines at once", &cases)
    }

    fn curves(&self, title: &str, x: &'static str, cases: &[(usize, Case)]) -> Curves {
        let curve = |server: Contestant| {
            let typical = |case| self.samples.typical(SampleKey { quantity: Quantity::Processor, case, server });
            let points = cases.iter().filter_map(|(at, case)| Some((*at, typical(*case)?)));
            (server, points.collect::<Vec<_>>())
        };
        let curves = Contestant::ALL.into_iter().filter(|server| server.is_watched_growing()).map(curve);
        let curves = curves.filter(|(_, points)| !points.is_empty()).collect();
        Curves { title: title.to_owned(), x, show: text::time, curves }
    }
}

fn section(title: &str, words: &str, table: &str) -> String {
    format!("## {title}\n\n{words}{}{table}", if words.is_empty() { "" } else { "\n" })
}

/// Those of which anything was measured.
fn rows<T>(of: impl Fn(Contestant) -> Vec<Option<T>>) -> Vec<(Contestant, Vec<Option<T>>)> {
    let all = Contestant::ALL.into_iter().map(|server| (server, of(server)));
    all.filter(|(_, marks)| marks.iter().any(Option::is_some)).collect()
}

fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes everything");
}
