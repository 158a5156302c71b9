//! Turns the words of a command line into the options of one of greeter's binaries, or into an
//! [`Exit`] that says why there are none.
//!
//! [`argh`] does the parsing; this crate adds what it leaves out, the same for every binary:
//!
//! * `--name=value` means `--name value`;
//! * `--version` and `-V` are known;
//! * help goes to stdout and ends with 0; a usage error goes to stderr, ends with 2, and names what
//!   is at fault;
//! * an argument that is not UTF-8 is a usage error in words;
//! * shells can complete the words of a program ([`completions`]).
//!
//! It never ends the process and prints only when [`Exit::print`] is called.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! /// A server for nobody.
//! #[derive(argh::FromArgs)]
//! #[argh(help_triggers("-h", "--help"))]
//! struct Options {
//!     /// the port to listen on (default: 8080)
//!     #[argh(option, default = "8080")]
//!     port: u16,
//! }
//!
//! fn main() -> ExitCode {
//!     match greeter_args::parse::<Options>("nobody", env!("CARGO_PKG_VERSION")) {
//!         Ok(options) => ExitCode::from(u8::from(options.port == 0)),
//!         Err(exit) => exit.print(),
//!     }
//! }
//! ```

#![forbid(unsafe_code)]

pub mod completions;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use argh::FromArgs;

/// What makes a program show its help. A type that is parsed here should set `help_triggers` to the
/// same two words: argh's own `help` would make a person of that name impossible to greet.
const HELP: [&str; 2] = ["-h", "--help"];
const VERSION: [&str; 2] = ["-V", "--version"];

/// Parses the arguments of this process; `name` and `version` are the program's own.
///
/// # Errors
///
/// An [`Exit`] where the arguments ask for help or for the version, or cannot be understood.
pub fn parse<T: FromArgs>(name: &str, version: &str) -> Result<T, Exit> {
    parse_from(name, version, std::env::args_os().skip(1))
}

/// Parses `arguments`, which do not start with the program's name.
///
/// What follows a call for help or for the version is not read, and after `--` nothing is split or
/// looked at.
///
/// # Errors
///
/// As [`parse`].
///
/// ```
/// /// Repeats itself.
/// #[derive(argh::FromArgs)]
/// struct Options {
///     /// how often
///     #[argh(option)]
///     times: u32,
/// }
///
/// let options: Options = greeter_args::parse_from("repeat", "1.0.0", ["--times=3"])?;
/// assert_eq!(options.times, 3);
///
/// let refused = greeter_args::parse_from::<Options>("repeat", "1.0.0", ["--times=many"]);
/// let exit = refused.err().expect("many is no number");
/// assert_eq!(exit.code(), 2);
/// assert!(exit.text().starts_with("error: cannot parse option '--times' with value 'many'"));
/// # Ok::<(), greeter_args::Exit>(())
/// ```
pub fn parse_from<T: FromArgs>(
    name: &str,
    version: &str,
    arguments: impl IntoIterator<Item = impl Into<OsString>>,
) -> Result<T, Exit> {
    let mut words = Vec::new();
    let mut options_ended = false;
    for argument in arguments {
        let word = argument
            .into()
            .into_string()
            .map_err(|bad| Exit::usage(name, &format!("argument '{}' is not valid UTF-8", bad.to_string_lossy())))?;
        if options_ended {
            words.push(word);
            continue;
        }
        if VERSION.contains(&word.as_str()) {
            return Err(Exit::Asked(format!("{name} {version}\n")));
        }
        // argh hands the word `help` down to a command that follows, where it would pass for an
        // ordinary argument.
        if HELP.contains(&word.as_str()) {
            words.push(word);
            break;
        }
        options_ended = word == "--";
        match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => words.extend([option.into(), value.into()]),
            _ => words.push(word),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    T::from_args(&[name], &words).map_err(|early| match early.status {
        Ok(()) => Exit::Asked(early.output),
        Err(()) => Exit::usage(name, &in_our_words(&early.output)),
    })
}

/// Why a program ends before it has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// Help or the version was asked for: this text belongs on stdout, and all is well.
    Asked(String),
    /// The arguments are wrong: this text belongs on stderr.
    Usage(String),
}

impl Exit {
    /// A usage error found by the program itself, in the form of all others. `message` is lower
    /// case and has no full stop; what could act on a terminal or deceive whoever reads it is
    /// escaped.
    ///
    /// ```
    /// let exit = greeter_args::Exit::usage("nobody", "--port must not be 0");
    /// assert_eq!(exit.text(), "error: --port must not be 0\nfor more: nobody --help\n");
    /// assert_eq!(exit.code(), 2);
    /// ```
    #[must_use]
    pub fn usage(name: &str, message: &str) -> Self {
        Self::Usage(format!("error: {}\nfor more: {name} --help\n", printable(message)))
    }

    /// What is wrong, without what stands around it in [`text`](Self::text), for a program that
    /// says it elsewhere. Of what was asked for, it is all of the text.
    ///
    /// ```
    /// let exit = greeter_args::Exit::usage("nobody", "--port must not be 0");
    /// assert_eq!(exit.message(), "--port must not be 0");
    /// ```
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Asked(text) => text,
            Self::Usage(text) => {
                let message = text.strip_prefix("error: ").unwrap_or(text);
                message.split_once('\n').map_or(message, |(message, _)| message)
            }
        }
    }

    /// Arranges the options of a help text under headings, in this order, and shortens its usage
    /// line, which would name them all. What no group names stays under `Options:`, at the end.
    /// Text that is no help stays as it is.
    ///
    /// ```
    /// /// Repeats itself.
    /// #[derive(argh::FromArgs)]
    /// #[argh(help_triggers("-h", "--help"))]
    /// struct Options {
    ///     /// how loud
    ///     #[argh(option)]
    ///     volume: Option<u32>,
    ///     /// how often
    ///     #[argh(option)]
    ///     times: Option<u32>,
    /// }
    ///
    /// let help = greeter_args::parse_from::<Options>("repeat", "1.0.0", ["--help"]).err().expect("help ends it");
    /// let help = help.with_groups(&[("Repeating", &["--times"]), ("Sound", &["--volume"])]);
    /// assert_eq!(
    ///     help.text(),
    ///     "Usage: repeat [options]\n\nRepeats itself.\n\n\
    ///      Repeating:\n  --times <times>   how often\n\n\
    ///      Sound:\n  --volume <volume> how loud\n\n\
    ///      Options:\n  -h, --help        display usage information\n  \
    ///      -V, --version     display the version\n\n"
    /// );
    /// ```
    #[must_use]
    pub fn with_groups(self, groups: &[(&str, &[&str])]) -> Self {
        match self {
            Self::Asked(text) => Self::Asked(grouped(&text, groups).unwrap_or(text)),
            exit @ Self::Usage(_) => exit,
        }
    }

    /// What to print, with its last newline.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Asked(text) | Self::Usage(text) => text,
        }
    }

    /// The exit status: 0 for what was asked for, 2 for a usage error.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Asked(_) => 0,
            Self::Usage(_) => 2,
        }
    }

    /// Prints the text where it belongs and gives the status to end with.
    ///
    /// A reader that has gone away is not an error. Any other failure to print what was asked for
    /// is: the status is 1.
    #[must_use = "the status is what the program should end with"]
    pub fn print(&self) -> ExitCode {
        let printed = match self {
            Self::Asked(text) => print_to(io::stdout().lock(), text),
            // Where the message about a usage error cannot be printed, the status still tells.
            Self::Usage(text) => print_to(io::stderr().lock(), text).or(Ok(())),
        };
        match printed {
            Err(err) if err.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
            _ => ExitCode::from(self.code()),
        }
    }
}

/// A text in which all that could act on a terminal or deceive whoever reads it is escaped.
///
/// ```
/// assert_eq!(greeter_args::printable("\u{1b}[2J 'Zo\u{eb}'"), "\\u{1b}[2J 'Zo\u{eb}'");
/// ```
#[must_use]
pub fn printable(text: &str) -> String {
    let mut printable = String::new();
    for c in text.chars() {
        match c {
            '\'' | '"' | '\\' => printable.push(c),
            c => printable.extend(c.escape_debug()),
        }
    }
    printable
}

fn print_to(mut stream: impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// A help text with its options under these headings; none if it is no such text.
fn grouped(help: &str, groups: &[(&str, &[&str])]) -> Option<String> {
    let (head, rest) = help.split_once("\nOptions:\n")?;
    let (options, rest) = rest.split_once("\n\n").unwrap_or((rest.trim_end_matches('\n'), ""));
    let mut entries: Vec<String> = Vec::new();
    for line in options.lines() {
        match entries.last_mut() {
            // An entry goes on where a line is indented further than its start.
            Some(entry) if line.starts_with("   ") => entry.push_str(&format!("{line}\n")),
            _ => entries.push(format!("{line}\n")),
        }
    }
    let (usage, description) = head.split_once('\n')?;
    // What the usage line says of an option, its value's name, goes to the option.
    let values: HashMap<&str, &str> = usage
        .split(['[', ']'])
        .filter_map(|option| option.split_once(' '))
        .filter(|(name, _)| name.starts_with("--"))
        .collect();
    for entry in &mut entries {
        *entry = with_value(entry, &values);
    }
    let (usage, _) = usage.split_once(" [")?;
    let mut text = format!("{usage} [options]\n{description}\n");
    for (heading, names) in groups {
        text.push_str(&format!("{heading}:\n"));
        for name in *names {
            let is_named = |entry: &String| entry.split_whitespace().next() == Some(name);
            entries.extract_if(.., |entry| is_named(entry)).for_each(|entry| text.push_str(&entry));
        }
        text.push('\n');
    }
    text.push_str(&format!("Options:\n{}{VERSION_ENTRY}\n{rest}", entries.concat()));
    Some(text)
}

/// Where the descriptions of options begin.
const COLUMN: usize = 20;

/// What the help has of the version.
const VERSION_ENTRY: &str = "  -V, --version     display the version\n";

/// An option's entry with the name of its value behind the option's.
fn with_value(entry: &str, values: &HashMap<&str, &str>) -> String {
    let Some(name) = entry.split_whitespace().next() else { return entry.to_owned() };
    let Some(value) = values.get(name) else { return entry.to_owned() };
    let head = format!("  {name} {}", value.replace("...", ""));
    let description = entry.trim_start().strip_prefix(name).unwrap_or_default().trim_start();
    if head.len() < COLUMN {
        format!("{head:COLUMN$}{description}")
    } else {
        format!("{head}\n{:COLUMN$}{description}", "")
    }
}

/// argh's message as one line in the style of all others: lower case, no full stop.
fn in_our_words(message: &str) -> String {
    let message = message.replacen("Error parsing ", "Cannot parse ", 1);
    let line = message.lines().map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    let line = line.strip_suffix('.').unwrap_or(&line);
    let mut chars = line.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program for tests.
    #[derive(Debug, PartialEq, FromArgs)]
    #[argh(help_triggers("-h", "--help"))]
    struct Options {
        /// a number
        #[argh(option)]
        count: Option<u8>,
        /// a text
        #[argh(option)]
        text: Option<String>,
        #[argh(subcommand)]
        command: Option<Command>,
    }

    #[derive(Debug, PartialEq, FromArgs)]
    #[argh(subcommand)]
    enum Command {
        Greet(Greet),
    }

    /// Greets people.
    #[derive(Debug, PartialEq, FromArgs)]
    #[argh(subcommand, name = "greet", help_triggers("-h", "--help"))]
    struct Greet {
        /// who
        #[argh(positional)]
        names: Vec<String>,
    }

    fn parse(arguments: &[&str]) -> Result<Options, Exit> {
        parse_from("prog", "1.2.3", arguments)
    }

    fn names(arguments: &[&str]) -> Vec<String> {
        match parse(arguments).unwrap().command {
            Some(Command::Greet(greet)) => greet.names,
            None => panic!("no command"),
        }
    }

    #[track_caller]
    fn refused(arguments: &[&str], message: &str) {
        let exit = parse(arguments).unwrap_err();
        assert_eq!(exit.text(), format!("error: {message}\nfor more: prog --help\n"));
        assert_eq!(exit.code(), 2);
    }

    #[test]
    fn a_value_follows_an_equals_sign_or_a_space() {
        for arguments in [&["--text=a=b", "--count=7"][..], &["--text", "a=b", "--count", "7"]] {
            let options = parse(arguments).unwrap();
            assert_eq!((options.text.as_deref(), options.count), (Some("a=b"), Some(7)));
        }
        assert_eq!(parse(&["--text="]).unwrap().text.as_deref(), Some(""));
    }

    #[test]
    fn nothing_is_split_or_looked_at_after_two_dashes() {
        let after = ["--a=b", "--help", "-h", "--version", "-V", "--"];
        assert_eq!(names(&[&["greet", "--"][..], &after].concat()), after);
    }

    #[test]
    fn a_person_may_be_called_help() {
        assert_eq!(names(&["greet", "help", "version"]), ["help", "version"]);
    }

    #[test]
    fn help_is_that_of_the_command_it_follows() {
        for (arguments, usage) in [
            (&["--help"][..], "Usage: prog ["),
            (&["-h", "greet", "Bob"], "Usage: prog ["),
            (&["greet", "--help"], "Usage: prog greet ["),
            (&["greet", "Bob", "-h", "--nonsense"], "Usage: prog greet ["),
        ] {
            let exit = parse(arguments).unwrap_err();
            assert!(exit.text().starts_with(usage), "{arguments:?}: {}", exit.text());
            assert_eq!(exit.code(), 0);
        }
    }

    #[test]
    fn the_version_is_told_wherever_it_is_asked_for() {
        for arguments in [&["--version"][..], &["-V"], &["greet", "Bob", "--version"]] {
            assert_eq!(parse(arguments), Err(Exit::Asked("prog 1.2.3\n".into())));
        }
    }

    #[test]
    fn a_usage_error_names_what_is_at_fault() {
        refused(&["--conut", "7"], "unrecognized argument: --conut");
        refused(&["--count"], "no value provided for option '--count'");
        refused(&["--count=x"], "cannot parse option '--count' with value 'x': invalid digit found in string");
        refused(
            &["--count=256"],
            "cannot parse option '--count' with value '256': number too large to fit in target type",
        );
        refused(&["--count=1", "--count=2"], "cannot parse option '--count' with value '2': duplicate values provided");
        refused(&["gret"], "unrecognized argument: gret");
        refused(&["\u{1b}[2J"], "unrecognized argument: \\u{1b}[2J");
        refused(&["\u{202e}'Zo\u{eb}'\\"], "unrecognized argument: \\u{202e}'Zo\u{eb}'\\");
    }

    #[cfg(unix)]
    #[test]
    fn an_argument_that_is_not_utf8_is_a_usage_error() {
        use std::os::unix::ffi::OsStringExt;

        let argument = OsString::from_vec(b"B\xffb".to_vec());
        let exit = parse_from::<Options>("prog", "1.2.3", [argument]).unwrap_err();
        assert_eq!(exit.text(), "error: argument 'B\u{fffd}b' is not valid UTF-8\nfor more: prog --help\n");
    }
}
