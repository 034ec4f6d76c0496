//! `runmesh doctor`: looks at the mesh from outside, part by part, and says what to do about what fails.

mod checks;
mod probe;

use super::context::Context;
use super::done::Done;
use crate::failure::Failure;
use checks::Check;

/// Runs every check. Badly when one fails.
pub async fn run(context: &Context) -> Result<Done, Failure> {
    let checks = checks::all(context).await;
    let well = checks.iter().all(|check| check.problem.is_none());
    if context.output.json {
        let list: Vec<_> = checks.iter().map(Check::as_json).collect();
        context.output.value(&serde_json::json!({"ok": well, "checks": list}))?;
        return Ok(Done::well_if(well));
    }
    for check in &checks {
        context.output.line(&line(context, check))?;
        if let (Some(_), Some(hint)) = (&check.problem, &check.hint) {
            context.output.line(&format!("  try: {hint}"))?;
        }
    }
    let last = if well { "all is well" } else { "something is wrong" };
    context.output.line(last)?;
    Ok(Done::well_if(well))
}

fn line(context: &Context, check: &Check) -> String {
    let Check { name, said, problem, .. } = check;
    match problem {
        None => format!("{} {name:<38} {said}", context.style.good("✓")),
        Some(problem) => format!("{} {name:<38} {problem}", context.style.bad("✗")),
    }
}
