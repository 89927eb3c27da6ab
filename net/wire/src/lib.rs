//! The codec: bytes to messages and back, nothing else.
