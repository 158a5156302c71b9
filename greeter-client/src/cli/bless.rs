//! `run --bless`: changes the files whose scripts were blessed.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;

use greeter_args::Exit;
use greeter_client::escape::one_line;
use greeter_client::talk::{Edits, Source};

use super::file::replace;
use super::options::NAME;
use super::{Failure, color};

/// Where machines run the tests, an expectation that is changed to what came proves nothing.
pub(super) fn check(force: bool) -> Result<(), Exit> {
    match env::var("CI") {
        Ok(ci) if ci == "true" && !force => Err(Exit::usage(
            NAME,
            "--bless changes what is expected, which is not for CI (CI=true); --bless --force does",
        )),
        _ => Ok(()),
    }
}

/// What is to be changed in the files. A Markdown file may have several scripts.
#[derive(Default)]
pub(super) struct Blessed<'a>(BTreeMap<PathBuf, (&'a Source, Edits)>);

impl<'a> Blessed<'a> {
    pub(super) fn add(&mut self, source: &'a Source, edits: Edits) {
        if let Some(path) = source.path().filter(|_| !edits.is_empty()) {
            self.0.entry(path.to_owned()).or_insert_with(|| (source, Edits::default())).1.merge(edits);
        }
    }

    /// Changes the files, and tells what is different. One that fails does not keep the others from being changed.
    pub(super) fn write(&self) -> Result<(), Failure> {
        let mut failed = 0;
        for (path, (source, edits)) in &self.0 {
            let name = one_line(path.as_os_str().as_encoded_bytes()).to_string();
            let (removed, added) = edits.counts();
            let text = match fs::read(path)
                .and_then(|text| unchanged(&text, source))
                .and_then(|()| replace(path, &edits.apply(source)))
            {
                Ok(()) => format!("blessed {name}: -{removed} +{added}\n{}", edits.diff(source)),
                Err(err) => {
                    failed += 1;
                    format!("error: cannot bless {name}: {err}\n")
                }
            };
            color::tell_change(&text);
        }
        match failed {
            0 => Ok(()),
            _ => Err(Failure::unreadable(anyhow::anyhow!("{failed} of {} files left as they are", self.0.len()))),
        }
    }
}

/// Somebody may have edited the file while its scripts were running.
fn unchanged(text: &[u8], source: &Source) -> io::Result<()> {
    if text == source.text() { Ok(()) } else { Err(io::Error::other("it has changed since it was read")) }
}
