//! What a machine's agent does for tests: programs and files.

use super::frame::{self, Kind};
use super::machine::Machine;

/// What a program in a machine has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status; the signal below zero when one ended it.
    pub status: i32,
    /// What it wrote to its stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to its stderr.
    pub stderr: Vec<u8>,
}

impl Machine {
    /// Runs a program with an empty stdin.
    #[track_caller]
    pub fn run(&mut self, argv: &[&str]) -> Output {
        self.run_with(argv, b"")
    }

    /// Runs a script of bash.
    #[track_caller]
    pub fn sh(&mut self, script: &str) -> Output {
        self.run(&["bash", "-c", script])
    }

    /// Runs a program.
    #[track_caller]
    pub fn run_with(&mut self, argv: &[&str], stdin: &[u8]) -> Output {
        let length = u32::try_from(stdin.len()).unwrap();
        let mut request = length.to_le_bytes().to_vec();
        request.extend_from_slice(stdin);
        for argument in argv {
            request.extend_from_slice(argument.as_bytes());
            request.push(0);
        }
        self.ask(Kind::Run, &request);
        let stdout = self.answer(Kind::Stdout);
        let stderr = self.answer(Kind::Stderr);
        let status = self.answer(Kind::Exit);
        Output {
            status: i32::from_le_bytes(status.try_into().unwrap()),
            stdout,
            stderr,
        }
    }

    /// Writes a file in the host.
    #[track_caller]
    pub fn push(&mut self, path: &str, mode: u32, content: &[u8]) {
        let mut request = mode.to_le_bytes().to_vec();
        request.extend_from_slice(path.as_bytes());
        request.push(0);
        request.extend_from_slice(content);
        self.ask(Kind::Push, &request);
        self.answer(Kind::Done);
    }

    /// Reads a file of the host.
    #[track_caller]
    pub fn pull(&mut self, path: &str) -> Vec<u8> {
        self.ask(Kind::Pull, path.as_bytes());
        self.answer(Kind::File)
    }

    #[track_caller]
    pub(super) fn ask(&mut self, kind: Kind, content: &[u8]) {
        let running = self.running.as_mut().expect("the machine is off");
        if let Err(error) = frame::write(&mut running.agent, kind, content) {
            panic!("the agent takes nothing: {error}\n{}", self.errors());
        }
    }

    #[track_caller]
    pub(super) fn answer(&mut self, wanted: Kind) -> Vec<u8> {
        let running = self.running.as_mut().expect("the machine is off");
        match frame::read(&mut running.agent) {
            Ok((kind, content)) if kind == wanted => content,
            Ok((kind, content)) => panic!(
                "the agent answers {kind:?} {}",
                String::from_utf8_lossy(&content)
            ),
            Err(error) => panic!("no answer: {error}\n{}", self.errors()),
        }
    }
}

impl Output {
    /// This, when the program ended with 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        assert_eq!(
            self.status,
            0,
            "stdout: {}\nstderr: {}",
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr)
        );
        self
    }

    /// What it wrote to its stderr, without white space around it.
    pub fn error(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }

    /// What it wrote to its stdout, without white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}
