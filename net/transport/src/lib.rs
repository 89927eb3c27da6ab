//! Listeners, connections and peer links over the reactor.
