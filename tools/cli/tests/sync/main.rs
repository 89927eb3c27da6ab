//! `dropstone sync` as typed, against `dropstone dev`: two clients, two folders, one cluster.

mod dev;
mod two_clients;
