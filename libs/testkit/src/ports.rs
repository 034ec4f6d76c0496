//! Ports for processes that must be told theirs before they start. They lie below the range from which the system gives
//! ports to outgoing connections, so nobody takes one between the choice and the start.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 11_000;
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of loopback that nobody listens on. Test processes begin at different places of the range.
pub fn free() -> u16 {
    let start = u16::try_from(std::process::id() % 400).unwrap_or(0) * 50;
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}
