//! A stream's settings as its server has them, and what the mesh makes of them. Pure.
//!
//! They are JSON and stay it: what this version does not know, and what an operator chose, goes back as it came. The mesh
//! changes what it cannot work without, and makes a stream larger when the choices say so. It never makes one smaller.

use crate::choices::{Placement, Replicas, StreamChoices, shown_age, shown_bytes};
use crate::streams::{DUPLICATE_WINDOW, StreamSpec};
use runmesh_domain::limits::APPROVAL_WINDOW;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// As `STREAM.INFO` has them under `config`.
pub type Settings = Map<String, Value>;

/// A whole batch with its headers: the largest message of the mesh.
const MESSAGE_BYTES: i64 = 2 << 20;

/// What a stream that is not there is made with.
pub fn fresh(spec: &StreamSpec, choices: &StreamChoices) -> Settings {
    let (bytes, age) = spec.chosen(choices);
    let mut settings = Settings::from_iter([
        ("name".to_owned(), json!(spec.name)),
        ("description".to_owned(), json!(spec.description)),
        ("retention".to_owned(), json!("limits")),
        ("storage".to_owned(), json!("file")),
        ("num_replicas".to_owned(), json!(choices.replicas.unwrap_or(Replicas::ONE).get())),
        ("max_bytes".to_owned(), json!(bytes.unwrap_or(spec.bytes_max).bytes())),
        ("max_age".to_owned(), nanos(age.unwrap_or(spec.age).duration())),
        ("max_msgs".to_owned(), json!(-1)),
        ("max_consumers".to_owned(), json!(-1)),
    ]);
    if !choices.placement.is_any() {
        settings.insert("placement".to_owned(), json!(choices.placement));
    }
    needed(spec, &settings).unwrap_or(settings)
}

/// Why the mesh cannot work with a stream, in words; these things cannot be changed on a stream.
pub fn unusable(spec: &StreamSpec, has: &Settings) -> Option<String> {
    let retention = text(has, "retention");
    let problem = if retention != "limits" {
        format!("it keeps messages by {retention}, and the mesh needs a stream that keeps them by limits")
    } else if is_set(has, "sealed") {
        "it is sealed and takes no message".to_owned()
    } else if has.get("mirror").is_some_and(|mirror| !mirror.is_null()) {
        "it is a mirror of another stream and takes no message".to_owned()
    } else {
        return None;
    };
    let name = spec.name;
    Some(format!(
        "stream {name} cannot be used: {problem}. This cannot be changed on a stream: have another one of that name, or let the \
         mesh make it (nats stream rm {name}; runs go on, what it holds is lost)"
    ))
}

/// The settings with everything that the mesh cannot work without; none when they have it.
pub fn needed(spec: &StreamSpec, has: &Settings) -> Option<Settings> {
    let mut wanted = has.clone();
    let mut set = |key: &str, value: Value| {
        wanted.insert(key.to_owned(), value);
    };
    if has.get("subjects") != Some(&json!([spec.subjects])) {
        set("subjects", json!([spec.subjects]));
    }
    if !is_sent_on(spec, has) {
        let wanted = spec.republish.map_or(Value::Null, |destination| json!({"src": spec.subjects, "dest": destination}));
        set("republish", wanted);
    }
    if !is_set(has, "allow_direct") {
        set("allow_direct", json!(true));
    }
    if text(has, "discard") != "old" {
        set("discard", json!("old"));
    }
    // A bound per subject cuts the head off a log while its run goes on.
    if number(has, "max_msgs_per_subject") != Some(-1) {
        set("max_msgs_per_subject", json!(-1));
    }
    if number(has, "max_msg_size").is_some_and(|bytes| (0..MESSAGE_BYTES).contains(&bytes)) {
        set("max_msg_size", json!(-1));
    }
    for forbidden in ["no_ack", "discard_new_per_subject"] {
        if is_set(has, forbidden) {
            set(forbidden, json!(false));
        }
    }
    if has.get("subject_transform").is_some_and(|transform| !transform.is_null()) {
        set("subject_transform", Value::Null);
    }
    // The window may not be longer than the age.
    let age = duration(has, "max_age");
    let window = if age.is_zero() { DUPLICATE_WINDOW } else { DUPLICATE_WINDOW.min(age) };
    if duration(has, "duplicate_window") < window {
        set("duplicate_window", nanos(window));
    }
    (wanted != *has).then_some(wanted)
}

fn is_sent_on(spec: &StreamSpec, has: &Settings) -> bool {
    let republish = has.get("republish").filter(|republish| !republish.is_null());
    match (spec.republish, republish) {
        (None, None) => true,
        (Some(destination), Some(republish)) => {
            republish["src"] == spec.subjects
                && republish["dest"] == destination
                && republish.get("headers_only").and_then(Value::as_bool) != Some(true)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Each single change that was chosen and loses nothing: more bytes, a longer age, more copies.
pub fn growth(spec: &StreamSpec, choices: &StreamChoices, has: &Settings) -> Vec<(&'static str, Value)> {
    let (bytes, age) = spec.chosen(choices);
    let mut grown = Vec::new();
    if let Some(bytes) = bytes.filter(|bytes| bytes_max(has).is_some_and(|has| bytes.bytes() > has)) {
        grown.push(("max_bytes", json!(bytes.bytes())));
    }
    if let Some(age) = age.filter(|age| max_age(has).is_some_and(|has| age.duration() > has)) {
        grown.push(("max_age", nanos(age.duration())));
    }
    if let Some(replicas) = choices.replicas.filter(|replicas| i64::from(replicas.get()) > replicas_of(has)) {
        grown.push(("num_replicas", json!(replicas.get())));
    }
    grown
}

/// What differs between a stream and the choices about it, or is weak, in words: each says what was chosen, what the stream
/// has, and what to do.
pub fn differences(spec: &StreamSpec, choices: &StreamChoices, has: &Settings) -> Vec<String> {
    let name = spec.name;
    let (bytes, age) = spec.chosen(choices);
    let mut all = Vec::new();
    let mut differs = |setting: &str, chosen: String, has: String, flag: String| {
        all.push(format!(
            "bus.{setting} is {chosen} and stream {name} has {has}, which stays. Change the setting, or the stream: \
             nats stream edit {name} {flag}"
        ));
    };
    if let Some(replicas) = choices.replicas.map(Replicas::get).filter(|replicas| i64::from(*replicas) != replicas_of(has)) {
        differs("replicas", replicas.to_string(), replicas_of(has).to_string(), format!("--replicas {replicas}"));
    }
    if let Some(bytes) = bytes.filter(|bytes| bytes_max(has) != Some(bytes.bytes())) {
        let shown = bytes_max(has).map_or_else(|| "no bound".to_owned(), shown_bytes);
        let setting = format!("{}_bytes_max", spec.settings);
        differs(&setting, shown_bytes(bytes.bytes()), shown, format!("--max-bytes {}", bytes.bytes()));
    }
    if let Some(age) = age.filter(|age| max_age(has) != Some(age.duration())) {
        let shown = max_age(has).map_or_else(|| "no bound".to_owned(), shown_age);
        let flag = format!("--max-age {}h", age.duration().as_secs() / 3_600);
        differs(&format!("{}_age", spec.settings), shown_age(age.duration()), shown, flag);
    }
    if !choices.placement.is_any() && placement(has) != choices.placement {
        all.push(format!(
            "bus.placement is {} and stream {name} has {}, which stays. Change the setting, or move the stream: \
             nats stream edit {name} --cluster … --tag …",
            shown_placement(&choices.placement),
            shown_placement(&placement(has)),
        ));
    }
    if text(has, "storage") != "file" {
        all.push(format!(
            "stream {name} is kept in memory: when its servers restart, what runs said is lost. The storage of a stream cannot \
             be changed: remove it (nats stream rm {name}) and the mesh makes it anew"
        ));
    }
    if max_age(has).is_some_and(|age| age < APPROVAL_WINDOW) {
        all.push(format!(
            "stream {name} keeps messages for {}, and a run may wait {} for a person: the log of such a run is gone before it goes \
             on. Keep them longer: nats stream edit {name} --max-age 72h",
            shown_age(duration(has, "max_age")),
            shown_age(APPROVAL_WINDOW),
        ));
    }
    all
}

/// How much a stream keeps; none without a bound.
pub fn bytes_max(has: &Settings) -> Option<u64> {
    number(has, "max_bytes").and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0)
}

/// How long a stream keeps what it holds; none without a bound.
pub fn max_age(has: &Settings) -> Option<Duration> {
    Some(duration(has, "max_age")).filter(|age| !age.is_zero())
}

/// Copies of a stream.
pub fn replicas_of(has: &Settings) -> i64 {
    number(has, "num_replicas").unwrap_or(1)
}

fn placement(has: &Settings) -> Placement {
    has.get("placement").and_then(|placement| serde_json::from_value(placement.clone()).ok()).unwrap_or_default()
}

fn shown_placement(Placement { cluster, tags }: &Placement) -> String {
    let cluster = if cluster.is_empty() { "any cluster".to_owned() } else { format!("cluster {cluster}") };
    if tags.is_empty() { cluster } else { format!("{cluster} with tags {}", tags.join(", ")) }
}

fn text<'a>(has: &'a Settings, key: &str) -> &'a str {
    has.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(has: &Settings, key: &str) -> Option<i64> {
    has.get(key).and_then(Value::as_i64)
}

fn is_set(has: &Settings, key: &str) -> bool {
    has.get(key).and_then(Value::as_bool) == Some(true)
}

fn duration(has: &Settings, key: &str) -> Duration {
    Duration::from_nanos(has.get(key).and_then(Value::as_u64).unwrap_or_default())
}

/// NATS writes durations in nanoseconds.
fn nanos(duration: Duration) -> Value {
    json!(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::{LOG, TRANSITIONS};

    fn choices(value: Value) -> StreamChoices {
        serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Settings as a server answers them, with `change`.
    fn has(change: &[(&str, Value)]) -> Settings {
        let mut has = fresh(&LOG, &StreamChoices::default());
        has.insert("a_setting_of_tomorrow".to_owned(), json!("kept"));
        has.extend(change.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        has
    }

    #[test]
    fn a_fresh_stream_has_what_the_mesh_needs_and_what_was_chosen() {
        let chosen = choices(json!({"replicas": 3, "log_bytes_max": "3GiB", "feed_age": "96h", "placement": {"tags": "ssd"}}));
        for spec in [LOG, TRANSITIONS] {
            let fresh = fresh(&spec, &chosen);
            assert_eq!(needed(&spec, &fresh), None, "{}", spec.name);
            assert_eq!(unusable(&spec, &fresh), None);
            assert_eq!(growth(&spec, &chosen, &fresh), []);
            assert_eq!(differences(&spec, &chosen, &fresh), Vec::<String>::new());
            assert_eq!(fresh["num_replicas"], 3);
            assert_eq!(fresh["placement"], json!({"tags": ["ssd"]}));
        }
        assert_eq!(fresh(&LOG, &chosen)["max_bytes"], 3_u64 << 30);
        assert_eq!(fresh(&LOG, &chosen)["republish"], json!({"src": "rm.log.>", "dest": "rm.live.>"}));
        assert_eq!(fresh(&TRANSITIONS, &chosen)["max_age"], 96 * 3_600 * 1_000_000_000_u64);
    }

    #[test]
    fn what_is_needed_is_put_right_and_nothing_else_is_touched() {
        let mine = [("max_bytes", json!(512 << 20)), ("compression", json!("s2")), ("max_msgs", json!(1_000_000))];
        assert_eq!(needed(&LOG, &has(&mine)), None, "what an operator chose is no reason to change a stream");
        for (key, broken) in [
            ("subjects", json!(["rm.log.a.>"])),
            ("republish", Value::Null),
            ("republish", json!({"src": "rm.log.>", "dest": "rm.live.>", "headers_only": true})),
            ("allow_direct", json!(false)),
            ("discard", json!("new")),
            ("max_msgs_per_subject", json!(100)),
            ("max_msg_size", json!(4_096)),
            ("no_ack", json!(true)),
            ("duplicate_window", json!(1_000_000_000)),
            ("subject_transform", json!({"src": "rm.log.>", "dest": "x.>"})),
        ] {
            let mut broken = [&mine[..], &[(key, broken)]].concat();
            let Some(right) = needed(&LOG, &has(&broken)) else { panic!("{key} was not put right") };
            assert_eq!(needed(&LOG, &right), None, "{key}");
            assert_eq!(right["a_setting_of_tomorrow"], "kept");
            broken.truncate(mine.len());
            broken.iter().for_each(|(key, value)| assert_eq!(right[*key], *value, "{key} is the operator's"));
        }
    }

    #[test]
    fn a_stream_grows_as_chosen_and_never_shrinks() {
        let larger = choices(json!({"replicas": 3, "log_bytes_max": "3GiB", "log_age": "14d"}));
        let grown: Vec<&str> = growth(&LOG, &larger, &has(&[])).into_iter().map(|(key, _)| key).collect();
        assert_eq!(grown, ["max_bytes", "max_age", "num_replicas"]);
        let large = has(&[("num_replicas", json!(5)), ("max_bytes", json!(-1)), ("max_age", json!(0))]);
        assert_eq!(growth(&LOG, &larger, &large), []);
        assert_eq!(growth(&LOG, &StreamChoices::default(), &has(&[("max_bytes", json!(1 << 20))])), [], "nothing was chosen");
    }

    #[test]
    fn what_differs_is_said_with_both_sides_and_a_way_out() {
        let smaller =
            choices(json!({"replicas": 1, "log_bytes_max": "1GiB", "log_age": "72h", "placement": {"cluster": "east"}}));
        let large = has(&[("num_replicas", json!(3)), ("max_bytes", json!(3_u64 << 30)), ("max_age", json!(0))]);
        let all = differences(&LOG, &smaller, &large);
        let wanted = [
            "bus.replicas is 1 and stream RM_LOG has 3",
            "bus.log_bytes_max is 1 GiB and stream RM_LOG has 3 GiB",
            "bus.log_age is 72 h and stream RM_LOG has no bound",
            "bus.placement is cluster east and stream RM_LOG has any cluster",
        ];
        assert_eq!(all.len(), wanted.len(), "{all:#?}");
        for (said, wanted) in all.iter().zip(wanted) {
            assert!(said.starts_with(wanted) && said.contains("nats stream edit RM_LOG"), "{said}");
        }
        assert_eq!(differences(&LOG, &StreamChoices::default(), &large), Vec::<String>::new(), "nothing was chosen");
        let weak = has(&[("storage", json!("memory")), ("max_age", json!(3_600_000_000_000_u64))]);
        assert_eq!(differences(&LOG, &StreamChoices::default(), &weak).len(), 2);
    }

    #[test]
    fn what_no_update_can_mend_is_refused_in_words() {
        for (key, value, words) in [
            ("retention", json!("workqueue"), "keeps messages by workqueue"),
            ("sealed", json!(true), "sealed"),
            ("mirror", json!({"name": "x"}), "mirror of another stream"),
        ] {
            let refused = unusable(&LOG, &has(&[(key, value)])).unwrap_or_default();
            assert!(refused.contains(words) && refused.contains("nats stream rm RM_LOG"), "{refused}");
        }
    }
}
