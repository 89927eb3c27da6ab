//! The client library: pipelined, exactly once, follows leaders.
