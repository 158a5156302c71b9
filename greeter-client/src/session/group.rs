//! The connections of one name: a connection of its own, or a crowd.

use std::ops::Range;

use super::connection::Link;

/// A connection of its own, or a crowd.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) name: String,
    /// One, unless it is a crowd. Never none.
    pub(super) links: Vec<Link>,
    pub(super) is_crowd: bool,
}

/// Some connections of one party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) party: usize,
    pub(super) links: Range<usize>,
}

/// Whom `name` means.
pub(super) fn find(groups: &[Party], name: &str) -> Option<Selection> {
    let index = |name: &str| groups.iter().position(|party| party.name == name);
    if let Some(party) = index(name) {
        return Some(Selection { party, links: 0..groups[party].links.len() });
    }
    let (crowd, number) = name.rsplit_once('.')?;
    let party = index(crowd).filter(|&party| groups[party].is_crowd)?;
    // `usize::from_str` would accept a plus sign and zeros in front.
    let number = number.parse::<usize>().ok().filter(|parsed| parsed.to_string() == number)?;
    (1..=groups[party].links.len()).contains(&number).then(|| Selection { party, links: number - 1..number })
}
