//! What `dev` prints: once it is ready, where it is, and three lines to paste; and at the end, that it ends.

use super::mesh::Running;
use runmesh_engines::Engines;
use runmesh_host::Lifecycle;
use std::io::Write as _;

const DEFAULT_PORT: u16 = 7420;

/// Prints the box.
pub fn print(running: &Running, engines: &Engines) {
    // A reader of a pipe that has seen enough is no reason to stop the mesh.
    drop(writeln!(std::io::stdout(), "{}", text(running, engines)));
}

/// Says that the drain has begun, once it has.
pub async fn say_draining(life: &Lifecycle) {
    life.soft().cancelled().await;
    let text = "draining: runs are given back, streams end with a cursor (Ctrl-C again: stop at once)";
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Says that nothing runs any more.
pub fn say_stopped() {
    drop(writeln!(std::io::stderr(), "stopped"));
}

fn text(running: &Running, engines: &Engines) -> String {
    let gateway = running.gateway;
    let elsewhere = if gateway.port() == DEFAULT_PORT { String::new() } else { format!(" --address http://{gateway}") };
    let model = if running.is_mock {
        "mock (try `slow:20x200`; a real one: --model-url URL --model NAME)".to_owned()
    } else {
        running.model.clone()
    };
    let rows = [
        ("gateway", format!("http://{gateway}")),
        ("model", model),
        ("data", engines.data_dir().display().to_string()),
        ("logs", engines.data_dir().join("runmesh.log").display().to_string()),
        ("", String::new()),
        ("talk", format!("runmesh chat{elsewhere}")),
        ("call", format!("grpcurl -plaintext {gateway} runmesh.summary.v1.SummaryService/GetSummary")),
        ("list", format!("grpcurl -plaintext {gateway} list")),
        ("stop", "Ctrl-C; what runs goes on at the next start".to_owned()),
    ];
    boxed("runmesh is ready", &rows)
}

fn boxed(title: &str, rows: &[(&str, String)]) -> String {
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<8} {value}")).collect();
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).max(title.len() + 2);
    let mut text = format!("╭─ {title} {}╮\n", "─".repeat(width.saturating_sub(title.chars().count() + 1)));
    for line in lines {
        let pad = " ".repeat(width - line.chars().count());
        text.push_str(&format!("│ {line}{pad} │\n"));
    }
    text.push_str(&format!("╰{}╯", "─".repeat(width + 2)));
    text
}

#[cfg(test)]
mod tests {
    use super::boxed;

    #[test]
    fn all_lines_are_equally_wide() {
        let text = boxed("t", &[("a", "b".into()), ("long", "value that is longer".into())]);
        let widths: Vec<_> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    }
}
