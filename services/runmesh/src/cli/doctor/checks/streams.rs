//! The streams in NATS: how full they are, how many copies they have, and whether they are as the settings say.

use super::Check;
use runmesh_bus::{shown_age, shown_bytes};
use runmesh_client::pb::org::{MeshInfo, Stream};
use runmesh_wire::FromWire as _;

/// A line for each stream.
pub fn checks(info: &MeshInfo) -> Vec<Check> {
    if info.streams.is_empty() {
        let problem = if info.streams_problem.is_empty() { "the mesh says nothing of them" } else { &info.streams_problem };
        // It is no fault of the mesh that it does not show them to everybody.
        return vec![if info.streams_hidden {
            Check::well("streams", format!("not shown: {problem}"))
        } else {
            Check::wrong("streams", problem, "is NATS up, and do its servers reach each other? nats server report jetstream")
        }];
    }
    info.streams.iter().map(check).collect()
}

fn check(stream: &Stream) -> Check {
    let Stream { name, replicas, replicas_current, leader, differences, .. } = stream;
    let name = format!("stream {name}");
    let said = said(stream);
    if let Some(first) = differences.first() {
        let more = if differences.len() > 1 { format!(" (and {} more)", differences.len() - 1) } else { String::new() };
        return Check::wrong(
            name,
            format!("{said}; {first}{more}"),
            "change one of the two; the start of a service logs all of it",
        );
    }
    if replicas_current < replicas {
        let leader = if leader.is_empty() { "no server leads it".to_owned() } else { format!("{leader} leads it") };
        let problem = format!("{said}; only {replicas_current} copies have everything, and {leader}");
        return Check::wrong(name, problem, "a server of NATS is away or catches up: nats server report jetstream");
    }
    Check::well(name, said)
}

fn said(stream: &Stream) -> String {
    let Stream { replicas, bytes, bytes_max, age, .. } = stream;
    let copies = if *replicas == 1 { "1 copy".to_owned() } else { format!("{replicas} copies") };
    let bytes_max = bytes_max.map_or_else(|| "without a bound".to_owned(), |max| format!("of {}", shown(max)));
    let age = age.and_then(|age| age.from_wire("age").ok());
    let age = age.map_or_else(|| "for ever".to_owned(), |age| format!("for {}", shown_age(age)));
    format!("{copies}, {} {bytes_max}, kept {age}", shown(*bytes))
}

fn shown(bytes: i64) -> String {
    shown_bytes(u64::try_from(bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_wire::IntoWire as _;
    use std::time::Duration;

    fn of(streams: Vec<Stream>, problem: &str) -> Vec<Check> {
        checks(&MeshInfo { streams, streams_problem: problem.to_owned(), ..MeshInfo::default() })
    }

    fn stream() -> Stream {
        Stream {
            name: "RM_LOG".into(),
            replicas: 3,
            replicas_current: 3,
            leader: "n1".into(),
            bytes: 12 << 20,
            bytes_max: Some(1 << 30),
            age: Some(Duration::from_secs(72 * 3_600).into_wire()),
            ..Stream::default()
        }
    }

    #[test]
    fn a_stream_is_well_when_it_is_whole_and_as_the_settings_say() {
        let [well] = &of(vec![stream()], "")[..] else { panic!("one line") };
        assert_eq!((&*well.said, &well.problem), ("3 copies, 12 MiB of 1 GiB, kept for 72 h", &None));
        let [lagging] = &of(vec![Stream { replicas_current: 2, ..stream() }], "")[..] else { panic!("one line") };
        assert!(lagging.problem.as_ref().is_some_and(|problem| problem.contains("only 2 copies have everything, and n1 leads")));
        let differing = Stream { differences: vec!["bus.replicas is 5".into(), "more".into()], ..stream() };
        let [differs] = &of(vec![differing], "")[..] else { panic!("one line") };
        assert!(
            differs.problem.as_ref().is_some_and(|problem| problem.ends_with("bus.replicas is 5 (and 1 more)")),
            "{differs:?}"
        );
    }

    #[test]
    fn streams_that_are_not_shown_are_no_fault_and_a_silent_nats_is_one() {
        let hidden = MeshInfo { streams_hidden: true, streams_problem: "you may not".to_owned(), ..MeshInfo::default() };
        assert_eq!(checks(&hidden)[0].problem, None);
        assert_eq!(of(Vec::new(), "not connected")[0].problem.as_deref(), Some("not connected"));
        assert!(of(Vec::new(), "")[0].problem.is_some());
    }
}
