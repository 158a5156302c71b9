//! The lines that were typed before, in this conversation and in others. What cannot be read or
//! kept is no error: it is a convenience.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use greeter_client::talk::Secrets;

/// How many lines are remembered: more than anybody goes back through.
const MAX_LINES: usize = 1000;
/// How much of the file is read, and how large it may get before it is shortened, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct History {
    lines: Vec<String>,
    /// Which of `lines` is being looked at; none: the line that is being typed.
    at: Option<usize>,
    /// That line, while another is being looked at.
    draft: String,
    file: Option<File>,
    secrets: Secrets,
}

impl History {
    /// What was typed in other conversations, and what is typed from now on is added to it, unless
    /// it holds a secret.
    pub(super) fn load(secrets: Secrets) -> Self {
        let history = path().and_then(|path| Self::open(&path).ok()).unwrap_or_default();
        Self { secrets, ..history }
    }

    fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            private_folder().create(folder)?;
        }
        let mut file = private_file().read(true).create(true).open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MAX_FILE_BYTES)))?;
        let mut text = Vec::new();
        (&file).take(MAX_FILE_BYTES).read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        let lines = lines[lines.len().saturating_sub(MAX_LINES)..].iter().map(|&line| line.to_owned()).collect();
        let history = Self { lines, file: Some(file), ..Self::default() };
        if length > MAX_FILE_BYTES { history.shorten(path) } else { Ok(history) }
    }

    /// Keeps only the lines that are remembered. Who writes to the old file at the same time loses
    /// a line or two.
    fn shorten(mut self, path: &Path) -> io::Result<Self> {
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = private_file().create_new(true).open(&temporary)?;
        let written = file.write_all((self.lines.join("\n") + "\n").as_bytes());
        if let Err(err) = written.and_then(|()| fs::rename(&temporary, path)) {
            let _ = fs::remove_file(&temporary);
            return Err(err);
        }
        self.file = Some(file);
        Ok(self)
    }

    /// A line that starts with a blank is not kept, nor one that is typed again, nor one with a
    /// secret.
    pub(super) fn add(&mut self, line: &str) {
        self.at = None;
        self.draft.clear();
        let is_private = line.starts_with(' ') || self.secrets.are_in(line.as_bytes());
        if line.is_empty() || is_private || self.lines.last().is_some_and(|last| last == line) {
            return;
        }
        self.lines.push(line.to_owned());
        if self.file.as_mut().is_some_and(|file| file.write_all(format!("{line}\n").as_bytes()).is_err()) {
            self.file = None;
        }
    }

    /// The line before the one that is shown, which is `current`.
    pub(super) fn older(&mut self, current: &str) -> Option<String> {
        let at = self.at.unwrap_or(self.lines.len()).checked_sub(1)?;
        if self.at.is_none() {
            current.clone_into(&mut self.draft);
        }
        self.at = Some(at);
        self.lines.get(at).cloned()
    }

    /// The line behind the one that is shown; behind the last one, the line that was being typed.
    pub(super) fn newer(&mut self, _current: &str) -> Option<String> {
        let at = self.at? + 1;
        self.at = (at < self.lines.len()).then_some(at);
        Some(self.at.map_or_else(|| std::mem::take(&mut self.draft), |at| self.lines[at].clone()))
    }
}

/// Nobody else can read it, since lines may be passwords.
fn private_file() -> OpenOptions {
    let mut options = File::options();
    options.append(true);
    #[cfg(unix)]
    options.mode(0o600);
    options
}

fn private_folder() -> DirBuilder {
    let mut folder = DirBuilder::new();
    folder.recursive(true);
    #[cfg(unix)]
    folder.mode(0o700);
    folder
}

/// Where programs keep what they do not lose, and nobody misses: the XDG base directory
/// specification.
fn path() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/state")))?;
    state.is_absolute().then(|| state.join(env!("CARGO_PKG_NAME")).join("history"))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn path(name: &str) -> PathBuf {
        env::temp_dir().join(format!("greeter-history-{}-{name}", std::process::id())).join("deep/history")
    }

    #[test]
    fn what_was_typed_comes_back_in_another_conversation() {
        let path = path("kept");
        let mut first = History::open(&path).unwrap();
        let mut second = History::open(&path).unwrap();
        first.add("one");
        second.add("two");
        second.add("two");
        second.add(" secret");
        first.add("");
        first.add("ümläut\u{1b}");
        let mut third = History::open(&path).unwrap();
        assert_eq!(third.lines, ["one", "two", "ümläut\u{1b}"]);
        assert_eq!(third.older("draft").as_deref(), Some("ümläut\u{1b}"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::remove_dir_all(path.ancestors().nth(2).unwrap()).unwrap();
    }

    #[test]
    fn a_line_with_a_secret_is_not_kept() {
        let path = path("secret");
        let mut history = History::open(&path).unwrap();
        history.secrets.add(b"hunter2");
        history.add("PASS hunter2");
        history.add("AUTH PLAIN AGFubgBodW50ZXIy");
        history.add("QUIT");
        assert_eq!((&*history.lines, &*fs::read_to_string(&path).unwrap()), (&["QUIT".to_owned()][..], "QUIT\n"));
        fs::remove_dir_all(path.ancestors().nth(2).unwrap()).unwrap();
    }

    #[test]
    fn a_long_file_is_shortened() {
        let path = path("long");
        drop(History::open(&path).unwrap());
        fs::write(&path, format!("{}\n", "x".repeat(99)).repeat(11_000) + "last\n").unwrap();
        let mut history = History::open(&path).unwrap();
        history.add("new");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), MAX_LINES + 1);
        assert!(text.ends_with("x\nlast\nnew\n"));
        fs::remove_dir_all(path.ancestors().nth(2).unwrap()).unwrap();
    }
}
