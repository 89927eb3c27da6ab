//! Sharing: folders that become namespaces, and links.

pub mod flows;
pub mod folders;
pub mod links;
pub mod reached;
