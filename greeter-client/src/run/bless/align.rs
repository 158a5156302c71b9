//! Which of the lines that came are which of those that were expected.

/// What becomes of the first of some expectations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// So many lines came before its own, unasked.
    InsertBefore(usize),
    /// The first line came in its place.
    Replace,
    /// Its line did not come, and the first line that did is another's.
    Delete,
}

/// Compares `lines` lines with `expectations` expectations so that as many as possible match in
/// order, and says what follows for the first expectation. There is at least one of each.
pub(super) fn first_move(lines: usize, expectations: usize, mut matches: impl FnMut(usize, usize) -> bool) -> Move {
    let is_match: Vec<Vec<bool>> =
        (0..lines).map(|line| (0..expectations).map(|expected| matches(line, expected)).collect()).collect();
    // How many can match from this line and this expectation on.
    let mut best = vec![vec![0_usize; expectations + 1]; lines + 1];
    for line in (0..lines).rev() {
        for expected in (0..expectations).rev() {
            let matched = best[line + 1][expected + 1] + 1;
            let skipped = best[line + 1][expected].max(best[line][expected + 1]);
            best[line][expected] = if is_match[line][expected] { matched.max(skipped) } else { skipped };
        }
    }
    // The first pair of the best alignment; of several, that of the earliest lines.
    let is_first =
        |line: usize, expected: usize| is_match[line][expected] && best[line + 1][expected + 1] + 1 == best[0][0];
    let pairs = (0..lines).flat_map(|line| (0..expectations).map(move |expected| (line, expected)));
    match pairs.into_iter().find(|&(line, expected)| is_first(line, expected)) {
        Some((line, 0)) => Move::InsertBefore(line),
        Some((0, _)) => Move::Delete,
        _ => Move::Replace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(actual: &str, expected: &str, outcome: Move) {
        let (actual, expected) = (actual.as_bytes(), expected.as_bytes());
        let found = first_move(actual.len(), expected.len(), |line, pattern| actual[line] == expected[pattern]);
        assert_eq!(found, outcome);
    }

    #[test]
    fn what_matches_stays_where_it_can() {
        check("ab", "ab", Move::InsertBefore(0));
        check("xab", "ab", Move::InsertBefore(1));
        check("b", "ab", Move::Delete);
        check("xb", "ab", Move::Replace);
        check("x", "ab", Move::Replace);
        check("xyb", "ab", Move::Replace);
        check("xb", "pqb", Move::Replace);
        check("ba", "ab", Move::Delete);
    }
}
