//! The mock model server: an OpenAI-compatible chat-completions endpoint whose answers are steered by hints in the last
//! user message, and beside it a small target for tools that counts what arrives.
//!
//! It serves `runmesh dev`, `runmesh mock-model` and the tests. It is deterministic but for ids and times, accepts any
//! key, and keeps everything in bounded memory. It never calls out, and it knows nothing of the mesh: it can stand in for
//! a model behind any client.
//!
//! | hint | the answer |
//! |---|---|
//! | `slow:NxMS` | N chunks, MS milliseconds apart |
//! | `many:N` | N chunks at once |
//! | `tool:NAME{json}` | a call of that tool; several hints make parallel calls |
//! | `ask` | a call of `ask_user` with one question |
//! | `fail:STATUS` | that HTTP status for the first call of the message; said twice, for the first two |
//! | `cut:N` | the connection drops after N chunks, on the first call that did not fail |
//! | `fail:STATUS*`, `cut:N*` | the same for every call |
//! | `len` | finish reason `length` instead of `stop` |
//! | `usage` | token counts in a last chunk with empty choices |
//! | `quirks` | the oddities of real servers: no ids, `\r\n`, comments, empty choices, no `[DONE]` |
//! | `signed` | tool calls carry a signature, and a prompt that lacks it in the turn's own calls is refused |
//! | `thinks` | reasoning before tool calls, and a prompt that lacks it with them is refused |
//! | `frame:{json}` | that JSON as a frame of the stream, exactly as written, before all others |
//!
//! A prompt is refused when a call in it has a name that is not 1 to 64 of letters, digits, `_` and `-`, as OpenAI does.
//!
//! Chunk i of a hinted stream, counted from 0, is `t<call-start-ms> chunk-i `. Once tool results follow the message, the
//! tool hints are spent: the other hints shape the answer, or else it is prose that names the results.

mod answer;
mod attempts;
mod chat;
mod counts;
mod failure;
mod handle;
mod hints;
mod prose;
mod received;
mod request;
mod server;
mod sse;
mod state;
mod stream;
mod tools;
mod whole;

pub use handle::MockModel;
pub use received::Received;
pub use server::serve;
