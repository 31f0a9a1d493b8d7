//! What the harness and the agent inside of a virtual machine say to each other:
//! frames of a length (u32, little endian), a kind (one byte) and content.

use std::io::{self, Read, Write};

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Host: are you there? Answered by `Done`.
    Hello = 0,
    /// Host: length of its stdin (u32), its stdin, then arguments with a NUL
    /// behind each. Answered by `Stdout`, `Stderr`, `Exit`.
    Run = 1,
    /// Host: mode (u32), a path and a NUL, then the file. Answered by `Done`.
    Push = 2,
    /// Host: path of a file. Answered by `File`.
    Pull = 3,
    /// Agent: bytes that a program wrote to its stdout.
    Stdout = 10,
    /// Agent: bytes that a program wrote to its stderr.
    Stderr = 11,
    /// Agent: exit status (i32); of a program that a signal ended, the signal
    /// below zero.
    Exit = 12,
    /// Agent: a file.
    File = 13,
    /// Agent: done.
    Done = 14,
    /// Agent: why it could not.
    Failed = 15,
}

/// Longest content: more than any file a test moves.
const LONGEST: u32 = 256 * 1024 * 1024;

const KINDS: [Kind; 10] = [
    Kind::Hello,
    Kind::Run,
    Kind::Push,
    Kind::Pull,
    Kind::Stdout,
    Kind::Stderr,
    Kind::Exit,
    Kind::File,
    Kind::Done,
    Kind::Failed,
];

/// Writes one frame.
///
/// # Errors
/// Those of `to`, and content that is too long.
pub fn write(to: &mut impl Write, kind: Kind, content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len()).ok();
    let length = length.filter(|&length| length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::other("the frame is too long"))?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&[kind as u8])?;
    to.write_all(content)?;
    to.flush()
}

/// Reads one frame.
///
/// # Errors
/// Those of `from`, and what is no frame.
pub fn read(from: &mut impl Read) -> io::Result<(Kind, Vec<u8>)> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::Error::other("the frame is too long"));
    }
    let mut kind = [0];
    from.read_exact(&mut kind)?;
    let known = KINDS.into_iter().find(|it| *it as u8 == kind[0]);
    let kind = known.ok_or_else(|| io::Error::other("the frame is of no known kind"))?;
    let mut content = Vec::new();
    let got = from.take(u64::from(length)).read_to_end(&mut content)?;
    match u32::try_from(got) == Ok(length) {
        true => Ok((kind, content)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for kind in KINDS {
            let mut bytes = Vec::new();
            write(&mut bytes, kind, b"content").unwrap();
            assert_eq!(read(&mut &bytes[..]).unwrap(), (kind, b"content".to_vec()));
            assert!(read(&mut &bytes[..bytes.len() - 1]).is_err());
        }
        assert!(read(&mut &[0, 0, 0, 0, 99][..]).is_err());
        assert!(read(&mut &[255, 255, 255, 255, 0][..]).is_err());
    }
}
