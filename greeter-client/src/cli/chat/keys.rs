//! Turns the bytes of a terminal's keyboard into keys. It knows no terminal, and no clock.

/// A key, or several pressed together, called by what it does to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
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
const SEQUENCE_BYTES_MAX: usize = 16;

/// Takes bytes one by one, and gives a key with the last byte of it.
#[derive(Debug, Default)]
pub(super) struct Keys {
    begun: Begun,
}

/// What the bytes so far are the start of.
#[derive(Debug, Default)]
enum Begun {
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

impl Keys {
    pub(super) fn take(&mut self, byte: u8) -> Option<Key> {
        match std::mem::take(&mut self.begun) {
            Begun::Nothing => self.start(byte),
            Begun::Char(mut bytes) => {
                bytes.push(byte);
                self.character(bytes)
            }
            Begun::Escape => match byte {
                b'[' | b'O' => {
                    self.begun = Begun::Sequence(Vec::new());
                    None
                }
                0x1b => {
                    self.begun = Begun::Escape;
                    None
                }
                byte => with_alt(byte),
            },
            Begun::Sequence(mut bytes) => {
                bytes.push(byte);
                if (0x40..=0x7e).contains(&byte) {
                    return sequence(&bytes);
                }
                if bytes.len() < SEQUENCE_BYTES_MAX {
                    self.begun = Begun::Sequence(bytes);
                }
                None
            }
            Begun::Literal => match byte {
                // It would end the line, which can hold none.
                b'\n' => None,
                0..0x80 => Some(Key::Char(char::from(byte))),
                byte => self.character(vec![byte]),
            },
        }
    }

    fn start(&mut self, byte: u8) -> Option<Key> {
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
            b'\r' | b'\n' => Key::Enter,
            b'\t' => Key::Char('\t'),
            0x03 => Key::Interrupt,
            0x04 => Key::EndOrDelete,
            0x08 | 0x7f => Key::Backspace,
            0x0c => Key::ClearScreen,
            0x1a => Key::Suspend,
            A => Key::Home,
            B => Key::Left,
            E => Key::End,
            F => Key::Right,
            K => Key::DeleteToEnd,
            N => Key::Down,
            P => Key::Up,
            U => Key::DeleteToStart,
            W => Key::DeleteWord,
            Y => Key::PutBack,
            V => {
                self.begun = Begun::Literal;
                return None;
            }
            0x1b => {
                self.begun = Begun::Escape;
                return None;
            }
            0..0x20 => return None,
            0x20..0x80 => Key::Char(char::from(byte)),
            byte => return self.character(vec![byte]),
        })
    }

    /// What is no UTF-8 is dropped: a line of text is typed.
    fn character(&mut self, bytes: Vec<u8>) -> Option<Key> {
        match std::str::from_utf8(&bytes) {
            Ok(text) => text.chars().next().map(Key::Char),
            Err(err) if err.error_len().is_none() => {
                self.begun = Begun::Char(bytes);
                None
            }
            Err(_) if bytes.len() > 1 => bytes.last().and_then(|&byte| self.start(byte)),
            Err(_) => None,
        }
    }
}

fn with_alt(byte: u8) -> Option<Key> {
    Some(match byte {
        b'b' => Key::WordLeft,
        b'f' => Key::WordRight,
        b'd' => Key::DeleteNextWord,
        0x08 | 0x7f => Key::DeleteWord,
        _ => return None,
    })
}

/// The key of a sequence, as xterm and those that are like it send it.
fn sequence(bytes: &[u8]) -> Option<Key> {
    Some(match bytes {
        b"A" => Key::Up,
        b"B" => Key::Down,
        b"C" => Key::Right,
        b"D" => Key::Left,
        b"H" | b"1~" | b"7~" => Key::Home,
        b"F" | b"4~" | b"8~" => Key::End,
        b"3~" => Key::Delete,
        // With Ctrl or with Alt.
        b"1;5C" | b"1;3C" => Key::WordRight,
        b"1;5D" | b"1;3D" => Key::WordLeft,
        b"3;5~" | b"3;3~" => Key::DeleteNextWord,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], keys: &[Key]) {
        let mut decoder = Keys::default();
        let pressed: Vec<Key> = bytes.iter().filter_map(|&byte| decoder.take(byte)).collect();
        assert_eq!(pressed, keys);
    }

    #[test]
    fn characters_are_taken_whole() {
        check("aé李🎉\t".as_bytes(), &['a', 'é', '李', '🎉', '\t'].map(Key::Char));
    }

    #[test]
    fn what_is_no_utf8_is_dropped() {
        check(b"a\xffb\xe6\x9dc\xc3\r", &[Key::Char('a'), Key::Char('b'), Key::Char('c'), Key::Enter]);
    }

    #[test]
    fn sequences_are_keys_and_unknown_ones_are_nothing() {
        check(b"\x1b[A\x1bOB\x1b[3~\x1b[1;5D\x1b[200~\x1b[?6c", &[Key::Up, Key::Down, Key::Delete, Key::WordLeft]);
        check(b"\x1bb\x1b\x1bf\x1bx!", &[Key::WordLeft, Key::WordRight, Key::Char('!')]);
        let endless = [b"\x1b[", &b"1".repeat(SEQUENCE_BYTES_MAX)[..], b"a"].concat();
        check(&endless, &[Key::Char('a')]);
    }

    #[test]
    fn behind_control_v_a_control_character_is_itself() {
        check(b"\x16\x1b\x16\x03\x16\n\x03", &[Key::Char('\x1b'), Key::Char('\x03'), Key::Interrupt]);
    }
}
