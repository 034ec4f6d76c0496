//! What each process is told: its subcommand, its settings in the environment. Everything else is left at its default, so
//! that what is measured is what people get.

use super::{Fleet, Part, orgs};

/// The key of the mesh and of its tokens. What it guards is on loopback for minutes.
pub(in crate::bench) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

impl Part {
    /// What it is, without its number.
    pub(in crate::bench) const fn kind(self) -> &'static str {
        match self {
            Self::Model => "mock-model",
            Self::Gateway(_) => "gateway",
            Self::Orchestrator(_) => "run-orchestrator",
            Self::Relay(_) => "stream-relay",
            Self::Approval => "approval",
            Self::Summary => "summary",
        }
    }

    /// What its settings begin with.
    pub(super) fn prefix(self) -> String {
        format!("RUNMESH_{}__", self.kind().replace('-', "_").to_uppercase())
    }
}

impl Fleet {
    pub(super) fn arguments(&self, part: Part) -> Vec<String> {
        let mut arguments = vec![part.kind().to_owned()];
        if part == Part::Model {
            arguments.extend(["--listen".to_owned(), format!("127.0.0.1:{}", self.port(part))]);
        }
        arguments
    }

    pub(super) fn environment(&self, part: Part) -> Vec<(String, String)> {
        let prefix = part.prefix();
        let mut all = vec![("RUST_LOG".to_owned(), std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()))];
        let mut set = |key: &str, value: &str| all.push((format!("{prefix}{key}"), value.to_owned()));
        if part == Part::Model {
            return all;
        }
        set("LISTEN", &format!("127.0.0.1:{}", self.port(part)));
        set("MESH_KEY", KEY);
        match part {
            Part::Model => {}
            Part::Gateway(_) => self.gateway_settings(&mut set),
            Part::Orchestrator(index) => self.orchestrator_settings(index, &mut set),
            Part::Relay(_) => {
                set("POSTGRES_URL", &self.postgres_url);
                set("NATS_URL", &self.nats_url);
            }
            Part::Approval | Part::Summary => set("POSTGRES_URL", &self.postgres_url),
        }
        all
    }

    fn gateway_settings(&self, set: &mut impl FnMut(&str, &str)) {
        set("JWT__ISSUER", crate::token::DEV_ISSUER);
        set("JWT__KEY", KEY);
        // One person here sends what hundreds would.
        set("LIMITS__CALLS_PER_SECOND", "0");
        set("ORCHESTRATORS", &self.urls(|part| matches!(part, Part::Orchestrator(0 | 1))));
        set("RELAYS", &self.urls(|part| matches!(part, Part::Relay(_))));
        set("APPROVALS", &self.urls(|part| matches!(part, Part::Approval)));
        set("SUMMARIES", &self.urls(|part| matches!(part, Part::Summary)));
    }

    fn orchestrator_settings(&self, index: usize, set: &mut impl FnMut(&str, &str)) {
        set("POSTGRES_URL", &self.postgres_url);
        set("NATS_URL", &self.nats_url);
        set("RELAYS", &self.urls(|part| matches!(part, Part::Relay(_))));
        set("DEFAULT_MODEL", "mock");
        set("WORKER__MODEL_URL", &format!("http://127.0.0.1:{}/v1", self.port(Part::Model)));
        set("WORKER__NAME", &format!("worker-{index}"));
        set("ORGS", &orgs().join(","));
        set("ORG_ADMINS", "dev|you");
    }

    fn urls(&self, wanted: impl Fn(&Part) -> bool) -> String {
        let ports = self.ports.iter().filter(|(part, _)| wanted(part));
        ports.map(|(_, port)| format!("http://127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }
}
