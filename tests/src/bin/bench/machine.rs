//! What the figures were measured on, without a name or a path.

use std::fs;
use std::time::SystemTime;

use crate::server::said;

/// Lines for the page.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) processors: usize,
    pub(crate) words: Vec<String>,
}

impl Machine {
    /// This one, now.
    pub(crate) fn this() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let (date, _) = date.split_once('T').expect("a time has a date");
        let mut words = vec![format!("Linux {}, {}", file("/proc/sys/kernel/osrelease"), std::env::consts::ARCH)];
        words.push(format!("{processors} processors, {}", field("/proc/cpuinfo", "model name")));
        let kilobytes: f64 = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
        words.push(format!("{:.1} GiB of memory, loopback, the load on the same machine", kilobytes / 1_048_576.0));
        let versions = [("rustc", "--version"), ("go", "version"), ("redis-server", "--version")];
        words.extend(versions.into_iter().filter_map(|(program, question)| said(program, question).ok()));
        Self { date: date.to_owned(), processors, words }
    }
}

fn file(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "of unknown version".to_owned(), |text| text.trim().to_owned())
}

/// What stands behind the first such name and its colon.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    line.map_or_else(|| "of unknown kind".to_owned(), |value| value.trim().to_owned())
}
