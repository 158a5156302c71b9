//! Turns texts into the lines of a manual page, so that nothing in them can be a macro or an
//! escape. It must not know what they are about.

/// A page while it is written.
pub(super) struct Mdoc {
    name: String,
    text: String,
    /// Whether a text that follows begins a paragraph by itself, as it does behind a heading.
    begins: bool,
}

impl Mdoc {
    pub(super) fn new(date: &str, name: &str, section: u8) -> Self {
        let text = format!(
            ".\\\" Made by a test from --help and docs: GREETER_BLESS=1 cargo test -p greeter-tests --test binary manual\n\
             .Dd {date}\n.Dt {} {section}\n.Os\n",
            name.to_uppercase()
        );
        Self { name: name.to_owned(), text, begins: true }
    }

    pub(super) fn text(self) -> String {
        self.text
    }

    pub(super) fn name(&mut self, name: &str, about: &str) {
        self.section("NAME");
        self.line(&format!(".Nm {name}"));
        self.line(&format!(".Nd {}", prose(about)));
    }

    /// The program's own name.
    pub(super) fn own_name(&mut self) {
        let name = format!(".Nm {}", self.name);
        self.line(&name);
    }

    /// Begins a section; one in which nothing has been said goes on.
    pub(super) fn section(&mut self, heading: &str) {
        if self.text.lines().next_back().is_some_and(|line| line.starts_with(".Sh ")) {
            return;
        }
        self.line(&format!(".Sh {}", argument(&prose(&heading.to_uppercase()))));
        self.begins = true;
    }

    pub(super) fn subsection(&mut self, heading: &str) {
        self.line(&format!(".Ss {}", argument(heading)));
        self.begins = true;
    }

    /// A paragraph of text that has been escaped, a sentence in each line.
    pub(super) fn paragraph(&mut self, text: &str) {
        if !self.begins {
            self.line(".Pp");
        }
        sentences(text).iter().for_each(|sentence| self.text_line(sentence));
        self.begins = false;
    }

    /// What stands as it is.
    pub(super) fn literal(&mut self, lines: &str) {
        self.line(".Bd -literal -offset indent");
        lines.lines().for_each(|line| self.text_line(&code(line)));
        self.line(".Ed");
        self.begins = false;
    }

    /// Begins a list whose items have names, numbers or bullets.
    pub(super) fn list(&mut self, kind: ListKind) {
        self.line(match kind {
            ListKind::Named => ".Bl -tag -width Ds",
            ListKind::Numbered => ".Bl -enum",
            ListKind::Bullets => ".Bl -bullet",
        });
        self.begins = true;
    }

    /// Begins an item; of a list with names, the name has been escaped.
    pub(super) fn item(&mut self, name: Option<&str>) {
        self.line(&name.map_or(".It".to_owned(), |name| format!(".It {}", argument(name))));
        self.begins = true;
    }

    /// Begins an item that is an option: `-D, --define <name>`.
    pub(super) fn option_item(&mut self, words: &str) {
        self.line(&format!(".It {}", usage_words(words)));
        self.begins = true;
    }

    pub(super) fn end_list(&mut self) {
        self.line(".El");
        self.begins = false;
    }

    /// What can be typed: a line for each word or bracket of the usage.
    pub(super) fn usage(&mut self, words: &str) {
        for word in split_usage(words) {
            match word.strip_prefix('[').and_then(|word| word.strip_suffix(']')) {
                Some(inside) => self.line(&format!(".Op {}", usage_words(inside))),
                None => self.line(&format!(".{}", usage_words(word))),
            }
        }
    }

    /// The usage of one command of the program.
    pub(super) fn command_usage(&mut self, command: &str, words: &str) {
        self.line(".Bd -ragged -offset indent");
        self.own_name();
        self.line(&format!(".Cm {command}"));
        self.usage(words);
        self.line(".Ed");
        self.begins = false;
    }

    pub(super) fn see_also(&mut self, pages: &[(&str, u8)]) {
        self.section("SEE ALSO");
        let last = pages.len() - 1;
        for (index, (name, section)) in pages.iter().enumerate() {
            self.line(&format!(".Xr {name} {section}{}", if index < last { " ," } else { "" }));
        }
    }

    fn text_line(&mut self, line: &str) {
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        self.line(&format!("{guard}{line}"));
    }

    fn line(&mut self, line: &str) {
        self.text += line.trim_end();
        self.text.push('\n');
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListKind {
    Named,
    Numbered,
    Bullets,
}

/// Text in which nothing is an escape.
pub(super) fn prose(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\e"),
            c if c.is_ascii() => escaped.push(c),
            c => escaped += &format!("\\[u{:04X}]", u32::from(c)),
        }
    }
    escaped
}

/// The same for what is typed: what looks like a dash, a quote or a tilde is one.
pub(super) fn code(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            c => escaped += &prose(&c.to_string()),
        }
    }
    escaped
}

pub(super) fn bold(code: &str) -> String {
    format!("\\fB{code}\\fR")
}

pub(super) fn italic(text: &str) -> String {
    format!("\\fI{text}\\fR")
}

/// One argument of a macro, which is no macro itself.
fn argument(escaped: &str) -> String {
    format!("\"{}\"", escaped.replace('"', "\\(dq"))
}

/// Cuts behind each full stop that ends a sentence.
fn sentences(text: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    for word in text.split_whitespace() {
        let last = sentences.last_mut().expect("there is one");
        let ends = last.ends_with(['.', '?', ':']) && word.starts_with(|c: char| c.is_ascii_uppercase() || c == '\\');
        if ends {
            sentences.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    sentences
}

/// `[--jobs <n>] <file>` into its brackets and words.
fn split_usage(words: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (index, c) in words.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ' ' if depth == 0 => {
                parts.push(&words[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&words[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// The words of a usage as macros: `-D, --define <name...>` is `Fl D , Fl Fl define Ar name ...`.
fn usage_words(words: &str) -> String {
    let mut macros = Vec::new();
    for word in words.split_whitespace() {
        let (word, comma) = word.strip_suffix(',').map_or((word, ""), |word| (word, " ,"));
        let written = if word == "--" {
            "Fl Fl".to_owned()
        } else if let Some(name) = word.strip_prefix("--") {
            format!("Fl Fl {}", code(name))
        } else if let Some(name) = word.strip_prefix('-') {
            format!("Fl {}", code(name))
        } else {
            let name = word.trim_start_matches('<').trim_end_matches('>');
            let (name, dots) = name.strip_suffix("...").map_or((name, ""), |name| (name, " ..."));
            format!("Ar {}{dots}", code(name))
        };
        macros.push(written + comma);
    }
    macros.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_a_macro_or_an_escape() {
        let mut page = Mdoc::new("today", "nothing", 5);
        page.paragraph(&prose(".Sh is \\fBno\\fR heading. 'Nor is µ one."));
        page.literal(".Ed\n'--no'\n");
        page.item(Some(&bold(&code(">\"a\""))));
        let text = page.text();
        let (_, text) = text.split_once(".Os\n").unwrap();
        assert_eq!(
            text,
            "\\&.Sh is \\efBno\\efR heading. 'Nor is \\[u00B5] one.\n.Bd -literal -offset indent\n\\&.Ed\n\
             \\(aq\\-\\-no\\(aq\n.Ed\n.It \"\\fB>\\(dqa\\(dq\\fR\"\n"
        );
    }

    #[test]
    fn a_usage_is_cut_at_its_brackets() {
        let mut page = Mdoc::new("today", "nothing", 1);
        page.usage("[--jobs <n>] [-D <name=value...>] [--] <file>");
        page.option_item("-D, --define <name=value>");
        let text = page.text();
        let (_, text) = text.split_once(".Os\n").unwrap();
        assert_eq!(
            text,
            ".Op Fl Fl jobs Ar n\n.Op Fl D Ar name=value ...\n.Op Fl Fl\n.Ar file\n.It Fl D , Fl Fl define Ar name=value\n"
        );
    }
}
