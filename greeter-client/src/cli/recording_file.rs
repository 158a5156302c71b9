//! The file that a conversation is recorded to.

use std::fs::{self, File};
use std::io;

use greeter_client::escape;

/// The file of a recording.
pub(crate) struct RecordingFile {
    pub(crate) name: String,
    pub(crate) file: File,
}

impl RecordingFile {
    /// Creates the file: a recording never takes the place of something else.
    pub(crate) fn create(name: &str) -> Result<Self, String> {
        match File::create_new(name) {
            Ok(file) => Ok(Self { name: name.to_owned(), file }),
            Err(err) => {
                let why = match err.kind() {
                    io::ErrorKind::AlreadyExists => "it exists already: remove it, or take another name".to_owned(),
                    _ => err.to_string(),
                };
                Err(format!("cannot record to {}: {why}", escape::one_line(name.as_bytes())))
            }
        }
    }

    /// Removes the file, since there is nothing to record.
    pub(crate) fn discard(&self) {
        let _ = fs::remove_file(&self.name);
    }
}

/// Says that a recording could not be written to its end.
pub(crate) fn incomplete(name: &str, err: &io::Error) -> io::Error {
    let name = escape::one_line(name.as_bytes());
    io::Error::new(err.kind(), format!("the recording is not complete: cannot write {name}: {err}"))
}
