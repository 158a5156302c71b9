//! What these tests have in common.

#[path = "../kit/cuts.rs"]
mod cuts;
#[path = "../kit/puppet.rs"]
mod puppet;
#[path = "../kit/servers.rs"]
mod servers;

pub(crate) use cuts::*;
pub(crate) use puppet::*;
pub(crate) use servers::*;
