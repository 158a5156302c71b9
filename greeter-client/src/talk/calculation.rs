//! Turns a sum, or a function of a text, into a value: what `let` gives a variable. It must not
//! grow: whoever needs more has a programming language at hand.

use std::fmt;
use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::diagnostic::LineDiagnostic;
use super::lexer::{meant, shown};
use super::limits::MAX_SHOWN_VALUE_BYTES;
use super::pattern::Template;
use super::source::{blanks, is_blank};
use super::variables::{Name, Unbound, Variables};
use crate::net::escape::one_line;

/// How it is written, for messages.
pub(super) const EXAMPLE: &str =
    "as in 'let port = {{high}}*256+{{low}}' or 'let digest = md5({{banner}}{{password}})'";

/// A value that is computed from others: a sum of products of whole numbers, or one function of one
/// text.
///
/// Displayed as it is written behind `let name =`.
///
/// ```
/// use greeter_client::talk::{Action, Script, Variables};
///
/// let script = Script::parse("port.talk", "let port = {{high}}*256+{{low}}\n")?;
/// let Action::Let { value, .. } = script.steps()[0].action() else { return Err("no let".into()) };
/// let mut variables = Variables::default();
/// variables.set("high".parse()?, "195");
/// variables.set("low".parse()?, "80");
/// assert_eq!(value.value(&variables)?, b"50000");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Calculation {
    /// `{{high}}*256+{{low}}`: products that are added and subtracted. There is one at least.
    Sum(Box<[Product]>),
    /// `md5({{banner}}{{password}})`
    Function(Function, Template),
}

/// Factors; and whether their product is subtracted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    is_subtracted: bool,
    factors: Vec<Operand>,
}

/// What numbers are computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Operand {
    Number(i64),
    Variable(Name),
}

/// What is made of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Function {
    /// `md5`: the MD5 digest (RFC 1321) in hexadecimal, with small letters, as APOP has it
    /// (RFC 1939).
    Md5,
    /// `base64`: Base64 with padding (RFC 4648, section 4), as SASL has it.
    Base64,
    /// `len`: how many bytes there are.
    Len,
}

impl Function {
    const ALL: [Self; 3] = [Self::Md5, Self::Base64, Self::Len];

    /// Returns the word for it in scripts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Base64 => "base64",
            Self::Len => "len",
        }
    }

    fn of(self, text: &[u8]) -> String {
        match self {
            Self::Md5 => format!("{:x}", md5::compute(text)),
            Self::Base64 => BASE64_STANDARD.encode(text),
            Self::Len => text.len().to_string(),
        }
    }
}

/// An error of computing a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CalculationError {
    /// A variable has no value.
    #[error(transparent)]
    Unbound(#[from] Unbound),
    /// A variable's value is not made of digits, with or without a minus before them.
    #[error("{{{{{name}}}}} is {:?}, which is no number", one_line(value).to_string())]
    NoNumber {
        /// Which variable.
        name: Name,
        /// The first bytes of its value.
        value: Vec<u8>,
    },
    /// A number, the result or one on the way to it, is not within −2⁶³ and 2⁶³ − 1.
    #[error("a number is too large: all that is computed must be within 64 bits")]
    TooLarge,
}

impl Calculation {
    /// Returns the value: of a sum its digits, with a minus before them if it is less than 0.
    ///
    /// # Errors
    ///
    /// If a variable has no value, or in a sum none that is a number; or if a number does not fit
    /// into 64 bits.
    pub fn value(&self, variables: &Variables) -> Result<Vec<u8>, CalculationError> {
        match self {
            Self::Sum(products) => {
                let sum = products.iter().try_fold(0_i64, |sum, product| {
                    let value = product.value(variables)?;
                    let sum = if product.is_subtracted { sum.checked_sub(value) } else { sum.checked_add(value) };
                    sum.ok_or(CalculationError::TooLarge)
                });
                sum.map(|sum| sum.to_string().into_bytes())
            }
            Self::Function(function, text) => Ok(function.of(&text.expand(variables, None)?).into_bytes()),
        }
    }

    /// Returns whether the value is made of a secret, so that it is one, too. The length of one is
    /// not.
    ///
    /// # Errors
    ///
    /// If a variable has no value.
    pub fn is_secret(&self, variables: &Variables) -> Result<bool, Unbound> {
        match self {
            Self::Sum(_) => Ok(self.names().into_iter().any(|name| {
                let is_in = |value| variables.secrets().are_in(value);
                variables.is_secret(name) || variables.value(name).is_some_and(is_in)
            })),
            Self::Function(Function::Len, _) => Ok(false),
            Self::Function(_, text) => Ok(variables.secrets().are_in(&text.expand(variables, None)?)),
        }
    }

    /// The variables that it needs.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Self::Sum(products) => {
                let operands = products.iter().flat_map(|product| &product.factors);
                operands.filter_map(|operand| operand.variable().map(Name::as_str)).collect()
            }
            Self::Function(_, text) => text.names().collect(),
        }
    }

    /// Parses what stands behind `=`, at the bytes `at` of `line`.
    pub(super) fn parse(line: &str, at: Range<usize>) -> Result<Self, LineDiagnostic> {
        let text = &line[at.clone()];
        let letters = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
        // A number before a parenthesis is no function either, and told as what it is.
        let is_function = text[letters..].starts_with('(') && !text.starts_with(|first: char| first.is_ascii_digit());
        if !is_function {
            return Sum { line: &line[..at.end], at: at.start }.parse().map(Self::Sum);
        }
        let name = &text[..letters];
        let Some(function) = Function::ALL.into_iter().find(|function| function.as_str() == name) else {
            let words = Function::ALL.map(Function::as_str);
            let diagnostic =
                LineDiagnostic::new(at.start..at.start + letters, format!("'{}' is no function", shown(name)));
            return Err(match meant(name, &words) {
                Some(meant) => diagnostic.help(format!("did you mean '{meant}'?")),
                None => diagnostic.help(format!("the functions are {}", words.join(", "))),
            });
        };
        let Some(argument) = text[letters + 1..].strip_suffix(')') else {
            let diagnostic = LineDiagnostic::new(at.end - 1..at.end, format!("'{name}(' is not closed"));
            return Err(diagnostic.help("the last ) of the line closes it, and nothing follows that"));
        };
        let start = at.start + letters + 1;
        let template = Template::parse(argument.as_bytes()).map_err(|diagnostic| diagnostic.shifted(start))?;
        if template.needs_member() {
            return Err(LineDiagnostic::new(start..at.end - 1, "{{#}} has no value here: a variable is in no crowd"));
        }
        Ok(Self::Function(function, template))
    }
}

impl Product {
    fn value(&self, variables: &Variables) -> Result<i64, CalculationError> {
        self.factors.iter().try_fold(1_i64, |product, factor| {
            product.checked_mul(factor.value(variables)?).ok_or(CalculationError::TooLarge)
        })
    }
}

impl Operand {
    const fn variable(&self) -> Option<&Name> {
        match self {
            Self::Number(_) => None,
            Self::Variable(name) => Some(name),
        }
    }

    fn value(&self, variables: &Variables) -> Result<i64, CalculationError> {
        let name = match self {
            Self::Number(number) => return Ok(*number),
            Self::Variable(name) => name,
        };
        let value = variables.value(name.as_str()).ok_or_else(|| Unbound::Variable(name.clone()))?;
        let digits = value.strip_prefix(b"-").unwrap_or(value);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            let value = value[..value.len().min(MAX_SHOWN_VALUE_BYTES)].to_vec();
            return Err(CalculationError::NoNumber { name: name.clone(), value });
        }
        let text = std::str::from_utf8(value).unwrap_or_default();
        text.parse().map_err(|_| CalculationError::TooLarge)
    }
}

/// A sum at the end of a line, from byte `at` on.
struct Sum<'a> {
    line: &'a str,
    at: usize,
}

impl Sum<'_> {
    fn parse(mut self) -> Result<Box<[Product]>, LineDiagnostic> {
        let mut products = vec![Product { is_subtracted: false, factors: vec![self.operand()?] }];
        while let Some(sign) = self.sign()? {
            let operand = self.operand()?;
            match products.last_mut() {
                Some(product) if sign == b'*' => product.factors.push(operand),
                _ => products.push(Product { is_subtracted: sign == b'-', factors: vec![operand] }),
            }
        }
        Ok(products.into())
    }

    /// What is left, without the blanks before it.
    fn rest(&mut self) -> &str {
        self.at += blanks(&self.line.as_bytes()[self.at..]);
        &self.line[self.at..]
    }

    fn operand(&mut self) -> Result<Operand, LineDiagnostic> {
        let rest = self.rest();
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let name = rest.strip_prefix("{{").and_then(|rest| rest.split_once("}}")).map(|(name, _)| name);
        let (operand, length) = match name.map(str::parse) {
            Some(Ok(name)) => {
                let operand = Operand::Variable(name);
                let length = operand.to_string().len();
                (operand, length)
            }
            _ if digits > 0 => {
                let number = rest[..digits].parse().map_err(|_| {
                    LineDiagnostic::new(self.at..self.at + digits, "this number is too large")
                        .help(format!("it can be {} at most", i64::MAX))
                })?;
                (Operand::Number(number), digits)
            }
            _ => return Err(self.wrong("here a number or {{name}} must stand")),
        };
        self.at += length;
        Ok(operand)
    }

    /// The sign between two operands; none at the end.
    fn sign(&mut self) -> Result<Option<u8>, LineDiagnostic> {
        match self.rest().bytes().next() {
            None => Ok(None),
            Some(sign @ (b'+' | b'-' | b'*')) => {
                self.at += 1;
                Ok(Some(sign))
            }
            Some(_) => Err(self.wrong("here +, - or * must stand, or the end of the line")),
        }
    }

    fn wrong(&mut self, message: &str) -> LineDiagnostic {
        let length = self.rest().bytes().take_while(|&byte| !is_blank(byte)).count();
        LineDiagnostic::new(self.at..self.at + length, message).help(EXAMPLE)
    }
}

impl fmt::Display for Calculation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum(products) => products.iter().enumerate().try_for_each(|(index, product)| {
                match (product.is_subtracted, index) {
                    (true, _) => f.write_str("-")?,
                    (false, 0) => {}
                    (false, _) => f.write_str("+")?,
                }
                product.factors.iter().enumerate().try_for_each(|(index, factor)| {
                    let sign = if index == 0 { "" } else { "*" };
                    write!(f, "{sign}{factor}")
                })
            }),
            Self::Function(function, text) => write!(f, "{function}({text})"),
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Variable(name) => write!(f, "{{{{{name}}}}}"),
        }
    }
}
