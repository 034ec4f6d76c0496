//! How domain values stand in columns. No query is here.

use runmesh_domain::actor::Actor;
use runmesh_domain::id::{SessionId, UserId};
use runmesh_domain::{Fault, Timestamp};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::types::time::OffsetDateTime;
use sqlx::{Decode, Encode, Postgres, Type};
use std::fmt::Display;
use uuid::Uuid;

/// A `timestamptz`. Both sides count microseconds, so nothing is lost and nothing can overflow a calendar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At(pub(crate) Timestamp);

/// 2000-01-01 in microseconds since 1970: where Postgres begins to count.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

impl Type<Postgres> for At {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for At {
    fn array_type_info() -> PgTypeInfo {
        <OffsetDateTime as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for At {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.0.as_micros().saturating_sub(POSTGRES_EPOCH);
        <i64 as Encode<Postgres>>::encode_by_ref(&micros, buffer)
    }
}

impl<'r> Decode<'r, Postgres> for At {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Err("timestamps are read in binary form only".into());
        }
        let micros = <i64 as Decode<Postgres>>::decode(value)?;
        Ok(Self(Timestamp::from_micros(micros.saturating_add(POSTGRES_EPOCH))))
    }
}

/// A counter as `bigint`. Counters start near zero and grow by one.
pub(crate) fn big(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A `bigint` that the schema keeps from being negative.
pub(crate) const fn count(value: i64) -> u64 {
    value.cast_unsigned()
}

/// An index or small number as `integer`.
pub(crate) fn int(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// An `integer` that the schema keeps from being negative.
pub(crate) const fn small(value: i32) -> u32 {
    value.cast_unsigned()
}

/// An actor as two columns: its kind and its id.
pub(crate) const fn stored_actor(actor: Actor) -> (&'static str, Option<Uuid>) {
    match actor {
        Actor::System => ("system", None),
        Actor::User(user) => ("user", Some(user.uuid())),
        Actor::Worker(session) => ("worker", Some(session.uuid())),
    }
}

/// The actor of two columns. One of a kind that this version does not know is shown as runmesh itself.
pub(crate) fn read_actor(kind: &str, id: Option<Uuid>) -> Actor {
    match (kind, id) {
        ("user", Some(id)) => Actor::User(UserId::from_uuid(id)),
        ("worker", Some(id)) => Actor::Worker(SessionId::from_uuid(id)),
        _ => Actor::System,
    }
}

/// A stored value that this version cannot read.
pub(crate) fn bad_row(table: &'static str, column: &'static str, id: impl Display, value: impl Display) -> Fault {
    Fault::internal(format!("bad row: {table}.{column} of {id} is {value}"))
}
