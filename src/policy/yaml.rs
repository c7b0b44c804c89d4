//! YAML into a tree that knows its places. The one file that knows the parser.
//!
//! Anchors and aliases work, within bounds; merge keys, tags, directives and a second document are refused.

use std::{
    collections::{HashMap, hash_map::Entry},
    rc::Rc,
};

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::{
    diagnostic::Findings,
    source::{FileIx, Place},
    syntax,
    tree::{Node, Value},
};

/// The deepest nesting; policy files need six.
const MOST_DEPTH: u32 = 64;
/// The most nodes of one file, aliases expanded.
const MOST_NODES: u32 = 600_000;
/// The most of them that come from aliases.
const MOST_COPIED: u32 = 100_000;

/// Parses a file. `None`: it is not YAML that can be used further, and the findings say why.
pub(super) fn parse(file: FileIx, text: &str, findings: &mut Findings<'_>) -> Option<Rc<Node>> {
    let options = granit_parser::options! { emit_comments: false, disallow_directives: true };
    let mut builder = Builder {
        findings,
        file,
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        copied: 0,
        documents: 0,
        root: None,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(text.len());
                // Where the text ends too early, the last line says more than the empty one after it.
                let at = if at >= text.len() { text.trim_end().len() } else { at };
                if error.info().contains("recursion limit") {
                    let _: Option<()> = builder.too_deep(Place::new(file, at, at + 1));
                    return None;
                }
                let message = format!("this is not YAML: {}", error.info());
                let help = syntax::help(text, at, &error.info());
                builder.findings.error_help("yaml-syntax", Place::new(file, at, at + 1), message, help);
                return None;
            }
        }
    }
    if builder.root.is_none() {
        builder.findings.error("file-empty", Place::new(file, 0, 0), "the file is empty");
    }
    builder.root
}

struct Builder<'f, 's> {
    findings: &'f mut Findings<'s>,
    file: FileIx,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: u32,
    copied: u32,
    documents: u32,
    root: Option<Rc<Node>>,
}

struct Frame {
    place: Place,
    anchor: usize,
    open: Open,
}

enum Open {
    Seq(Vec<Rc<Node>>),
    Map { entries: Vec<(Rc<Node>, Rc<Node>)>, key: Option<(Rc<Node>, bool)>, seen: HashMap<String, Place> },
}

impl Builder<'_, '_> {
    /// Takes one event; `None` stops the file.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let place = self.place(span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second document in one file";
                    let help = "keep one document a file, without `---` between".to_owned();
                    self.findings.error_help("yaml-documents", place, message, help);
                    return None;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                let value = Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                return self.add(Node::new(place, value), anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                return self.open(place, anchor, Open::Seq(Vec::new()));
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                let open = Open::Map { entries: Vec::new(), key: None, seen: HashMap::new() };
                return self.open(place, anchor, open);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let frame = self.stack.pop()?;
                let (mut place, value) = match frame.open {
                    Open::Seq(items) => (frame.place, Value::Seq(items)),
                    Open::Map { entries, .. } => (frame.place, Value::Map(entries)),
                };
                // A block collection begins without a mark of its own: its first entry stands for it.
                let first = match &value {
                    Value::Seq(items) => items.first().map(|node| node.place),
                    Value::Map(entries) => entries.first().map(|(key, _)| key.place),
                    Value::Scalar { .. } => None,
                };
                if place.start == place.end {
                    place = first.filter(|first| first.file == place.file).unwrap_or(place);
                }
                return self.add(Node::new(place, value), frame.anchor);
            }
            Event::Alias(id) => return self.alias(id, place),
            _ => {}
        }
        Some(())
    }

    fn place(&self, span: Span) -> Place {
        let start = span.start.byte_offset().unwrap_or(0);
        Place::new(self.file, start, span.end.byte_offset().unwrap_or(start))
    }

    fn open(&mut self, place: Place, anchor: usize, open: Open) -> Option<()> {
        if self.stack.len() >= MOST_DEPTH as usize {
            return self.too_deep(place);
        }
        self.stack.push(Frame { place, anchor, open });
        Some(())
    }

    fn too_deep(&mut self, place: Place) -> Option<()> {
        let message = format!("nested more than {MOST_DEPTH} levels deep");
        self.findings.error("yaml-depth", place, message);
        None
    }

    fn alias(&mut self, id: usize, place: Place) -> Option<()> {
        let Some(node) = self.anchors.get(&id).map(Rc::clone) else {
            self.findings.error("yaml-alias", place, "an alias inside the very value that it stands for");
            return None;
        };
        self.copied = self.copied.saturating_add(node.size);
        if self.copied > MOST_COPIED {
            let message = format!("aliases expand to more than {MOST_COPIED} values");
            let help =
                "write the values out where they are few, or let plans inherit them by `extends`".to_owned();
            self.findings.error_help("yaml-alias", place, message, help);
            return None;
        }
        let depth = u32::try_from(self.stack.len()).unwrap_or(u32::MAX);
        if depth.saturating_add(node.height) > MOST_DEPTH + 1 {
            return self.too_deep(place);
        }
        self.nodes = self.nodes.saturating_add(node.size);
        self.attach(node, place)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Option<()> {
        self.nodes = self.nodes.saturating_add(1);
        let place = node.place;
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.attach(node, place)
    }

    fn attach(&mut self, node: Rc<Node>, place: Place) -> Option<()> {
        if self.nodes > MOST_NODES {
            self.findings.error("yaml-size", place, format!("more than {MOST_NODES} values in one file"));
            return None;
        }
        match self.stack.last_mut().map(|frame| &mut frame.open) {
            None => self.root = Some(node),
            Some(Open::Seq(items)) => items.push(node),
            Some(Open::Map { entries, key, .. }) if key.is_some() => {
                if let Some((key, true)) = key.take() {
                    entries.push((key, node));
                }
            }
            Some(Open::Map { key, seen, .. }) => {
                let problem = refuse_key(&node, place, seen, self.findings);
                *key = Some((node, !problem));
            }
        }
        Some(())
    }

    fn refuse_tag(&mut self, tagged: bool, span: Span) {
        if tagged {
            let place = span.tag_span().map_or_else(|| self.place(span), |tag| self.place(tag));
            self.findings.error_help(
                "yaml-tag",
                place,
                "tags are not used in policy files",
                "remove it".to_owned(),
            );
        }
    }
}

/// Whether a key cannot stand; says so.
fn refuse_key(
    node: &Node,
    place: Place,
    seen: &mut HashMap<String, Place>,
    findings: &mut Findings<'_>,
) -> bool {
    let Value::Scalar { text, plain } = &node.value else {
        let help =
            "quote it if it is meant as a text: within `{ }` and `[ ]`, braces begin a value of their own";
        let message = format!("{} as a key: expected a word", node.describe());
        findings.error_help("yaml-key", place, message, help.to_owned());
        return true;
    };
    if *plain && text == "<<" {
        let help = "name the parent plan with `extends`, or alias a whole value (`key: *name`)".to_owned();
        findings.error_help("yaml-merge-key", place, "merge keys are not used in policy files", help);
        return true;
    }
    match seen.entry(text.clone()) {
        Entry::Vacant(free) => {
            free.insert(place);
            false
        }
        Entry::Occupied(first) => {
            let shown: String = text.chars().take(80).collect();
            let other = findings.locate(*first.get());
            let finding =
                findings.error_at("yaml-duplicate-key", place, format!("the key `{shown}` stands twice"));
            findings.push(finding.related(other, "first here"));
            true
        }
    }
}
