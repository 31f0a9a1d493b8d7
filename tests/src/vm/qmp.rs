//! QEMU's monitor: one command at a time, events passed over.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

/// A connection to the monitor.
#[derive(Debug)]
pub struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Takes a connection that QEMU has just accepted.
    pub fn new(stream: UnixStream) -> Monitor {
        let mut monitor = Monitor {
            stream: BufReader::new(stream),
        };
        let greeting = monitor.receive();
        assert!(greeting["QMP"].is_object(), "QEMU greets with {greeting}");
        monitor.command("qmp_capabilities", &json!({}));
        monitor
    }

    /// Carries out `command`; what it returns.
    #[track_caller]
    pub fn command(&mut self, command: &str, arguments: &Value) -> Value {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{request}").unwrap();
        loop {
            let mut answer = self.receive();
            if answer["event"].is_null() {
                assert!(answer["error"].is_null(), "{command}: {answer}");
                return answer["return"].take();
            }
        }
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("QEMU says {line:?}: {e}"))
    }
}
