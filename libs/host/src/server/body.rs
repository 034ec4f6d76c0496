//! What the layers ask of the bodies they wrap. None of them boxes: each wrapper is a plain struct around the next.

use bytes::Bytes;
use http_body::Body;
use tonic::Status;

/// The body of an answer: unpinned, since it ends in a box made by the router, and with an empty default for answers that are
/// only a status.
pub(crate) trait CallBody: Body<Data = Bytes, Error = Status> + Default + Unpin + Send + 'static {}

impl<T> CallBody for T where T: Body<Data = Bytes, Error = Status> + Default + Unpin + Send + 'static {}
