//! Turns readiness of sockets into jobs, and answered jobs into bytes in sockets. Must not know who
//! may come in, or who answers.

pub(crate) mod client;
pub(crate) mod scratch;
pub(crate) mod thread;
pub(crate) mod timers;
pub(crate) mod yielding;
