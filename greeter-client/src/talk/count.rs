//! How many bytes a step takes: a number, or the value of a variable that the server has told, as
//! in counted replies.

use std::borrow::Cow;
use std::fmt;

use super::diagnostic::LineDiagnostic;
use super::lexer::{Word, count};
use super::limits::{MAX_CAPTURED_BYTES, MAX_RAW_BYTES, MAX_SHOWN_VALUE_BYTES};
use super::pattern::Template;
use super::variables::{Name, Unbound, Variables};

/// A number of bytes.
///
/// Displayed as it is written behind `<bytes`: `512` or `{{size}}`.
///
/// ```
/// use greeter_client::talk::{Count, Variables};
///
/// let mut variables = Variables::default();
/// variables.set("size".parse()?, "5");
/// assert_eq!(Count::Variable("size".parse()?).bytes(&variables)?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
    /// So many: from 1 to [`MAX_RAW_BYTES`].
    Bytes(usize),
    /// As many as the variable says.
    Variable(Name),
}

/// An error of [`Count::bytes`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CountError {
    /// The variable has no value.
    #[error(transparent)]
    Unbound(#[from] Unbound),
    /// Its value is no number, or too large a one.
    #[error(
        "{{{{{name}}}}} is \"{}\", which is no number of bytes: digits alone, and at most {MAX_RAW_BYTES}",
        crate::net::escape::one_line(value)
    )]
    NoNumber {
        /// The variable.
        name: Name,
        /// The start of its value.
        value: Vec<u8>,
    },
    /// So many bytes can be taken, but not captured.
    #[error("{0} bytes cannot be captured: at most {MAX_CAPTURED_BYTES}")]
    TooLarge(usize),
}

/// The variable, if that is all that the word says.
pub(super) fn variable(word: &Word<'_>) -> Option<Name> {
    // In quotes, braces are braces.
    let text = if let Cow::Borrowed(text) = word.text { text } else { return None };
    text.strip_prefix("{{")?.strip_suffix("}}")?.parse().ok()
}

impl Count {
    /// Returns the number. That of a variable may be 0: so the server says that it sends nothing.
    ///
    /// # Errors
    ///
    /// If the variable has no value, or one that is not made of digits alone, or more than
    /// [`MAX_RAW_BYTES`].
    pub fn bytes(&self, variables: &Variables) -> Result<usize, CountError> {
        let name = match self {
            Self::Bytes(bytes) => return Ok(*bytes),
            Self::Variable(name) => name,
        };
        let value = variables.value(name.as_str()).ok_or_else(|| Unbound::Variable(name.clone()))?;
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok()).filter(|&number| number <= MAX_RAW_BYTES);
        number.ok_or_else(|| CountError::NoNumber {
            name: name.clone(),
            value: value[..value.len().min(MAX_SHOWN_VALUE_BYTES)].to_vec(),
        })
    }

    /// The number, if so many can be captured where that is asked for.
    pub(crate) fn bytes_to_capture(&self, variables: &Variables, is_captured: bool) -> Result<usize, CountError> {
        match self.bytes(variables)? {
            bytes if is_captured && bytes > MAX_CAPTURED_BYTES => Err(CountError::TooLarge(bytes)),
            bytes => Ok(bytes),
        }
    }

    pub(super) fn parse(word: &Word<'_>) -> Result<Self, LineDiagnostic> {
        // In quotes, braces are braces.
        if !matches!(word.text, Cow::Borrowed(text) if text.starts_with("{{")) {
            return count(word, "the number of bytes", MAX_RAW_BYTES).map(Self::Bytes);
        }
        let template = Template::parse(word.text.as_bytes()).map_err(|diagnostic| diagnostic.shifted(word.at.start))?;
        template.variable().cloned().map(Self::Variable).ok_or_else(|| {
            let diagnostic = LineDiagnostic::new(word.at.clone(), "the number of bytes is a number or one variable");
            diagnostic.help("as in '<bytes 512' or '<bytes {{size}}'")
        })
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Variable(name) => write!(f, "{{{{{name}}}}}"),
        }
    }
}
