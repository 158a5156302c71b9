//! Turns what the generator has seen into counts and percentiles. It must not know sockets, nor how
//! a report looks, and does no I/O.

pub(super) mod accounting;
pub(super) mod aggregator;
pub(super) mod clock;
pub(super) mod latency;
pub(super) mod thread_recorder;
