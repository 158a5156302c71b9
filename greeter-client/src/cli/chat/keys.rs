//! Turns the bytes of a terminal's keyboard into keys. It knows no terminal, and no clock.

/// A key, or several pressed together, called by what it does to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyPress {
    Char(char),
    Enter,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-Z.
    Suspend,
    /// Ctrl-D: the end, or the character under the cursor.
    EndOrDelete,
    /// Ctrl-L.
    ClearScreen,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Up,
    Down,
    DeleteToStart,
    DeleteToEnd,
    DeleteWord,
    DeleteNextWord,
    /// Ctrl-Y: puts back what was deleted last.
    PutBack,
}

/// The longest sequence that is looked at, in bytes. No key has one so long.
const MAX_SEQUENCE_BYTES: usize = 16;

/// Takes bytes one by one, and gives a key with the last byte of it.
#[derive(Debug, Default)]
pub(super) struct KeyDecoder {
    begun: PartialKey,
}

/// What the bytes so far are the start of.
#[derive(Debug, Default)]
enum PartialKey {
    #[default]
    Nothing,
    /// A character of several bytes.
    Char(Vec<u8>),
    /// ESC: a key that is pressed together with Alt, or the start of a sequence.
    Escape,
    /// A sequence, without its introduction.
    Sequence(Vec<u8>),
    /// Ctrl-V: the next character is taken as it is.
    Literal,
}

impl KeyDecoder {
    pub(super) fn take(&mut self, byte: u8) -> Option<KeyPress> {
        match std::mem::take(&mut self.begun) {
            PartialKey::Nothing => self.start(byte),
            PartialKey::Char(mut bytes) => {
                bytes.push(byte);
                self.character(bytes)
            }
            PartialKey::Escape => match byte {
                b'[' | b'O' => {
                    self.begun = PartialKey::Sequence(Vec::new());
                    None
                }
                0x1b => {
                    self.begun = PartialKey::Escape;
                    None
                }
                byte => with_alt(byte),
            },
            PartialKey::Sequence(mut bytes) => {
                bytes.push(byte);
                if (0x40..=0x7e).contains(&byte) {
                    return sequence(&bytes);
                }
                if bytes.len() < MAX_SEQUENCE_BYTES {
                    self.begun = PartialKey::Sequence(bytes);
                }
                None
            }
            PartialKey::Literal => match byte {
                // It would end the line, which can hold none.
                b'\n' => None,
                0..0x80 => Some(KeyPress::Char(char::from(byte))),
                byte => self.character(vec![byte]),
            },
        }
    }

    fn start(&mut self, byte: u8) -> Option<KeyPress> {
        const fn control(letter: u8) -> u8 {
            letter & 0x1f
        }
        const A: u8 = control(b'A');
        const B: u8 = control(b'B');
        const E: u8 = control(b'E');
        const F: u8 = control(b'F');
        const K: u8 = control(b'K');
        const N: u8 = control(b'N');
        const P: u8 = control(b'P');
        const U: u8 = control(b'U');
        const V: u8 = control(b'V');
        const W: u8 = control(b'W');
        const Y: u8 = control(b'Y');
        Some(match byte {
            b'\r' | b'\n' => KeyPress::Enter,
            b'\t' => KeyPress::Char('\t'),
            0x03 => KeyPress::Interrupt,
            0x04 => KeyPress::EndOrDelete,
            0x08 | 0x7f => KeyPress::Backspace,
            0x0c => KeyPress::ClearScreen,
            0x1a => KeyPress::Suspend,
            A => KeyPress::Home,
            B => KeyPress::Left,
            E => KeyPress::End,
            F => KeyPress::Right,
            K => KeyPress::DeleteToEnd,
            N => KeyPress::Down,
            P => KeyPress::Up,
            U => KeyPress::DeleteToStart,
            W => KeyPress::DeleteWord,
            Y => KeyPress::PutBack,
            V => {
                self.begun = PartialKey::Literal;
                return None;
            }
            0x1b => {
                self.begun = PartialKey::Escape;
                return None;
            }
            0..0x20 => return None,
            0x20..0x80 => KeyPress::Char(char::from(byte)),
            byte => return self.character(vec![byte]),
        })
    }

    /// What is no UTF-8 is dropped: a line of text is typed.
    fn character(&mut self, bytes: Vec<u8>) -> Option<KeyPress> {
        match std::str::from_utf8(&bytes) {
            Ok(text) => text.chars().next().map(KeyPress::Char),
            Err(err) if err.error_len().is_none() => {
                self.begun = PartialKey::Char(bytes);
                None
            }
            Err(_) if bytes.len() > 1 => bytes.last().and_then(|&byte| self.start(byte)),
            Err(_) => None,
        }
    }
}

fn with_alt(byte: u8) -> Option<KeyPress> {
    Some(match byte {
        b'b' => KeyPress::WordLeft,
        b'f' => KeyPress::WordRight,
        b'd' => KeyPress::DeleteNextWord,
        0x08 | 0x7f => KeyPress::DeleteWord,
        _ => return None,
    })
}

/// The key of a sequence, as xterm and those that are like it send it.
fn sequence(bytes: &[u8]) -> Option<KeyPress> {
    Some(match bytes {
        b"A" => KeyPress::Up,
        b"B" => KeyPress::Down,
        b"C" => KeyPress::Right,
        b"D" => KeyPress::Left,
        b"H" | b"1~" | b"7~" => KeyPress::Home,
        b"F" | b"4~" | b"8~" => KeyPress::End,
        b"3~" => KeyPress::Delete,
        // With Ctrl or with Alt.
        b"1;5C" | b"1;3C" => KeyPress::WordRight,
        b"1;5D" | b"1;3D" => KeyPress::WordLeft,
        b"3;5~" | b"3;3~" => KeyPress::DeleteNextWord,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], keys: &[KeyPress]) {
        let mut decoder = KeyDecoder::default();
        let pressed: Vec<KeyPress> = bytes.iter().filter_map(|&byte| decoder.take(byte)).collect();
        assert_eq!(pressed, keys);
    }

    #[test]
    fn characters_are_taken_whole() {
        check("aé李🎉\t".as_bytes(), &['a', 'é', '李', '🎉', '\t'].map(KeyPress::Char));
    }

    #[test]
    fn what_is_no_utf8_is_dropped() {
        check(
            b"a\xffb\xe6\x9dc\xc3\r",
            &[KeyPress::Char('a'), KeyPress::Char('b'), KeyPress::Char('c'), KeyPress::Enter],
        );
    }

    #[test]
    fn sequences_are_keys_and_unknown_ones_are_nothing() {
        check(
            b"\x1b[A\x1bOB\x1b[3~\x1b[1;5D\x1b[200~\x1b[?6c",
            &[KeyPress::Up, KeyPress::Down, KeyPress::Delete, KeyPress::WordLeft],
        );
        check(b"\x1bb\x1b\x1bf\x1bx!", &[KeyPress::WordLeft, KeyPress::WordRight, KeyPress::Char('!')]);
        let endless = [b"\x1b[", &b"1".repeat(MAX_SEQUENCE_BYTES)[..], b"a"].concat();
        check(&endless, &[KeyPress::Char('a')]);
    }

    #[test]
    fn behind_control_v_a_control_character_is_itself() {
        check(b"\x16\x1b\x16\x03\x16\n\x03", &[KeyPress::Char('\x1b'), KeyPress::Char('\x03'), KeyPress::Interrupt]);
    }
}
