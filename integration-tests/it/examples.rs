//! Examples in other languages, run as their readers run them.
