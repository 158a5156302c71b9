//! The line that tells a person who waits how many scripts have ended, and which one is being
//! waited for.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use greeter_client::escape::one_line;

/// How often the line changes while nothing else happens.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// Back to the start of the line, which is empty then.
const ERASE: &str = "\r\x1b[K";

/// What does not fit into the terminal's width is cut off by it, not broken.
const WITHOUT_WRAP: (&str, &str) = ("\x1b[?7l", "\x1b[?7h");

/// A line on stderr, if that is a terminal. Whoever prints erases it before.
pub(crate) struct RunProgress {
    is_shown: bool,
    scripts: usize,
    ended: usize,
    failed: usize,
    /// Since when, and what it is called, by its number.
    running: BTreeMap<usize, (Instant, String)>,
}

impl RunProgress {
    pub(crate) fn new(scripts: usize) -> Self {
        Self { is_shown: io::stderr().is_terminal(), scripts, ended: 0, failed: 0, running: BTreeMap::new() }
    }

    pub(crate) fn start(&mut self, number: usize, name: &str) {
        self.running.insert(number, (Instant::now(), name.to_owned()));
    }

    pub(crate) fn end(&mut self, number: usize, failed: bool) {
        self.running.remove(&number);
        self.ended += 1;
        self.failed += usize::from(failed);
    }

    /// Shows how things stand, in the place of what was shown before.
    pub(crate) fn show(&self) {
        if !self.is_shown || self.ended == self.scripts {
            return;
        }
        let mut line = format!("{} of {} scripts", self.ended, self.scripts);
        if self.failed > 0 {
            line += &format!(", {} failed", self.failed);
        }
        // The one that has been running longest is the one that is waited for.
        if let Some((since, name)) = self.running.values().min_by_key(|(since, _)| *since) {
            line += &format!(": {}", one_line(name.as_bytes()));
            let seconds = since.elapsed().as_secs();
            if seconds > 0 {
                line += &format!("  ({seconds} s)");
            }
        }
        let (before, behind) = WITHOUT_WRAP;
        let _ = write!(io::stderr(), "{ERASE}{before}{line}{behind}");
    }

    pub(crate) fn erase(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "{ERASE}");
        }
    }
}
