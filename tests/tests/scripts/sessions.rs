//! The protocol as transcripts: each script of `sessions/` against the real binary, in both
//! placements, as a test of its own.

use std::path::Path;
use std::time::Duration;

use greeter_client::run::{Outcome, RunOptions, ServerProcess, run};
use greeter_client::talk::{Script, load_all};
use greeter_tests::PLACEMENTS;
use greeter_tests::process::greeter_server;
use libtest_mimic::{Failed, Trial};

pub(crate) fn trials() -> Vec<Trial> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sessions");
    let scripts: Vec<Script> =
        load_all([folder]).into_iter().map(|script| script.unwrap_or_else(|error| panic!("{error}"))).collect();
    PLACEMENTS.iter().flat_map(|&workers| scripts.iter().cloned().map(move |script| trial(script, workers))).collect()
}

fn trial(script: Script, workers: usize) -> Trial {
    let file = Path::new(script.name()).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Trial::test(format!("{file} (workers: {workers})"), move || {
        let workers = workers.to_string();
        let program = greeter_server().to_string_lossy().into_owned();
        let arguments = ["--listen", "127.0.0.1:0", "--log", "off", "--workers", &workers];
        let command: Vec<String> = std::iter::once(program).chain(arguments.map(str::to_owned)).collect();
        let mut server = ServerProcess::start(&command, Duration::from_secs(20))?;
        match run(&script, &RunOptions::default(), Some(&mut server)) {
            Outcome::Passed => Ok(()),
            Outcome::Skipped(reason) => Err(Failed::from(format!("skipped: {reason}"))),
            Outcome::Failed(failure) => Err(Failed::from(failure.to_string())),
        }
    })
}
