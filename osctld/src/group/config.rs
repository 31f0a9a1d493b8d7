//! What a group is wanted to be, and its limits as cgroup parameters.

use std::collections::BTreeMap;

use osctl_api::container::{CpuLimit, MemoryLimit};
use serde::{Deserialize, Serialize};

use crate::cgroup::{self, Param};
use crate::error::{Error, Result};
use crate::store::Document;

/// A group as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Limit of processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<CpuLimit>,
    /// Limit of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<MemoryLimit>,
    /// User attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
}

impl Document for Config {
    const KIND: &'static str = "group";
    const VERSION: u32 = 1;
}

impl Config {
    /// Checks what was read from a file by the same rules that hold for commands.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        self.params().map(drop)
    }

    /// The limits as cgroup parameters.
    pub(super) fn params(&self) -> Result<Vec<Param>> {
        let mut params = Vec::new();
        if let Some(limit) = self.cpu_limit {
            params.extend(cpu_params(limit)?);
        }
        if let Some(limit) = self.memory_limit {
            params.extend(memory_params(limit)?);
        }
        Ok(params)
    }
}

fn cpu_params(limit: CpuLimit) -> Result<Vec<Param>> {
    let bad = |e| Error::invalid_with("this limit of processor time can't be set", e);
    let percent = u32::try_from(limit.percent)
        .map_err(|_| Error::invalid(format!("{} percent are too many", limit.percent)))?;
    let default = cgroup::CpuLimit::DEFAULT_PERIOD_US;
    let limit = cgroup::CpuLimit::new(percent, limit.period_us.unwrap_or(default));
    Ok(limit.map_err(bad)?.params())
}

fn memory_params(limit: MemoryLimit) -> Result<Vec<Param>> {
    let limit = cgroup::MemoryLimit::new(limit.memory, limit.swap)
        .map_err(|e| Error::invalid_with("this limit of memory can't be set", e))?;
    Ok(limit.params())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_can_not_be_are_refused() {
        let cpu = |percent| Config {
            cpu_limit: Some(CpuLimit {
                percent,
                period_us: None,
            }),
            ..Config::default()
        };
        assert!(cpu(100).check().is_ok());
        assert!(cpu(0).check().is_err());
        assert!(cpu(u64::MAX).check().is_err());
        let memory = Config {
            memory_limit: Some(MemoryLimit {
                memory: 0,
                swap: None,
            }),
            ..Config::default()
        };
        assert!(memory.check().is_err());
    }
}
