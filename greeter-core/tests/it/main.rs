//! Checks greeter-core from outside: a connection, its responder and what goes over the wire,
//! without sockets and without waiting.

/// A driver with no socket and no clock, which the others use.
mod kit;

/// One property that holds for any schedule.
mod any_schedule;
/// What the compiler says of code that cannot be right.
mod compiler_messages;
/// Bytes that are counted, and not cut into lines.
mod counted_bytes;
/// What depends on the time, which the test owns.
mod deadlines;
/// The end of the input, and what a responder says then.
mod end_of_input;
/// How connections end, and what is counted then.
mod endings;
/// Answers that come later.
mod later;
/// How lines end, in both directions, and telnet.
mod line_endings;
/// How much memory a connection reports.
mod memory;
/// Lines of one client that are answered side by side.
mod parallel;
/// What a client receives, byte for byte.
mod protocol;
/// Headers of the PROXY protocol.
mod proxy_header;
/// Pushes: lines that the client has not asked for.
mod pushes;
/// Who is told of what was pushed, and the end that is pushed.
mod receipts;
/// What a responder may do, and what its errors cost.
mod responders;
/// TLS that begins behind a reply.
mod start_tls;
/// Budgets, back-pressure, and one job for each connection.
mod turns;
