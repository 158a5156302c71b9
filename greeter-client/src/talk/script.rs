//! A script as it runs: [`Step`]s, each of which knows the line it was written in.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::calculation::Calculation;
use super::count::Count;
use super::diagnostic::Diagnostic;
use super::pattern::{Pattern, Template};
use super::prompt::Prompt;
use super::source::Source;
use super::variables::Name;
use crate::net::{Eol, Proxy, ServerAddress};

/// A script that can run: parsed, with what it includes, and checked for what is wrong in every
/// run.
///
/// ```
/// use greeter_client::talk::{Action, Outgoing, Script};
///
/// let script = Script::parse("hello.talk", "# One name, one greeting.\n> Bob\n< Hello, Bob\n")?;
/// let step = &script.steps()[0];
/// assert_eq!(step.title(), Some("One name, one greeting."));
/// assert_eq!(step.line(), 2);
/// assert!(matches!(step.action(), Action::Send { what: Outgoing::Line(_), .. }));
/// # Ok::<(), greeter_client::talk::Diagnostics>(())
/// ```
#[derive(Clone, Debug)]
pub struct Script {
    pub(super) name: String,
    /// The script's own first, then those it includes.
    pub(super) sources: Vec<Arc<Source>>,
    pub(super) steps: Vec<Step>,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Script {
    /// Returns the name of the script in reports: its file, and for a block of a Markdown file that
    /// and the line at which it opens, as in `README.md:12`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the steps, in order; those of included files stand where they are included.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns the text it was parsed from, without those it includes.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.sources[0]
    }

    /// Returns the text that `step`, a step of this script, stands in: its own or an included one.
    ///
    /// # Panics
    ///
    /// May panic for a step of another script.
    #[must_use]
    pub fn source_of(&self, step: &Step) -> &Source {
        &self.sources[step.source as usize]
    }

    /// Returns whether `step`, a step of this script, comes from a file that it includes.
    #[must_use]
    pub fn is_included(&self, step: &Step) -> bool {
        step.source != 0
    }

    /// Returns the variables that are secrets, wherever in the script that stands.
    pub fn secrets(&self) -> impl Iterator<Item = &Name> {
        secrets(&self.steps)
    }

    /// Returns the warnings, in the order of the lines: what probably does not say what its author
    /// meant.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

/// The variables that the steps make secrets of.
pub(super) fn secrets(steps: &[Step]) -> impl Iterator<Item = &Name> {
    steps.iter().filter_map(|step| match &step.action {
        Action::Secret(name) => Some(name),
        _ => None,
    })
}

/// One step, and where it was written. A step is exactly one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which of the script's sources.
    pub(super) source: u32,
    /// From 1.
    pub(super) line: u32,
    pub(super) title: Option<Arc<str>>,
    pub(super) action: Action,
}

impl Step {
    /// Returns the line in its source, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line as usize
    }

    /// Returns the last comment before it: for an included step, that of its own file if there is
    /// one. The lines of a comment are joined with blanks.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// Returns what the step does.
    #[must_use]
    pub fn action(&self) -> &Action {
        &self.action
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// `>`: queues bytes, or ends the sending.
    Send {
        /// By whom.
        to: ConnectionName,
        /// What.
        what: Outgoing,
    },
    /// `<`: waits until what is said is there.
    Expect {
        /// From whom.
        from: ConnectionName,
        /// What.
        what: Incoming,
    },
    /// `within 200ms`: the deadline of the next expectation. One follows.
    Within(Duration),
    /// `timeout 2s`: the deadline of every expectation from here on.
    Timeout(Duration),
    /// `sleep 50ms`
    Sleep(Duration),
    /// `eol crlf`: how lines end from here on.
    Eol(Eol),
    /// `connect c x50`
    Connect(Box<Connect>),
    /// `set name = value`
    Set {
        /// The variable.
        name: Name,
        /// Its value; `{{#}}` is not in it.
        value: Template,
    },
    /// `let name = {{high}}*256+{{low}}`, `let name = md5({{text}})`
    Let {
        /// The variable.
        name: Name,
        /// How its value is computed.
        value: Calculation,
    },
    /// `secret password`: what the variable is, and becomes, is not shown.
    Secret(Name),
    /// `require tls`
    Require(Capability),
    /// `signal TERM`
    Signal(Signal),
    /// `exits 0`: the server ends with this status.
    Exits(u8),
    /// `close bob`
    Close(ConnectionName),
    /// `starttls bob`: TLS is spoken there from here on.
    StartTls(ConnectionName),
    /// `abandon`: nothing follows.
    Abandon,
}

/// The name of a connection in a script.
///
/// Displayed as it is written before `>` and `<`: nothing, `bob`, `c.7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionName {
    /// The one without a name.
    #[default]
    Main,
    /// `bob`: one connection, or all members of a crowd.
    Named(Name),
    /// `c.7`: one member of a crowd, counted from 1.
    Member(Name, NonZeroU32),
}

impl fmt::Display for ConnectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => Ok(()),
            Self::Named(name) => name.fmt(f),
            Self::Member(name, index) => write!(f, "{name}.{index}"),
        }
    }
}

/// What a step sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// `> text`: a line; its ending comes from [`Action::Eol`].
    Line(Template),
    /// `>"raw" x 3`
    Raw(Raw),
    /// `>eof`
    Eof,
    /// `>reset`
    Reset,
}

/// What a step expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// `< text`: a line; how it ends comes from [`Action::Eol`].
    Line(Pattern),
    /// `<"raw" x 3`
    Raw(Raw),
    /// `<prompt "user@host-{{n}}:~$ "`: the shortest start of what is unread that matches, with no
    /// LF in it.
    Prompt(Prompt),
    /// `<*`: lines are skipped until the next expectation of this connection matches. There is one,
    /// and it is neither [`Nothing`](Self::Nothing) nor [`Bytes`](Self::Bytes).
    Skip,
    /// `<! text`: no line that is skipped by the [`Skip`](Self::Skip) behind it is this, nor the
    /// line that is expected then.
    Never(Pattern),
    /// `<? text`: a line that may come before the next expectation of this connection is met, once.
    /// It is held against lines that do not meet that.
    Optional(Pattern),
    /// `<& text`: a line that may come in any order with those of the steps beside it. Each line is
    /// one pattern's; what one captures is nothing to the others. Waited for by the last of them.
    AnyOrder {
        /// The line.
        pattern: Pattern,
        /// How many more of them follow: consecutive steps of one connection in one file.
        more: usize,
    },
    /// `<eof`
    Eof,
    /// `<reset`
    Reset,
    /// `<closed`
    Closed,
    /// `<nothing 100ms`
    Nothing(Duration),
    /// `<bytes 512`, `<bytes {{size}} {{body}}`
    Bytes {
        /// How many.
        count: Count,
        /// The variable that they are captured in, or compared with if it has a value: at most
        /// [`MAX_CAPTURED_BYTES`](super::MAX_CAPTURED_BYTES).
        capture: Option<Name>,
    },
}

/// Repeated bytes. The product is at most [`MAX_RAW_BYTES`](super::MAX_RAW_BYTES).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub(super) bytes: Box<[u8]>,
    pub(super) times: u32,
}

impl Raw {
    /// Returns the bytes that are repeated.
    #[must_use]
    pub fn unit(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns how many times they come: at least once.
    #[must_use]
    pub fn times(&self) -> usize {
        self.times as usize
    }

    /// Returns all of the bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes.repeat(self.times())
    }
}

/// How a connection is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connect {
    /// Its name; no crowd is without one.
    pub name: Option<Name>,
    /// `x50`: the size of a crowd. It may be a crowd of one.
    pub crowd: Option<NonZeroU32>,
    /// `to ADDRESS`: instead of the run's own address.
    pub to: Option<Destination>,
    /// `from ADDRESS`: our own address.
    pub from: Option<IpAddr>,
    /// `tls`
    pub tls: bool,
    /// `proxy v2 ADDRESS`: the header to send first, instead of the run's own.
    pub proxy: Option<Proxy>,
}

/// The destination of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An address that the script knows.
    Address(ServerAddress),
    /// `to {{replica}}`: a variable's value is the address, or a part of it.
    Template(Template),
}

/// Defines an enum whose values are words of the language.
macro_rules! words {
    ($(#[$attribute:meta])* $name:ident: $($(#[$word_attribute:meta])* $value:ident = $word:literal,)*) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$word_attribute])* $value,)*
        }

        impl $name {
            pub(super) const WORDS: &[&str] = &[$($word),*];

            /// Returns the word for it in scripts.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }

            pub(super) fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$value),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What a run may not be able to do, and a script can [require](Action::Require).
    Capability:
    /// `connect … tls`
    Tls = "tls",
    /// `connect … proxy`
    Proxy = "proxy",
    /// Unix sockets.
    Unix = "unix",
    /// IPv6 on the loopback.
    Ipv6 = "ipv6",
    /// A server of the run's own, which `signal` and `exits` need.
    Server = "server",
}

words! {
    /// A signal for the server, by its name without `SIG`.
    Signal:
    /// Please end.
    Term = "TERM",
    /// As by Ctrl-C.
    Int = "INT",
    /// The terminal has gone, or: read the configuration again.
    Hup = "HUP",
    /// End and dump core.
    Quit = "QUIT",
    /// End at once.
    Kill = "KILL",
    /// Whatever the server takes it for.
    Usr1 = "USR1",
    /// Whatever the server takes it for.
    Usr2 = "USR2",
    /// Stand still.
    Stop = "STOP",
    /// Go on.
    Cont = "CONT",
}
