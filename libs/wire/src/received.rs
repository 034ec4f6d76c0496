//! The bytes of a request as they came, for digests that tell an exact repeat from another call.
//!
//! A message that was decoded and encoded again lacks what this version does not know of it: two different calls of a newer client
//! would look the same to an older service, and one call of it different to an older and to a newer one.

use bytes::{Buf as _, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};
use runmesh_domain::canonical::Sha256Digest;
use std::cell::RefCell;
use std::task::{Context, Poll};
use tokio::task::futures::TaskLocalFuture;
use tonic::server::NamedService;

tokio::task_local! {
    /// The message that the call of this task was decoded from.
    static RECEIVED: RefCell<Bytes>;
}

/// Keeps the bytes of each unary request while its call is handled. The inner service is a generated server.
#[derive(Debug, Clone)]
pub struct Keeping<S>(pub S);

impl<S: NamedService> NamedService for Keeping<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: tower::Service<R>, R> tower::Service<R> for Keeping<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = TaskLocalFuture<RefCell<Bytes>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        RECEIVED.scope(RefCell::new(Bytes::new()), self.0.call(request))
    }
}

/// Notes what the codec is about to decode; nothing outside of a call that [`Keeping`] handles.
pub(crate) fn note(bytes: &Bytes) {
    let _outside_of_a_call = RECEIVED.try_with(|received| received.replace(bytes.clone()));
}

/// A message as it was received.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Received(Bytes);

/// A field of a message: its number, its bytes with number and length, and what is in it when it is a message itself.
struct Field {
    number: u32,
    whole: Bytes,
    content: Bytes,
}

impl Received {
    /// The request of the call that this task handles. To be called by the handler itself, before it waits for anything else.
    ///
    /// Nothing, for a handler that is called in process and not over [`Keeping`].
    #[must_use]
    pub fn of_this_call() -> Option<Self> {
        RECEIVED.try_with(RefCell::take).ok().map(Self)
    }

    /// A message that was encoded here.
    #[must_use]
    pub fn encoded(message: &impl prost::Message) -> Self {
        Self(message.encode_to_vec().into())
    }

    /// The digest of all fields but some, in the order of their numbers: an encoder may write them in any.
    #[must_use]
    pub fn digest_without(&self, left_out: &[u32]) -> Sha256Digest {
        let mut fields = self.fields();
        fields.retain(|field| !left_out.contains(&field.number));
        fields.sort_by_key(|field| field.number);
        let bytes: Vec<u8> = fields.iter().flat_map(|field| field.whole.iter().copied()).collect();
        Sha256Digest::of(&bytes)
    }

    /// The messages in a field, in order.
    #[must_use]
    pub fn messages(&self, number: u32) -> Vec<Self> {
        let in_field = self.fields().into_iter().filter(|field| field.number == number);
        in_field.map(|field| Self(field.content)).collect()
    }

    /// The message in a field that holds one; empty when it is not there.
    #[must_use]
    pub fn message(&self, number: u32) -> Self {
        self.messages(number).pop().unwrap_or_default()
    }

    /// The fields as far as they are well formed, which those of a decoded message are.
    fn fields(&self) -> Vec<Field> {
        let mut rest = self.0.clone();
        std::iter::from_fn(|| next(&mut rest)).collect()
    }
}

fn next(rest: &mut Bytes) -> Option<Field> {
    let before = rest.clone();
    let (number, wire_type) = decode_key(rest).ok()?;
    let length = match wire_type {
        WireType::Varint => {
            decode_varint(rest).ok()?;
            0
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => usize::try_from(decode_varint(rest).ok()?).ok()?,
        // proto3 has no groups.
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    if length > rest.remaining() {
        return None;
    }
    let content = rest.split_to(length);
    Some(Field { number, whole: before.slice(..before.len() - rest.len()), content })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::run::SendMessageRequest;
    use crate::pb::worker::{FinishRequest, Lease, ModelStep, ModelStepEntry};

    fn send(key: &str, thread: &str) -> SendMessageRequest {
        SendMessageRequest { idempotency_key: key.into(), thread_id: thread.into(), ..SendMessageRequest::default() }
    }

    #[test]
    fn the_key_is_not_part_of_the_body_and_everything_else_is() {
        let digest = |request: &SendMessageRequest| Received::encoded(request).digest_without(&[1]);
        assert_eq!(digest(&send("a", "x")), digest(&send("b", "x")));
        assert_ne!(digest(&send("a", "x")), digest(&send("a", "y")));
    }

    #[test]
    fn what_this_version_does_not_know_is_part_of_the_body_and_its_place_is_not() {
        let plain = Received::encoded(&send("a", "x"));
        let unknown = [0x98, 0x06, 0x07];
        let behind = Received([plain.0.as_ref(), &unknown].concat().into());
        let in_front = Received([&unknown, plain.0.as_ref()].concat().into());
        assert_ne!(behind.digest_without(&[1]), plain.digest_without(&[1]));
        assert_eq!(behind.digest_without(&[1]), in_front.digest_without(&[1]));
    }

    #[test]
    fn a_message_within_is_found_by_its_path() {
        let step = ModelStep { model: "m".into(), ..ModelStep::default() };
        let entry = ModelStepEntry { step_index: 3, result: Some(step.clone()), ..ModelStepEntry::default() };
        let finish = FinishRequest { lease: Some(Lease::default()), last_step: Some(entry), ..FinishRequest::default() };
        assert_eq!(Received::encoded(&finish).message(5).message(2), Received::encoded(&step));
        assert_eq!(Received::encoded(&finish).message(9), Received::default());
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        for bytes in [&[0x0a, 0xff, 0xff][..], &[0x0a], &[0x0d, 1], &[0xff; 12], &[0x0b]] {
            assert_eq!(Received(Bytes::copy_from_slice(bytes)).fields().len(), 0, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_call_sees_its_own_bytes_once() {
        let bytes = Bytes::from_static(b"x");
        assert_eq!(Received::of_this_call(), None);
        note(&bytes);
        let handler = tower::service_fn(|bytes: Bytes| async move {
            note(&bytes);
            tokio::task::yield_now().await;
            Ok::<_, std::convert::Infallible>((Received::of_this_call(), Received::of_this_call()))
        });
        let (first, second) = tower::ServiceExt::oneshot(Keeping(handler), bytes.clone()).await.unwrap_or_default();
        assert_eq!((first, second), (Some(Received(bytes)), Some(Received::default())));
    }
}
