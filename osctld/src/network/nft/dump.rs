//! What is in a table: its chains, its sets, and what its rules counted.

use super::Table;
use super::attr::{Attrs, each, find, number_u64, text};
use super::error::Error;
use super::socket::Socket;

const GET_CHAIN: u16 = 4;
const GET_RULE: u16 = 7;
const GET_SET: u16 = 10;

/// What a rule has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl Socket {
    /// Names of the chains of `table` that are at no hook; none when there is no such table.
    ///
    /// # Errors
    /// Those of reading.
    pub fn chains(&mut self, table: &Table) -> Result<Vec<String>, Error> {
        const HOOK: u16 = 4;
        let bodies = self.dump(GET_CHAIN, table, &Attrs::new())?;
        let jumped_to = |body: &&Vec<u8>| is_of(body, table) && find(body, HOOK).is_none();
        Ok(bodies
            .iter()
            .filter(jumped_to)
            .filter_map(|b| name(b, 3))
            .collect())
    }

    /// Names of the named sets and maps of `table`; none when there is no such table.
    ///
    /// # Errors
    /// Those of reading.
    pub fn sets(&mut self, table: &Table) -> Result<Vec<String>, Error> {
        let mut attrs = Attrs::new();
        attrs.text(1, &table.name);
        let bodies = self.dump(GET_SET, table, &attrs)?;
        let named = |name: &String| !name.starts_with("__");
        let ours = bodies.iter().filter(|body| is_of(body, table));
        Ok(ours.filter_map(|b| name(b, 2)).filter(named).collect())
    }

    /// Comment and count of each rule of a chain that has both, in their order; none when there is
    /// no such chain.
    ///
    /// # Errors
    /// Those of reading.
    pub fn counts(&mut self, table: &Table, chain: &str) -> Result<Vec<(String, Count)>, Error> {
        let mut attrs = Attrs::new();
        attrs.text(1, &table.name).text(2, chain);
        let bodies = self.dump(GET_RULE, table, &attrs)?;
        // Older kernels do not heed what was asked for.
        let asked =
            |body: &&Vec<u8>| is_of(body, table) && find(body, 2).and_then(text) == Some(chain);
        let counted = |body: &Vec<u8>| Some((comment(find(body, 7)?)?, count(find(body, 4)?)?));
        Ok(bodies.iter().filter(asked).filter_map(counted).collect())
    }
}

fn is_of(body: &[u8], table: &Table) -> bool {
    find(body, 1).and_then(text) == Some(table.name.as_str())
}

fn name(body: &[u8], kind: u16) -> Option<String> {
    find(body, kind).and_then(text).map(str::to_owned)
}

fn comment(data: &[u8]) -> Option<String> {
    let (head, rest) = data.split_at_checked(2)?;
    let value = rest.get(..usize::from(head[1]))?;
    (head[0] == 0).then(|| text(value).map(str::to_owned))?
}

fn count(expressions: &[u8]) -> Option<Count> {
    each(expressions)
        .find(|(_, e)| find(e, 1).and_then(text) == Some("counter"))
        .and_then(|(_, e)| {
            let data = find(e, 2)?;
            Some(Count {
                bytes: number_u64(find(data, 1)?)?,
                packets: number_u64(find(data, 2)?)?,
            })
        })
}
