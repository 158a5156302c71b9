//! What a line that was typed at the prompt is: text for the server, or a command.

/// What `:help` says.
pub(super) const HELP: &str = "\
What you type is sent line by line; these are commands:
  :eof          say that no more will be sent, and see what is still owed (Ctrl-D)
  :reset        break the connection off with a reset
  :record FILE  write this conversation down, from its start, as a script that can be run
  :quit         leave without waiting for the server (Ctrl-C)
  ::text        send the line :text";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum TypedLine<'a> {
    /// To be sent.
    Line(&'a [u8]),
    Command(PromptCommand<'a>),
    /// What is wrong with it.
    Mistake(String),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum PromptCommand<'a> {
    Eof,
    Reset,
    Record(&'a str),
    Help,
    Quit,
}

impl<'a> TypedLine<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Self {
        let text = match line {
            [b':', rest @ ..] if rest.starts_with(b":") => return Self::Line(rest),
            [b':', rest @ ..] => rest,
            line => return Self::Line(line),
        };
        let Ok(text) = std::str::from_utf8(text) else {
            return Self::Mistake("a command is UTF-8; to send a line that begins with a colon, write two".to_owned());
        };
        let (name, argument) = text.split_once(' ').unwrap_or((text, ""));
        match (name, argument.trim()) {
            ("eof", "") => Self::Command(PromptCommand::Eof),
            ("reset", "") => Self::Command(PromptCommand::Reset),
            ("help", "") => Self::Command(PromptCommand::Help),
            ("quit", "") => Self::Command(PromptCommand::Quit),
            ("record", "") => Self::Mistake("write a file's name behind it, as in :record hello.talk".to_owned()),
            ("record", file) => Self::Command(PromptCommand::Record(file)),
            _ => {
                let text = greeter_client::escape::one_line(text.as_bytes());
                Self::Mistake(format!(":{text} is no command (see :help); to send it, write ::{text}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_a_colon_is_a_command() {
        for (line, command) in [
            (":eof", PromptCommand::Eof),
            (":reset ", PromptCommand::Reset),
            (":help", PromptCommand::Help),
            (":quit", PromptCommand::Quit),
            (":record a b.talk ", PromptCommand::Record("a b.talk")),
        ] {
            assert_eq!(TypedLine::parse(line.as_bytes()), TypedLine::Command(command));
        }
    }

    #[test]
    fn everything_else_is_sent() {
        for line in ["", "Bob", " :quit", "a:"] {
            assert_eq!(TypedLine::parse(line.as_bytes()), TypedLine::Line(line.as_bytes()));
        }
        assert_eq!(TypedLine::parse(b"\xff"), TypedLine::Line(b"\xff"));
        assert_eq!(TypedLine::parse(b"::quit"), TypedLine::Line(b":quit"));
        assert_eq!(TypedLine::parse(b":::"), TypedLine::Line(b"::"));
    }

    #[test]
    fn a_mistake_says_what_to_do() {
        for line in [&b":"[..], b":quti", b":quit now", b":record", b":\xff", b":eof\x1b[2J"] {
            let TypedLine::Mistake(message) = TypedLine::parse(line) else { panic!("{}", line.escape_ascii()) };
            assert!(message.contains("write") && !message.contains('\x1b'), "{message}");
        }
    }
}
