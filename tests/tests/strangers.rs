//! Servers that nobody here wrote: each script of `strangers/` against the real program, as a test of its own.

#[path = "strangers/server.rs"]
mod server;

use std::path::Path;
use std::process::ExitCode;

use greeter_client::run::{Outcome, RunOptions};
use greeter_client::talk::{Script, load_all};
use greeter_tests::missing_program;
use libtest_mimic::{Arguments, Failed, Trial};
use server::Stranger;

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("strangers");
    let scripts = load_all([folder]).into_iter().map(|script| script.unwrap_or_else(|error| panic!("{error}")));
    let trials: Vec<Trial> = scripts.map(trial).collect();
    assert!(!trials.is_empty(), "there are no strangers");
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(script: Script) -> Trial {
    let file = Path::new(script.name()).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Trial::test(file, move || {
        let stranger = Stranger::of(&script).ok_or("nobody is known whom this is for")?;
        if missing_program(&stranger.path(), stranger.package) {
            return Ok(());
        }
        match stranger.run(&script, &RunOptions::default())? {
            Outcome::Passed => Ok(()),
            Outcome::Skipped(reason) => Err(Failed::from(format!("skipped: {reason}"))),
            Outcome::Failed(failure) => Err(Failed::from(failure.to_string())),
        }
    })
}
