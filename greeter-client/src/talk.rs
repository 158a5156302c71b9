//! Turns the text of `.talk` scripts into steps, and steps into text again. It must not know
//! sessions: it opens no connection, and prints nothing.
//!
//! The language is a session with a line server, written down as people write it down unasked.
//!
//! ```
//! use greeter_client::talk::Script;
//!
//! let script = Script::parse("hello.talk", "# One name, one greeting.\n> Bob\n< Hello, Bob\n")?;
//! assert_eq!(script.steps().len(), 2);
//! # Ok::<(), greeter_client::talk::Diagnostics>(())
//! ```
//!
//! `>` is what we send and `<` what comes back; **after one space everything is literal, and
//! without it stands a word of the language**. `#` starts a comment, a name before `>` or `<` is a
//! connection's, and any other line starts with a control word.
//!
//! # Lines of a script
//!
//! * A line ends with LF or with CR LF, and neither is part of what it says: a CR at the end of a
//!   line of data is written in the raw form. That both occur in one file is worth a warning. The
//!   last line needs no ending; a CR at its end is one.
//! * Blanks at the start of a line mean nothing, so that a script can be indented.
//! * A byte order mark at the start is skipped.
//! * Comments and the text of data lines may be any bytes. Control words, regexes and names are
//!   UTF-8.
//! * Comment lines that follow each other are one comment.
//!
//! # Raw form
//!
//! `>"…"` and `<"…"` are exactly the bytes between the quotes; nothing is added, and braces are
//! braces. The escapes are `\n`, `\r`, `\t`, `\0`, `\e`, `\a`, `\\`, `\"` and `\xNN`. `x 70000`
//! behind it repeats them.
//!
//! # Prompts
//!
//! `<prompt "…"` are the only quotes with placeholders. From the left, a backslash is an escape,
//! `{{` a placeholder to its own end, in which a regex is verbatim, and `"` the end. See
//! [`Prompt`].
//!
//! # Placeholders
//!
//! See [`Pattern`] and [`Template`]. Regexes work on bytes: `.` is any byte, `\d`, `\w` and `\s`
//! are ASCII, and there is no look-around. Of three or more opening braces, the last two open the
//! placeholder: `{{{id}}}` is `{`, then `{{id}}`, then `}`.
//!
//! # Limits
//!
//! | what | at most |
//! |---|---|
//! | a file | [`MAX_SCRIPT_BYTES`] |
//! | a line of it | [`MAX_LINE_BYTES`] |
//! | the raw form with its repetition, `<bytes` | [`MAX_RAW_BYTES`] |
//! | what `<bytes` captures | [`MAX_CAPTURED_BYTES`] |
//! | a prompt | [`MAX_PROMPT_BYTES`] |
//! | lines in any order, together | [`MAX_ANY_ORDER`] |
//! | a crowd | [`MAX_CROWD`] |
//! | a duration | a day |
//! | placeholders in a line | 64 |
//! | a secret | [`MIN_SECRET_BYTES`] at least |
//! | a placeholder's regex, compiled | 256 KiB |
//! | includes | [`MAX_INCLUDE_DEPTH`] deep, [`MAX_INCLUDES`] in all |
//! | steps with what is included | [`MAX_STEPS`] |
//! | diagnostics | [`MAX_DIAGNOSTICS`] |
//!
//! # Layout
//!
//! Files, each importing only from those before it: `limits`, `source` (a text and its lines),
//! `diagnostic`, `lexer` (words, quotes, numbers), `secrets`, `variables`, `pattern` (what a line
//! may hold, with `placeholder`), `count`, `calculation`, `prompt` (quotes with placeholders),
//! `script` (the tree), `check` (what only all steps together show), `parse` (texts become scripts,
//! with `line`), `discover` (paths become files, and with `markdown` files become scripts),
//! `format` and `edit`.

mod calculation;
mod check;
mod count;
mod diagnostic;
mod discover;
mod edit;
mod format;
mod lexer;
mod limits;
mod parse;
mod pattern;
mod prompt;
mod script;
mod secrets;
mod source;
mod variables;

pub use calculation::{Calculation, CalculationError, Function, Product};
pub use count::{Count, CountError};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use discover::{find_all, load_all};
pub use edit::{Diff, Edits};
pub(crate) use format::name_values;
pub use format::{format, spell_line};
#[cfg(feature = "load")]
pub(crate) use lexer::parse_duration;
pub use lexer::quote;
pub(crate) use limits::MAX_SHOWN_VALUE_BYTES;
pub use limits::{
    MAX_ANY_ORDER, MAX_CAPTURED_BYTES, MAX_CROWD, MAX_DIAGNOSTICS, MAX_INCLUDE_DEPTH, MAX_INCLUDES, MAX_LINE_BYTES,
    MAX_PROMPT_BYTES, MAX_RAW_BYTES, MAX_SCRIPT_BYTES, MAX_STEPS, MIN_SECRET_BYTES,
};
pub use parse::ScriptError;
pub use pattern::{Pattern, PatternError, Template};
pub use prompt::Prompt;
pub use script::{
    Action, Capability, Connect, ConnectionName, Destination, Incoming, Outgoing, Raw, Script, Signal, Step,
};
pub use secrets::Secrets;
pub(crate) use secrets::{MASK, SecretStream};
pub use source::Source;
pub use variables::{Bindings, Name, NameError, Unbound, Variables};
