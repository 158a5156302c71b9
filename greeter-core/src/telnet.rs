//! Turns the stream of a telnet client into the bytes that it stands for, and bytes into what such
//! a client reads.
//!
//! It enables no option: whatever a client offers or asks for is refused. It must not know lines.

use memchr::memchr;

/// Begins a command; twice, it is the byte 255 as data (RFC 854, "Interpret As Command").
const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
/// Begins a subnegotiation, which may hold any bytes and ends with IAC SE.
const SB: u8 = 250;
const SE: u8 = 240;

const CR: u8 = b'\r';
const NUL: u8 = 0;

/// Where in the stream a client is: what the bytes so far make of the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TelnetState {
    #[default]
    Data,
    /// Behind a CR. A NUL that follows belongs to it (RFC 854, "The NVT printer").
    Cr,
    /// Behind an IAC.
    Command,
    /// Behind an IAC and one of the four words about options, which is kept.
    Option(u8),
    /// In a subnegotiation.
    Subnegotiation,
    /// In a subnegotiation, behind an IAC.
    SubnegotiationCommand,
}

/// What a piece of the stream stands for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) data: Vec<u8>,
    /// What to answer: one refusal for each option that the client has offered or asked for. A
    /// client that stops something, or that accepts a refusal, gets no answer, so that no two peers
    /// answer each other for ever (RFC 1143).
    pub(crate) answers: Vec<u8>,
}

impl TelnetState {
    /// Decodes the next piece of the stream.
    pub(crate) fn decode(&mut self, input: &[u8]) -> Decoded {
        let mut decoded = Decoded::default();
        for &byte in input {
            *self = self.next(byte, &mut decoded);
        }
        decoded
    }

    fn next(self, byte: u8, decoded: &mut Decoded) -> Self {
        match (self, byte) {
            (Self::Cr, NUL) => Self::Data,
            (Self::Data | Self::Cr, IAC) => Self::Command,
            (Self::Data | Self::Cr, byte) => {
                decoded.data.push(byte);
                if byte == CR { Self::Cr } else { Self::Data }
            }
            (Self::Command, IAC) => {
                decoded.data.push(IAC);
                Self::Data
            }
            (Self::Command, SB) => Self::Subnegotiation,
            (Self::Command, WILL | WONT | DO | DONT) => Self::Option(byte),
            // NOP, "are you there", erase, interrupt: nothing here has a use for them.
            (Self::Command, _) => Self::Data,
            (Self::Option(word), option) => {
                match word {
                    DO => decoded.answers.extend([IAC, WONT, option]),
                    WILL => decoded.answers.extend([IAC, DONT, option]),
                    _ => {}
                }
                Self::Data
            }
            (Self::Subnegotiation, IAC) => Self::SubnegotiationCommand,
            (Self::SubnegotiationCommand, SE) => Self::Data,
            (Self::Subnegotiation | Self::SubnegotiationCommand, _) => Self::Subnegotiation,
        }
    }
}

/// Doubles each byte 255 from `start` on, since one alone would be a command to the client.
pub(crate) fn escape(bytes: &mut Vec<u8>, start: usize) {
    if memchr(IAC, &bytes[start..]).is_some() {
        let plain = bytes.split_off(start);
        for byte in plain {
            bytes.push(byte);
            if byte == IAC {
                bytes.push(IAC);
            }
        }
    }
}

/// Returns the bytes with each byte 255 doubled.
pub(crate) fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut escaped = bytes.to_vec();
    escape(&mut escaped, 0);
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes the stream in one piece and cut at every place, and returns what both give.
    #[track_caller]
    fn decode(stream: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let whole = TelnetState::default().decode(stream);
        for cut in 0..=stream.len() {
            let mut state = TelnetState::default();
            let mut pieces = state.decode(&stream[..cut]);
            let rest = state.decode(&stream[cut..]);
            pieces.data.extend(rest.data);
            pieces.answers.extend(rest.answers);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
        (whole.data, whole.answers)
    }

    #[test]
    fn lines_are_data() {
        assert_eq!(decode(b"Bob\r\nAnn\n\0"), (b"Bob\r\nAnn\n\0".to_vec(), vec![]));
    }

    #[test]
    fn a_cr_is_sent_with_a_nul() {
        assert_eq!(decode(b"a\r\0b\r\r\0\0\r\n").0, b"a\rb\r\r\0\r\n");
    }

    #[test]
    fn a_doubled_iac_is_data() {
        assert_eq!(decode(b"\xFF\xFF\n\xFF\xFF\xFF\xFF"), (b"\xFF\n\xFF\xFF".to_vec(), vec![]));
    }

    #[test]
    fn what_is_offered_and_asked_for_is_refused_and_nothing_else_is_answered() {
        let (data, answers) = decode(b"a\xFF\xFD\x01\xFF\xFB\x1F\xFF\xFC\x01\xFF\xFE\x03b\n");
        assert_eq!(data, b"ab\n");
        assert_eq!(answers, b"\xFF\xFC\x01\xFF\xFE\x1F");
    }

    #[test]
    fn an_option_may_have_any_number() {
        assert_eq!(decode(b"\xFF\xFD\xFF\xFF\xFB\n\n"), (b"\n".to_vec(), b"\xFF\xFC\xFF\xFF\xFE\n".to_vec()));
    }

    #[test]
    fn a_subnegotiation_is_thrown_away_whatever_it_holds() {
        assert_eq!(decode(b"a\xFF\xFA\x18\0x\nterm\xFF\xFF\xF0\r\0\xFF\xF0b\n"), (b"ab\n".to_vec(), vec![]));
    }

    #[test]
    fn other_commands_are_thrown_away() {
        assert_eq!(decode(b"a\xFF\xF1\xFF\xF6\xFF\xF4b\n"), (b"ab\n".to_vec(), vec![]));
    }

    #[test]
    fn what_is_sent_is_read_as_it_was_meant() {
        let mut bytes = b"\xFFkept\xFF\xFE".to_vec();
        escape(&mut bytes, 1);
        assert_eq!(bytes, b"\xFFkept\xFF\xFF\xFE");
        for text in [&b""[..], b"plain\n", b"\xFF", b"\xFF\xFF\n\xFF"] {
            let mut sent = text.to_vec();
            escape(&mut sent, 0);
            assert_eq!(decode(&sent), (text.to_vec(), vec![]));
        }
    }
}
