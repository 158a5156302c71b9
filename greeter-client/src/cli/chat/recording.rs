//! Where a chat's recording goes: it is kept, in case that it is asked for, until it has a file.

use std::io::{self, Write};

use crate::cli::exit::ExitError;
use crate::cli::recording_file::{RecordingFile, incomplete};

/// How much is kept in case that it is asked for, in bytes.
const MAX_KEPT_BYTES: usize = 16 * 1024 * 1024;

pub(crate) enum ChatRecording {
    /// Everything since the start, and nobody has asked for it yet.
    Kept(Vec<u8>),
    /// There was too much to keep.
    Dropped,
    File(RecordingFile),
    /// The file could not be written to its end, which is why.
    Failed(io::Error),
}

impl ChatRecording {
    /// Moves what is kept into a new file, where the rest will go, too.
    pub(super) fn start(&mut self, name: &str) -> Result<(), String> {
        match self {
            Self::Kept(kept) => {
                let mut recording = RecordingFile::create(name)?;
                *self = match recording.file.write_all(kept) {
                    Ok(()) => Self::File(recording),
                    Err(err) => Self::Failed(incomplete(name, &err)),
                };
                Ok(())
            }
            Self::Dropped => Err("too much has been said to be recorded from its start: begin anew with record".into()),
            Self::File(RecordingFile { name, .. }) => Err(format!("this conversation is being written to {name}")),
            Self::Failed(err) => Err(err.to_string()),
        }
    }

    /// Takes no more, since that has happened to the recording. Says so if somebody wanted it.
    pub(super) fn fail(&mut self, err: &io::Error) -> Option<String> {
        match self {
            Self::Kept(_) | Self::Dropped => *self = Self::Dropped,
            Self::File(RecordingFile { name, .. }) => {
                let failure = incomplete(name, err);
                let message = failure.to_string();
                *self = Self::Failed(failure);
                return Some(message);
            }
            Self::Failed(_) => {}
        }
        None
    }

    /// Whether the file that was asked for has everything.
    pub(super) fn finish(self) -> Result<(), ExitError> {
        match self {
            Self::Failed(err) => Err(ExitError::internal(err.into())),
            Self::Kept(_) | Self::Dropped | Self::File(_) => Ok(()),
        }
    }
}

impl Write for ChatRecording {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Kept(kept) if kept.len() + bytes.len() > MAX_KEPT_BYTES => *self = Self::Dropped,
            Self::Kept(kept) => kept.extend_from_slice(bytes),
            Self::File(recording) => return recording.file.write(bytes),
            Self::Dropped | Self::Failed(_) => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
