//! Turns connections that the system has made into clients of a connection thread, or into
//! rejections. Must not know what clients say.

pub(crate) mod acceptor;
pub(crate) mod descriptors;
pub(crate) mod inherited;
pub(crate) mod listener;
pub(crate) mod rejected;
#[cfg(unix)]
pub(crate) mod unix;
