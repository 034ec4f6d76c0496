//! The files of the checkout, read once per rule. Never what a build or an editor leaves beside them.

use super::source;
use std::fs;
use std::path::{Path, PathBuf};

/// What is made, not written.
const MADE: &[&str] = &["target", "node_modules", "__pycache__", ".venv", ".git", ".runmesh"];
/// The largest file that is read; larger ones are data.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// One file.
pub(super) struct File {
    /// From the root of the checkout, with `/`.
    pub(super) path: String,
    /// What it says. Bytes that are not UTF-8 are replaced.
    pub(super) text: String,
}

/// Every file of the checkout in order of path.
pub(super) struct Tree {
    /// The files.
    pub(super) files: Vec<File>,
}

/// The root of the checkout.
pub(super) fn root() -> PathBuf {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    services.and_then(Path::parent).map_or_else(|| panic!("the package stands two folders below the root"), Path::to_owned)
}

impl Tree {
    /// The checkout as it stands.
    pub(super) fn read() -> Self {
        let root = root();
        let mut files = Vec::new();
        collect(&root, &root, &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(files.iter().any(|file| file.path == "Cargo.toml"), "{} is not the root", root.display());
        Self { files }
    }

    /// A tree that a test of a checker makes up.
    pub(super) fn made_up(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        Self { files: files.iter().map(file).collect() }
    }

    /// The Rust files.
    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }
}

impl File {
    /// True for what ships: neither a test, nor a bench, nor an example.
    pub(super) fn is_production(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        let shipped = matches!(parts.as_slice(), ["libs" | "services", _, "src", ..] | ["libs" | "services", _, "build.rs"]);
        shipped && !parts.iter().any(|part| matches!(*part, "tests" | "tests.rs"))
    }

    /// The code without comments, without what strings hold, and without `#[cfg(test)]` modules; line for line as it stood.
    pub(super) fn production_code(&self) -> String {
        source::without_tests(&source::code(&self.text))
    }

    /// A finding at the byte `at` of this file's text.
    pub(super) fn finding(&self, at: usize, what: &str) -> String {
        let line = self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        format!("{}:{line}: {what}", self.path)
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries.map_while(Result::ok) {
        let Ok(kind) = entry.file_type() else { continue };
        if entry.file_name().to_str().is_some_and(|name| MADE.contains(&name)) {
            continue;
        }
        if kind.is_dir() {
            collect(root, &entry.path(), files);
        } else if kind.is_file() {
            files.extend(read_file(root, &entry.path()));
        }
    }
}

/// A file that went away since its folder was read is no finding: others may be at work in the tree.
fn read_file(root: &Path, path: &Path) -> Option<File> {
    let name = path.strip_prefix(root).ok()?.to_str()?.replace('\\', "/");
    let small = fs::metadata(path).ok()?.len() <= FILE_BYTES_MAX;
    let bytes = if small { fs::read(path).ok()? } else { Vec::new() };
    Some(File { path: name, text: String::from_utf8_lossy(&bytes).into_owned() })
}
