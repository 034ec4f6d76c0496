//! Addresses, and the connections made to them. Never connects by itself: the first call does.

use crate::bounds;
use crate::error::ClientError;
use tonic::transport::{Channel, Endpoint};

/// The endpoint at `address`: a URL, or `host:port` for plain HTTP/2.
///
/// # Errors
/// [`ClientError::Address`] for what is not one.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, ClientError> {
    let wrong = |problem: String| ClientError::Address { address: address.to_owned(), problem };
    let url = match address.split_once("://") {
        Some(("http", _)) => address.to_owned(),
        Some(("https", _)) => {
            return Err(wrong("this build speaks plain HTTP/2 only; put a proxy that ends TLS in between".into()));
        }
        Some((scheme, _)) => return Err(wrong(format!("unknown scheme {scheme}"))),
        None => format!("http://{address}"),
    };
    let endpoint = Endpoint::from_shared(url).map_err(|error| wrong(error.to_string()))?;
    let endpoint =
        endpoint.user_agent(concat!("runmesh-client/", env!("CARGO_PKG_VERSION"))).map_err(|error| wrong(error.to_string()))?;
    Ok(endpoint
        .connect_timeout(bounds::CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(bounds::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(bounds::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(bounds::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(bounds::CONNECTION_WINDOW_BYTES))
}

/// A connection for unary calls and some for streams, none of them open yet.
pub(crate) fn channels(endpoint: &Endpoint) -> (Channel, Vec<Channel>) {
    let streams = (0..bounds::STREAM_CONNECTIONS).map(|_| endpoint.connect_lazy());
    (endpoint.connect_lazy(), streams.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_and_host_and_port() {
        for good in ["http://127.0.0.1:7420", "127.0.0.1:7420", "localhost:1"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in ["", "https://x", "ftp://x", "http://a b"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
