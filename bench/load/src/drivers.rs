//! Who is asked.

pub mod native;
pub mod null;
pub mod sim;
