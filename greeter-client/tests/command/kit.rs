//! What these tests have in common.

#[path = "../kit/command.rs"]
mod command;
#[path = "../kit/crowd.rs"]
mod crowd;
#[path = "../kit/puppet.rs"]
mod puppet;
#[path = "../kit/servers.rs"]
mod servers;
#[cfg(unix)]
#[path = "../kit/terminal.rs"]
pub(crate) mod terminal;

pub(crate) use command::*;
pub(crate) use crowd::*;
pub(crate) use puppet::*;
pub(crate) use servers::*;
