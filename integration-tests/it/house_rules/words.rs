//! Words that no file may hold. The needles are put together from pieces, so that this file does not hold them either.

use super::source;
use super::tree::{File, Tree};

/// Promises in any text file.
const PROMISES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
/// Stubs in code.
const STUBS: &[&str] = &[concat!("to", "do!"), concat!("unimpl", "emented!")];
/// Hosts of registries: who installs and from where is the business of the machine and its mirrors.
const HOSTS: &[&str] = &[
    concat!("crates", ".io/"),
    concat!("static.", "crates.io"),
    concat!("index.", "crates.io"),
    concat!("static.", "rust-lang"),
    concat!("pypi", ".org"),
    concat!("files.", "pythonhosted"),
    concat!("registry.", "npmjs"),
    concat!("registry.", "yarnpkg"),
    concat!("proxy.", "golang"),
    concat!("deb.", "debian.org"),
];
/// Folders of one machine.
const FOLDERS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/."), concat!("/home", "/runner")];

/// Promises and stubs.
pub(super) fn left_for_later(tree: &Tree) -> Vec<String> {
    let written = tree.files.iter().filter(|file| !is_generated(file));
    let promises = written.flat_map(|file| found(file, &file.text, PROMISES));
    let stubs = tree.rust().flat_map(|file| found(file, &source::code(&file.text), STUBS));
    promises.chain(stubs).collect()
}

/// Lints that are allowed and tests that are left out.
pub(super) fn switched_off(tree: &Tree) -> Vec<String> {
    tree.rust().flat_map(attributes).collect()
}

fn attributes(file: &File) -> Vec<String> {
    let all = source::attributes(&source::code(&file.text));
    let named = all.into_iter().filter_map(|(at, attribute)| Some((at, switch(&attribute)?)));
    named.map(|(at, what)| file.finding(at, what)).collect()
}

/// What an attribute switches off.
fn switch(attribute: &str) -> Option<&'static str> {
    let names = |word: &str| !source::words(attribute, word).is_empty();
    if names(concat!("al", "low")) && !attribute.starts_with("[doc") {
        return Some("a lint is allowed; expect it, with a reason");
    }
    if names(concat!("ign", "ore")) {
        return Some("a test is left out");
    }
    let expects = attribute.starts_with("[expect(") || attribute.contains(",expect(");
    (expects && !names("reason")).then_some("a lint is expected without a reason")
}

/// Registry hosts and folders of one machine.
pub(super) fn machines(tree: &Tree) -> Vec<String> {
    tree.files
        .iter()
        .flat_map(|file| {
            let hosts = HOSTS.iter().flat_map(|host| file.text.match_indices(host));
            let folders =
                FOLDERS.iter().flat_map(|folder| file.text.match_indices(folder)).filter(|(at, _)| begins_path(&file.text, *at));
            hosts.chain(folders).map(|(at, what)| file.finding(at, &format!("`{what}`"))).collect::<Vec<_>>()
        })
        .collect()
}

/// True when the `/` at `at` begins a path: `docs/work/x` is a place in some project, not on a machine.
fn begins_path(text: &str, at: usize) -> bool {
    let before = text.get(..at).and_then(|before| before.chars().next_back()).unwrap_or(' ');
    !(before.is_alphanumeric() || matches!(before, '.' | '-' | '_' | '/' | '}' | '*' | '>'))
}

/// Lock files hold hashes, in which any three letters may stand.
fn is_generated(file: &File) -> bool {
    file.path.ends_with("Cargo.lock") || file.path.ends_with("package-lock.json") || file.path == "LICENSE"
}

fn found(file: &File, text: &str, needles: &[&str]) -> Vec<String> {
    let places = needles.iter().flat_map(|needle| source::words(text, needle).into_iter().map(move |at| (at, *needle)));
    places.map(|(at, needle)| file.finding(at, &format!("`{needle}`"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_and_stubs_are_found() {
        let text = format!("//! X.\n// {}: later\nfn a() {{ {}() }}\nlet s = \"{}\";\n", PROMISES[0], STUBS[0], STUBS[1]);
        let found = left_for_later(&Tree::made_up(&[("a.rs", &text), ("b.md", PROMISES[1])]));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.contains(&format!("a.rs:2: `{}`", PROMISES[0])), "{found:?}");
    }

    #[test]
    fn switches_are_found() {
        let (allow, ignore) = (concat!("al", "low"), concat!("ign", "ore"));
        let text = format!(
            "#![{allow}(x)]\n#[cfg_attr(test, {allow}(y))]\n#[{ignore}]\n#[{ignore} = \"slow\"]\n#[expect(z)]\n\
             #[expect(z, reason = \"why\")]\n// #[{ignore}]\npolicy.{allow}(1);\n"
        );
        let found = switched_off(&Tree::made_up(&[("a.rs", &text)]));
        let lines: Vec<&str> = found.iter().filter_map(|line| line.split(':').nth(1)).collect();
        assert_eq!(lines, ["1", "2", "3", "4", "5"], "{found:?}");
    }

    #[test]
    fn machines_are_found() {
        let text = format!("see {}x\ncd {}main\nsrc{}a.rs\n", HOSTS[0], FOLDERS[0], FOLDERS[0]);
        let found = machines(&Tree::made_up(&[("a.md", &text)]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("a.md:2: ")), "{found:?}");
    }
}
