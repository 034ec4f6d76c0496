//! What of a journal goes on one page. Pure.
//!
//! A page ends between the calls of a step when it must: whatever runs gathered, each page fits into one answer.

use crate::threads::{PART_BYTES, message_bytes};
use runmesh_domain::journal::{Call, Step};
use runmesh_domain::path::CallKey;

/// Cuts off what does not fit on a page, but for a step with one call of it, however large. Answers where the next page begins,
/// when there is one: at a step, and a call of it.
pub(super) fn cut_steps(steps: &mut Vec<Step>, bytes_max: usize) -> Option<CallKey> {
    let max = i32::try_from(bytes_max).unwrap_or(i32::MAX);
    let mut bytes = 0_i32;
    for at in 0..steps.len() {
        let step = steps.get_mut(at)?;
        let key = step.key();
        bytes = bytes.saturating_add(message_bytes(&step.result.parts));
        if at > 0 && bytes > max {
            steps.truncate(at);
            return Some(key.call(0));
        }
        let whole = step.calls.iter().position(|call| {
            bytes = bytes.saturating_add(call_bytes(call));
            bytes > max
        });
        // The first call of a page's first step goes along, however large.
        let kept = if at == 0 { whole.map(|calls| calls.max(1)) } else { whole };
        let Some(kept) = kept else { continue };
        let Some(next) = step.calls.get(kept).map(|call| call.call_index) else { continue };
        step.calls.truncate(kept);
        steps.truncate(if kept == 0 { at } else { at + 1 });
        return Some(key.call(next));
    }
    None
}

/// What a call takes beside what the model asked for.
fn call_bytes(call: &Call) -> i32 {
    i32::try_from(call.content.len() + PART_BYTES).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::Timestamp;
    use runmesh_domain::journal::{Call, CallState, ModelStep};
    use runmesh_domain::path::Path;
    use runmesh_domain::policy::Verdict;

    const PAGE: usize = 512 << 10;
    const HALF: usize = (256 << 10) - PART_BYTES;

    fn step(step_index: u32, results: &[usize]) -> Step {
        let call = |(call_index, bytes): (u32, &usize)| Call {
            call_index,
            call_id: format!("c{call_index}"),
            name: "t".into(),
            arguments: "{}".into(),
            state: CallState::Done,
            verdict: Verdict::Allow,
            idempotent: true,
            idempotency_key: String::new(),
            content: "x".repeat(*bytes),
        };
        let calls = (0..).zip(results).map(call).collect();
        Step { path: Path::TOP, step_index, fence: 1, result: ModelStep::default(), calls, created_at: Timestamp::from_micros(0) }
    }

    /// The calls of each page, as `(step, call)`.
    fn pages(journal: &[Step]) -> Vec<Vec<(u32, u32)>> {
        let (mut begin, mut pages) = ((1, 0), Vec::new());
        loop {
            let mut rest: Vec<Step> = journal.iter().filter(|step| step.step_index >= begin.0).cloned().collect();
            rest[0].calls.retain(|call| call.call_index >= begin.1);
            let next = cut_steps(&mut rest, PAGE);
            let of_step = |step: &Step| step.calls.iter().map(|call| (step.step_index, call.call_index)).collect::<Vec<_>>();
            pages.push(rest.iter().flat_map(of_step).collect());
            match next {
                Some(next) => begin = (next.step.step_index, next.call_index),
                None => return pages,
            }
        }
    }

    #[test]
    fn a_step_with_large_results_goes_on_several_pages() {
        assert_eq!(pages(&[step(1, &[1 << 20; 3])]), [vec![(1, 0)], vec![(1, 1)], vec![(1, 2)]]);
        assert_eq!(
            pages(&[step(1, &[HALF; 3]), step(2, &[1, HALF])]),
            [vec![(1, 0), (1, 1)], vec![(1, 2), (2, 0)], vec![(2, 1)]]
        );
        assert_eq!(pages(&[step(1, &[1 << 20]), step(2, &[1])]), [vec![(1, 0)], vec![(2, 0)]]);
        assert_eq!(pages(&[step(1, &[]), step(2, &[1, 1])]), [vec![(2, 0), (2, 1)]]);
    }
}
