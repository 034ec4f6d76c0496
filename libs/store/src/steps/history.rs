//! What became of a run, for people: its transitions and its journal, in pages.

use super::pages::{self, StepBegin};
use crate::columns::big;
use crate::error::sql;
use crate::outbox::{self, transition_columns};
use crate::page::{self, PageRequest};
use crate::runs::{self, RunRow};
use crate::tx::Tx;
use runmesh_domain::id::{OrgId, RunId};
use runmesh_domain::journal::Step;
use runmesh_domain::transition::Transition;
use runmesh_domain::{Result, limits};
use serde::{Deserialize, Serialize};

/// A page of what became of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The run as it is now.
    pub run: RunRow,
    /// Its transitions, in order: all on the first page, unless there are more than [`limits::PAGE_TRANSITIONS_MAX`].
    pub transitions: Vec<Transition>,
    /// Its steps in the order of [`super::load`], behind the last transition. One that is too large for a page has its further
    /// calls on the next, where it stands again.
    pub steps: Vec<Step>,
    /// For the next page; empty on the last.
    pub next_page_token: String,
}

/// Where a page begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Begin {
    /// At the transition after this version.
    Transition { after: u64 },
    /// Within the journal.
    Step(StepBegin),
}

const TRANSITIONS: &str = concat!(
    "SELECT ",
    transition_columns!(),
    " FROM run_transitions t JOIN runs r ON r.id = t.run_id
     WHERE t.run_id = $1 AND t.version > $2 ORDER BY t.version LIMIT $3"
);

/// A page of a run's transitions and, with `include_steps`, of its journal. The page's size counts steps.
///
/// # Errors
/// [`runmesh_domain::Refusal::NotFound`], or a bad `page_token`.
pub async fn history(tx: &mut Tx, org: OrgId, run: RunId, wish: &PageRequest, include_steps: bool) -> Result<History> {
    let begin = wish.after()?.unwrap_or(Begin::Transition { after: 0 });
    let row = runs::get(tx, org, run).await?;
    let (transitions, more) = match &begin {
        Begin::Transition { after } => transitions(tx, run, *after).await?,
        Begin::Step(_) => (Vec::new(), None),
    };
    let (steps, next) = match (more, begin) {
        (Some(after), _) => (Vec::new(), Some(Begin::Transition { after })),
        (None, _) if !include_steps => (Vec::new(), None),
        (None, Begin::Transition { .. }) => steps(tx, &row, StepBegin::FIRST, wish).await?,
        (None, Begin::Step(begin)) => steps(tx, &row, begin, wish).await?,
    };
    Ok(History { run: row, transitions, steps, next_page_token: next.as_ref().map(page::seal).unwrap_or_default() })
}

/// The transitions after a version, and the last version among them when there are more.
async fn transitions(tx: &mut Tx, run: RunId, after: u64) -> Result<(Vec<Transition>, Option<u64>)> {
    let max = limits::PAGE_TRANSITIONS_MAX;
    let query = sqlx::query_as(TRANSITIONS).bind(run.uuid()).bind(big(after)).bind(i64::from(max) + 1);
    let mut rows: Vec<outbox::Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let is_cut = rows.len() > max as usize;
    rows.truncate(max as usize);
    let last = rows.last().filter(|_| is_cut).map(outbox::Row::version);
    let transitions = outbox::known(rows);
    Ok((transitions, last))
}

async fn steps(tx: &mut Tx, row: &RunRow, begin: StepBegin, wish: &PageRequest) -> Result<(Vec<Step>, Option<Begin>)> {
    let (steps, next) = pages::page(tx, row, begin, wish.size(), limits::PAGE_BYTES_MAX).await?;
    Ok((steps, next.map(Begin::Step)))
}
