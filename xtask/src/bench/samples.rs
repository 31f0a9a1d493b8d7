//! The numbers of a run and their medians.

use std::collections::BTreeMap;

use super::figures::Figure;
use super::phases::Phases;

/// Whose number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// This project's.
    Ours,
    /// Debian's lxc.
    Lxc,
    /// The kernel's alone.
    Kernel,
}

/// All numbers of a run.
#[derive(Debug)]
pub struct Results {
    samples: BTreeMap<(Figure, Side), Vec<f64>>,
    /// Where the time of commands goes; empty when it was not asked for.
    pub phases: Vec<Phases>,
    /// False while caches are being filled: nothing is added.
    pub counting: bool,
}

impl Default for Results {
    fn default() -> Self {
        Self {
            samples: BTreeMap::new(),
            phases: Vec::new(),
            counting: true,
        }
    }
}

impl Results {
    /// One more number, in the unit of `figure`.
    pub fn add(&mut self, figure: Figure, side: Side, value: f64) {
        if self.counting {
            self.samples.entry((figure, side)).or_default().push(value);
        }
    }

    /// What the numbers of `figure` come to.
    pub fn summary(&self, figure: Figure, side: Side) -> Option<Summary> {
        Summary::of(self.samples.get(&(figure, side))?)
    }
}

/// What several numbers come to.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Summary {
    /// The one in the middle, or between the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many there are.
    pub count: usize,
}

impl Summary {
    /// `None` without a number.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted.len() / 2;
        let lower = (sorted.len() - 1) / 2;
        Some(Self {
            median: f64::midpoint(sorted[lower], sorted[upper]),
            min,
            max,
            count: sorted.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Summary::of(&[]), None);
        let one = Summary::of(&[3.0]).unwrap();
        assert_eq!(
            (one.median, one.min, one.max, one.count),
            (3.0, 3.0, 3.0, 1)
        );
        assert_eq!(Summary::of(&[9.0, 1.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(Summary::of(&[9.0, 1.0, 2.0, 4.0]).unwrap().median, 3.0);
    }

    #[test]
    fn warming_up_does_not_count() {
        let mut results = Results {
            counting: false,
            ..Results::default()
        };
        results.add(Figure::Start, Side::Ours, 100.0);
        results.counting = true;
        results.add(Figure::Start, Side::Ours, 1.0);
        let summary = results.summary(Figure::Start, Side::Ours).unwrap();
        assert_eq!((summary.max, summary.count), (1.0, 1));
        assert!(results.summary(Figure::Start, Side::Lxc).is_none());
    }
}
