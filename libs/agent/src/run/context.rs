//! Reading the context of a run: the whole journal, and of the conversation what the model's window holds. What came along with the
//! assignment is the first page; the others go from its oldest message back, so that a turn costs no more on a long thread.

use super::lease::{Halt, Lease};
use crate::history::Window;
use runmesh_domain::journal::Step;
use runmesh_domain::message;
use runmesh_wire::convert::journal::Context;

/// The journal and the newest messages. `inline` is what came along with the assignment: nothing when that was too much, which
/// says nothing about what there is. `next_page_token` stays set when there are older messages, for which there is no room.
pub(super) async fn read(lease: &Lease, inline: Option<Context>, window: &Window) -> Result<Context, Halt> {
    let wanted = window.bytes();
    let mut context = match inline {
        Some(context) => context,
        None => lease.context(String::new(), wanted).await?,
    };
    // The journal comes before the messages, so nothing of it is missing when these fill the window.
    while !context.next_page_token.is_empty() && !window.is_full(&context.messages) {
        let page = lease.context(std::mem::take(&mut context.next_page_token), wanted).await?;
        add(&mut context, page);
    }
    Ok(context)
}

/// Adds the next page. It may begin within the step that the last one ended in, or end within the message that the last one began
/// with.
fn add(context: &mut Context, page: Context) {
    let Context { messages, steps, next_page_token } = page;
    message::add_older(&mut context.messages, messages);
    steps.into_iter().for_each(|step| add_step(&mut context.steps, step));
    context.next_page_token = next_page_token;
}

fn add_step(steps: &mut Vec<Step>, step: Step) {
    match steps.last_mut() {
        Some(last) if last.step_index == step.step_index && last.path == step.path => last.calls.extend(step.calls),
        _ => steps.push(step),
    }
}
