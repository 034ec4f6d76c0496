//! Exit codes of the processes, after `sysexits.h`. Never exits by itself.

/// The process did what it was asked to and drained.
pub const OK: u8 = 0;

/// The command line or the configuration is wrong (`EX_USAGE`): nothing was bound, restarting does not help.
pub const CONFIG: u8 = 64;

/// Something the process needs at start is not there (`EX_UNAVAILABLE`): restarting may help.
pub const UNAVAILABLE: u8 = 69;

/// A task died and took the process with it (`EX_SOFTWARE`).
pub const FAULT: u8 = 70;

/// A second signal arrived while draining (128 + SIGINT).
pub const INTERRUPTED: u8 = 130;
