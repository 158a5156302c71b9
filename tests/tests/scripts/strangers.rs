//! Servers that nobody here wrote: each script of `strangers/` against the real program, as a test
//! of its own.

use std::path::Path;

use greeter_client::run::{Outcome, RunOptions};
use greeter_client::talk::{Script, load_all};
use libtest_mimic::{Failed, Trial};

use crate::server::Stranger;

pub(crate) fn trials() -> Vec<Trial> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("strangers");
    let scripts = load_all([folder]).into_iter().map(|script| script.unwrap_or_else(|error| panic!("{error}")));
    scripts.map(trial).collect()
}

fn trial(script: Script) -> Trial {
    let file = Path::new(script.name()).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Trial::test(file, move || {
        let stranger = Stranger::of(&script).ok_or("nobody is known whom this is for")?;
        if stranger.is_missing() {
            return Ok(());
        }
        match stranger.run(&script, &RunOptions::default())? {
            Outcome::Passed => Ok(()),
            Outcome::Skipped(reason) => Err(Failed::from(format!("skipped: {reason}"))),
            Outcome::Failed(failure) => Err(Failed::from(failure.to_string())),
        }
    })
}
