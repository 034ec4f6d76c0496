//! Reading the whole context of a run: what came along with the assignment, or every page of it.

use super::lease::{Halt, Lease};
use runmesh_domain::journal::Step;
use runmesh_domain::message;
use runmesh_wire::convert::journal::Context;

/// The conversation and the journal. `inline` is what came along with the assignment: nothing when that was too much, which
/// says nothing about what there is.
pub(super) async fn whole(lease: &Lease, inline: Option<Context>) -> Result<Context, Halt> {
    let mut context = match inline {
        Some(context) => context,
        None => lease.context(String::new()).await?,
    };
    while !context.next_page_token.is_empty() {
        let page = lease.context(std::mem::take(&mut context.next_page_token)).await?;
        add(&mut context, page);
    }
    Ok(context)
}

/// Adds the next page. It may begin within the message or the step that the last one ended in.
fn add(context: &mut Context, page: Context) {
    let Context { messages, steps, next_page_token } = page;
    message::add_page(&mut context.messages, messages);
    steps.into_iter().for_each(|step| add_step(&mut context.steps, step));
    context.next_page_token = next_page_token;
}

fn add_step(steps: &mut Vec<Step>, step: Step) {
    match steps.last_mut() {
        Some(last) if last.step_index == step.step_index => last.calls.extend(step.calls),
        _ => steps.push(step),
    }
}
