//! Scripts: each is a test of its own, in the group that has its file's name. One group:
//! `cargo test -p greeter-tests --test scripts sessions`.

/// Whether a script would notice if what it expects did not come.
mod every_expectation_matters;
/// Loads of servers that nobody here wrote.
mod loads;
/// Programs that nobody here wrote, which other groups use.
mod server;
/// Scripts for our server.
mod sessions;
/// Scripts for servers that nobody here wrote.
mod strangers;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let groups = [
        ("sessions", sessions::trials()),
        ("strangers", strangers::trials()),
        ("loads", loads::trials()),
        ("every_expectation_matters", every_expectation_matters::trials()),
    ];
    let trials = groups.into_iter().flat_map(|(group, trials)| {
        assert!(!trials.is_empty(), "there are no {group}");
        trials.into_iter().map(move |trial: Trial| trial.with_kind(group))
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
