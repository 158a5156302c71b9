//! What greeter-core promises, asked from outside: a connection, its responder and what goes over
//! the wire, without sockets and without waiting.

/// A driver with no socket and no clock, which the others use.
mod kit;

/// One property that holds whatever happens in whatever order.
mod any_schedule;
/// What the compiler says to code that cannot be right.
mod compiler_messages;
/// What depends on the time, which the test owns.
mod deadlines;
/// How connections end, and what is counted then.
mod endings;
/// What a connection says that it holds.
mod memory;
/// What a client reads, byte for byte.
mod protocol;
/// What a responder may do, and what its failures cost.
mod responders;
/// Who is answered when: slices, back-pressure, one job for each connection.
mod turns;
/// Lines that nobody has asked for.
mod unasked;
