//! What a policy file says, before anything is known of what it should say: values with their places.

use std::rc::Rc;

use super::source::Place;

/// A value with its place. Aliased nodes are shared, and their place is where they were written.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    /// Nodes in it, itself and what its aliases stand for included.
    pub(super) size: u32,
    /// Levels in it, itself included.
    pub(super) height: u32,
}

#[derive(Debug)]
pub(super) enum Value {
    /// `plain`: written without quotes, so that it may be a number or null.
    Scalar {
        text: String,
        plain: bool,
    },
    Seq(Vec<Rc<Node>>),
    /// Keys are scalars and distinct.
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

impl Node {
    pub(super) fn new(place: Place, value: Value) -> Self {
        let sum = |(size, height): (u32, u32), node: &Rc<Self>| {
            (size.saturating_add(node.size), height.max(node.height.saturating_add(1)))
        };
        let (size, height) = match &value {
            Value::Scalar { .. } => (1, 1),
            Value::Seq(items) => items.iter().fold((1, 1), sum),
            Value::Map(entries) => {
                entries.iter().fold((1, 1), |so_far, (key, node)| sum(sum(so_far, key), node))
            }
        };
        Self { place, value, size, height }
    }

    /// What it is, for messages.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Seq(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar { .. } if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, plain } => {
                let shown: String = text.chars().take(60).collect();
                let more = if shown.len() < text.len() { "..." } else { "" };
                if *plain { format!("`{shown}{more}`") } else { format!("the text \"{shown}{more}\"") }
            }
        }
    }

    /// Whether it is a list of nothing.
    pub(super) fn is_empty_list(&self) -> bool {
        matches!(&self.value, Value::Seq(items) if items.is_empty())
    }

    /// Whether nothing stands there (`null`, `~`, or no value at all).
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}
