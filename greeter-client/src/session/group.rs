//! The connections of one name: a connection of its own, or a crowd.

use std::ops::Range;

use super::connection::SessionConnection;

/// A connection of its own, or a crowd.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    /// One, unless it is a crowd. Never none.
    pub(super) members: Vec<SessionConnection>,
}

impl Group {
    pub(super) fn is_crowd(&self) -> bool {
        self.members.iter().any(|connection| connection.member.is_some())
    }
}

/// Some connections of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) group: usize,
    pub(super) members: Range<usize>,
}

/// Whom `name` means.
pub(super) fn find(groups: &[Group], name: &str) -> Option<Selection> {
    let index = |name: &str| groups.iter().position(|group| group.name == name);
    if let Some(group) = index(name) {
        return Some(Selection { group, members: 0..groups[group].members.len() });
    }
    let (crowd, number) = name.rsplit_once('.')?;
    let group = index(crowd).filter(|&group| groups[group].is_crowd())?;
    // `usize::from_str` would accept a plus sign and zeros in front.
    let number = number.parse::<usize>().ok().filter(|parsed| parsed.to_string() == number)?;
    (1..=groups[group].members.len()).contains(&number).then(|| Selection { group, members: number - 1..number })
}
