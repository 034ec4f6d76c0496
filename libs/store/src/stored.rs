//! How domain values stand in JSON columns: forms of their own, apart from the API's messages and from the files that people
//! write.
//!
//! *Invariant:* a form is written only as the newest version (`v`) and read leniently, because the row may be an older version's
//! or a newer one's: a field that is missing has its default, one that is not known is passed over, and a kind that is not known
//! is read as the cautious thing, never as a permission. What cannot be read even so is an error of its own row: it reaches
//! whoever reads that value, and never the rows beside it.

mod agent;
mod parts;
mod question;
mod record;
mod verdict;

pub(crate) use parts::{Parts, ResultRef, StoredPart};
pub use question::ActionCall;
pub(crate) use question::Question;
pub(crate) use record::message_of;

use crate::columns::bad_row;
use runmesh_domain::Fault;
use serde_json::Value;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::types::Json;
use sqlx::{Decode, Encode, Postgres, Type};
use std::fmt::Display;
use std::marker::PhantomData;

/// A value that has a form in JSON columns.
pub(crate) trait Form: Sized {
    /// The newest form.
    fn write(&self) -> Value;

    /// From any form, an older or a newer version's.
    ///
    /// # Errors
    /// In words, what this version cannot do without or cannot take for anything else.
    fn read(form: Value) -> Result<Self, String>;
}

/// A JSON column that holds a `T`, not read yet.
#[derive(Debug, Clone)]
pub(crate) struct Stored<T> {
    form: Value,
    of: PhantomData<fn() -> T>,
}

impl<T: Form> Stored<T> {
    /// The newest form of a value.
    pub(crate) fn new(value: &T) -> Self {
        Self { form: value.write(), of: PhantomData }
    }

    /// The value; `table`, `column` and `id` say where it stands when it cannot be read.
    pub(crate) fn read(self, table: &'static str, column: &'static str, id: impl Display) -> Result<T, Fault> {
        T::read(self.form).map_err(|problem| bad_row(table, column, id, problem))
    }

    /// As it stands.
    pub(crate) const fn form(&self) -> &Value {
        &self.form
    }

    /// The newest form of a value that goes into a new row, with what `form` has in the object `within` and this version does not
    /// know.
    pub(crate) fn keeping(value: &T, within: &str, form: &Value) -> Self {
        let mut written = value.write();
        if let (Some(Value::Object(into)), Value::Object(from)) = (written.get_mut(within), form) {
            for (name, value) in from {
                into.entry(name).or_insert_with(|| value.clone());
            }
        }
        Self { form: written, of: PhantomData }
    }
}

impl<T> Type<Postgres> for Stored<T> {
    fn type_info() -> PgTypeInfo {
        <Json<Value> as Type<Postgres>>::type_info()
    }

    fn compatible(ty: &PgTypeInfo) -> bool {
        <Json<Value> as Type<Postgres>>::compatible(ty)
    }
}

impl<T> PgHasArrayType for Stored<T> {
    fn array_type_info() -> PgTypeInfo {
        <Json<Value> as PgHasArrayType>::array_type_info()
    }
}

impl<T> Encode<'_, Postgres> for Stored<T> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <Json<&Value> as Encode<Postgres>>::encode_by_ref(&Json(&self.form), buffer)
    }
}

impl<'r, T> Decode<'r, Postgres> for Stored<T> {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let Json(form) = <Json<Value> as Decode<Postgres>>::decode(value)?;
        Ok(Self { form, of: PhantomData })
    }
}

/// Reads the fields of a form whose names and kinds are this version's.
fn fields<F: serde::de::DeserializeOwned>(form: Value) -> Result<F, String> {
    serde_json::from_value(form).map_err(|problem| problem.to_string())
}

/// Writes a form, with its version.
fn versioned(version: u32, form: impl serde::Serialize) -> Value {
    let mut written = serde_json::to_value(form).unwrap_or_default();
    if let Value::Object(fields) = &mut written {
        fields.insert("v".to_owned(), version.into());
    }
    written
}
