//! Datasets: the fake has none, as a directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::FakeStorage;
use crate::storage::datasets::{Datasets, NONE, check};
use crate::storage::{Result, Space};

impl Datasets for FakeStorage {
    fn create_dataset(&self, _id: &str, dataset: &str) -> Result<()> {
        check(dataset).and(Err(NONE))
    }

    fn discard_dataset(&self, _id: &str, dataset: &str) -> Result<()> {
        check(dataset).and(Err(NONE))
    }

    fn ensure_dataset(&self, _id: &str, dataset: &str) -> Result<PathBuf> {
        check(dataset).and(Err(NONE))
    }

    fn dataset_space(&self, _id: &str) -> Result<BTreeMap<String, Space>> {
        Err(NONE)
    }
}
