//! The line ending that a pipe's input has not got.

use crate::net::Eol;

/// Gives each LF the CR that the connection's line ending asks for, unless it has one.
pub(super) struct Endings {
    eol: Eol,
    after_cr: bool,
    wire: Vec<u8>,
}

impl Endings {
    pub(super) fn new(eol: Eol) -> Self {
        Self { eol, after_cr: false, wire: Vec::new() }
    }

    pub(super) fn apply<'a>(&'a mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.eol == Eol::Lf {
            return bytes;
        }
        self.wire.clear();
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            match part {
                [.., b'\r', b'\n'] => self.wire.extend_from_slice(part),
                [b'\n'] if self.after_cr => self.wire.push(b'\n'),
                [line @ .., b'\n'] => {
                    self.wire.extend_from_slice(line);
                    self.wire.extend_from_slice(b"\r\n");
                }
                part => self.wire.extend_from_slice(part),
            }
            self.after_cr = part.ends_with(b"\r");
        }
        &self.wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(eol: Eol, input: &[u8], wire: &[u8]) {
        for cut in 0..=input.len() {
            let mut endings = Endings::new(eol);
            let mut sent = endings.apply(&input[..cut]).to_vec();
            sent.extend_from_slice(endings.apply(&input[cut..]));
            assert_eq!(sent, wire, "cut at {cut}");
        }
    }

    #[test]
    fn lf_leaves_the_input_as_it_is() {
        check(Eol::Lf, b"a\nb\r\n\r\n\n\rc", b"a\nb\r\n\r\n\n\rc");
    }

    #[test]
    fn crlf_gives_an_lf_the_cr_it_lacks() {
        check(Eol::CrLf, b"a\nb\r\n\r\n\n\rc\n\r\r\nd\r", b"a\r\nb\r\n\r\n\r\n\rc\r\n\r\r\nd\r");
    }
}
