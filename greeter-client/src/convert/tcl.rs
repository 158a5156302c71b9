//! A script of Tcl into commands, as far as it is literal: words with a variable or a command in
//! them have no value here.

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TclCommand {
    /// The lines where it stands, from 1.
    pub(super) first_line: usize,
    pub(super) last_line: usize,
    pub(super) words: Vec<TclWord>,
    /// It begins with a number sign.
    pub(super) is_comment: bool,
}

/// A word of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TclWord {
    /// What it is when it runs; none where that depends on something.
    pub(super) value: Option<Vec<u8>>,
    /// In braces: it may be a piece of a script.
    pub(super) is_braced: bool,
    /// The line where it begins.
    pub(super) line: usize,
}

impl TclCommand {
    /// The values of its words, if all of them have one.
    pub(super) fn values(&self) -> Option<Vec<&[u8]>> {
        self.words.iter().map(|word| word.value.as_deref()).collect()
    }
}

/// The commands of a script that begins at this line.
pub(super) fn commands(text: &[u8], line: usize) -> Vec<TclCommand> {
    let mut reader = Reader { rest: text, line };
    let mut commands = Vec::new();
    while let Some(command) = reader.command() {
        commands.push(command);
    }
    commands
}

struct Reader<'a> {
    rest: &'a [u8],
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    /// Skips blanks, and line ends that a backslash takes back.
    fn skip_blanks(&mut self) {
        loop {
            match self.rest {
                [b' ' | b'\t' | b'\r', ..] => drop(self.next()),
                [b'\\', b'\n', ..] => {
                    self.next();
                    self.next();
                }
                [b'\\', b'\r', b'\n', ..] => {
                    self.next();
                    self.next();
                    self.next();
                }
                _ => return,
            }
        }
    }

    fn command(&mut self) -> Option<TclCommand> {
        loop {
            self.skip_blanks();
            match self.rest.first()? {
                b'\n' | b';' => drop(self.next()),
                _ => break,
            }
        }
        let first_line = self.line;
        if self.rest[0] == b'#' {
            while !matches!(self.rest.first(), None | Some(b'\n')) {
                if self.next() == Some(b'\\') {
                    self.next();
                }
            }
            return Some(TclCommand { first_line, last_line: self.line, words: Vec::new(), is_comment: true });
        }
        let mut words = Vec::new();
        loop {
            self.skip_blanks();
            match self.rest.first() {
                None | Some(b'\n' | b';') => break,
                Some(_) => words.push(self.word()),
            }
        }
        Some(TclCommand { first_line, last_line: self.line, words, is_comment: false })
    }

    fn word(&mut self) -> TclWord {
        let line = self.line;
        let (value, is_braced) = match self.rest[0] {
            b'"' => (self.quoted(), false),
            b'{' => (self.braced(), true),
            _ => (self.bare(), false),
        };
        // Whatever is glued to a closing quote is an error in Tcl.
        let mut is_glued = false;
        while !matches!(self.rest, [] | [b' ' | b'\t' | b'\r' | b'\n' | b';', ..] | [b'\\', b'\n', ..]) {
            is_glued = true;
            self.next();
        }
        TclWord { value: value.filter(|_| !is_glued), is_braced, line }
    }

    fn quoted(&mut self) -> Option<Vec<u8>> {
        self.next();
        let mut value = Some(Vec::new());
        loop {
            match self.rest.first()? {
                b'"' => {
                    self.next();
                    return value;
                }
                _ => self.part(&mut value),
            }
        }
    }

    fn bare(&mut self) -> Option<Vec<u8>> {
        let mut value = Some(Vec::new());
        loop {
            match self.rest {
                [] | [b' ' | b'\t' | b'\r' | b'\n' | b';', ..] | [b'\\', b'\n', ..] => return value,
                _ => self.part(&mut value),
            }
        }
    }

    /// One character, or what stands for one; what depends on something takes the value away.
    fn part(&mut self, value: &mut Option<Vec<u8>>) {
        let bytes = match self.rest {
            [b'$', next, ..] if next.is_ascii_alphanumeric() || b"_{:(".contains(next) => None,
            [b'[', ..] => None,
            [b'\\', ..] => {
                self.next();
                match (self.escape(), value) {
                    (Some(escaped), Some(value)) => value.extend(escaped),
                    (None, value) => *value = None,
                    (Some(_), None) => {}
                }
                return;
            }
            [byte, ..] => Some(*byte),
            [] => return,
        };
        self.next();
        match bytes {
            Some(byte) => {
                if let Some(value) = value {
                    value.push(byte);
                }
            }
            None => *value = None,
        }
    }

    /// What a backslash, which has been read, makes of what follows.
    fn escape(&mut self) -> Option<Vec<u8>> {
        let byte = self.next()?;
        Some(vec![match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'v' => 11,
            b'f' => 12,
            b'0'..=b'7' => {
                let mut number = u32::from(byte - b'0');
                for _ in 0..2 {
                    let [digit @ b'0'..=b'7', ..] = self.rest else { break };
                    number = number * 8 + u32::from(digit - b'0');
                    self.next();
                }
                u8::try_from(number).ok()?
            }
            b'x' => {
                let digits = self.rest.iter().take(2).take_while(|byte| byte.is_ascii_hexdigit()).count();
                let text = std::str::from_utf8(&self.rest[..digits]).ok()?;
                let number = u8::from_str_radix(text, 16).ok()?;
                self.rest = &self.rest[digits..];
                number
            }
            // It depends on an encoding, or is part of a word that goes on in the next line.
            b'u' | b'U' | b'\n' => return None,
            other => other,
        }])
    }

    fn braced(&mut self) -> Option<Vec<u8>> {
        self.next();
        let mut value = Vec::new();
        let mut depth = 1;
        loop {
            let byte = self.next()?;
            match byte {
                b'\\' => {
                    value.push(byte);
                    value.extend(self.next());
                    continue;
                }
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(value);
            }
            value.push(byte);
        }
    }
}
