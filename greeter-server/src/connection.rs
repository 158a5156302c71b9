//! Turns readiness of sockets into jobs, and answered jobs into bytes in sockets. Must not know
//! which clients are admitted, or what answers.

pub(crate) mod client;
pub(crate) mod lobby;
pub(crate) mod scratch;
pub(crate) mod thread;
pub(crate) mod timers;
pub(crate) mod yielding;
