//! Tests that look at the clock, or at this process as a whole. Each begins with
//! [`alone`](greeter_tests::alone) where others beside it would show in what it measures, and
//! otherwise with [`beside_others`](greeter_tests::beside_others), as those do that mostly sleep.

/// Clients that send and do not read: what the server does not read either.
mod back_pressure;
/// The benchmark, which measures; but its figures are nobody's business.
mod bench;
/// Replies of many megabytes.
mod big_replies;
/// Clients that come and go by the thousand.
mod churn;
/// Clients that keep the server waiting.
mod dawdling;
/// A stop, and what had arrived by then.
mod drain;
/// A stop that does not wait for everybody.
mod drain_deadline;
/// Replies that take their time.
mod expensive;
/// A responder that fails where it is asked for a reply.
mod failing_responders;
/// A client beside others that ask for much.
mod fairness;
/// Clients that stop sending first.
mod half_close;
/// A responder that does not come back.
mod hung_responders;
/// What the tests of TLS have in common.
mod kit;
/// What clients cost that do nothing.
mod memory;
/// Clients that never read.
mod never_readers;
/// Newcomers that do not say whose they are.
mod newcomers;
/// A client that sends many lines at once.
mod one_client;
/// A server without descriptors.
mod out_of_descriptors;
/// More lines than can be answered.
mod overload;
/// What panics cost in time.
mod panics_cost_little;
/// A server that lets nobody in for a while. A slow machine looks the same.
mod pausing;
/// What the list of connections says, and for how long that has been so.
mod phases;
/// Many lines on their way.
mod pipelining;
/// Answers that come later, from far away.
mod slow_upstream;
/// The smallest buffers there can be.
mod smallest_buffers;
/// A process or a thread that stands still beyond the deadlines.
mod standing_still;
/// Crowds that want to be let in over TLS.
mod tls_crowds;
/// What clients with TLS cost, and what they may make the server hold.
mod tls_memory;
/// Lines that do not end.
mod unfinished_lines;
