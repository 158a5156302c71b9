//! What was measured, round by round, and what is typical of it. No I/O.

use std::collections::BTreeMap;

use crate::case::{Case, Quantity};
use crate::server::Contestant;

/// What a sample is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SampleKey {
    pub(crate) quantity: Quantity,
    pub(crate) case: Case,
    pub(crate) server: Contestant,
}

/// All samples, by what they are of and by their round.
#[derive(Debug, Default)]
pub(crate) struct Samples(BTreeMap<SampleKey, BTreeMap<usize, f64>>);

impl Samples {
    pub(crate) fn add(&mut self, key: SampleKey, round: usize, value: f64) {
        self.0.entry(key).or_default().insert(round, value);
    }

    /// What is typical of the rounds; none if there are none.
    pub(crate) fn typical(&self, key: SampleKey) -> Option<Typical> {
        Typical::of(self.0.get(&key)?.values().copied().collect())
    }

    /// What is typical of the ratios within each round: what changes from round to round befalls
    /// both.
    pub(crate) fn ratio(&self, key: SampleKey, against: SampleKey) -> Option<Typical> {
        let (values, others) = (self.0.get(&key)?, self.0.get(&against)?);
        let ratios = values.iter().filter_map(|(round, value)| Some(value / others.get(round)?));
        Typical::of(ratios.filter(|ratio| ratio.is_finite()).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SampleKey, usize, f64)> {
        self.0.iter().flat_map(|(key, rounds)| rounds.iter().map(|(round, value)| (*key, *round, *value)))
    }
}

/// The median of some rounds, and the ends between which they lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Typical {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Typical {
    /// None if there are no values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { median, least, most })
    }

    /// The spread, as parts of a hundred of the median: how far down, how far up.
    pub(crate) fn spread(self) -> (f64, f64) {
        let part = |end: f64| if self.median > 0.0 { (end / self.median - 1.0) * 100.0 } else { 0.0 };
        (part(self.least), part(self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(server: Contestant) -> SampleKey {
        SampleKey { quantity: Quantity::PerSecond, case: Case::Idle, server }
    }

    #[test]
    fn a_median_is_in_the_middle() {
        for (values, median) in
            [(vec![3.0], 3.0), (vec![3.0, 1.0], 2.0), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 2.0, 90.0], 3.0)]
        {
            let typical = Typical::of(values.clone()).unwrap();
            assert_eq!(typical.median, median, "{values:?}");
        }
        assert_eq!(Typical::of(Vec::new()), None);
    }

    #[test]
    fn the_spread_reaches_from_end_to_end() {
        let typical = Typical::of(vec![110.0, 80.0, 100.0]).unwrap();
        let (down, up) = typical.spread();
        assert!((down + 20.0).abs() < 1e-9 && (up - 10.0).abs() < 1e-9, "{down} {up}");
    }

    /// The machine was twice as fast in the second round, which says nothing about the two servers.
    #[test]
    fn a_ratio_is_one_of_the_same_round() {
        let mut samples = Samples::default();
        for (round, ours, theirs) in [(1, 30.0, 10.0), (2, 60.0, 20.0), (3, 33.0, 10.0)] {
            samples.add(key(Contestant::Pool), round, ours);
            samples.add(key(Contestant::Go), round, theirs);
        }
        samples.add(key(Contestant::Pool), 4, 1e9);
        let ratio = samples.ratio(key(Contestant::Pool), key(Contestant::Go)).unwrap();
        assert_eq!(ratio, Typical { median: 3.0, least: 3.0, most: 3.3 });
        assert_eq!(samples.ratio(key(Contestant::Pool), key(Contestant::Redis)), None);
    }

    #[test]
    fn nothing_is_a_ratio_to_nothing() {
        let mut samples = Samples::default();
        samples.add(key(Contestant::Pool), 1, 1.0);
        samples.add(key(Contestant::Go), 1, 0.0);
        assert_eq!(samples.ratio(key(Contestant::Pool), key(Contestant::Go)), None);
    }
}
