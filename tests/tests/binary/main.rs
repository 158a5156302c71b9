//! What is built here, as whoever installs it has it, and what is written about it. Nothing is
//! measured.

/// What shells complete.
mod completions;
/// What the documents say, as it is typed.
mod documents;
/// What editors make of scripts.
mod editors;
/// What the tests of TLS have in common.
mod kit;
/// What the server logs, whatever its log goes to.
mod log;
/// The manual pages, and that they have all that the programs and documents say.
mod manual;
/// A thousand clients at a time.
mod many_clients;
/// The names of types, and the width of comments.
mod names;
/// What the server asks of the system when clients come: no names.
mod no_names_looked_up;
/// The server's options, and every value that they may not have.
mod options;
/// Programs that answer in the place of the greeter.
mod programs;
/// Settings that are read again while the server runs.
mod reloads;
/// A server that is started again and again, at a socket that somebody else keeps.
mod restarts;
/// The map of the files, and imports that run down it.
mod rooms;
/// What a service manager is told.
mod service_manager;
/// The server's options in a file and in the environment, and how they are checked and printed.
mod settings;
/// Signals to the server.
mod signals;
/// Unix sockets, and sockets that the server is started with.
mod sockets;
/// How the server starts, and what it says then.
mod starting;
/// A start in which a system call fails.
mod starting_in_trouble;
/// The files of the tests themselves, of all packages.
mod test_files;
/// The server's options for TLS, its certificates, and its end.
mod tls;
/// Programs of others that speak TLS.
mod tls_programs;
/// The units for systemd that are shipped.
mod units;
/// What is told to those who watch over the server.
mod watched;
