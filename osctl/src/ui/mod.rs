//! The only place that writes to stdout and stderr: tables, JSON, colour, progress, errors, prompts.

use osctl_api::{Code, Error};
use serde_json::{Value, json};

use crate::failure::Failure;

pub mod escape;
pub mod human;
mod progress;
pub mod prompt;
mod stream;
pub mod table;

pub use progress::ProgressView;
pub use stream::Stream;

/// Whether colours were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Where it makes sense: a terminal, without NO_COLOR.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How to talk to the user.
#[derive(Debug, Clone)]
pub struct Ui {
    /// Print JSON.
    pub json: bool,
    /// Print raw numbers.
    pub parsable: bool,
    /// Print no progress and no notes.
    pub quiet: bool,
    colour: Colour,
}

impl Ui {
    /// A way to talk.
    pub fn new(json: bool, parsable: bool, quiet: bool, colour: Colour) -> Ui {
        Ui {
            json,
            parsable,
            quiet,
            colour,
        }
    }

    /// Whether a stream gets colours.
    pub fn coloured(&self, stream: Stream) -> bool {
        match self.colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                let unset = |name: &str| std::env::var_os(name).is_none_or(|v| v.is_empty());
                stream.is_tty()
                    && unset("NO_COLOR")
                    && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
            }
        }
    }

    /// Writes bytes to stdout as they are.
    ///
    /// # Errors
    /// `Closed` when the reader has gone, else a failure that says why.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        Stream::Out.write_all(bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::local("cannot write to standard output", &e),
        })
    }

    /// Writes text to stdout and ends the line.
    ///
    /// # Errors
    /// As [`Ui::raw`].
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        self.raw(format!("{}\n", escape::line(text)).as_bytes())
    }

    /// Writes a JSON value to stdout, on a line of its own.
    ///
    /// # Errors
    /// As [`Ui::raw`].
    pub fn json(&self, value: &Value) -> Result<(), Failure> {
        self.raw(format!("{}\n", escape::json(&value.to_string())).as_bytes())
    }

    /// Tells something beside the output, unless the user wants quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            // a note that nobody can read is no failure
            let _ = Stream::Err.write_all(format!("{}\n", escape::line(text)).as_bytes());
        }
    }

    /// Tells something in the middle of a session, in which a line ends with CR LF.
    pub fn session_note(&self, text: &str) {
        if !self.quiet {
            let _ = Stream::Err.write_all(format!("\r\n[{}]\r\n", escape::line(text)).as_bytes());
        }
    }

    /// Shows progress of an operation.
    pub fn progress(&self) -> ProgressView {
        ProgressView::new(self.quiet || self.json)
    }

    /// Tells why a command failed.
    pub fn failure(&self, failure: &Failure) {
        if let Some(error) = failure.error() {
            let text = if self.json {
                format!("{}\n", escape::json(&error_json(error).to_string()))
            } else {
                error_text(error, self.coloured(Stream::Err))
            };
            // there is nobody left to tell that stderr can't be written
            let _ = Stream::Err.write_all(text.as_bytes());
        }
    }
}

fn error_json(error: &Error) -> Value {
    json!({"error": {
        "code": error.code.name(),
        "message": error.message,
        "causes": error.causes,
        "hint": error.hint,
    }})
}

fn error_text(error: &Error, colour: bool) -> String {
    let label = |name: &str, code: &str| {
        if colour {
            format!("\x1b[{code}m{name}:\x1b[0m")
        } else {
            format!("{name}:")
        }
    };
    let message = if error.message.is_empty() {
        error.code.name()
    } else {
        &error.message
    };
    let mut out = format!("{} {}\n", label("Error", "1;31"), escape::lines(message));
    for cause in &error.causes {
        let name = label("Caused by", "31");
        out.push_str(&format!("{name} {}\n", escape::lines(cause)));
    }
    if let Some(hint) = &error.hint {
        out.push_str(&format!(
            "{} {}\n",
            label("Hint", "36"),
            escape::lines(hint)
        ));
    }
    out
}

/// What a command line that can't be parsed is reported as.
pub fn usage_failure(rendered: &str) -> Failure {
    let text = rendered.strip_prefix("error: ").unwrap_or(rendered);
    Failure::Usage(Error::new(Code::InvalidArgument, text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_rendered() {
        let mut e = Error::new(Code::Backend, "cannot mount tank:web1").hint("look at the log");
        e.causes = vec!["open: EIO".into(), "bad\x1b[0mdisk".into()];
        assert_eq!(
            error_text(&e, false),
            "Error: cannot mount tank:web1\nCaused by: open: EIO\nCaused by: bad\\x1b[0mdisk\n\
             Hint: look at the log\n"
        );
        assert!(error_text(&e, true).starts_with("\x1b[1;31mError:\x1b[0m cannot"));
        let j = error_json(&e);
        assert_eq!(j["error"]["code"], "Backend");
        assert_eq!(j["error"]["causes"][0], "open: EIO");
        assert_eq!(
            error_text(&Error::new(Code::Busy, ""), false),
            "Error: Busy\n"
        );
    }
}
