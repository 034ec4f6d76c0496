//! The configuration file of the private NATS server. Written anew at every start; never read back.

use std::path::Path;

/// How a server finds the others of its cluster.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    /// The cluster's name, the same at every server.
    pub(crate) cluster: String,
    /// Where this server takes the others' connections, on loopback.
    pub(crate) port: u16,
    /// The same of every server.
    pub(crate) ports: Vec<u16>,
}

/// A run-log batch is at most 1 MiB plus 64 KiB; this leaves room for headers.
const MAX_PAYLOAD_BYTES: u32 = 2 * 1024 * 1024;
/// An upper bound for what streams may reserve together; nothing is allocated ahead.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// Nothing here uses memory streams; the bound keeps a mistake small.
const MAX_MEMORY_BYTES: u64 = 256 * 1024 * 1024;

pub(crate) fn render(name: &str, port: u16, store_dir: &Path, pid_file: &Path, routes: Option<&Routes>) -> String {
    let (store_dir, pid_file) = (quoted(store_dir), quoted(pid_file));
    let cluster = routes.map_or_else(String::new, cluster);
    format!(
        "# written by runmesh at every start; changes are lost\n\
         server_name: {name}\n\
         listen: \"127.0.0.1:{port}\"\n\
         pid_file: {pid_file}\n\
         max_payload: {MAX_PAYLOAD_BYTES}\n\
         # the default of two minutes leaves dead links unnoticed\n\
         ping_interval: \"5s\"\n\
         jetstream {{\n\
         \x20 store_dir: {store_dir}\n\
         \x20 max_file_store: {MAX_FILE_BYTES}\n\
         \x20 max_memory_store: {MAX_MEMORY_BYTES}\n\
         }}\n\
         {cluster}"
    )
}

fn cluster(Routes { cluster, port, ports }: &Routes) -> String {
    let all = ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect::<Vec<_>>().join(", ");
    format!("cluster {{\n\x20 name: {cluster}\n\x20 listen: \"127.0.0.1:{port}\"\n\x20 routes: [{all}]\n}}\n")
}

fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Routes, render};

    #[test]
    fn paths_are_quoted_and_only_loopback_listens() {
        let text = render("n", 4222, Path::new("/a \"b\"/store"), Path::new("/p"), None);
        assert!(text.contains(r#"store_dir: "/a \"b\"/store""#), "{text}");
        assert!(text.contains("listen: \"127.0.0.1:4222\""), "{text}");
        assert!(!text.contains("http") && !text.contains("cluster"), "{text}");
    }

    #[test]
    fn a_member_of_a_cluster_knows_the_routes_of_all() {
        let routes = Routes { cluster: "c".into(), port: 2, ports: vec![1, 2] };
        let text = render("n", 4222, Path::new("/s"), Path::new("/p"), Some(&routes));
        assert!(text.contains("listen: \"127.0.0.1:2\""), "{text}");
        assert!(text.contains(r#"routes: ["nats://127.0.0.1:1", "nats://127.0.0.1:2"]"#), "{text}");
    }
}
