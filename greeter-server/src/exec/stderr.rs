//! What a program says to people, line by line into the log. Must not take it for answers.

use std::io::{ErrorKind, Read};

use mio::unix::pipe::Receiver;

/// How much of a line is in the log.
const MAX_LINE_BYTES: usize = 512;

/// How many reads there are in a row: a program that never ceases to write is one of many.
const MAX_READS: usize = 16;

/// The stderr of one process.
#[derive(Debug)]
pub(super) struct StderrLines {
    /// None once it has ended.
    pipe: Option<Receiver>,
    process: u32,
    /// The line that has begun, as far as it is shown.
    begun: Vec<u8>,
    last: String,
}

impl StderrLines {
    pub(super) const fn new(pipe: Receiver, process: u32) -> Self {
        Self { pipe: Some(pipe), process, begun: Vec::new(), last: String::new() }
    }

    /// Logs the lines that have come. Returns whether there may be more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> bool {
        for _ in 0..MAX_READS {
            let Some(pipe) = &mut self.pipe else { return false };
            match pipe.read(buffer) {
                Ok(0) => self.pipe = None,
                Ok(bytes) => {
                    self.take(&buffer[..bytes]);
                    if bytes < buffer.len() {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.pipe = None,
            }
        }
        true
    }

    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = MAX_LINE_BYTES - self.begun.len();
            self.begun.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.flush();
            }
        }
    }

    /// Logs a line that has no end.
    pub(super) fn flush(&mut self) {
        let line = String::from_utf8_lossy(&self.begun).trim_end().to_owned();
        self.begun.clear();
        if !line.is_empty() {
            tracing::info!(pid = self.process, line, "A program says something.");
            self.last = line;
        }
    }

    /// Returns the last line, or nothing.
    pub(super) fn last_line(&self) -> &str {
        &self.last
    }
}
