//! The API by hand, with grpcurl.
