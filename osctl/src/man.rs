//! Man pages: one for each command, from the same texts as its help.

use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use crate::tree;

/// Writes all pages to a directory, which is made if it is missing.
///
/// # Errors
/// When a page can't be written.
pub fn write(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut root = tree::whole().disable_help_subcommand(true);
    root.build();
    pages(&root, directory)
}

fn pages(command: &Command, directory: &Path) -> io::Result<()> {
    if command.is_hide_set() {
        return Ok(());
    }
    let name = command.get_display_name().unwrap_or(command.get_name());
    let page = render(command, name)?;
    std::fs::write(directory.join(format!("{name}.1")), page)?;
    command
        .get_subcommands()
        .try_for_each(|sub| pages(sub, directory))
}

fn render(command: &Command, name: &str) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .title(name)
        .section("1")
        .source(format!("osctl {}", env!("CARGO_PKG_VERSION")))
        .manual("osctl");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_opts().next().is_some() || command.get_positionals().next().is_some() {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if name == "osctl" {
        page.write_all(EXTRA.as_bytes())?;
    }
    Ok(page)
}

const EXTRA: &str = "\
.SH \"EXIT STATUS\"
.TP
0
done
.TP
1
failed
.TP
2
wrong command line
.TP
3
the daemon can't be reached
.PP
.B osctl ct exec
and its kin return the status of the program, or 125 when it could not be entered, 126 when the
program can't be executed, 127 when there is none, 128 + N when signal N ended it.
.SH ENVIRONMENT
.TP
.B OSCTL_SOCKET
socket of the daemon, unless --socket is given
.TP
.B NO_COLOR
no colours, unless --color is given
.SH FILES
.TP
.I /run/osctl/osctld.sock
socket of the daemon
";
