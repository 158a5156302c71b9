//! A part of the scripts, for one of several machines that share them.

use std::str::FromStr;

/// Every Nth script, so that machines which are given the same scripts share them without knowing
/// of each other. Written as K/N, with K from 1 to N.
///
/// ```
/// use greeter_client::run::Shard;
///
/// let shard: Shard = "2/3".parse()?;
/// let held: Vec<usize> = (0..7).filter(|&position| shard.holds(position)).collect();
/// assert_eq!(held, [1, 4]);
/// # Ok::<(), greeter_client::run::ShardError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Counted from 0.
    number: usize,
    of: usize,
}

impl Shard {
    /// Returns whether the script at this position, counted from 0, is in this shard. Each is in
    /// exactly one of them.
    #[must_use]
    pub const fn holds(self, position: usize) -> bool {
        position % self.of == self.number
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let (number, of) = text.split_once('/').ok_or(ShardError)?;
        match (count(number)?, count(of)?) {
            (number, of) if (1..=of).contains(&number) => Ok(Self { number: number - 1, of }),
            _ => Err(ShardError),
        }
    }
}

/// Digits alone: `+1` is a number to std.
fn count(text: &str) -> Result<usize, ShardError> {
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(ShardError)
}

/// An error of parsing a [`Shard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write K/N, as in 1/4: the first of four parts")]
pub struct ShardError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_position_is_in_exactly_one_shard_of_nearly_equal_sizes() {
        for of in 1..=9 {
            let shards: Vec<Shard> = (1..=of).map(|number| format!("{number}/{of}").parse().unwrap()).collect();
            let mut held = vec![0; of];
            for position in 0..100 {
                let of_them: Vec<usize> = (0..of).filter(|&shard| shards[shard].holds(position)).collect();
                assert_eq!(of_them.len(), 1, "{position} of {of}");
                held[of_them[0]] += 1;
            }
            assert!(held.iter().all(|count| (100 / of..=100 / of + 1).contains(count)), "{held:?}");
        }
    }

    #[test]
    fn what_is_no_part_is_refused() {
        let bad = ["", "1", "/", "1/", "/2", "0/2", "3/2", "0/0", "+1/2", "1/+2", "-1/2", " 1/2", "1/2/3", "a/b"];
        for text in bad.into_iter().chain(["1/99999999999999999999"]) {
            assert_eq!(text.parse::<Shard>(), Err(ShardError), "{text}");
        }
    }
}
