//! Turns what a server counts into the text format of Prometheus.

use std::time::SystemTime;

use greeter_core::CloseReason;
use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

#[cfg(feature = "exec")]
#[cfg(unix)]
use crate::exec::{ExecStats, PerClientStats, TaggedStats};
use crate::info::WorkerInfo;
use crate::job_times::{self, JobTimes};
use crate::limits::Limits;
use crate::monitor::Monitor;
use crate::stats::{CountsByReason, Stats};

/// The type of the text, without which Prometheus 3 does not read it.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns all metrics. They are read at this moment, and nothing is counted for them alone.
pub(super) fn metrics(monitor: &Monitor) -> String {
    let mut families = vec![
        build_info(),
        gauge(
            "start_time_seconds",
            "When the server started, in seconds of Unix time.",
            seconds_of(monitor.control.started),
        ),
    ];
    let stats = monitor.control.stats();
    families.extend(clients(&stats));
    families.extend(lines(&stats));
    families.extend(limits(&stats, monitor));
    families.extend(workers(&monitor.workers()));
    families.extend(times(&monitor.control.job_times()));
    families.push(gauge(
        "ready",
        "Whether new clients are wanted, 1 or 0.",
        u8::from(monitor.control.is_ready()).into(),
    ));
    // It refuses only a family without a metric, and there is none.
    TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}

/// Returns the metrics of a program that answers, for [`server_with`](crate::admin::server_with).
#[cfg(feature = "exec")]
#[cfg(unix)]
#[must_use]
pub fn exec_metrics(stats: &ExecStats) -> String {
    let ExecStats { running, waiting, answered, started, failed_starts, late, strays, ended } = *stats;
    let failures = failures(
        "Processes that were ended since they were late or said more than they were asked, that have ended by \
         themselves, or that could not be started.",
        [("late", late), ("stray", strays), ("ended", ended), ("not_started", failed_starts)],
    );
    let waiting = gauge("exec_lines_waiting", "Lines that wait for a process.", float(waiting));
    of_program(running, started, [lines_answered(answered), waiting, failures])
}

/// Returns the metrics of a program that answers many clients at once, for
/// [`server_with`](crate::admin::server_with). What [`exec_metrics`] has as well has the same name
/// there.
#[cfg(feature = "exec")]
#[cfg(unix)]
#[must_use]
pub fn tagged_metrics(stats: &TaggedStats) -> String {
    let TaggedStats { running, clients, waiting, answered, pushed, started, failed_starts, late, confused, ended } =
        *stats;
    let failures = failures(
        "Lines that were not answered in time, and processes that were ended since they broke the rule, that have \
         ended by themselves, or that could not be started.",
        [("late", late), ("confused", confused), ("ended", ended), ("not_started", failed_starts)],
    );
    let more = [
        lines_answered(answered),
        gauge("exec_clients", "Clients that a process of the program has.", float(clients)),
        gauge("exec_lines_in_progress", "Lines that the program was given and has not answered.", float(waiting)),
        counter("exec_lines_pushed_total", "Lines that the program has pushed.", pushed),
        failures,
    ];
    of_program(running, started, more)
}

/// Returns the metrics of a program that has a process for each client, for
/// [`server_with`](crate::admin::server_with). What [`exec_metrics`] has as well has the same name
/// there.
#[cfg(feature = "exec")]
#[cfg(unix)]
#[must_use]
pub fn per_client_metrics(stats: &PerClientStats) -> String {
    let PerClientStats { running, max_processes, started, failed_starts, crashed, rejected } = *stats;
    let failures = failures(
        "Processes that were ended by a signal that was not the server's, or could not be started.",
        [("crashed", crashed), ("not_started", failed_starts)],
    );
    let more = [
        gauge("exec_processes_max", "Processes of the program that there may be.", float(max_processes)),
        counter("exec_clients_rejected_total", "Clients that were rejected, since there were as many.", rejected),
        failures,
    ];
    of_program(running, started, more)
}

/// What is told of a program in whichever way it is talked to, and what is told besides.
#[cfg(feature = "exec")]
#[cfg(unix)]
fn of_program(running: u64, started: u64, more: impl IntoIterator<Item = MetricFamily>) -> String {
    let mut families = vec![
        gauge("exec_processes", "Processes of the program that run, those included that are to end.", float(running)),
        counter("exec_starts_total", "Processes of the program that were started.", started),
    ];
    families.extend(more);
    TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}

#[cfg(feature = "exec")]
#[cfg(unix)]
fn lines_answered(answered: u64) -> MetricFamily {
    counter("exec_lines_answered_total", "Lines that the program has answered.", answered)
}

#[cfg(feature = "exec")]
#[cfg(unix)]
fn failures<const N: usize>(help: &str, counts: [(&str, u64); N]) -> MetricFamily {
    let counts = counts.map(|(reason, count)| with_counter(labelled("reason", reason), count));
    family("exec_failures_total", help, MetricType::COUNTER, counts.into())
}

fn build_info() -> MetricFamily {
    let info = labelled("version", env!("CARGO_PKG_VERSION"));
    family("build_info", "The version of greeter-server, always 1.", MetricType::GAUGE, vec![with_gauge(info, 1.0)])
}

fn clients(stats: &Stats) -> impl IntoIterator<Item = MetricFamily> {
    [
        gauge("connections", "Clients that are served now.", float(stats.served)),
        gauge("handshakes", "Of these, clients that owe a PROXY header or a TLS handshake.", float(stats.handshakes)),
        counter(
            "connections_accepted_total",
            "Connections accepted, those that were rejected included.",
            stats.accepted,
        ),
        counter("connections_rejected_total", "Connections rejected at a limit of connections.", stats.rejected),
        by_reason("connections_closed_total", "Connections closed, by reason.", &stats.closed_by),
        counter(
            "silent_visits_total",
            "Clients that left without having sent a byte, as health checks do.",
            stats.silent_visits,
        ),
        counter("accept_errors_total", "Failed calls of accept(2).", stats.accept_errors),
        counter("received_bytes_total", "Bytes received from clients.", stats.bytes_received),
        counter("sent_bytes_total", "Bytes sent to clients.", stats.bytes_sent),
    ]
}

fn lines(stats: &Stats) -> impl IntoIterator<Item = MetricFamily> {
    [
        counter("lines_total", "Complete lines that were answered or discarded.", stats.lines),
        counter("replies_total", "Lines whose replies were handed to the system.", stats.replies),
        by_reason(
            "lines_discarded_total",
            "Lines without a reply, by the reason why their connection closed.",
            &stats.discarded_by,
        ),
        counter(
            "lines_unfinished_total",
            "Lines without an ending at the end of a connection.",
            stats.unfinished_lines,
        ),
        counter("lines_busy_total", "Lines rejected since no worker was free in time.", stats.busy),
        counter("responder_errors_total", "Errors and panics of the responder.", stats.responder_errors),
        counter("pushed_messages_total", "Messages pushed to a client.", stats.pushed),
        counter("late_answers_total", "Answers that came later than anybody waited for them.", stats.late_answers),
        gauge("lines_parked", "Lines that are answered later, and not answered yet.", float(stats.parked)),
    ]
}

/// Each limit, and beside it what it limits, where that is not among the clients.
fn limits(stats: &Stats, monitor: &Monitor) -> Vec<MetricFamily> {
    let config = monitor.config();
    let Limits {
        max_connections,
        max_connections_per_address,
        max_handshakes,
        max_tls_connections,
        max_accept_rate,
        max_line_bytes,
        max_unsent_bytes,
        max_buffer_bytes,
        ..
    } = config.limits;
    let most_memory = config.limits.max_memory_bytes(config.connection_threads, config.workers);
    let size = |name, help, size: usize| gauge(name, help, float(size as u64));
    let mut families = vec![
        size("connections_limit", "Clients that may be served at a time.", max_connections),
        size("handshakes_limit", "Clients that may owe a header or a handshake at a time.", max_handshakes),
        size("tls_connections_limit", "Clients that may speak TLS at a time.", max_tls_connections),
        size("line_limit_bytes", "Longest line.", max_line_bytes),
        size("unsent_limit_bytes", "Replies that may wait for one client.", max_unsent_bytes),
        gauge("buffer_bytes", "Memory that lines and replies occupy.", float(stats.buffer_bytes)),
        size("buffer_limit_bytes", "Memory that lines and replies may occupy.", max_buffer_bytes),
        size("memory_limit_bytes", "Memory that follows from all limits.", most_memory),
    ];
    // A limit that is off is none, rather than any number.
    let per_address = max_connections_per_address.map(|most| {
        size("connections_per_address_limit", "Clients that may be served at a time from one address.", most)
    });
    let accept_rate =
        max_accept_rate.map(|most| size("accept_rate_limit", "Clients that each listener accepts in a second.", most));
    families.extend(per_address.into_iter().chain(accept_rate));
    families
}

fn workers(workers: &[WorkerInfo]) -> Option<MetricFamily> {
    if workers.is_empty() {
        return None;
    }
    let count = |is: fn(&WorkerInfo) -> bool| float(workers.iter().filter(|worker| is(worker)).count() as u64);
    let states = [
        ("idle", count(|worker| matches!(worker, WorkerInfo::Idle))),
        ("busy", count(|worker| matches!(worker, WorkerInfo::Busy { .. }))),
        ("timed_out", count(|worker| matches!(worker, WorkerInfo::TimedOut { .. }))),
    ];
    let metrics = states.map(|(state, count)| with_gauge(labelled("state", state), count));
    Some(family("workers", "Workers, by what they are at.", MetricType::GAUGE, metrics.into()))
}

fn times(times: &JobTimes) -> impl IntoIterator<Item = MetricFamily> {
    [
        histogram("queue_wait_seconds", "Time that jobs waited for a worker.", &times.queue),
        histogram("reply_seconds", "Time of jobs in the responder.", &times.reply),
        histogram(
            "turnaround_seconds",
            "Time from when a job was taken from its connection until its replies were back.",
            &times.turnaround,
        ),
    ]
}

fn counter(name: &str, help: &str, value: u64) -> MetricFamily {
    family(name, help, MetricType::COUNTER, vec![with_counter(Metric::default(), value)])
}

/// Every reason has its counter, so that the first of its kind is a change.
fn by_reason(name: &str, help: &str, counts: &CountsByReason) -> MetricFamily {
    let metrics = CloseReason::ALL.map(|reason| with_counter(labelled("reason", &snake_case(reason)), counts[reason]));
    family(name, help, MetricType::COUNTER, metrics.into())
}

fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    family(name, help, MetricType::GAUGE, vec![with_gauge(Metric::default(), value)])
}

fn histogram(name: &str, help: &str, times: &job_times::Histogram) -> MetricFamily {
    let buckets = times.cumulative().map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound.as_secs_f64());
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(times.count());
    histogram.set_sample_sum(times.sum().as_secs_f64());
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, vec![metric])
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(format!("greeter_{name}"));
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn labelled(name: &str, value: &str) -> Metric {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    Metric::from_label(vec![label])
}

fn with_counter(mut metric: Metric, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(float(value));
    metric.set_counter(counter);
    metric
}

fn with_gauge(mut metric: Metric, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

/// The format has no other numbers. Above 2⁵³, the last bits are lost.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
const fn float(value: u64) -> f64 {
    value as f64
}

fn seconds_of(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Returns the name of a reason as the value of a label: `idle_timeout` of `IdleTimeout`.
fn snake_case(reason: CloseReason) -> String {
    let mut name = String::new();
    for character in format!("{reason:?}").chars() {
        if character.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(character.to_ascii_lowercase());
    }
    name
}
