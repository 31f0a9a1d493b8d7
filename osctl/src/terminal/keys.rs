//! The keys that detach from a console: Ctrl-a q. Ctrl-a Ctrl-a sends one Ctrl-a.

/// Ctrl-a.
const PREFIX: u8 = 1;

/// Finds the detach keys in what is typed, whatever pieces it comes in.
#[derive(Debug, Default)]
pub struct DetachKeys {
    prefixed: bool,
}

/// What typed bytes come to.
#[derive(Debug, PartialEq, Eq)]
pub struct Typed {
    /// Bytes for the console.
    pub bytes: Vec<u8>,
    /// Whether the user wants to leave.
    pub detach: bool,
}

impl DetachKeys {
    /// Takes what was typed. After the detach keys, the rest is dropped.
    pub fn feed(&mut self, typed: &[u8]) -> Typed {
        let mut bytes = Vec::with_capacity(typed.len());
        for byte in typed {
            match (std::mem::take(&mut self.prefixed), *byte) {
                (true, b'q') => {
                    return Typed {
                        bytes,
                        detach: true,
                    };
                }
                (true, PREFIX) => bytes.push(PREFIX),
                // not for us after all: nothing that was typed is lost
                (true, other) => bytes.extend([PREFIX, other]),
                (false, PREFIX) => self.prefixed = true,
                (false, other) => bytes.push(other),
            }
        }
        Typed {
            bytes,
            detach: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = DetachKeys::default();
        let mut all = Vec::new();
        for piece in pieces {
            let t = keys.feed(piece);
            all.extend(t.bytes);
            if t.detach {
                return (all, true);
            }
        }
        (all, false)
    }

    #[test]
    fn the_keys_are_found() {
        assert_eq!(typed(&[b"ab\x01qcd"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&[b"ab\x01", b"q"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&[b"q\x01", b"", b"q"]), (b"q".to_vec(), true));
    }

    #[test]
    fn a_doubled_prefix_is_sent_once() {
        assert_eq!(typed(&[b"\x01\x01q"]), (b"\x01q".to_vec(), false));
        assert_eq!(typed(&[b"\x01\x01\x01q"]), (b"\x01".to_vec(), true));
        assert_eq!(
            typed(&[b"\x01", b"\x01", b"\x01\x01"]),
            (b"\x01\x01".to_vec(), false)
        );
    }

    #[test]
    fn other_keys_pass() {
        assert_eq!(
            typed(&[b"\x01x\x01", b"y"]),
            (b"\x01x\x01y".to_vec(), false)
        );
        assert_eq!(typed(&[b"\x01"]), (b"".to_vec(), false));
        assert_eq!(
            typed(&[b"plain \x02\xff\0"]),
            (b"plain \x02\xff\0".to_vec(), false)
        );
    }
}
