//! stdin, byte for byte; but a line that a terminal has cut is an error.
//!
//! A terminal that makes lines of what is typed has room for so much of one, drops what follows,
//! and tells nobody. What is left of it is another line than the one that was typed.

use std::io::{self, BufRead, Read};

/// What is told of a line that may have been cut.
pub(super) const CUT: &str = "the terminal gives at most 4095 bytes of a line that is typed, so this one was not sent: give it in \
                              a file, or at a prompt where TERM is not dumb";

/// Reads stdin. After the error that a line was cut, it goes on behind that line.
#[derive(Debug, Default)]
pub(super) struct Stdin {
    /// How much of what was read at once has not been given away.
    left: usize,
    is_cutting: bool,
}

impl Stdin {
    /// Whether the end of a line that was cut is still to come.
    pub(super) const fn is_cutting(&self) -> bool {
        self.is_cutting
    }
}

impl Read for Stdin {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut stdin = io::stdin().lock();
        loop {
            let read = stdin.fill_buf()?;
            let is_cut = self.left == 0 && is_cut(read);
            if is_cut || self.is_cutting && !read.is_empty() {
                self.is_cutting = !read.ends_with(b"\n");
                let length = read.len();
                stdin.consume(length);
                match is_cut {
                    true => return Err(io::Error::new(io::ErrorKind::InvalidData, CUT)),
                    false => continue,
                }
            }
            let count = read.len().min(bytes.len());
            bytes[..count].copy_from_slice(&read[..count]);
            self.left = read.len() - count;
            stdin.consume(count);
            return Ok(count);
        }
    }
}

/// Whether this, which was read at once, fills the room that the terminal has: it gives a line at a
/// time. One byte of the room is for the newline, and the lock's buffer is larger.
#[cfg(target_os = "linux")]
fn is_cut(read: &[u8]) -> bool {
    use rustix::termios::{LocalModes, tcgetattr};

    const ROOM: usize = 4096;
    let makes_lines = || tcgetattr(io::stdin()).is_ok_and(|terminal| terminal.local_modes.contains(LocalModes::ICANON));
    read.strip_suffix(b"\n").unwrap_or(read).len() >= ROOM - 1 && makes_lines()
}

/// How much room terminals have elsewhere is not known here.
#[cfg(not(target_os = "linux"))]
fn is_cut(_read: &[u8]) -> bool {
    false
}
