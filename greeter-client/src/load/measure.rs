//! Turns what the generator has seen into counts and percentiles. It does no I/O, and knows neither sockets nor how a
//! report looks.

pub(super) mod accounting;
pub(super) mod aggregator;
pub(super) mod clock;
pub(super) mod latency;
pub(super) mod thread_recorder;
