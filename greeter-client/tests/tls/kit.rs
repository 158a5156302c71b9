//! What these tests have in common.

#[expect(dead_code, reason = "these tests need some of it")]
#[path = "../kit/command.rs"]
mod command;
#[expect(dead_code, reason = "these tests need some of it")]
#[path = "../kit/servers.rs"]
mod servers;
#[path = "../kit/tls.rs"]
mod tls;

pub(crate) use command::*;
pub(crate) use servers::*;
pub(crate) use tls::*;
