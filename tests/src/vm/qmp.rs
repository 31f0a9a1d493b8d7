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
        self.try_command(command, arguments)
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// As [`command`](Monitor::command).
    ///
    /// # Errors
    /// What QEMU says against it, or why it says nothing.
    pub fn try_command(&mut self, command: &str, arguments: &Value) -> Result<Value, String> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{request}").map_err(|e| e.to_string())?;
        loop {
            let mut answer = self.try_receive()?;
            if answer["event"].is_null() {
                return match answer["error"].is_null() {
                    true => Ok(answer["return"].take()),
                    false => Err(answer["error"].to_string()),
                };
            }
        }
    }

    fn receive(&mut self) -> Value {
        self.try_receive().unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_receive(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        self.stream
            .read_line(&mut line)
            .map_err(|e| e.to_string())?;
        serde_json::from_str(&line).map_err(|e| format!("QEMU says {line:?}: {e}"))
    }
}
