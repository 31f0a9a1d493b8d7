//! The lock of the Debian package set: which packages the image is made from,
//! with versions, hashes and dependencies. Packages that need each other are
//! one, since a store path cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::index::{self, Index};
use crate::error::{Error, FileContext as _, Result};
use crate::{ui, workspace};

/// What the set is made from, as the repository says.
#[derive(Debug, Deserialize)]
struct Roots {
    release: String,
    components: Vec<String>,
    roots: Vec<String>,
    /// Packages that kernel modules are built with.
    build: Vec<String>,
    /// Packages that others need on Debian, and nothing needs in a store.
    left_out: BTreeSet<String>,
}

/// The file that Nix reads.
#[derive(Debug, Serialize, Deserialize)]
struct Lock {
    /// SHA-256 of the roots it was made for.
    roots: String,
    packages: BTreeMap<String, Locked>,
    /// What kernel modules are built with, and all that it needs.
    build: BTreeSet<String>,
    /// The package that another is part of.
    alias: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Locked {
    version: String,
    debs: Vec<Archive>,
    deps: BTreeSet<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Archive {
    path: String,
    sha256: String,
}

fn roots() -> Result<(String, Roots)> {
    let path = workspace::root().join("os/packages/debian/roots.json");
    let text = fs::read(&path).of("read", &path)?;
    let roots = serde_json::from_slice(&text).map_err(|source| Error::Format {
        path,
        source: source.into(),
    })?;
    let digest = Sha256::digest(&text);
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((digest, roots))
}

/// Whether there is a lock for today's roots.
pub fn is_current(path: &Path) -> Result<bool> {
    let Ok(text) = fs::read(path) else {
        return Ok(false);
    };
    let lock: Option<Lock> = serde_json::from_slice(&text).ok();
    Ok(match lock {
        Some(lock) => lock.roots == roots()?.0,
        None => false,
    })
}

/// Writes the lock for what the mirror has now.
pub fn write(path: &Path) -> Result<()> {
    let (digest, roots) = roots()?;
    ui::step(format!("choosing packages of Debian {}", roots.release));
    let cache = super::cache();
    let index = index::fetch(&index::mirror()?, &roots.release, &roots.components, &cache)?;
    let graph = closure(&index, &roots)?;
    let size: u64 = graph.keys().map(|name| index[name].size).sum();
    let lock = lock(&index, &graph, &roots, digest);
    ui::detail(format!("{} packages, {} MB", graph.len(), size / 1_000_000));
    let text = serde_json::to_vec_pretty(&lock).map_err(std::io::Error::from);
    let text = text.of("write", path)?;
    let new = path.with_extension("new");
    fs::write(&new, text).of("write", &new)?;
    fs::rename(&new, path).of("rename", &new)
}

/// Packages and what each needs.
type Graph = BTreeMap<String, Vec<String>>;

fn closure(index: &Index, roots: &Roots) -> Result<Graph> {
    let mut providers: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, package) in index {
        for provided in &package.provides {
            providers.entry(provided).or_insert(name);
        }
    }
    let mut graph = Graph::new();
    let mut wanted = [roots.roots.as_slice(), &roots.build].concat();
    while let Some(name) = wanted.pop() {
        if graph.contains_key(&name) {
            continue;
        }
        let Some(package) = index.get(&name) else {
            return Err(Error::Other(format!("Debian has no package {name}")));
        };
        let mut needs = Vec::new();
        for group in &package.depends {
            if group.iter().any(|it| roots.left_out.contains(it)) {
                continue;
            }
            let real = |it: &String| match index.contains_key(it) {
                true => Some(it.clone()),
                false => providers.get(it.as_str()).map(|&it| it.to_owned()),
            };
            let Some(chosen) = group.iter().find_map(real) else {
                let group = group.join(" or ");
                return Err(Error::Other(format!(
                    "{name} needs {group}, which Debian has not"
                )));
            };
            let superfluous =
                chosen == name || needs.contains(&chosen) || roots.left_out.contains(&chosen);
            if !superfluous {
                needs.push(chosen);
            }
        }
        wanted.extend(needs.iter().cloned());
        graph.insert(name, needs);
    }
    Ok(graph)
}

fn lock(index: &Index, graph: &Graph, roots: &Roots, digest: String) -> Lock {
    let mut packages = BTreeMap::new();
    let mut alias = BTreeMap::new();
    let circles = circles(graph);
    for circle in &circles {
        let is_root = |name: &&&String| roots.roots.contains(name);
        let head = circle.iter().find(is_root).or(circle.first());
        for (name, head) in circle.iter().zip(std::iter::repeat(head)) {
            alias.insert((*name).clone(), head.map_or(*name, |it| it).clone());
        }
    }
    for circle in circles {
        let head = &alias[circle[0]];
        let archive = |name: &&String| Archive {
            path: index[*name].path.clone(),
            sha256: index[*name].sha256.clone(),
        };
        let needs = circle.iter().flat_map(|name| &graph[*name]);
        let deps: BTreeSet<String> = needs.map(|it| alias[it].clone()).collect();
        let locked = Locked {
            version: index[head].version.clone(),
            debs: circle.iter().map(archive).collect(),
            deps: deps.into_iter().filter(|it| it != head).collect(),
        };
        packages.insert(head.clone(), locked);
    }
    let needed = roots.build.iter().flat_map(|name| reachable(graph, name));
    Lock {
        roots: digest,
        packages,
        build: roots
            .build
            .iter()
            .chain(needed)
            .map(|name| alias[name].clone())
            .collect(),
        alias,
    }
}

/// The strongly connected components: each package with all that it needs and
/// that need it.
fn circles(graph: &Graph) -> Vec<Vec<&String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = graph
        .keys()
        .map(|name| (name, reachable(graph, name)))
        .collect();
    let mut done = BTreeSet::new();
    let mut circles = Vec::new();
    for name in graph.keys() {
        if done.contains(name) {
            continue;
        }
        let mut circle = vec![name];
        let others = reach[name].iter().copied();
        circle.extend(others.filter(|&it| it != name && reach[it].contains(name)));
        circle.sort();
        done.extend(circle.iter().copied());
        circles.push(circle);
    }
    circles
}

fn reachable<'a>(graph: &'a Graph, from: &str) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&String> = graph[from].iter().collect();
    while let Some(name) = next.pop() {
        if seen.insert(name) {
            next.extend(&graph[name]);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::index::Package;

    fn index(packages: &[(&str, &[&str], &[&str])]) -> Index {
        let strings = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let package = |depends: &[&str], provides: &[&str]| Package {
            depends: depends
                .iter()
                .map(|it| strings(&it.split('|').collect::<Vec<_>>()))
                .collect(),
            provides: strings(provides),
            ..Package::default()
        };
        let entry = |(name, depends, provides): &(&str, &[&str], &[&str])| {
            ((*name).to_owned(), package(depends, provides))
        };
        packages.iter().map(entry).collect()
    }

    fn roots(names: &[&str], left_out: &[&str]) -> Roots {
        Roots {
            release: String::new(),
            components: Vec::new(),
            build: Vec::new(),
            roots: names.iter().map(|it| (*it).to_owned()).collect(),
            left_out: left_out.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_needed_comes_along_and_circles_are_one() {
        let index = index(&[
            ("a", &["b|x", "virtual", "junk"], &[]),
            ("b", &["c"], &[]),
            ("c", &["b"], &[]),
            ("d", &[], &["virtual"]),
            ("junk", &[], &[]),
            ("other", &[], &[]),
        ]);
        let roots = roots(&["a", "c"], &["junk"]);
        let graph = closure(&index, &roots).unwrap();
        let lock = lock(&index, &graph, &roots, String::new());
        let names: Vec<&String> = lock.packages.keys().collect();
        assert_eq!(names, ["a", "c", "d"]);
        assert_eq!(lock.alias["b"], "c");
        assert_eq!(lock.packages["c"].debs.len(), 2);
        assert!(lock.packages["c"].deps.is_empty());
        assert_eq!(
            lock.packages["a"].deps,
            ["c", "d"].map(str::to_owned).into()
        );
    }

    #[test]
    fn what_modules_are_built_with_is_complete() {
        let index = index(&[
            ("a", &[], &[]),
            ("cc", &["libc"], &[]),
            ("libc", &["cc", "headers"], &[]),
            ("headers", &[], &[]),
        ]);
        let roots = Roots {
            build: vec!["libc".to_owned()],
            ..roots(&["a"], &[])
        };
        let graph = closure(&index, &roots).unwrap();
        let lock = lock(&index, &graph, &roots, String::new());
        assert_eq!(lock.build, ["cc", "headers"].map(str::to_owned).into());
        assert_eq!(lock.packages.len(), 3);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let index = index(&[("a", &["b|c"], &[])]);
        let error = closure(&index, &roots(&["a"], &[])).unwrap_err();
        assert_eq!(error.to_string(), "a needs b or c, which Debian has not");
        assert!(closure(&index, &roots(&["z"], &[])).is_err());
    }
}
