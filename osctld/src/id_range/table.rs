//! The allocation table of an id range: which of its blocks are taken, and finding free ones.
//!
//! It is pure: it knows neither files nor other ranges; what else is taken it is told.

use std::collections::BTreeMap;

use osctl_api::id_range::{BlockType, Blocks, TableFilter};
use osctl_api::names::Name;
use serde::{Deserialize, Serialize};

use super::spans::{Span, Spans};
use crate::error::{Error, Result};

/// The lowest id that may be given away: those below belong to the host.
pub const LOWEST_ID: u32 = 65_536;
/// The highest id that may be given away: the one above means "no id" to the kernel.
pub const HIGHEST_ID: u32 = u32::MAX - 1;
/// The least number of ids in a block.
pub const LEAST_BLOCK: u32 = 65_536;

/// Consecutive blocks that are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// Index of the first block.
    pub block_index: u32,
    /// How many blocks.
    pub block_count: u32,
    /// Who they are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Name>,
    /// Whether they were taken for the user `owner`, to be freed together with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_user: bool,
}

impl Allocation {
    fn end(&self) -> u32 {
        self.block_index + self.block_count
    }

    fn overlaps(&self, first: u32, count: u32) -> bool {
        self.block_index < first + count && first < self.end()
    }

    /// Whether it is to be freed together with this user.
    pub fn is_of_user(&self, name: &Name) -> bool {
        self.for_user && self.owner.as_ref() == Some(name)
    }
}

/// An id range and its allocations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// First host id.
    pub start_id: u32,
    /// Ids in a block.
    pub block_size: u32,
    /// Number of blocks.
    pub block_count: u32,
    /// What is taken, by index.
    #[serde(default)]
    pub allocations: Vec<Allocation>,
    /// User attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
}

impl Table {
    /// A range of which nothing is taken.
    ///
    /// # Errors
    /// `InvalidArgument` when it reaches below or above what may be given away.
    pub fn new(start_id: u32, block_size: u32, block_count: u32) -> Result<Table> {
        let table = Table {
            start_id,
            block_size,
            block_count,
            allocations: Vec::new(),
            attrs: BTreeMap::new(),
        };
        table.check()?;
        Ok(table)
    }

    /// Checks a table that was read from a file by the same rules that hold for commands.
    ///
    /// # Errors
    /// `InvalidArgument` naming what can't be.
    pub fn check(&self) -> Result<()> {
        if self.start_id < LOWEST_ID {
            return Err(Error::invalid(format!(
                "start id {} is less than {LOWEST_ID}",
                self.start_id
            )));
        }
        if self.block_size < LEAST_BLOCK {
            return Err(Error::invalid(format!(
                "block size {} is less than {LEAST_BLOCK}",
                self.block_size
            )));
        }
        if self.block_count == 0 {
            return Err(Error::invalid("block count 0 is less than 1"));
        }
        let ids = u64::from(self.block_size) * u64::from(self.block_count);
        if u64::from(self.start_id) + ids - 1 > u64::from(HIGHEST_ID) {
            return Err(Error::invalid(format!(
                "{} blocks of {} ids from {} reach beyond id {HIGHEST_ID}",
                self.block_count, self.block_size, self.start_id
            )));
        }
        let mut free_from = 0;
        for a in &self.allocations {
            let end = a.block_index.checked_add(a.block_count);
            let fits = end.is_some_and(|end| end <= self.block_count);
            if a.block_count == 0 || !fits || a.block_index < free_from {
                return Err(Error::invalid(format!(
                    "the allocation at block {} is outside of the range or overlaps another",
                    a.block_index
                )));
            }
            free_from = a.end();
        }
        Ok(())
    }

    /// Last host id.
    pub fn last_id(&self) -> u32 {
        self.start_id + (self.block_size * self.block_count - 1)
    }

    /// How many blocks are taken.
    pub fn allocated(&self) -> u32 {
        self.allocations.iter().map(|a| a.block_count).sum()
    }

    /// The ids of `count` blocks from `index`, which are in the range.
    pub fn span(&self, index: u32, count: u32) -> Span {
        let first = self.start_id + index * self.block_size;
        Span {
            first,
            last: first + (count * self.block_size - 1),
        }
    }

    /// The ids of all allocations.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        let span = |a: &Allocation| self.span(a.block_index, a.block_count);
        self.allocations.iter().map(span)
    }

    /// The allocation that `count` blocks from `index` are part of.
    pub fn allocation_at(&self, index: u32, count: u32) -> Option<&Allocation> {
        let end = index.checked_add(count)?;
        let holds = |a: &&Allocation| a.block_index <= index && end <= a.end();
        self.allocations.iter().find(holds)
    }

    /// The index of the first `count` consecutive blocks that are free here and whose ids are not
    /// taken elsewhere.
    ///
    /// # Errors
    /// `InvalidArgument` when `count` is 0; `InvalidState` when there are none.
    pub fn first_fit(&self, count: u32, elsewhere: &Spans) -> Result<u32> {
        if count == 0 {
            return Err(Error::invalid("block count 0 is less than 1"));
        }
        let mut index = 0u32;
        let mut allocations = self.allocations.iter().peekable();
        while index
            .checked_add(count)
            .is_some_and(|end| end <= self.block_count)
        {
            while allocations.next_if(|a| a.end() <= index).is_some() {}
            if let Some(a) = allocations.peek()
                && a.overlaps(index, count)
            {
                index = a.end();
                continue;
            }
            let Some(taken) = elsewhere.overlap(self.span(index, count)) else {
                return Ok(index);
            };
            // The first block that begins after what is taken.
            index = (taken.last - self.start_id) / self.block_size + 1;
        }
        let plural = if count == 1 { "" } else { "s" };
        Err(Error::state(format!(
            "{count} consecutive free block{plural} can't be found"
        )))
    }

    /// Checks that `count` blocks from `index` are in the range, free here and not taken
    /// elsewhere.
    ///
    /// # Errors
    /// `InvalidArgument` when they are not in the range; `InvalidState` when they are taken.
    pub fn check_free(&self, index: u32, count: u32, elsewhere: &Spans) -> Result<()> {
        self.check_in_range(index, count)?;
        if let Some(a) = self.allocations.iter().find(|a| a.overlaps(index, count)) {
            let owner = a.owner.as_ref().map(|o| format!(" by {o}"));
            return Err(Error::state(format!(
                "block {} is allocated already{}",
                a.block_index.max(index),
                owner.unwrap_or_default()
            )));
        }
        match elsewhere.overlap(self.span(index, count)) {
            Some(taken) => Err(Error::state(format!(
                "ids {} to {} of these blocks are in use outside of this id range",
                taken.first, taken.last
            ))),
            None => Ok(()),
        }
    }

    fn check_in_range(&self, index: u32, count: u32) -> Result<()> {
        let end = index.checked_add(count);
        if count == 0 || end.is_none_or(|end| end > self.block_count) {
            return Err(Error::invalid(format!(
                "{count} blocks from block {index} are not in the id range, which has {}",
                self.block_count
            )));
        }
        Ok(())
    }

    /// Takes blocks that were found to be free.
    pub fn insert(&mut self, allocation: Allocation) {
        let at = self
            .allocations
            .partition_point(|a| a.block_index < allocation.block_index);
        self.allocations.insert(at, allocation);
    }

    /// The whole table as rows: allocations, and the free blocks between them.
    pub fn rows(&self, filter: TableFilter) -> Vec<Blocks> {
        let mut rows = Vec::new();
        let mut from = 0;
        for a in &self.allocations {
            if a.block_index > from {
                rows.push(self.free_row(from, a.block_index - from));
            }
            rows.push(self.row(a));
            from = a.end();
        }
        if from < self.block_count {
            rows.push(self.free_row(from, self.block_count - from));
        }
        rows.retain(|row| match filter {
            TableFilter::All => true,
            TableFilter::Allocated => row.kind == BlockType::Allocated,
            TableFilter::Free => row.kind == BlockType::Free,
        });
        rows
    }

    /// The row that holds a block.
    ///
    /// # Errors
    /// `InvalidArgument` when the block is not in the range.
    pub fn row_at(&self, index: u32) -> Result<Blocks> {
        self.check_in_range(index, 1)?;
        let holds = |row: &Blocks| index - row.block_index < row.block_count;
        self.rows(TableFilter::All)
            .into_iter()
            .rfind(|row| row.block_index <= index && holds(row))
            .ok_or_else(|| Error::internal("a block is in no row"))
    }

    /// The row of an allocation.
    pub fn row(&self, a: &Allocation) -> Blocks {
        Blocks {
            kind: BlockType::Allocated,
            owner: a.owner.as_ref().map(Name::to_string),
            ..self.free_row(a.block_index, a.block_count)
        }
    }

    fn free_row(&self, index: u32, count: u32) -> Blocks {
        let span = self.span(index, count);
        Blocks {
            kind: BlockType::Free,
            block_index: index,
            block_count: count,
            owner: None,
            first_id: span.first,
            last_id: span.last,
            id_count: span.last - span.first + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table() -> Table {
        Table::new(1_000_000, 65_536, 8).unwrap()
    }

    fn take(t: &mut Table, index: u32, count: u32) {
        t.insert(Allocation {
            block_index: index,
            block_count: count,
            owner: None,
            for_user: false,
        });
        t.check().unwrap();
    }

    #[test]
    fn first_fit_goes_around_what_is_taken() {
        let mut t = table();
        take(&mut t, 0, 1);
        take(&mut t, 2, 1);
        let none = Spans::default();
        assert_eq!(t.first_fit(1, &none).unwrap(), 1);
        assert_eq!(t.first_fit(2, &none).unwrap(), 3);
        assert_eq!(t.first_fit(5, &none).unwrap(), 3);
        assert!(t.first_fit(6, &none).is_err());
        assert!(t.first_fit(0, &none).is_err());
        assert!(t.first_fit(u32::MAX, &none).is_err());
        // A single id in the middle of block 3 and the end of block 4.
        let id = t.span(3, 1).first + 5;
        let other = Spans::new([
            Span {
                first: id,
                last: id,
            },
            Span {
                first: t.span(4, 1).last,
                last: t.span(4, 1).last,
            },
        ]);
        assert_eq!(t.first_fit(2, &other).unwrap(), 5);
        assert!(t.check_free(3, 1, &other).is_err());
        assert!(t.check_free(5, 3, &other).is_ok());
        assert!(t.check_free(5, 4, &other).is_err());
        assert!(t.check_free(u32::MAX, 2, &other).is_err());
    }

    #[test]
    fn rows_cover_every_block_once() {
        let mut t = table();
        take(&mut t, 1, 2);
        take(&mut t, 7, 1);
        let rows = t.rows(TableFilter::All);
        let shape: Vec<_> = rows
            .iter()
            .map(|r| (r.block_index, r.block_count))
            .collect();
        assert_eq!(shape, [(0, 1), (1, 2), (3, 4), (7, 1)]);
        assert_eq!(t.rows(TableFilter::Free).len(), 2);
        assert_eq!(t.row_at(5).unwrap().block_index, 3);
        assert_eq!(t.row_at(2).unwrap().kind, BlockType::Allocated);
        assert!(t.row_at(8).is_err());
        assert_eq!(rows[3].last_id, t.last_id());
    }

    #[test]
    fn tables_that_can_not_be_are_refused() {
        assert!(Table::new(65_535, 65_536, 1).is_err());
        assert!(Table::new(65_536, 65_535, 1).is_err());
        assert!(Table::new(65_536, 65_536, 0).is_err());
        assert!(Table::new(u32::MAX, u32::MAX, u32::MAX).is_err());
        assert!(Table::new(65_536, 65_536, 65_534).is_ok());
        assert!(Table::new(65_536, 65_536, 65_535).is_err());
        let mut t = table();
        for (index, count) in [(0, 0), (8, 1), (7, 2), (u32::MAX, 2)] {
            t.allocations = vec![Allocation {
                block_index: index,
                block_count: count,
                owner: None,
                for_user: false,
            }];
            assert!(t.check().is_err(), "{index} {count}");
        }
        take(&mut table(), 0, 8);
        let mut t = table();
        take(&mut t, 3, 2);
        t.allocations.push(t.allocations[0].clone());
        assert!(t.check().is_err());
    }

    proptest! {
        #[test]
        fn what_is_found_is_free_and_the_first(
            taken in proptest::collection::vec((0u32..40, 1u32..4), 0..12),
            elsewhere in proptest::collection::vec((900_000u32..4_000_000, 1u32..200_000), 0..6),
            count in 1u32..5,
        ) {
            let mut t = Table::new(1_000_000, 65_536, 40).unwrap();
            for (index, n) in taken {
                if t.check_free(index, n, &Spans::default()).is_ok() {
                    take(&mut t, index, n);
                }
            }
            let spans = elsewhere.iter().map(|(first, n)| Span { first: *first, last: first + n - 1 });
            let other = Spans::new(spans);
            let free: Vec<u32> = (0..40).filter(|i| t.check_free(*i, count, &other).is_ok()).collect();
            prop_assert_eq!(t.first_fit(count, &other).ok(), free.first().copied());
        }
    }
}
