//! Where in a run a step stands: at the top level, or in a branch that one of the run's tool calls opened (a sub-agent, or one of
//! several things done in parallel).
//!
//! A branch belongs to the call that opened it, and is named by the calls that lead to it. Its steps are numbered from 1, whatever
//! other branches do.

use crate::error::Refusal;
use crate::limits::{PATH_BYTES_MAX, PATH_DEPTH_MAX};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The calls that lead from the top level to a branch, outermost first. The empty path is the top level.
///
/// As text each call is `<step_index>.<call_index>`, and calls are joined by `/`: `3.0/1.2` is the branch of call 2 of step 1 of
/// the branch of call 0 of step 3.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Path(Vec<Segment>);

/// A call within its own branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Segment {
    step_index: u32,
    call_index: u32,
}

/// A step of a run. Steps are in the order in which they are read: a step, then the branches of its calls, then the next step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct StepKey {
    /// The branch that it is a step of.
    pub path: Path,
    /// Its place there, from 1.
    pub step_index: u32,
}

/// A tool call of a run. Shown as `<step_index>/<call_index>`, followed by its branch when it is in one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey {
    /// The step that asks for it.
    pub step: StepKey,
    /// Its place in the step, from 0.
    pub call_index: u32,
}

impl Path {
    /// The top level.
    pub const TOP: Self = Self(Vec::new());

    /// True for the top level.
    #[must_use]
    pub const fn is_top(&self) -> bool {
        self.0.is_empty()
    }

    /// How many calls lead here; 0 at the top level.
    #[must_use]
    pub const fn depth(&self) -> usize {
        self.0.len()
    }

    /// The call that opened the branch; none at the top level.
    #[must_use]
    pub fn parent(&self) -> Option<CallKey> {
        let (last, above) = self.0.split_last()?;
        let step = StepKey { path: Self(above.to_vec()), step_index: last.step_index };
        Some(CallKey { step, call_index: last.call_index })
    }

    /// The path of that text. `field` is where it stands, for the refusal.
    ///
    /// # Errors
    /// [`Refusal::InvalidField`].
    pub fn parse(field: &str, text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Ok(Self::TOP);
        }
        let refused = |problem: String| Refusal::field(field, problem);
        if text.len() > PATH_BYTES_MAX {
            return Err(refused(format!("at most {PATH_BYTES_MAX} bytes")));
        }
        let malformed = || refused("want calls as <step_index>.<call_index>, joined by '/', such as 3.0/1.2".to_owned());
        let segments = text.split('/').map(Segment::parse).collect::<Option<Vec<_>>>().ok_or_else(malformed)?;
        if segments.len() > PATH_DEPTH_MAX {
            return Err(refused(format!("at most {PATH_DEPTH_MAX} calls deep")));
        }
        Ok(Self(segments))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Segment { step_index, call_index }) in self.0.iter().enumerate() {
            let joint = if index == 0 { "" } else { "/" };
            write!(f, "{joint}{step_index}.{call_index}")?;
        }
        Ok(())
    }
}

impl FromStr for Path {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::parse("path", text)
    }
}

impl TryFrom<String> for Path {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        text.parse()
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.to_string()
    }
}

impl Segment {
    fn parse(text: &str) -> Option<Self> {
        let (step, call) = text.split_once('.')?;
        let (step_index, call_index) = (number(step)?, number(call)?);
        (step_index >= 1).then_some(Self { step_index, call_index })
    }
}

/// A number in its only form: digits without a leading zero, no larger than what the wire and the tables hold.
fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let number = text.parse::<u32>().ok().filter(|number| i32::try_from(*number).is_ok());
    number.filter(|_| is_plain)
}

impl StepKey {
    /// The step of the top level that it is, or that its branch came from.
    #[must_use]
    pub fn top_step(&self) -> u32 {
        self.path.0.first().map_or(self.step_index, |first| first.step_index)
    }

    /// A step of the top level.
    #[must_use]
    pub const fn top(step_index: u32) -> Self {
        Self { path: Path::TOP, step_index }
    }

    /// A call of the step.
    #[must_use]
    pub const fn call(self, call_index: u32) -> CallKey {
        CallKey { step: self, call_index }
    }
}

impl From<u32> for StepKey {
    /// A step of the top level.
    fn from(step_index: u32) -> Self {
        Self::top(step_index)
    }
}

impl Ord for StepKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (&self.path.0, &other.path.0);
        let common = own.iter().zip(others).map(|(a, b)| a.cmp(b)).find(|order| order.is_ne());
        if let Some(order) = common {
            return order;
        }
        // One path leads on from where the other ends: the step that opened the branch comes before all of the branch.
        match (own.get(others.len()), others.get(own.len())) {
            (None, None) => self.step_index.cmp(&other.step_index),
            (None, Some(branch)) => self.step_index.cmp(&branch.step_index).then(Ordering::Less),
            (Some(branch), _) => branch.step_index.cmp(&other.step_index).then(Ordering::Greater),
        }
    }
}

impl PartialOrd for StepKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.step_index)?;
        if self.path.is_top() { Ok(()) } else { write!(f, " of branch {}", self.path) }
    }
}

impl CallKey {
    /// The branch that the call opens, when it opens one.
    ///
    /// # Errors
    /// [`Refusal::InvalidField`] when branches would be nested too deeply.
    pub fn branch(&self) -> Result<Path, Refusal> {
        let Self { step: StepKey { path, step_index }, call_index } = self;
        let joint = if path.is_top() { "" } else { "/" };
        Path::parse("path", &format!("{path}{joint}{step_index}.{call_index}"))
    }
}

impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step: StepKey { path, step_index }, call_index } = self;
        write!(f, "{step_index}/{call_index}")?;
        if path.is_top() { Ok(()) } else { write!(f, " of branch {path}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.parse().unwrap_or_else(|refusal| panic!("{text}: {refusal}"))
    }

    fn step(path_text: &str, step_index: u32) -> StepKey {
        StepKey { path: path(path_text), step_index }
    }

    #[test]
    fn paths_have_one_text() {
        let deepest = ["1000.127"; PATH_DEPTH_MAX].join("/");
        for text in ["", "1.0", "3.0/1.2", "10.11/2147483647.2147483647", &deepest] {
            assert_eq!(path(text).to_string(), text);
        }
        let too_deep = ["1.0"; PATH_DEPTH_MAX + 1].join("/");
        let too_long = ["1000000000.1000000000"; 4].join("/");
        let bad = [
            "/",
            "1",
            "1.",
            ".0",
            "0.0",
            "1.0/",
            "/1.0",
            "1.0//1.0",
            "01.0",
            "1.00",
            "+1.0",
            "1.-0",
            "1.0 ",
            "1.0.0",
            "a.0",
            "2147483648.0",
            "1.2147483648",
            &too_deep,
            &too_long,
        ];
        for text in bad {
            let Err(Refusal::InvalidField { field, .. }) = Path::parse("entries[0].path", text) else { panic!("{text:?}") };
            assert_eq!(field, "entries[0].path");
        }
    }

    #[test]
    fn a_branch_names_the_call_that_opened_it() {
        assert_eq!(Path::TOP.parent(), None);
        let inner = path("3.0/1.2").parent();
        assert_eq!(inner, Some(step("3.0", 1).call(2)));
        assert_eq!(inner.map(|call| call.branch()), Some(Ok(path("3.0/1.2"))));
        assert_eq!(step("", 3).call(0).branch(), Ok(path("3.0")));
        assert!(step(&["1.0"; PATH_DEPTH_MAX].join("/"), 1).call(0).branch().is_err(), "nested too deeply");
    }

    #[test]
    fn branches_are_read_behind_the_step_that_opened_them() {
        let in_order = [
            step("", 1),
            step("", 2),
            step("2.0", 1),
            step("2.0", 2),
            step("2.0/2.0", 1),
            step("2.0/2.1", 1),
            step("2.0", 10),
            step("2.1", 1),
            step("2.10", 1),
            step("", 3),
            step("10.0", 1),
            step("", 11),
        ];
        for (index, one) in in_order.iter().enumerate() {
            for (other_index, other) in in_order.iter().enumerate() {
                assert_eq!(one.cmp(other), index.cmp(&other_index), "{one} and {other}");
            }
        }
    }

    #[test]
    fn keys_are_shown_with_their_branch() {
        assert_eq!(step("", 3).call(1).to_string(), "3/1");
        assert_eq!(step("3.1", 2).call(0).to_string(), "2/0 of branch 3.1");
        assert_eq!(step("3.1", 2).to_string(), "2 of branch 3.1");
    }
}
