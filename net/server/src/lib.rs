//! The metaserver: the core loop, the ports, boot and recovery.
