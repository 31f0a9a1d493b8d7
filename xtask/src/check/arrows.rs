//! Who may use whom: the table of the architecture, and the check of every
//! crate's dependencies and every module's source against it.

use std::collections::BTreeSet;
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand};

use super::Finding;
use super::sources::{Source, read_crate};
use crate::error::{Error, Result};

/// What some modules may not use.
struct Rule {
    /// Modules it is about, with all that are below them.
    who: &'static [&'static str],
    /// Modules below them that it is not about.
    but: &'static [&'static str],
    /// Beginnings of paths; one that ends with `*` need not end at a segment.
    may_not: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        who: &["osctl_linux"],
        but: &[],
        may_not: &[
            "osctl_api",
            "osctl_runtime",
            "osctld",
            "tokio",
            "serde*",
            "tracing*",
        ],
        why: "it is the audit surface: system calls, no policy",
    },
    Rule {
        who: &["osctl_runtime"],
        but: &[],
        may_not: &["osctl_api", "osctld", "tokio", "std::thread"],
        why: "clone3 and setns are only safe with one thread; it must stay small",
    },
    Rule {
        who: &["osctl_api"],
        but: &[],
        may_not: &[
            "osctl_linux",
            "osctl_runtime",
            "osctld",
            "std::fs",
            "std::env",
        ],
        why: "others build clients on it",
    },
    Rule {
        who: &["osctl"],
        but: &[],
        may_not: &["osctld", "osctl_runtime"],
        why: "a command line must work against any daemon that speaks the contract",
    },
    Rule {
        who: &["osctld::handlers"],
        but: &[],
        may_not: &[
            "osctld::storage",
            "osctld::network",
            "osctld::cgroup",
            "osctl_runtime",
        ],
        why: "handlers talk to domain objects",
    },
    Rule {
        who: &["osctld::storage", "osctld::cgroup", "osctld::security"],
        but: &[],
        may_not: &[
            "osctld::container",
            "osctld::pool",
            "osctld::handlers",
            "osctl_api",
        ],
        why: "a back end does not know who calls",
    },
    Rule {
        who: &["osctld::network"],
        but: &[],
        may_not: &[
            "osctld::container",
            "osctld::pool",
            "osctld::handlers",
            "osctl_api::client",
            "osctl_api::container",
            "osctl_api::daemon",
            "osctl_api::error",
            "osctl_api::firewall",
            "osctl_api::methods",
            "osctl_api::netif",
            "osctl_api::pool",
            "osctl_api::wire",
        ],
        why: "a back end does not know who calls; the values of osctl_api::net are everybody's",
    },
    Rule {
        who: &[
            "osctld::autostart",
            "osctld::container",
            "osctld::daemon",
            "osctld::group",
            "osctld::handlers",
            "osctld::id_range",
            "osctld::pool",
            "osctld::server",
            "osctld::user",
        ],
        // A socket is no state.
        but: &["osctld::server::socket"],
        may_not: &[
            "fs::write",
            "fs::rename",
            "std::fs::write",
            "std::fs::rename",
            "tokio::fs::write",
            "tokio::fs::rename",
            "rustix::fs::rename*",
            "nix::fcntl::rename*",
        ],
        why: "osctld::store is the one crash-safe writer of state",
    },
    Rule {
        who: &[
            "osctl_api",
            "osctl_linux",
            "osctl_runtime",
            "osctl",
            "osctld",
            "xtask",
        ],
        // The runtime's init stage gives its streams to the guest.
        but: &[
            "osctl::ui",
            "xtask::ui",
            "osctld::daemon::logging",
            "osctl_runtime::stage",
        ],
        may_not: &[
            "print!",
            "println!",
            "eprint!",
            "eprintln!",
            "std::print*",
            "std::eprint*",
            "std::io::stdout",
            "std::io::stderr",
            "io::stdout",
            "io::stderr",
            "rustix::stdio::stdout",
            "rustix::stdio::stderr",
        ],
        why: "one place decides tables, JSON, colour and progress",
    },
];

/// Files that may print: how a program is used or why it did not start, before
/// it can log.
const LAST_WORDS: &[&str] = &["osctld/src/main.rs", "runtime/src/main.rs"];

/// Checks the dependencies and the source of the whole workspace.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .map_err(|error| Error::Other(format!("cargo metadata: {error}")))?;
    let mut findings = Vec::new();
    let mut modules = BTreeSet::new();
    for package in &metadata.packages {
        let directory = package.manifest_path.parent().map_or("", |it| it.as_str());
        let directory = directory
            .strip_prefix(&format!("{}/", root.display()))
            .unwrap_or(directory);
        let name = package.name.replace('-', "_");
        for dependency in &package.dependencies {
            if dependency.kind != DependencyKind::Development {
                let path = dependency.name.replace('-', "_");
                let place = (format!("{directory}/Cargo.toml"), 1);
                findings.extend(
                    broken(&name, &path).map(|why| finding(place.clone(), &name, &path, why)),
                );
            }
        }
        for source in read_crate(root, directory, &name)? {
            modules.insert(source.module.clone());
            findings.extend(judge(&source));
        }
    }
    Ok(findings)
}

fn judge(source: &Source) -> Vec<Finding> {
    let has_last_words = LAST_WORDS.contains(&source.file.as_str());
    let mut findings = Vec::new();
    for used in &source.uses {
        for why in broken(&source.module, &used.path) {
            if has_last_words && matches!(used.path.as_str(), "println!" | "eprintln!") {
                continue;
            }
            let place = (source.file.clone(), used.line);
            findings.push(finding(place, &source.module, &used.path, why));
        }
    }
    findings
}

fn finding((file, line): (String, usize), who: &str, path: &str, why: &str) -> Finding {
    Finding {
        file,
        line,
        what: format!("{who} may not use {path}: {why}"),
    }
}

/// Reasons for which `module` may not use `path`.
fn broken(module: &str, path: &str) -> impl Iterator<Item = &'static str> {
    let applies = |rule: &&Rule| {
        rule.who.iter().any(|who| is_below(module, who))
            && !rule.but.iter().any(|but| is_below(module, but))
            && rule
                .may_not
                .iter()
                .any(|beginning| match beginning.strip_suffix('*') {
                    Some(beginning) => path.starts_with(beginning),
                    None => is_below(path, beginning),
                })
    };
    RULES
        .iter()
        .filter(applies)
        .map(|rule| rule.why)
        .collect::<Vec<_>>()
        .into_iter()
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::sources::read;

    fn judged(file: &str, module: &str, text: &str) -> Vec<Finding> {
        let (name, inside) = module.split_once("::").unwrap_or((module, ""));
        let inside: Vec<String> = inside
            .split("::")
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect();
        let uses = read(text, name, &inside).unwrap();
        judge(&Source {
            file: file.to_owned(),
            module: module.to_owned(),
            uses,
        })
    }

    #[test]
    fn arrows_of_this_tree_point_the_right_way() {
        let findings = check(crate::workspace::root()).unwrap();
        assert!(findings.is_empty(), "{findings:#?}");
    }

    #[test]
    fn wrong_arrows_are_found_with_their_lines() {
        for (module, text) in [
            ("osctl_linux::mount", "\nuse serde::Serialize;"),
            ("osctl_linux::mount", "\nuse serde_json::Value;"),
            ("osctl_runtime::spec", "\nuse tokio::net::UnixStream;"),
            ("osctl_api::client", "\nuse std::{io, fs};"),
            ("osctl::commands::ct", "\nfn f() { osctld::run() }"),
            ("osctl::commands::ct", "\nfn f() { println!() }"),
            ("osctl::commands::ct", "\nfn f() { std::io::stdout() }"),
            (
                "osctld::handlers::ct",
                "\nuse crate::{error::Error, storage::Dataset};",
            ),
            ("osctld::storage::dir", "\nuse super::super::container::Id;"),
            ("osctld::cgroup", "\nuse osctl_api::names::Name;"),
            ("osctld::pool", "\nfn f() { fs::rename(a, b) }"),
        ] {
            let findings = judged("f.rs", module, text);
            assert_eq!(findings.len(), 1, "{module}: {text}: {findings:#?}");
            assert_eq!(findings[0].line, 2, "{findings:#?}");
        }
    }

    #[test]
    fn right_arrows_are_not() {
        for (module, text) in [
            ("osctl::ui::table", "fn f() { println!() }"),
            ("osctl::commands", "use osctl_api::names::Name;"),
            ("osctld::storage", "use crate::storage_size::X;"),
            ("osctld::store", "fn f() { fs::rename(a, b) }"),
            ("osctld::pool", "use crate::storage::Storage;"),
            ("osctld::handlers::ct", "use crate::container::Handle;"),
        ] {
            let findings = judged("f.rs", module, text);
            assert!(findings.is_empty(), "{findings:#?}");
        }
        assert!(judged("osctld/src/main.rs", "osctld", "fn f() { eprintln!() }").is_empty());
        assert!(!judged("osctld/src/x.rs", "osctld::x", "fn f() { eprintln!() }").is_empty());
    }
}
