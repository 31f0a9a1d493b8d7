//! Sets of ids.

/// Consecutive ids, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First id.
    pub first: u32,
    /// Last id.
    pub last: u32,
}

/// A set of ids: sorted spans that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// The union of `spans`.
    pub fn new(spans: impl IntoIterator<Item = Span>) -> Spans {
        let mut all: Vec<Span> = spans.into_iter().collect();
        all.sort_unstable();
        let mut merged: Vec<Span> = Vec::with_capacity(all.len());
        for span in all {
            match merged.last_mut() {
                Some(last) if span.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(span.last);
                }
                _ => merged.push(span),
            }
        }
        Spans(merged)
    }

    /// The last of the spans that `span` overlaps.
    pub fn overlap(&self, span: Span) -> Option<Span> {
        let until = self.0.partition_point(|s| s.first <= span.last);
        let candidate = self.0[..until].last()?;
        (candidate.last >= span.first).then_some(*candidate)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn overlaps_are_those_of_the_single_spans(
            spans in proptest::collection::vec((0u32..300, 0u32..20), 0..20),
            first in 0u32..300,
            len in 0u32..40,
        ) {
            let spans: Vec<Span> = spans.into_iter().map(|(f, n)| Span { first: f, last: f + n }).collect();
            let asked = Span { first, last: first + len };
            let any = spans.iter().any(|s| s.first <= asked.last && asked.first <= s.last);
            let set = Spans::new(spans);
            prop_assert_eq!(set.overlap(asked).is_some(), any);
            if let Some(found) = set.overlap(asked) {
                prop_assert!(found.first <= asked.last && asked.first <= found.last);
            }
        }
    }
}
