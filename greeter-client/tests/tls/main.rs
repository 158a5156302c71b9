//! TLS, as a library and as a command.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// Certificates, and servers that have some.
mod kit;

/// Certificates that are good, and what is said of those that are not.
mod certificates;
/// The commands, over TLS.
mod commands;
/// Loads.
mod load;
/// Programs that others wrote.
mod openssl;
/// TLS on a connection that is open.
mod starttls;
/// Bytes, both ways, and how that ends.
mod streams;
