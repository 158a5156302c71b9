//! A server in this process, and clients that nobody hurries: these tests pass in any order and
//! beside each other, whatever the machine does meanwhile. What needs the clock, or the process for
//! itself, is in `timing`.

/// Questions about a server, over HTTP.
mod admin;
/// Lines that are answered together.
mod batches;
/// Which bytes a client reads.
mod byte_for_byte;
/// How many clients are let in, and what is said to the others.
mod connection_limits;
/// What is said to a client that has stopped sending.
mod end_of_input;
/// A responder that fails where it is not asked for a reply.
mod failing_sessions;
/// Clients that the host cuts off.
mod killing;
/// What the tests of TLS have in common.
mod kit;
/// Answers that come later.
mod later;
/// Clients that the server lets go, and how it lets them come.
mod letting_go;
/// Everything at once, by chance, beside a model.
mod model_fleet;
/// Lines of one client that are answered side by side.
mod parallel;
/// Clients behind a proxy.
mod proxied;
/// Lines that the host pushes.
mod push;
/// Much that is sent piece by piece.
mod relay;
/// Options that change while clients are connected.
mod reload;
/// Clients that reset their connections.
mod resets;
/// How much all clients hold together.
mod room_for_buffers;
/// Who has the server stop, and who waits for that.
mod shutdown_trigger;
/// Lines over TLS.
mod tls;
/// How a stream of TLS ends.
mod tls_ends;
/// Certificates and keys in files.
mod tls_files;
/// Clients that use TLS to cost the server time or memory.
mod tls_hostile;
/// TLS that begins where a reply has asked for it.
mod tls_on_request;
/// Who is at the other end of TLS.
mod tls_peers;
/// Sockets that are not TCP, or not the server's own.
mod unix_sockets;
