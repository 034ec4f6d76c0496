//! The words of the lines about an answer.

use super::Piece;
use crate::cli::{names, printable};
use runmesh_domain::path::Path;
use runmesh_domain::run::StateName;

/// What was shown of a step is void.
pub const STARTING_OVER: &str = "(interrupted, starting over)";
/// What was shown of a step is not what was journaled.
pub const CORRECTED: &str = "(what is above was incomplete; in full:)";
/// What was shown is not what was stored.
pub const AS_STORED: &str = "(what is above is not what was kept; in full:)";
/// What was shown was not stored at all.
pub const NOT_KEPT: &str = "(what is above was not kept)";

const ARGUMENTS_CHARS: usize = 160;
const RESULT_CHARS: usize = 160;

/// A line about a branch, which is named in front of it.
pub fn of_branch(path: &Path, line: String) -> String {
    if path.is_top() { line } else { format!("[{path}] {line}") }
}

/// A tool call.
pub fn call(name: &str, arguments: &str) -> String {
    format!("→ {} {}", printable::line(name), printable::short(arguments, ARGUMENTS_CHARS)).trim_end().to_owned()
}

/// What a tool call gave; `name` when it would not be clear which.
pub fn outcome(name: Option<&str>, content: &str, is_error: bool) -> String {
    let sign = if is_error { '✗' } else { '✓' };
    let name = name.map(|name| format!("{}: ", printable::line(name))).unwrap_or_default();
    format!("{sign} {name}{}", printable::first_line(content, RESULT_CHARS)).trim_end().to_owned()
}

/// How a run ended, unless it just completed.
pub fn end(state: StateName, reason: &str, detail: &str, unfinished: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    match state {
        StateName::Completed => {}
        StateName::Failed => {
            let detail = printable::line(detail);
            let text = if detail.is_empty() { printable::line(reason) } else { format!("{}: {detail}", printable::line(reason)) };
            pieces.push(Piece::Bad(format!("failed: {text}")));
            pieces.extend(names::failure_hint(reason, &detail).map(|hint| Piece::Note(format!("try: {hint}"))));
        }
        StateName::Canceled => pieces.push(Piece::Note("canceled".to_owned())),
        StateName::Aborted => pieces.push(Piece::Bad("aborted: nobody decided in time".to_owned())),
        StateName::Superseded => pieces.push(Piece::Note("a newer message took its place".to_owned())),
        StateName::Queued | StateName::Ready | StateName::Running | StateName::Waiting => {}
    }
    if unfinished {
        pieces.push(Piece::Note("(the answer is unfinished)".to_owned()));
    }
    pieces
}
