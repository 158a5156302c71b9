//! Turns the words after `connect` into what is opened. It knows no other statement.

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroU32;

use super::values::{CONNECT_WORDS, bare_name, crowd_count, unknown};
use crate::net::{Proxy, ProxyClient, ProxyVersion, ServerAddressError};
use crate::talk::diagnostic::LineDiagnostic;
use crate::talk::lexer::{Word, shown};
use crate::talk::pattern::Template;
use crate::talk::script::{Connect, Destination};
use crate::talk::variables::Name;

/// The words after `connect`.
pub(super) fn parse_connect(words: &[Word<'_>]) -> Result<Connect, LineDiagnostic> {
    let mut connect = Connect::default();
    let mut words = words.iter().peekable();
    if let Some(name) = words.next_if(is_value) {
        connect.name = Some(bare_name(name)?);
    }
    while let Some(word) = words.next() {
        let again = match &*word.text {
            "to" => connect.to.replace(parse_destination(value_of(word, words.next())?)?).is_some(),
            "from" => connect.from.replace(parse_from(value_of(word, words.next())?)?).is_some(),
            "tls" => std::mem::replace(&mut connect.tls, true),
            "proxy" => {
                let version = value_of(word, words.next())?;
                connect.proxy.replace(parse_proxy(version, words.next_if(is_value))?).is_some()
            }
            text if is_crowd(text) => connect.crowd.replace(parse_crowd(word, connect.name.as_ref())?).is_some(),
            "x" => {
                return Err(LineDiagnostic::new(
                    word.at.clone(),
                    "the size of a crowd is written x50, without a blank",
                ));
            }
            _ => return Err(unknown(word, CONNECT_WORDS)),
        };
        if again {
            return Err(LineDiagnostic::new(word.at.clone(), format!("'{}' is there twice", shown(&word.text))));
        }
    }
    Ok(connect)
}

/// Whether a word is neither one of `connect` nor the size of a crowd.
fn is_value(word: &&Word<'_>) -> bool {
    !CONNECT_WORDS.contains(&&*word.text) && !is_crowd(&word.text)
}

/// Whether a word is the size of a crowd, right or wrong.
fn is_crowd(word: &str) -> bool {
    let size = word.strip_prefix('x').unwrap_or_default();
    !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_crowd(word: &Word<'_>, name: Option<&Name>) -> Result<NonZeroU32, LineDiagnostic> {
    if name.is_none() {
        return Err(LineDiagnostic::new(word.at.clone(), "a crowd needs a name").help("as in 'connect c x50'"));
    }
    let digits = Word { at: word.at.start + 1..word.at.end, text: word.text[1..].into() };
    crowd_count(&digits, "the size of a crowd")
}

fn value_of<'a, 'b>(option: &Word<'_>, value: Option<&'a Word<'b>>) -> Result<&'a Word<'b>, LineDiagnostic> {
    value.ok_or_else(|| {
        let example = match &*option.text {
            "to" => "to 127.0.0.1:8080 or to unix:run.sock",
            "from" => "from 127.0.0.2",
            _ => "proxy v2 192.0.2.1:5000",
        };
        LineDiagnostic::new(option.at.clone(), format!("'{}' needs a value", option.text))
            .help(format!("as in '{example}'"))
    })
}

fn parse_destination(word: &Word<'_>) -> Result<Destination, LineDiagnostic> {
    // In quotes, braces are braces.
    if matches!(word.text, Cow::Borrowed(_)) && word.text.contains("{{") {
        let template = Template::parse(word.text.as_bytes()).map_err(|diagnostic| diagnostic.shifted(word.at.start))?;
        return Ok(Destination::Template(template));
    }
    word.text.parse().map(Destination::Address).map_err(|err: ServerAddressError| {
        let message = err.to_string();
        match message.split_once(": ") {
            Some((message, help)) => LineDiagnostic::new(word.at.clone(), message).help(help),
            None => LineDiagnostic::new(word.at.clone(), message),
        }
    })
}

fn parse_from(word: &Word<'_>) -> Result<IpAddr, LineDiagnostic> {
    word.text.parse().map_err(|_| {
        let diagnostic = LineDiagnostic::new(word.at.clone(), format!("'{}' is no IP address", shown(&word.text)));
        diagnostic.help("our own address has no port and no brackets, as in 127.0.0.2 or ::1")
    })
}

fn parse_proxy(version: &Word<'_>, client: Option<&Word<'_>>) -> Result<Proxy, LineDiagnostic> {
    let known = ProxyVersion::from_word(&version.text).ok_or_else(|| unknown(version, ProxyVersion::WORDS))?;
    let Some(client) = client else { return Ok(Proxy { version: known, client: ProxyClient::Real }) };
    let client = ProxyClient::from_word(&client.text).ok_or_else(|| {
        let diagnostic =
            LineDiagnostic::new(client.at.clone(), format!("'{}' is no IP address with a port", shown(&client.text)));
        diagnostic.help("as in 'proxy v2 192.0.2.1:5000', or local")
    })?;
    Ok(Proxy { version: known, client })
}
