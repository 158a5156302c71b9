//! Turns jobs into answered jobs, on the threads that answer. Must not know sockets.

pub(crate) mod executor;
pub(crate) mod watchdog;
pub(crate) mod worker;
pub(crate) mod worker_registry;
