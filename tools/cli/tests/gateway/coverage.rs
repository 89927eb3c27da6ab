//! The table of docs/design/gateway.md that says which unmodified client covers which route names them all.

use std::collections::BTreeSet;

use blocks::http::{API_ROUTES, CONTENT_ROUTES};
use gateway::ROUTES;

const TEXT: &str = include_str!("../../../../docs/design/gateway.md");
const HEADING: &str = "## Which client covers which route";

#[test]
fn every_route_is_a_row_that_a_client_covers_and_every_row_a_route() {
    let section = TEXT.split_once(HEADING).expect("the section is there").1;
    let section = section.split("\n## ").next().expect("a first part");
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let columns = rows.first().expect("a head").len();
    // Rows of what lies outside of /2/ begin with a method.
    let rows: Vec<&Vec<&str>> = rows.iter().skip(2).filter(|row| !row[0].contains(' ')).collect();
    for row in &rows {
        assert_eq!(row.len(), columns, "{row:?}");
        assert!(matches!(row[1], "A" | "B" | "C" | "D"), "{row:?} has no tier");
        assert!(
            row[2..].iter().all(|cell| matches!(*cell, "" | "x")),
            "{row:?} has a cell that is neither x nor empty"
        );
        assert!(row[2..].contains(&"x"), "no client covers {}", row[0]);
    }
    let told: BTreeSet<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(told.len(), rows.len(), "a route has two rows");
    let served = ROUTES.iter().map(|route| route.name);
    let served = served.chain(CONTENT_ROUTES.iter().map(|route| route.name));
    let served = served.chain(API_ROUTES.iter().map(|route| route.name));
    let served: BTreeSet<&str> = served.chain(notify::route_names()).collect();
    let without_row: Vec<_> = served.difference(&told).collect();
    let without_route: Vec<_> = told.difference(&served).collect();
    assert!(without_row.is_empty() && without_route.is_empty(), "no row: {without_row:?}; no route: {without_route:?}");
}
