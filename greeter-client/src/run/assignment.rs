//! Which line is which pattern's, where the lines may come in any order: `<&`. No I/O.
//!
//! Every line that is taken has a pattern to itself, and another line may still move it to another
//! pattern that it meets, too. So `<& {{*}}` and `<& a` are met by `a` and `b`, whichever comes
//! first. Taking the first pattern that fits would fail there.

use super::error::StepError;
use crate::net::escape::one_line;
use crate::talk::{Bindings, Pattern, Variables};

/// Lines that have come for patterns that each want one.
pub(super) struct Assignment<'a> {
    patterns: &'a [Pattern],
    lines: Vec<Candidate>,
    /// The line of each pattern.
    taken: Vec<Option<usize>>,
}

/// A line, and what it would bind with each pattern.
struct Candidate {
    text: Vec<u8>,
    bindings: Vec<Option<Bindings>>,
}

/// Why lines that all have a pattern do not say what the variables are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// The pattern of this number could have either of two lines.
    Either(usize, [Vec<u8>; 2]),
    /// The pattern of this number captures something that another pattern captures otherwise.
    Contradiction(usize),
}

impl<'a> Assignment<'a> {
    pub(super) fn new(patterns: &'a [Pattern]) -> Self {
        Self { patterns, lines: Vec::new(), taken: vec![None; patterns.len()] }
    }

    /// Takes a line if there can be a pattern for it, and still one for each line before it. The
    /// variables are those before the first: what one line captures is nothing to the others.
    pub(super) fn add(&mut self, line: &[u8], variables: &Variables, member: Option<usize>) -> bool {
        let of = |pattern: &Pattern| pattern.matches(line, variables, member);
        self.lines.push(Candidate { text: line.to_vec(), bindings: self.patterns.iter().map(of).collect() });
        let taken = self.lines.len() - 1;
        let is_added = assign(&self.lines, &mut self.taken, taken, &mut vec![false; self.patterns.len()], None);
        if !is_added {
            self.lines.pop();
        }
        is_added
    }

    pub(super) fn is_complete(&self) -> bool {
        self.lines.len() == self.patterns.len()
    }

    /// The patterns for which no line has come.
    pub(super) fn left(&self) -> impl Iterator<Item = usize> {
        self.taken.iter().enumerate().filter(|(_, line)| line.is_none()).map(|(pattern, _)| pattern)
    }

    pub(super) fn patterns_left(&self) -> impl Iterator<Item = &'a Pattern> {
        self.left().map(|pattern| &self.patterns[pattern])
    }

    /// The lines that have come.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().map(|line| &line.text[..])
    }

    /// What the patterns capture, once it is complete.
    ///
    /// # Errors
    ///
    /// If it could be something else just as well, or if a name would have two values.
    pub(super) fn bindings(&self) -> Result<Bindings, Unclear> {
        for pattern in 0..self.patterns.len() {
            if let Some(other) = self.other_line(pattern) {
                // As they came.
                let lines: Vec<usize> = self.taken[pattern].into_iter().chain([other]).collect();
                let text = |line: Option<&usize>| line.map(|&line| self.lines[line].text.clone()).unwrap_or_default();
                return Err(Unclear::Either(pattern, [text(lines.iter().min()), text(lines.iter().max())]));
            }
        }
        let mut all = Bindings::default();
        for (pattern, line) in self.taken.iter().enumerate() {
            let bound = line.and_then(|line| self.lines[line].bindings[pattern].clone()).unwrap_or_default();
            if !all.merge(&bound) {
                return Err(Unclear::Contradiction(pattern));
            }
        }
        Ok(all)
    }

    /// In words.
    pub(super) fn explain(&self, unclear: &Unclear) -> StepError {
        let pattern = |index: usize| {
            let text = self.patterns[index].expected(&Variables::default(), None);
            one_line(&text).to_string()
        };
        StepError::Unclear(match unclear {
            Unclear::Either(index, [one, other]) => format!(
                "what is captured is not clear: '<& {}' could be '{}', and could be '{}'; write more of the line",
                pattern(*index),
                one_line(one),
                one_line(other)
            ),
            Unclear::Contradiction(index) => {
                format!("'<& {}' captures something else than another line of the group does", pattern(*index))
            }
        })
    }

    /// Another line that `pattern` could have, and capture something else with it.
    fn other_line(&self, pattern: usize) -> Option<usize> {
        let line = self.taken[pattern]?;
        let bound = self.lines[line].bindings[pattern].as_ref().filter(|bound| bound.iter().len() > 0)?;
        // All others keep what they have, and the line is given to somebody else.
        let mut taken = self.taken.clone();
        taken[pattern] = None;
        let excluded = Some((pattern, bound));
        let is_possible = assign(&self.lines, &mut taken, line, &mut vec![false; self.patterns.len()], excluded);
        is_possible.then_some(taken[pattern])?
    }
}

/// Gives `line` a pattern, of those whose lines are `taken`; those that are `tried` are not asked
/// again. With `excluded`, a pattern and what it must not capture, that pattern may not have a line
/// with which it would.
fn assign(
    lines: &[Candidate],
    taken: &mut [Option<usize>],
    line: usize,
    tried: &mut [bool],
    excluded: Option<(usize, &Bindings)>,
) -> bool {
    for pattern in 0..taken.len() {
        let Some(bindings) = &lines[line].bindings[pattern] else { continue };
        let is_excluded = excluded.is_some_and(|(known, bound)| known == pattern && bindings == bound);
        if is_excluded || std::mem::replace(&mut tried[pattern], true) {
            continue;
        }
        let before = taken[pattern];
        if before.is_none_or(|before| assign(lines, taken, before, tried, excluded)) {
            taken[pattern] = Some(line);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the lines bind, or how far they come.
    fn assigned(patterns: &[&str], lines: &[&str]) -> String {
        let patterns: Vec<Pattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
        let mut assignment = Assignment::new(&patterns);
        for line in lines {
            if !assignment.add(line.as_bytes(), &Variables::default(), None) {
                let left: Vec<usize> = assignment.left().collect();
                return format!("{line} has no place, {left:?} are left");
            }
        }
        if !assignment.is_complete() {
            return format!("{:?} are left", assignment.left().collect::<Vec<_>>());
        }
        match assignment.bindings() {
            Ok(bindings) => {
                let text = |(name, value): (&crate::talk::Name, &[u8])| format!("{name}={}", value.escape_ascii());
                bindings.iter().map(text).collect::<Vec<_>>().join(" ")
            }
            Err(Unclear::Either(pattern, lines)) => {
                format!("{pattern} is {}", lines.map(|line| line.escape_ascii().to_string()).join(" or "))
            }
            Err(Unclear::Contradiction(pattern)) => format!("{pattern} contradicts"),
        }
    }

    #[test]
    fn lines_have_a_pattern_each_in_whatever_order_they_come() {
        for lines in [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"]] {
            assert_eq!(assigned(&["a", "b", "c"], &lines), "");
        }
        assert_eq!(assigned(&["a", "b", "c"], &["a", "a"]), "a has no place, [1, 2] are left");
        assert_eq!(assigned(&["a", "b", "c"], &["c", "x"]), "x has no place, [0, 1] are left");
        assert_eq!(assigned(&["a", "a"], &["a", "a"]), "");
        assert_eq!(assigned(&["a", "b"], &["b"]), "[0] are left");
    }

    #[test]
    fn a_line_makes_room_for_another_where_it_can() {
        for lines in [["a", "b"], ["b", "a"]] {
            assert_eq!(assigned(&["{{*}}", "a"], &lines), "");
            assert_eq!(assigned(&["a", "{{*}}"], &lines), "");
        }
        assert_eq!(assigned(&["{{*}}", "{{:[ab]}}", "a"], &["a", "b", "x"]), "");
        assert_eq!(assigned(&["{{*}}", "{{:[ab]}}", "a"], &["x", "b", "y"]), "y has no place, [2] are left");
    }

    #[test]
    fn what_is_captured_must_be_the_only_thing_that_could_be() {
        assert_eq!(assigned(&["id {{id}}", "{{*}}"], &["id 7", "x"]), "id=7");
        assert_eq!(assigned(&["{{x}}", "a"], &["a", "b"]), "x=b");
        assert_eq!(assigned(&["{{x}}", "{{*}}"], &["a", "b"]), "0 is a or b");
        assert_eq!(assigned(&["{{x}} {{:.}}", "{{*}}"], &["a 1", "a 2"]), "x=a", "either way it is the same");
        assert_eq!(assigned(&["{{x}}", "{{y}}"], &["a", "b"]), "0 is a or b");
        assert_eq!(assigned(&["{{x}}", "{{y}}"], &["a", "a"]), "x=a y=a");
        assert_eq!(assigned(&["{{x}}", "{{:[ab]}}", "{{:[bc]}}"], &["a", "b", "c"]), "0 is b or c");
        assert_eq!(assigned(&["{{x:[ab]}}", "{{:[bc]}}", "c"], &["a", "b", "c"]), "x=a");
    }

    #[test]
    fn a_name_has_one_value() {
        assert_eq!(assigned(&["a {{x}}", "b {{x}}"], &["b 1", "a 1"]), "x=1");
        assert_eq!(assigned(&["a {{x}}", "b {{x}}"], &["b 1", "a 2"]), "1 contradicts");
    }

    /// As every order of trying all would have it.
    #[test]
    fn whatever_could_be_complete_is() {
        let patterns = ["{{*}}", "{{:[ab]}}", "{{:[bc]}}", "{{:[ac]}}"];
        let lines = ["a", "b", "c", "d"];
        let order = |number: usize| {
            let mut left: Vec<usize> = (0..4).collect();
            [number / 6 % 4, number / 2 % 3, number % 2, 0].map(|at| left.remove(at))
        };
        for number in 0..24 {
            for kinds in 0..256 {
                let lines: Vec<&str> = order(number).iter().map(|&at| lines[kinds >> (2 * at) & 3]).collect();
                let fits = |pattern: usize, line: &str| match pattern {
                    0 => true,
                    1 => "ab".contains(line),
                    2 => "bc".contains(line),
                    _ => "ac".contains(line),
                };
                let can =
                    (0..24).any(|other| order(other).iter().zip(&lines).all(|(&pattern, line)| fits(pattern, line)));
                assert_eq!(assigned(&patterns, &lines).is_empty(), can, "{lines:?}");
            }
        }
    }
}
