//! One core's brain: groups, log and machine visited in order; pure.
