//! Programs that answer, each in processes of its own.

#![cfg(unix)]

/// How processes end, and what they leave behind.
mod ends;
/// Programs that others may copy.
mod examples;
/// Programs, as they are started here.
mod kit;
/// Programs that have a process for each client.
mod per_client;
/// One line for each, and nothing else.
mod rule;
/// Programs that others wrote.
mod squid;
/// Programs that are no good from the start, and those that come instead of others.
mod starts;
/// Programs that answer many clients at once.
mod tagged;
/// Everything that a process can do wrong.
mod torture;
