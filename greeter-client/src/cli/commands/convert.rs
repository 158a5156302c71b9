//! `convert FILE`: prints the draft of a script that says what others have written down.

use std::fs::File;
use std::io::{self, Read, Write};

use anyhow::Context;
use greeter_client::convert::{MAX_TRANSCRIPT_BYTES, convert};
use greeter_client::escape;

use crate::cli::exit::ExitError;
use crate::cli::input::Stdin;

pub(crate) fn run(path: Option<&str>) -> Result<(), ExitError> {
    let (name, text) = match path {
        None => ("stdin", read(Stdin::default())),
        Some(path) => (path, File::open(path).and_then(read)),
    };
    let name = escape::one_line(name.as_bytes());
    let text = text.with_context(|| format!("cannot read {name}")).map_err(ExitError::unreadable)?;
    let draft = convert(&text)
        .map_err(|err| ExitError::unreadable(anyhow::Error::new(err).context(format!("cannot convert {name}"))))?;
    let mut stdout = io::stdout();
    let written = stdout.write_all(draft.script.as_bytes()).and_then(|()| stdout.flush());
    written.or_else(ExitError::unless_reader_gone)?;
    for remark in &draft.remarks {
        let (first, last) = (remark.lines.start(), remark.lines.end());
        let last = if first == last { String::new() } else { format!("-{last}") };
        // Nothing depends on whether this can be printed: the draft has it, too.
        let _ = writeln!(io::stderr(), "{name}:{first}{last}: {remark}");
    }
    match draft.is_whole() {
        true => Ok(()),
        false => Err(ExitError::unmet(anyhow::anyhow!("not all of {name} can be said: what is not is a comment"))),
    }
}

/// One byte more than can be converted says that it is too long.
fn read(input: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    input.take(MAX_TRANSCRIPT_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}
