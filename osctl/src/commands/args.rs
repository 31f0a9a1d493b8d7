//! Arguments that several commands share, and the parsers of their values.

use osctl_api::container::{CpuLimit, MemoryLimit};

// no doc comments on the structs: clap would make them the text of the commands

#[allow(missing_docs)]
#[derive(Debug, Clone, clap::Args)]
pub struct CpuLimitArgs {
    /// Percent of one core: 150 is one core and a half
    #[arg(value_name = "LIMIT", value_parser = percent)]
    pub limit: u64,
    /// Period over which it is enforced, microseconds
    #[arg(short, long, value_name = "USEC")]
    pub period: Option<u64>,
}

impl From<CpuLimitArgs> for CpuLimit {
    fn from(a: CpuLimitArgs) -> CpuLimit {
        CpuLimit {
            percent: a.limit,
            period_us: a.period,
        }
    }
}

#[allow(missing_docs)]
#[derive(Debug, Clone, clap::Args)]
pub struct MemoryLimitArgs {
    /// Bytes of memory, with suffix k, m, g or t for multiples of 1024
    #[arg(value_parser = osctl_api::size::parse)]
    pub memory: u64,
    /// Bytes of swap; none unless told
    #[arg(value_parser = osctl_api::size::parse)]
    pub swap: Option<u64>,
}

impl From<MemoryLimitArgs> for MemoryLimit {
    fn from(a: MemoryLimitArgs) -> MemoryLimit {
        MemoryLimit {
            memory: a.memory,
            swap: a.swap,
        }
    }
}

fn percent(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse::<u64>() {
        Ok(n) if n >= 1 && !number.starts_with('+') => Ok(n),
        _ => Err("use a percentage of one core, at least 1".to_owned()),
    }
}

/// How long to wait: `infinity`, or seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Option<u64>);

impl std::str::FromStr for Wait {
    type Err = String;
    fn from_str(text: &str) -> Result<Wait, String> {
        if text == "infinity" {
            return Ok(Wait(None));
        }
        match text.parse() {
            Ok(n) if !text.starts_with('+') => Ok(Wait(Some(n))),
            _ => Err("use a number of seconds, or infinity".to_owned()),
        }
    }
}

/// Refuses text that a guest or its files would take for something else.
///
/// # Errors
/// Usage, with the reason.
pub fn one_line(what: &str, text: &str) -> Result<(), crate::failure::Failure> {
    let reason = if text.contains('\0') {
        "a NUL byte"
    } else if text.contains(['\n', '\r']) {
        "a line end"
    } else {
        return Ok(());
    };
    Err(crate::failure::Failure::usage(format!(
        "{what} must not contain {reason}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages() {
        assert_eq!(percent("150"), Ok(150));
        assert_eq!(percent("50%"), Ok(50));
        for bad in ["", "0", "-1", "+1", "1.5", "x", "%"] {
            assert!(percent(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn waits() {
        assert_eq!("infinity".parse(), Ok(Wait(None)));
        assert_eq!("0".parse(), Ok(Wait(Some(0))));
        for bad in ["", "-1", "+1", "1s", "inf"] {
            assert!(bad.parse::<Wait>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn lines() {
        assert!(one_line("it", "a b").is_ok());
        for bad in ["a\nb", "a\0", "\r"] {
            assert_eq!(one_line("it", bad).unwrap_err().status(), 2);
        }
    }
}
