//! Names, the values that they have, and those that a matching line gives them.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::limits::MIN_SECRET_BYTES;
use super::secrets::Secrets;

/// The name of a variable or of a connection: ASCII letters, digits, `_` and `-`, the first one a
/// letter or `_`.
///
/// ```
/// use greeter_client::talk::Name;
///
/// let name: Name = "cas_token".parse()?;
/// assert_eq!(name.as_str(), "cas_token");
/// assert!("7up".parse::<Name>().is_err());
/// # Ok::<(), greeter_client::talk::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_name(text.as_bytes()) { Ok(Self(text.into())) } else { Err(NameError) }
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An error of parsing a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is made of letters, digits, _ and -, and starts with a letter or _")]
pub struct NameError;

pub(super) fn is_name(text: &[u8]) -> bool {
    text.first().is_some_and(|&byte| byte.is_ascii_alphabetic() || byte == b'_') && text.iter().all(is_name_byte)
}

pub(super) fn is_name_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// The values of a session's variables, which are any bytes, and its slot among the sessions that
/// run at a time, for `{{#}}`, and its number among all of them, for `{{#n}}`.
///
/// ```
/// use greeter_client::talk::Variables;
///
/// let mut variables = Variables::default();
/// variables.set("host".parse()?, "mail.example");
/// assert_eq!(variables.value("host"), Some(&b"mail.example"[..]));
/// # Ok::<(), greeter_client::talk::NameError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    values: BTreeMap<Name, Vec<u8>>,
    slot: Option<usize>,
    number: Option<u64>,
    secret_names: BTreeSet<Name>,
    /// All values that those have had.
    secrets: Secrets,
    short_secret: Option<Name>,
}

impl Variables {
    /// Sets the value of a variable, whether or not it had one.
    pub fn set(&mut self, name: Name, value: impl Into<Vec<u8>>) {
        let value = value.into();
        if self.secret_names.contains(&name) {
            self.add_secret(&name, &value);
        }
        self.values.insert(name, value);
    }

    /// Makes a variable a secret: neither the value that it has nor any that it is given is shown
    /// in a report.
    ///
    /// ```
    /// use greeter_client::talk::Variables;
    ///
    /// let mut variables = Variables::default();
    /// variables.make_secret("password".parse()?);
    /// variables.set("password".parse()?, "hunter2");
    /// assert_eq!(*variables.secrets().mask(b"PASS hunter2"), *b"PASS ***");
    /// # Ok::<(), greeter_client::talk::NameError>(())
    /// ```
    pub fn make_secret(&mut self, name: Name) {
        if let Some(value) = self.values.get(&name).cloned() {
            self.add_secret(&name, &value);
        }
        self.secret_names.insert(name);
    }

    /// Returns an iterator over the variables that are secrets, whether or not they are bound.
    pub fn secret_names(&self) -> impl Iterator<Item = &Name> {
        self.secret_names.iter()
    }

    /// Returns whether the variable is a secret.
    #[must_use]
    pub fn is_secret(&self, name: &str) -> bool {
        self.secret_names.contains(name)
    }

    /// Returns all values that secrets have had.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Returns a secret that has, or has had, a value shorter than [`MIN_SECRET_BYTES`]: with that,
    /// nothing is to be run.
    #[must_use]
    pub fn short_secret(&self) -> Option<&Name> {
        self.short_secret.as_ref()
    }

    /// The values of the variables that are `of_interest`, with their names, as far as they are
    /// text; the longest first.
    pub(crate) fn texts(&self, of_interest: impl Fn(&str) -> bool) -> Vec<(&str, &str)> {
        let bound = self.iter().filter(|(name, value)| of_interest(name.as_str()) && !value.is_empty());
        let mut texts: Vec<(&str, &str)> =
            bound.filter_map(|(name, value)| Some((std::str::from_utf8(value).ok()?, name.as_str()))).collect();
        texts.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        texts
    }

    /// The same for what is shown: with masks for secrets.
    pub(crate) fn masked(&self) -> Self {
        let values = self.values.iter().map(|(name, value)| (name.clone(), self.secrets.mask(value).into_owned()));
        Self { values: values.collect(), ..self.clone() }
    }

    fn add_secret(&mut self, name: &Name, value: &[u8]) {
        self.secrets.add(value);
        if value.len() < MIN_SECRET_BYTES {
            self.short_secret = Some(name.clone());
        }
    }

    /// Returns the value of a variable, if it is bound.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.values.get(name).map(Vec::as_slice)
    }

    /// Binds what a matching line has bound.
    pub fn bind(&mut self, bindings: Bindings) {
        bindings.0.into_iter().for_each(|(name, value)| self.set(name, value));
    }

    /// Returns an iterator over all that are bound, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &[u8])> {
        self.values.iter().map(|(name, value)| (name, value.as_slice()))
    }

    /// Sets which of the sessions that run at a time this is: what `{{#}}` stands for outside a
    /// crowd. A [run](crate::run::run()) without one is the first.
    ///
    /// ```
    /// use greeter_client::talk::{Template, Variables};
    ///
    /// let mut variables = Variables::default();
    /// variables.set_slot(7);
    /// let line: Template = "guest {{#}}".parse()?;
    /// assert_eq!(line.expand(&variables, None)?, b"guest 7");
    /// // In a crowd, it is the member.
    /// assert_eq!(line.expand(&variables, Some(3))?, b"guest 3");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_slot(&mut self, slot: usize) {
        self.slot = Some(slot);
    }

    /// Sets the number of the session among all of a load: what `{{#n}}` stands for. A
    /// [run](crate::run::run()) without one is the first.
    ///
    /// ```
    /// use greeter_client::talk::{Template, Variables};
    ///
    /// let mut variables = Variables::default();
    /// variables.set_number(1000);
    /// let line: Template = "order {{#n}}".parse()?;
    /// assert_eq!(line.expand(&variables, None)?, b"order 1000");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_number(&mut self, number: u64) {
        self.number = Some(number);
    }

    /// Returns the number of the session, if that is [set](Self::set_number).
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.number
    }

    /// Returns which of the sessions that run at a time this is, if that is [set](Self::set_slot).
    #[must_use]
    pub fn slot(&self) -> Option<usize> {
        self.slot
    }
}

/// What a matching line has bound: names that were free, in the order in which they stand in the
/// pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings(Vec<(Name, Vec<u8>)>);

impl Bindings {
    /// Returns an iterator over the names and their values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, &[u8])> {
        self.0.iter().map(|(name, value)| (name, value.as_slice()))
    }

    /// Of one name.
    pub(crate) fn of(name: &Name, value: &[u8]) -> Self {
        Self(vec![(name.clone(), value.to_vec())])
    }

    /// Binds all that `other` binds; false if that is something else than what is bound.
    pub(crate) fn merge(&mut self, other: &Self) -> bool {
        other.0.iter().all(|(name, value)| self.add(name, value))
    }

    /// Binds `name`, unless it is bound to something else.
    pub(super) fn add(&mut self, name: &Name, value: &[u8]) -> bool {
        match self.0.iter().find(|(known, _)| known == name) {
            Some((_, known)) => known == value,
            None => {
                self.0.push((name.clone(), value.to_vec()));
                true
            }
        }
    }
}

/// A placeholder that has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unbound {
    /// `{{name}}`, and nothing has set or captured it.
    #[error("{{{{{0}}}}} has no value yet")]
    Variable(Name),
    /// `{{#}}`, and the connection is in no crowd, nor is it known [which
    /// session](Variables::set_slot) this is.
    #[error("{{{{#}}}} has no value outside a crowd")]
    Member,
    /// `{{#n}}`, and it is not known [which session](Variables::set_number) this is.
    #[error("{{{{#n}}}} has no value outside a session")]
    Number,
}
