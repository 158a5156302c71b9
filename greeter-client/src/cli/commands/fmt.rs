//! `fmt PATH…`: brings scripts into the normal form.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use greeter_client::{escape, talk};

use super::check;
use crate::cli::color;
use crate::cli::exit::ExitError;
use crate::cli::file::replace;
use crate::cli::input::Stdin;

/// What stands for stdin, whose normal form goes to stdout.
const STDIN: &str = "-";

/// What became of a file.
enum FileState {
    /// It is in the normal form.
    Normal,
    /// It was, or is, in another one.
    Differs,
    /// It is no script; that has been told.
    Bad,
}

pub(crate) fn run(paths: &[String], check_only: bool) -> Result<(), ExitError> {
    let files = match paths {
        [] => vec![Ok(PathBuf::from(STDIN))],
        paths => talk::find_all(paths),
    };
    let (mut bad, mut differ) = (0, 0);
    for file in &files {
        let outcome = match file {
            Ok(file) if file.as_os_str() == STDIN => format_stdin(check_only)?,
            Ok(file) => format_file(file, check_only),
            Err(err) => {
                check::tell_error(err);
                FileState::Bad
            }
        };
        match outcome {
            FileState::Normal => {}
            FileState::Bad => bad += 1,
            FileState::Differs => {
                differ += 1;
                if let (true, Ok(file)) = (check_only, file) {
                    let _ = writeln!(io::stderr(), "{}: not in the normal form", escape::path(file));
                }
            }
        }
    }
    match (bad, differ) {
        (0, 1..) if check_only => Err(ExitError::unmet(anyhow::Error::msg(format!(
            "{differ} of {} not in the normal form: greeter-client fmt changes that",
            files.len()
        )))),
        (0, _) => Ok(()),
        _ => Err(ExitError::unreadable(anyhow::Error::msg(format!("{bad} of {} left as they are", files.len())))),
    }
}

fn format_stdin(check_only: bool) -> Result<FileState, ExitError> {
    let mut text = Vec::new();
    let input = Stdin::default().take(talk::MAX_SCRIPT_BYTES as u64 + 1).read_to_end(&mut text);
    if let Err(err) = input.and_then(|_| refuse_large(&text)) {
        return Err(ExitError::unreadable(anyhow::Error::new(err).context("cannot read stdin")));
    }
    let Some(normal) = normal_form("stdin", &text) else { return Ok(FileState::Bad) };
    if !check_only {
        let mut stdout = io::stdout();
        let written = stdout.write_all(&normal).and_then(|()| stdout.flush());
        written.or_else(ExitError::unless_reader_gone)?;
    }
    Ok(if normal == text { FileState::Normal } else { FileState::Differs })
}

/// A file that fails is told, and does not keep the others from being formatted.
fn format_file(path: &Path, check_only: bool) -> FileState {
    let name = path.display().to_string();
    let formatted = read(path).context("cannot read").and_then(|text| match normal_form(&name, &text) {
        None => Ok(FileState::Bad),
        Some(normal) if normal == text => Ok(FileState::Normal),
        Some(_) if check_only => Ok(FileState::Differs),
        Some(normal) => replace(path, &normal).context("cannot write").map(|()| FileState::Differs),
    });
    formatted.unwrap_or_else(|err| {
        let text = format!("{name}: {err:#}");
        color::tell_error(escape::one_line(text.as_bytes()));
        FileState::Bad
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(talk::MAX_SCRIPT_BYTES as u64 + 1).read_to_end(&mut text)?;
    refuse_large(&text).map(|()| text)
}

fn refuse_large(text: &[u8]) -> io::Result<()> {
    if text.len() > talk::MAX_SCRIPT_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
}

fn normal_form(name: &str, text: &[u8]) -> Option<Vec<u8>> {
    match talk::format(name, text) {
        Ok(normal) => Some(normal),
        Err(diagnostics) => {
            check::tell(diagnostics.iter());
            None
        }
    }
}
