//! examples/typescript: the chat over gRPC-Web, built and run by Node.js.

use super::program::{self, Ended};
use super::{assert_chatted, folder};
use crate::harness::small;
use runmesh_testkit::mesh::Mesh;
use std::fs;
use std::path::{Path, PathBuf};

/// Node.js that is too old fails for reasons that nobody understands.
async fn assert_node() {
    let mut version = program::command("node");
    version.arg("--version");
    let version = program::run(version, program::USE).await;
    let major = version.out.trim_start_matches('v').split('.').next().and_then(|number| number.parse::<u32>().ok());
    assert!(
        major.is_some_and(|major| major >= 20),
        "node {} is too old: install Node.js 20 or newer with npm",
        version.out.trim()
    );
}

/// The example and the protos it is generated from, built in the cache: sources change, so the name holds their fingerprint.
async fn built() -> PathBuf {
    assert_node().await;
    let mut files = Vec::new();
    list(&folder("proto"), Path::new("proto"), &mut files);
    list(&folder("examples/typescript"), Path::new("examples/typescript"), &mut files);
    files.sort();
    let texts: Vec<String> = files.iter().map(|(path, text)| format!("{}\0{text}", path.display())).collect();
    let parts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let name = format!("typescript-{}", program::fingerprint(&parts));
    let place = program::cached(&name, async |fresh: &Path| {
        for (path, text) in &files {
            let target = fresh.join(path);
            fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
            fs::write(target, text).expect("a file");
        }
        npm(fresh, &["ci", "--no-audit", "--no-fund", "--loglevel=error"]).await;
        npm(fresh, &["run", "--silent", "build"]).await;
    })
    .await;
    place.join("examples/typescript")
}

async fn npm(root: &Path, arguments: &[&str]) {
    let mut command = program::command("npm");
    command.args(arguments).current_dir(root.join("examples/typescript"));
    program::run(command, program::INSTALL).await.assert_code(0);
}

/// Every source file of a folder: where it stands, and what it says.
fn list(from: &Path, to: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let made = ["node_modules", "dist", "gen"].iter().any(|made| entry.file_name() == *made);
        if path.is_dir() && !made {
            list(&path, &target, files);
        } else if path.is_file() {
            files.push((target, fs::read_to_string(&path).expect("a text file")));
        }
    }
}

async fn chat(mesh: &Mesh, arguments: &[&str]) -> Ended {
    let mut command = program::command("node");
    command.arg("dist/chat.js").args(["--address", &mesh.gateway_url(0)]).args(arguments).current_dir(built().await);
    program::run(command, program::USE).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_chats_over_grpc_web_and_comes_back_with_its_cursor() {
    let mesh = small().start().await;
    assert_chatted(&chat(&mesh, &["--break-after", "3", "slow:20x20"]).await, 20);
    let refused = chat(&mesh, &["--agent", "nobody", "hello"]).await;
    assert!(refused.assert_code(1).err.starts_with("NOT_FOUND: "), "{}", refused.err);
}
