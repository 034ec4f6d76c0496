//! How orgs come to be: those that the settings name, at start, and those that people make whom the settings permit it. Every org
//! begins with an admin and an agent to talk to.

use crate::commands::sweeps::SettleOrg;
use crate::config::Config;
use runmesh_domain::agent::AgentSpec;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::{Refusal, Result};
use runmesh_host::start::StartError;
use runmesh_store::orgs::{self, NewOrg, Org};
use runmesh_store::{Db, PageRequest, Scope, Tx, agents};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Stands for everybody in a list of persons.
const EVERYBODY: &str = "*";

/// What the settings say of new orgs.
#[derive(Debug, Clone)]
pub struct Founding {
    creators: Creators,
    admins: Vec<UserId>,
    agent: AgentSpec,
}

/// Who may make orgs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Creators {
    Everybody,
    These(BTreeSet<UserId>),
}

impl Founding {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`StartError`] for a person that is not `issuer|subject`.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        let creators = if config.org_creators.iter().any(|creator| creator == EVERYBODY) {
            Creators::Everybody
        } else {
            Creators::These(persons("org_creators", &config.org_creators)?.into_iter().collect())
        };
        Ok(Self { creators, admins: persons("org_admins", &config.org_admins)?, agent: config.default_agent.clone() })
    }

    /// Refuses who may not make orgs.
    ///
    /// # Errors
    /// [`Refusal::PermissionDenied`].
    pub fn check(&self, user: UserId) -> Result<(), Refusal> {
        match &self.creators {
            Creators::Everybody => Ok(()),
            Creators::These(these) if these.contains(&user) => Ok(()),
            Creators::These(_) => Err(Refusal::PermissionDenied {
                why: "the setting org_creators of the run-orchestrator names who may make orgs, and not this person",
            }),
        }
    }

    /// Whether the settings name this person among those who may make orgs, not only everybody.
    pub fn names(&self, user: UserId) -> bool {
        matches!(&self.creators, Creators::These(these) if these.contains(&user))
    }

    /// Makes an org of a person. Scope System.
    ///
    /// # Errors
    /// [`Refusal::NameTaken`].
    pub async fn found(&self, tx: &mut Tx, new: &NewOrg, admin: UserId) -> Result<Org> {
        let org = orgs::create(tx, new, admin).await?;
        agents::ensure_default(tx, org.id, &self.agent).await?;
        Ok(org)
    }

    /// Makes an org of the settings, unless it is there or was deleted. Scope System.
    pub async fn settle(&self, tx: &mut Tx, name: &str) -> Result<()> {
        let org = OrgId::of_name(name);
        if !orgs::ensure(tx, org, name, None).await? {
            tracing::warn!(name, "the settings name an org that was deleted, and it stays so");
            return Ok(());
        }
        // Only of an org that nobody is in: an admin who was removed stays so.
        let one = PageRequest { page_size: 1, ..PageRequest::default() };
        let is_empty = orgs::list_members(tx, org, &one).await?.items.is_empty();
        for admin in self.admins.iter().filter(|_| is_empty) {
            orgs::ensure(tx, org, name, Some(*admin)).await?;
        }
        agents::ensure_default(tx, org, &self.agent).await.map(drop)
    }
}

/// The persons of a setting, each as `issuer|subject`.
fn persons(setting: &str, texts: &[String]) -> Result<Vec<UserId>, StartError> {
    let person = |text: &String| {
        let (issuer, subject) = text.split_once('|').filter(|(issuer, subject)| !issuer.is_empty() && !subject.is_empty())?;
        Some(UserId::of_subject(issuer, subject))
    };
    let persons: Option<Vec<_>> = texts.iter().map(person).collect();
    persons.ok_or_else(|| StartError::Part(format!("{setting}: want issuer|subject")))
}

/// Makes the orgs that the settings name, each in a transaction of its own.
pub async fn make_orgs(db: &Db, founding: &Arc<Founding>, names: &[String]) -> Result<()> {
    for name in names {
        db.run(Scope::System, SettleOrg { founding: Arc::clone(founding), name: name.clone() }).await?;
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use runmesh_domain::Reason;

    fn may(creators: &[&str], subject: &str) -> Result<(), Reason> {
        let org_creators = creators.iter().map(|&creator| creator.to_owned()).collect();
        let founding = Founding::new(&Config { org_creators, ..Config::default() }).unwrap();
        founding.check(UserId::of_subject("id", subject)).map_err(|refusal| refusal.reason())
    }

    #[test]
    fn only_whom_the_settings_name_may_make_orgs() {
        assert_eq!(may(&[], "ann"), Err(Reason::PermissionDenied));
        assert_eq!(may(&["id|ann", "other|bob"], "ann"), Ok(()));
        assert_eq!(may(&["id|ann", "other|bob"], "bob"), Err(Reason::PermissionDenied));
        assert_eq!(may(&["id|ann", "*"], "bob"), Ok(()));
    }

    #[test]
    fn a_person_is_an_issuer_and_a_subject() {
        for bad in ["ann", "|ann", "id|", ""] {
            let config = Config { org_creators: vec![bad.to_owned()], ..Config::default() };
            assert!(Founding::new(&config).unwrap_err().to_string().contains("org_creators"), "{bad}");
        }
    }
}
