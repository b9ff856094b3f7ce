//! On which line of a document a field stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// The line of a field in a document, from 1: of the innermost part of its path that is there.
///
/// The path is written as `spec.rules[0].hosts`, with keys that have dots in brackets. None where the document can't
/// be read again.
pub(super) fn line_of(document: &str, path: &str) -> Option<u64> {
    let root: Spanned<Node> = serde_saphyr::from_str(document).ok()?;
    let mut line = root.referenced.line();
    let mut node = root.value;
    for step in steps(path) {
        let found = match node {
            Node::Map(entries) => entries.into_iter().find(|entry| entry.key == step).map(|e| (e.line, e.value)),
            Node::List(items) => {
                let index = step.parse::<usize>().ok();
                index.and_then(|index| items.into_iter().nth(index)).map(|item| (item.referenced.line(), item.value))
            }
            Node::Leaf => None,
        };
        let Some((next_line, next)) = found else { break };
        (line, node) = (next_line, next);
    }
    Some(line)
}

/// The keys and indices of a path.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches('.');
        if let Some(inside) = rest.strip_prefix('[') {
            let (step, after) = inside.split_once(']')?;
            rest = after;
            return Some(step);
        }
        let (step, after) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
        rest = after;
        (!step.is_empty()).then_some(step)
    })
}

/// A document's shape with the lines of its parts.
enum Node {
    Map(Vec<Entry>),
    List(Vec<Spanned<Node>>),
    Leaf,
}

struct Entry {
    key: String,
    line: u64,
    value: Node,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Shape)
    }
}

struct Shape;

impl<'de> Visitor<'de> for Shape {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push(Entry { line: key.referenced.line(), key: key.value, value: map.next_value()? });
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Node::Leaf)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "\
---
metadata:
  annotations:
    plimsoll.io/provider: AWS
spec:
  rules:
    - hosts: [a, b]
      paths:
        - value: /x
        - value: /y y
  target: {service: hello, port: 0}
";

    #[test]
    fn a_field_stands_where_its_key_does() {
        for (path, line) in [
            ("spec", 5),
            ("spec.rules[0].hosts[1]", 7),
            ("spec.rules[0].paths", 8),
            ("spec.rules[0].paths[1].value", 10),
            ("spec.target.port", 11),
            ("metadata.annotations[plimsoll.io/provider]", 4),
        ] {
            assert_eq!(line_of(DOCUMENT, path), Some(line), "{path}");
        }
    }

    #[test]
    fn what_is_missing_is_placed_at_the_innermost_part_that_is_there() {
        assert_eq!(line_of(DOCUMENT, "spec.target.portName"), Some(11));
        assert_eq!(line_of(DOCUMENT, "spec.rules[7].hosts"), Some(6));
        assert_eq!(line_of(DOCUMENT, "spec.scalingMetric.concurrency"), Some(5));
        assert_eq!(line_of("{", "spec"), None);
    }
}
