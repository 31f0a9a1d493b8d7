//! Reading Rust source as tokens: which paths a module uses and which macros
//! it calls, with their lines. Knows nothing of the rules. Code that only
//! tests see is left out.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::error::{Error, FileContext as _, Result};

/// A path in the source, such as `osctl_api::names::Name`, from the root of
/// its crate if it is one of the crate's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Segments, joined by `::`; a macro has a `!` behind it.
    pub path: String,
    /// Line in the file.
    pub line: usize,
}

/// A source file of a crate.
#[derive(Debug)]
pub struct Source {
    /// Path from the root of the repository.
    pub file: String,
    /// Its module, with the name of the crate in front.
    pub module: String,
    /// What it uses.
    pub uses: Vec<Use>,
}

/// All files below `directory/src`, `directory` being that of the crate called
/// `name` in Rust.
pub fn read_crate(root: &Path, directory: &str, name: &str) -> Result<Vec<Source>> {
    let src = root.join(directory).join("src");
    let mut files = Vec::new();
    list(&src, &mut files)?;
    let mut sources = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).of("read", &path)?;
        let inside = path.strip_prefix(&src).unwrap_or(&path);
        let Some(module) = module_of(inside) else {
            continue;
        };
        let uses = read(&text, name, &module).map_err(|source| Error::Format {
            path: path.clone(),
            source: source.to_string().into(),
        })?;
        let file = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        let module = [&[name.to_owned()], &module[..]].concat().join("::");
        sources.push(Source { file, module, uses });
    }
    Ok(sources)
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).of("read", directory)? {
        let path = entry.of("read", directory)?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// The module of a file below `src`; none if it is one of tests.
fn module_of(file: &Path) -> Option<Vec<String>> {
    let mut module: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|it| it.to_string_lossy().into_owned())
        .collect();
    let is_root = module.len() == 1 && matches!(module[0].as_str(), "lib" | "main");
    if is_root || module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    let is_test = module
        .iter()
        .any(|it| it == "tests" || it.ends_with("_tests"));
    (!is_test).then_some(module)
}

/// What the text of `module` of the crate `name` uses.
pub fn read(
    text: &str,
    name: &str,
    module: &[String],
) -> std::result::Result<Vec<Use>, proc_macro2::LexError> {
    // A crate that is lib and bin calls its own lib by name.
    let mut reader = Reader {
        name,
        module: module.to_owned(),
        uses: Vec::new(),
    };
    reader.tokens(text.parse()?);
    Ok(reader.uses)
}

struct Reader<'a> {
    name: &'a str,
    module: Vec<String>,
    uses: Vec<Use>,
}

impl Reader<'_> {
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.token(&tokens, at);
        }
    }

    /// Reads what begins at `at`; where the next begins.
    fn token(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        match &tokens[at..] {
            [TokenTree::Punct(hash), TokenTree::Group(attribute), ..] if hash.as_char() == '#' => {
                if is_cfg_test(attribute) {
                    return after_item(tokens, at + 2);
                }
                self.tokens(attribute.stream());
                at + 2
            }
            [
                TokenTree::Ident(keyword),
                TokenTree::Ident(name),
                TokenTree::Group(body),
                ..,
            ] if keyword == "mod" && body.delimiter() == Delimiter::Brace => {
                self.module.push(name.to_string());
                self.tokens(body.stream());
                self.module.pop();
                at + 3
            }
            [TokenTree::Ident(_), ..] => self.path(tokens, at, &[]),
            [TokenTree::Group(group), ..] => {
                self.tokens(group.stream());
                at + 1
            }
            _ => at + 1,
        }
    }

    /// Reads a path and, in a `use`, all that its braces hold.
    fn path(&mut self, tokens: &[TokenTree], mut at: usize, prefix: &[String]) -> usize {
        let mut path = prefix.to_owned();
        let line = tokens[at].span().start().line;
        while let Some(TokenTree::Ident(segment)) = tokens.get(at) {
            path.push(segment.to_string());
            at += 1;
            if !is_double_colon(tokens, at) {
                break;
            }
            at += 2;
            if let Some(TokenTree::Group(group)) = tokens.get(at) {
                self.group(group, &path);
                return at + 1;
            }
        }
        let is_macro = matches!(&tokens[at.min(tokens.len())..],
            [TokenTree::Punct(bang), TokenTree::Group(_), ..] if bang.as_char() == '!');
        // One word alone is a variable as often as a crate.
        if path.len() > 1 || is_macro {
            let bang = if is_macro { "!" } else { "" };
            self.uses.push(Use {
                path: self.resolve(path) + bang,
                line,
            });
        }
        at
    }

    fn group(&mut self, group: &Group, prefix: &[String]) {
        let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = match &tokens[at] {
                TokenTree::Ident(_) => self.path(&tokens, at, prefix),
                _ => at + 1,
            };
        }
    }

    /// The path from the root of the crate, if it is one of the crate's own.
    fn resolve(&self, path: Vec<String>) -> String {
        let mut base = self.module.clone();
        let mut rest = path.iter().map(String::as_str).peekable();
        match rest.peek() {
            Some(&"crate") => base.clear(),
            Some(&"self" | &"super") => {}
            Some(first) if *first == self.name => base.clear(),
            _ => return path.join("::"),
        }
        for segment in rest.by_ref() {
            match segment {
                "super" => drop(base.pop()),
                "self" | "crate" => {}
                segment if segment == self.name && base.is_empty() => {}
                segment => base.push(segment.to_owned()),
            }
        }
        base.insert(0, self.name.to_owned());
        base.join("::")
    }
}

fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    matches!(tokens.get(at..at + 2),
        Some([TokenTree::Punct(a), TokenTree::Punct(b)]) if a.as_char() == ':' && b.as_char() == ':')
}

fn is_cfg_test(attribute: &Group) -> bool {
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    text.starts_with("cfg(test") || text.starts_with("cfg(all(test")
}

/// Where the item that begins at `at` is over.
fn after_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
            TokenTree::Punct(end) if end.as_char() == ';' => break,
            _ => {}
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(text: &str, module: &str) -> Vec<(String, usize)> {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        let uses = read(text, "house", &module).unwrap();
        uses.into_iter().map(|it| (it.path, it.line)).collect()
    }

    fn has(text: &str, module: &str, path: &str) -> bool {
        uses(text, module).iter().any(|(it, _)| it == path)
    }

    #[test]
    fn paths_are_found_wherever_they_stand() {
        assert!(has(
            "use tokio::net::{TcpStream, unix::UnixStream as U};",
            "a",
            "tokio::net::unix::UnixStream"
        ));
        assert!(has(
            "fn f() -> serde_json::Value { todo }",
            "a",
            "serde_json::Value"
        ));
        assert!(has(
            "fn f() { g(|| format!(\"{}\", crate::pool::NAME)) }",
            "a",
            "house::pool::NAME"
        ));
        assert!(has("fn f() { std::println!(); }", "a", "std::println!"));
        assert!(has("fn f() { println!(\"x\"); }", "a", "println!"));
        assert_eq!(uses("\n\nuse a::b;\n", "m")[0], ("a::b".to_owned(), 3));
    }

    #[test]
    fn paths_of_the_crate_are_told_from_its_root() {
        assert!(has(
            "use super::super::container;",
            "storage::dir",
            "house::container"
        ));
        assert!(has("use self::x::Y;", "storage", "house::storage::x::Y"));
        assert!(has("use house::pool::Pool;", "server", "house::pool::Pool"));
        assert!(has(
            "mod inner { use super::super::pool; }",
            "storage",
            "house::pool"
        ));
        assert!(has(
            "use crate::{error::Error, pool::{self, Pool}};",
            "a",
            "house::pool"
        ));
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text = "// tokio::x\n/* tokio::x */ const A: &str = \"tokio::x\";
            #[cfg(test)] mod tests { use tokio::x; }
            #[cfg(test)] use tokio::x;\n fn f() {}";
        assert!(!has(text, "a", "tokio::x"));
        assert!(module_of(Path::new("cgroup/tests/mod.rs")).is_none());
        assert!(module_of(Path::new("storage/dir_tests.rs")).is_none());
        assert_eq!(module_of(Path::new("cgroup/mod.rs")).unwrap(), ["cgroup"]);
        assert_eq!(module_of(Path::new("main.rs")).unwrap(), [""; 0]);
    }
}
