//! Pages of a journal. Each fits into one answer, whatever the run gathered: a page ends early by its bytes, and a step that is
//! too large for a page goes on on the next.

use super::{cut, load};
use crate::runs::RunRow;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::journal::Step;
use runmesh_domain::path::{CallKey, Path, StepKey};
use serde::{Deserialize, Serialize};

/// Where a page begins: at a step, and a call of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StepBegin {
    #[serde(default)]
    path: Path,
    step: u32,
    call: u32,
}

impl StepBegin {
    /// At the first step.
    pub(super) const FIRST: Self = Self { path: Path::TOP, step: 1, call: 0 };
}

impl From<CallKey> for StepBegin {
    fn from(call: CallKey) -> Self {
        let CallKey { step: StepKey { path, step_index: step }, call_index: call } = call;
        Self { path, step, call }
    }
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
    let StepBegin { path, step: step_index, call: call_index } = begin;
    let from = StepKey { path, step_index }.call(call_index);
    let (mut steps, behind) = load::load_from(tx, row.run.id, &from, rows, bytes).await?;
    let within = cut::cut_steps(&mut steps, bytes);
    let next = within.or(behind.map(|step| step.call(0)));
    Ok((steps, next.map(StepBegin::from)))
}
