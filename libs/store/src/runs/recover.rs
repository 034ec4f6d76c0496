//! What is to be done about the calls of a run that its holder leaves, by its own will or not. Decided by the domain from the
//! journal; nothing is written here.

use super::lock::Locked;
use super::transition::TransitionExtra;
use crate::steps;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::agent::OnUnknownOutcome;
use runmesh_domain::id::ActionId;
use runmesh_domain::journal::{Call, Recovery, recovery};
use runmesh_domain::path::{CallKey, StepKey};
use runmesh_domain::run::Ask;

/// The question about calls that may have happened, if there are any, with what a pause says about it.
pub(crate) async fn ask(tx: &mut Tx, locked: &Locked) -> Result<(Option<Ask>, TransitionExtra)> {
    let run = &locked.row.run;
    // A run that was canceled ends, whatever its calls did: nobody has to be able to read them. And where nothing was journaled,
    // nothing can be in flight.
    let in_flight =
        if run.is_cancel_requested() || locked.row.last_step == 0 { Vec::new() } else { steps::in_flight(tx, run.id).await? };
    let Recovery::Unsafe(asked) = recovery(in_flight.iter().map(|(step, call)| (step, call))) else {
        return Ok((None, TransitionExtra::default()));
    };
    let named = name(&in_flight, &asked);
    let spec = steps::spec(tx, run.id).await?;
    if spec.agent.on_unknown_outcome == OnUnknownOutcome::Fail {
        let detail = format!("the worker was lost while these calls ran, and they may have happened: {named}");
        return Ok((Some(Ask::Fail { detail }), TransitionExtra::default()));
    }
    let action = ActionId::derived(&[b"recovery", run.id.uuid().as_bytes(), &run.fence.to_be_bytes()]);
    let summary = format!("The worker was lost while these calls ran. They may have happened: {named}");
    Ok((Some(Ask::Person { action }), TransitionExtra { summary, asked, ..TransitionExtra::default() }))
}

fn name(in_flight: &[(StepKey, Call)], asked: &[CallKey]) -> String {
    let of = |asked: &CallKey| in_flight.iter().find(|(step, call)| *step == asked.step && call.call_index == asked.call_index);
    let names: Vec<_> = asked.iter().filter_map(of).map(|(_, call)| format!("{} {}", call.name, call.arguments)).collect();
    runmesh_domain::text::one_line(&names.join(", "), runmesh_domain::limits::DETAIL_CHARS_MAX / 2)
}
