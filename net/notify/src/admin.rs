//! The admin port: counters for whoever collects them, and whether it is well.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;

use crate::edge_tier::EdgeTier;
use crate::hub_tier::HubTier;

/// The tiers of a process.
pub(crate) type Tiers = (Option<Arc<HubTier>>, Option<Arc<EdgeTier>>);

/// `/metrics`, `/livez`, `/readyz`.
pub(crate) fn routes(tiers: Tiers) -> Router {
    let tiers = Arc::new(tiers);
    let for_ready = Arc::clone(&tiers);
    let metrics = move || {
        let text = metrics(&tiers);
        std::future::ready(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
    };
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(move || std::future::ready(ready(&for_ready))))
        .route("/metrics", get(metrics))
}

/// A hub that hears every leader, an edge that is told of every place.
fn ready((hub, edge): &Tiers) -> (StatusCode, String) {
    let unsound = hub.as_ref().map_or(0, |hub| hub.figures().2);
    let (sound, places) = edge.as_ref().map_or((0, 0), |edge| edge.figures().2);
    if edge.as_ref().is_some_and(|edge| edge.is_draining()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "it stops\n".to_owned());
    }
    if unsound > 0 || sound < places {
        let text =
            format!("the hub hears no leader of {unsound} groups; the edge is told of {sound} of {places} places\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text);
    }
    (StatusCode::OK, "ok\n".to_owned())
}

fn metrics((hub, edge): &Tiers) -> String {
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: u64| {
        let full = format!("dropstone_notify_{name}");
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {full} {help}\n# TYPE {full} {kind}\n{full} {value}");
    };
    if let Some(hub) = hub {
        let (counts, (namespaces, edges, streams), unsound) = hub.figures();
        put("hub_namespaces", "gauge", "Namespaces with interest.", namespaces as u64);
        put("hub_edges", "gauge", "Edges that are linked.", edges as u64);
        put("hub_streams", "gauge", "Cores of metaservers that are heard.", streams as u64);
        put("hub_unsound_groups", "gauge", "Groups whose leader is not heard.", u64::from(unsound));
        put("hub_advances_total", "counter", "Heads heard of namespaces with interest.", counts.advances);
        put("hub_pushes_total", "counter", "Heads pushed to edges.", counts.pushes);
        put("hub_asks_total", "counter", "Heads asked of metaservers.", counts.asks);
        put("hub_gaps_total", "counter", "Feeds that lost something and began anew.", counts.gaps);
        put(
            "hub_repairs_total",
            "counter",
            "Heads that only the comparison found; 0 unless something fails.",
            counts.repairs,
        );
    }
    if let Some(edge) = edge {
        let (counts, (watchers, namespaces), (sound, _)) = edge.figures();
        put("edge_watchers", "gauge", "Clients that wait.", watchers as u64);
        put("edge_namespaces", "gauge", "Namespaces they wait for.", namespaces as u64);
        put("edge_places", "gauge", "Places that a hub tells of.", sound as u64);
        put("edge_watchers_total", "counter", "Clients that came to wait.", counts.watchers);
        put("edge_wakes_total", "counter", "Clients that were woken.", counts.wakes);
        put("edge_pushes_total", "counter", "Heads that hubs pushed.", counts.pushes);
        put("edge_interests_total", "counter", "Namespaces that hubs were told of.", counts.interests);
        put("edge_links_lost_total", "counter", "Links to hubs that were lost or left.", counts.links_lost);
        put("edge_asks_total", "counter", "Heads asked because no hub could tell.", counts.asks);
    }
    text
}
