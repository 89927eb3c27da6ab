//! Sorted layers read as one: the newest layer that knows a key decides about it.

use std::iter::Peekable;

/// One row of a layer: the key, and the value or `None` for a delete.
pub(crate) type LayerRow<'a> = (&'a [u8], Option<&'a [u8]>);

/// Rows of one layer in ascending key order, no key twice.
pub(crate) type Layer<'a> = Box<dyn Iterator<Item = LayerRow<'a>> + 'a>;

/// The merge of a few layers, newest first; deletes that no newer layer hides are given as such.
pub(crate) struct Merged<'a> {
    layers: Vec<Peekable<Layer<'a>>>,
}

impl<'a> Merged<'a> {
    /// `layers`: newest first.
    pub(crate) fn new(layers: Vec<Layer<'a>>) -> Merged<'a> {
        Merged { layers: layers.into_iter().map(Iterator::peekable).collect() }
    }

    /// Only the rows that live: deletes are dropped.
    pub(crate) fn live(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.filter_map(|(key, value)| value.map(|value| (key, value)))
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = LayerRow<'a>;

    fn next(&mut self) -> Option<LayerRow<'a>> {
        let least = self.layers.iter_mut().filter_map(|layer| layer.peek().map(|row| row.0)).min()?;
        let mut newest = None;
        for layer in &mut self.layers {
            if let Some(row) = layer.next_if(|row| row.0 == least) {
                newest.get_or_insert(row);
            }
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(rows: &'static [(&'static str, Option<&'static str>)]) -> Layer<'static> {
        Box::new(rows.iter().map(|(key, value)| (key.as_bytes(), value.map(str::as_bytes))))
    }

    #[test]
    fn the_newest_layer_that_knows_a_key_decides() {
        let merge = || {
            Merged::new(vec![
                layer(&[("b", None), ("d", Some("new"))]),
                layer(&[]),
                layer(&[("a", Some("1")), ("b", Some("2")), ("d", Some("old")), ("e", Some("5"))]),
            ])
        };
        let all: Vec<_> = merge().map(|(key, value)| (key, value.is_some())).collect();
        assert_eq!(all, [(&b"a"[..], true), (b"b", false), (b"d", true), (b"e", true)]);
        let live: Vec<_> = merge().live().collect();
        assert_eq!(live, [(&b"a"[..], &b"1"[..]), (b"d", b"new"), (b"e", b"5")]);
    }
}
