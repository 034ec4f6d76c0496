//! Pages of a journal. Each fits into one answer, whatever the run gathered: a page ends early by its bytes, and a step that is
//! too large for a page goes on on the next.

use super::{cut, load};
use crate::runs::RunRow;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::journal::Step;
use serde::{Deserialize, Serialize};

/// Where a page begins: at a step, and a call of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StepBegin {
    step: u32,
    call: u32,
}

impl StepBegin {
    /// At the first step.
    pub(super) const FIRST: Self = Self { step: 1, call: 0 };
}

/// A page of at most `rows` steps, and where the next begins. It holds `bytes` at most, but for a step with one call of it that
/// is larger by itself.
pub(super) async fn page(
    tx: &mut Tx,
    row: &RunRow,
    begin: StepBegin,
    rows: u32,
    bytes: usize,
) -> Result<(Vec<Step>, Option<StepBegin>)> {
    let mut steps = load::load_from(tx, row.run.id, (begin.step, begin.call), rows, bytes).await?;
    let within = cut::cut_steps(&mut steps, bytes).map(|(step, call)| StepBegin { step, call });
    let last = steps.last().map_or(row.last_step, |last| last.step_index);
    let behind = (last < row.last_step).then_some(StepBegin { step: last + 1, call: 0 });
    Ok((steps, within.or(behind)))
}
