//! Turns the outcomes of scripts into a report: for people, or for programs in a format that they
//! know. It must not know how scripts are run.
//!
//! ```
//! use std::time::Duration;
//! use greeter_client::report::{FinishedScript, ReportFormat, Reporter};
//! use greeter_client::run::Outcome;
//! use greeter_client::talk::Script;
//!
//! let script = Script::parse("hello.talk", "# One name, one greeting.\n> Bob\n< Hello, Bob\n")?;
//! let mut reporter = Reporter::new(ReportFormat::Tap, Vec::new(), 1);
//! let took = Duration::from_millis(6);
//! reporter.add(&FinishedScript { script: &script, outcome: &Outcome::Passed, took, earlier: &[] })?;
//! assert_eq!(reporter.counts().passed, 1);
//! let report = reporter.finish()?;
//! assert!(report.starts_with(b"TAP version 14\n1..1\nok 1 - hello.talk\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each format is a file of functions that turn [`FinishedScript`] scripts into text, and knows
//! nothing of the others. Whatever a server said, and however a file or an address is called, it is
//! harmless in it.

mod failure;
mod json;
mod junit;
mod result;
mod tap;
mod text;

use std::io::{self, Write};
use std::str::FromStr;
use std::time::Instant;

use crate::talk::Script;

pub use result::{FinishedScript, ScriptCounts};

/// The format of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReportFormat {
    /// For people: a line for each script, a report for each that failed, and how many there were.
    #[default]
    Text,
    /// The Test Anything Protocol, version 14, with a YAML block for each script.
    Tap,
    /// `JUnit` XML, as most CI servers read it. It is written at the end, for its head has the
    /// numbers.
    Junit,
    /// JSON Lines: an object in a line for each script, and one at the end.
    Json,
}

impl FromStr for ReportFormat {
    type Err = ReportFormatError;

    fn from_str(text: &str) -> Result<Self, ReportFormatError> {
        match text {
            "text" => Ok(Self::Text),
            "tap" => Ok(Self::Tap),
            "junit" => Ok(Self::Junit),
            "json" => Ok(Self::Json),
            _ => Err(ReportFormatError),
        }
    }
}

/// An error of parsing a [`ReportFormat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write text, tap, junit or json")]
pub struct ReportFormatError;

/// A report that is written while scripts end, in the order in which they are added.
#[derive(Debug)]
pub struct Reporter<W> {
    format: ReportFormat,
    output: W,
    counts: ScriptCounts,
    since: Instant,
    /// What is to be written next; for JUnit, at the end.
    held: String,
    /// For `JUnit`: what was not run stands before what was.
    not_run: String,
}

impl<W: Write> Reporter<W> {
    /// Creates an empty report on so many scripts.
    pub fn new(format: ReportFormat, output: W, scripts: usize) -> Self {
        let held = if format == ReportFormat::Tap { tap::head(scripts) } else { String::new() };
        Self { format, output, counts: ScriptCounts::default(), since: Instant::now(), held, not_run: String::new() }
    }

    /// Adds a script that has ended.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn add(&mut self, ended: &FinishedScript<'_>) -> io::Result<()> {
        self.counts.add(ended);
        self.held += &match self.format {
            ReportFormat::Text => text::script(ended),
            ReportFormat::Tap => tap::script(self.counts.ended(), ended),
            ReportFormat::Json => json::script(ended),
            ReportFormat::Junit => junit::script(ended),
        };
        self.write_held()
    }

    /// Adds a script that was not run, because another one had failed: behind all that have ended.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn add_not_run(&mut self, script: &Script) -> io::Result<()> {
        self.counts.not_run += 1;
        match self.format {
            // Their number says it.
            ReportFormat::Text | ReportFormat::Tap => {}
            ReportFormat::Json => self.held += &json::not_run(script),
            ReportFormat::Junit => self.not_run += &junit::not_run(script),
        }
        self.write_held()
    }

    /// Writes what waits for it, but for `JUnit`, of which the head comes first.
    fn write_held(&mut self) -> io::Result<()> {
        if self.format != ReportFormat::Junit {
            self.output.write_all(std::mem::take(&mut self.held).as_bytes())?;
            self.output.flush()?;
        }
        Ok(())
    }

    /// Returns the counts so far.
    pub fn counts(&self) -> &ScriptCounts {
        &self.counts
    }

    /// Ends the report and returns its output.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        let took = self.since.elapsed();
        let text = match self.format {
            ReportFormat::Text => text::end(&self.counts),
            ReportFormat::Tap => tap::end(&self.counts),
            ReportFormat::Json => json::end(&self.counts, took),
            ReportFormat::Junit => junit::document(&self.counts, took, &self.not_run, &self.held),
        };
        self.output.write_all(text.as_bytes())?;
        self.output.flush()?;
        Ok(self.output)
    }
}
