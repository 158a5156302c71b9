//! What the tests of greeter and its measurements have in common.

#![forbid(unsafe_code)]

pub mod books;
pub mod client;
pub mod directory;
pub mod fleet;
pub mod manual;
pub mod probe;
pub mod process;
pub mod puppet;
pub mod size;
mod turn;

use std::thread;

use greeter_server::{Builder, Greeter, Responder, Server, ServerHandle};

pub use turn::{alone, beside_others};

/// Both answers to where jobs are answered, by the number of workers.
pub const PLACEMENTS: [usize; 2] = [0, 2];

/// Has a test run in both placements: at the same time, for one that mostly waits; at full size,
/// where it is measured, one after the other.
pub fn in_both_placements(test: impl Fn(usize) + Sync) {
    if size::is_full() {
        return PLACEMENTS.into_iter().for_each(test);
    }
    thread::scope(|scope| {
        for workers in PLACEMENTS {
            let test = &test;
            scope.spawn(move || test(workers));
        }
    });
}

/// A greeting server in this process, on a free port.
pub fn greeter(workers: usize) -> ServerHandle {
    spawn(answered_by(workers))
}

/// Any server in this process, on a free port.
///
/// # Panics
///
/// When it cannot be had.
pub fn spawn<R: Responder>(builder: Builder<R>) -> ServerHandle {
    // As many tests run beside each other as there are processors, each with its sockets in this
    // process.
    raise_descriptor_limit();
    let server = builder.bind("127.0.0.1:0").expect("loopback has a free port");
    server.spawn().expect("threads can be had")
}

/// A builder for a greeting server with so many workers, or with none.
pub fn answered_by(workers: usize) -> Builder<Greeter> {
    match workers {
        0 => builder().in_place(),
        workers => builder().workers(workers),
    }
}

/// A builder for a greeting server.
pub fn builder() -> Builder<Greeter> {
    Server::builder()
}

/// Makes room for tests that open many sockets.
///
/// # Panics
///
/// When the limit cannot be raised to what the system allows.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("a soft limit may be raised");
}

/// Whether a program is not there; then whoever needs it says so and is done. In CI, where it was
/// installed, that is an error.
///
/// # Panics
///
/// When it is missing and the environment says `CI=true`.
pub fn missing_program(program: &str, package: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    missing(!std::env::split_paths(&path).any(|folder| folder.join(program).is_file()), program, package)
}

/// The same of something that is no program in the `PATH`, if it is missing.
///
/// # Panics
///
/// When it is missing and the environment says `CI=true`.
pub fn missing(is_missing: bool, program: &str, package: &str) -> bool {
    if is_missing {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} is missing: install {package}");
        size::tell(&format!("SKIPPED, since {program} is missing: install the Debian package {package}"));
    }
    is_missing
}

/// The Rust in the documents, as documentation tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../greeter-core/README.md")]
    struct CoreReadme;
    #[doc = include_str!("../../greeter-server/README.md")]
    struct ServerReadme;
    #[doc = include_str!("../../greeter-client/README.md")]
    struct ClientReadme;
    #[doc = include_str!("../../greeter-client/args/README.md")]
    struct ArgsReadme;
    #[doc = include_str!("../../docs/server.md")]
    struct Server;
    #[doc = include_str!("../../docs/programs.md")]
    struct Programs;
    #[doc = include_str!("../../docs/responders.md")]
    struct Responders;
    #[doc = include_str!("../../docs/client.md")]
    struct Client;
    #[doc = include_str!("../../docs/protocol.md")]
    struct Protocol;
    #[doc = include_str!("../../docs/architecture.md")]
    struct Architecture;
    #[doc = include_str!("../../docs/talk.md")]
    struct Talk;
}
