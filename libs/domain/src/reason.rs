//! The closed list of reasons that callers hear.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Why a call was refused or failed. The names are those of `runmesh.error.v1.Reason`; a test in the wire crate
        /// compares the two.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {$(
            $(#[$doc])* $name,
        )*}

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name that stands in `google.rpc.ErrorInfo`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {$(Self::$name => $text,)*}
            }

            /// The reason of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.name() == name)
            }
        }
    };
}

reasons! {
    /// A field is missing, malformed or out of bounds.
    InvalidField = "INVALID_FIELD";
    /// The bytes are not the method's message.
    MalformedMessage = "MALFORMED_MESSAGE";
    /// The request is too large.
    MessageTooLarge = "MESSAGE_TOO_LARGE";
    /// No such method.
    UnknownMethod = "UNKNOWN_METHOD";
    /// It does not exist, or is not the caller's to know of.
    NotFound = "NOT_FOUND";
    /// The caller may see it but not do this.
    PermissionDenied = "PERMISSION_DENIED";
    /// No credentials, or bad ones.
    Unauthenticated = "UNAUTHENTICATED";
    /// Good credentials, past their expiry.
    TokenExpired = "TOKEN_EXPIRED";
    /// The key was used with another body.
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED";
    /// Nobody names a model.
    ModelNotConfigured = "MODEL_NOT_CONFIGURED";
    /// The thread's agent was deleted.
    AgentDeleted = "AGENT_DELETED";
    /// The thread is held and the message said REJECT.
    ThreadBusy = "THREAD_BUSY";
    /// A queue is full.
    QueueLimit = "QUEUE_LIMIT";
    /// The caller sends too fast.
    RateLimit = "RATE_LIMIT";
    /// The replica has enough in hand.
    Overloaded = "OVERLOADED";
    /// A part of the mesh could not be reached.
    Unavailable = "UNAVAILABLE";
    /// The deadline passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED";
    /// The caller gave up.
    Cancelled = "CANCELLED";
    /// A fault of runmesh.
    Internal = "INTERNAL";
    /// Another attempt holds the run, or nobody does.
    Fenced = "FENCED";
    /// The run has ended.
    RunFinished = "RUN_FINISHED";
    /// Journaled already, with other content.
    StepConflict = "STEP_CONFLICT";
    /// No verdict lets the call run.
    CallNotAllowed = "CALL_NOT_ALLOWED";
    /// The run's journal is full.
    JournalLimit = "JOURNAL_LIMIT";
    /// The worker session is over.
    SessionLost = "SESSION_LOST";
    /// The token names another run, fence or session.
    TokenMismatch = "TOKEN_MISMATCH";
    /// The cursor is malformed or another run's.
    InvalidCursor = "INVALID_CURSOR";
    /// It changed since the caller read it.
    Conflict = "CONFLICT";
    /// The name is taken.
    NameTaken = "NAME_TAKEN";
    /// Too many viewers.
    ViewerLimit = "VIEWER_LIMIT";
    /// The process is draining.
    Draining = "DRAINING";
}
