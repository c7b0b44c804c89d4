//! Routes: patterns over canonical paths, and the table that finds the most specific one.

use super::{
    condition::{Conditions, When},
    features::FeatureSet,
    plan::MeterIx,
    settlement::SettleFrom,
    trie::{Node, Subject},
    units::Units,
};

/// A matched route: what it requires and charges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The route as the policy file has it, such as `GET|POST /v1/messages/{id}`; bounded, so it can be a label.
    pub name: String,
    /// No identity, no charge.
    pub public: bool,
    /// All of these must be in the plan.
    pub features: FeatureSet,
    /// What one request costs; one entry a meter, in meter order, none of zero units.
    pub charge: Box<[Charge]>,
    /// Which of these charges are only reserves, and where the answer tells their true cost; in meter order.
    pub settle: Box<[SettleFrom]>,
    /// What depends on the request; `None`: nothing does, and no other route has the same methods and path.
    pub conditions: Option<Box<Conditions>>,
}

impl Operation {
    /// The condition under which it decides a request; `None`: it always does.
    #[must_use]
    pub fn when(&self) -> Option<&When> {
        self.conditions.as_ref()?.when.as_ref()
    }

    /// Every meter that it charges or may charge, some of them twice.
    pub fn meters(&self) -> impl Iterator<Item = MeterIx> {
        let rules = self.conditions.as_ref().map_or(&[][..], |conditions| &conditions.charges);
        self.charge.iter().map(|charge| charge.meter).chain(rules.iter().map(|rule| rule.meter))
    }

    /// The same, for a request that is charged just so.
    #[must_use]
    pub fn charged(&self, charges: &[Charge]) -> Self {
        Self { charge: charges.into(), conditions: None, ..self.clone() }
    }
}

/// So many units of a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Charge {
    /// The meter.
    pub meter: MeterIx,
    /// Units that are taken before the request is forwarded; at least 1 where a route charges them.
    pub units: Units,
}

/// An operation's place in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationIx(pub u32);

/// One part of a pattern between slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this, in canonical form.
    Literal(String),
    /// Any one non-empty segment.
    Parameter(String),
    /// Any rest, also none; last only.
    Rest(String),
}

/// A path pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
    /// Written with a final slash: then only that form is meant.
    slash: bool,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// It does not begin with a slash.
    #[error("a path begins with `/`")]
    NoSlash,
    /// `//` or a dot segment: no canonical path can match.
    #[error("`{0}` can never match: no canonical path has an empty or dot segment")]
    Unreachable(String),
    /// A brace where none may be.
    #[error("`{0}` is not a segment: expected a literal, `{{name}}` or, last, `{{*name}}`")]
    BadSegment(String),
    /// `{*rest}` before the end.
    #[error("`{0}` must be the last segment")]
    RestNotLast(String),
    /// Two parameters of one name.
    #[error("the name `{0}` is used twice")]
    TwiceNamed(String),
    /// A byte that no canonical path contains.
    #[error("`{0}` can never match: {1}")]
    NotCanonical(String, &'static str),
}

impl Pattern {
    /// Reads a pattern such as `/v1/messages/{id}` or `/files/{*rest}`.
    ///
    /// # Errors
    /// [`InvalidPattern`] names the segment.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let rest = text.strip_prefix('/').ok_or(InvalidPattern::NoSlash)?;
        let (rest, slash) = match rest.strip_suffix('/') {
            Some(_) if rest == "/" => return Err(InvalidPattern::Unreachable(text.to_owned())),
            Some(stripped) => (stripped, true),
            None => (rest, false),
        };
        let mut segments = Vec::new();
        let mut names = std::collections::BTreeSet::new();
        let parts: Vec<&str> = if rest.is_empty() && !slash { Vec::new() } else { rest.split('/').collect() };
        let last = parts.len().saturating_sub(1);
        for (place, part) in parts.into_iter().enumerate() {
            let segment = Segment::parse(part)?;
            if let Segment::Rest(_) = segment
                && (place != last || slash)
            {
                return Err(InvalidPattern::RestNotLast(part.to_owned()));
            }
            if let Segment::Parameter(name) | Segment::Rest(name) = &segment
                && !names.insert(name.clone())
            {
                return Err(InvalidPattern::TwiceNamed(name.clone()));
            }
            segments.push(segment);
        }
        Ok(Self { segments, slash })
    }

    /// The parts between the slashes.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl Segment {
    fn parse(part: &str) -> Result<Self, InvalidPattern> {
        let bad = || InvalidPattern::BadSegment(part.to_owned());
        let named = |name: &str| {
            let fits = !name.is_empty()
                && name.len() <= 63
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            fits.then(|| name.to_owned()).ok_or_else(bad)
        };
        if let Some(inner) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            return match inner.strip_prefix('*') {
                Some(name) => named(name).map(Self::Rest),
                None => named(inner).map(Self::Parameter),
            };
        }
        if part.contains(['{', '}']) {
            return Err(bad());
        }
        if matches!(part, "" | "." | "..") {
            return Err(InvalidPattern::Unreachable(part.to_owned()));
        }
        Ok(Self::Literal(part.to_owned()))
    }
}

/// The methods of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Methods {
    /// `*`.
    Any,
    /// By name; `GET` covers HEAD where no route names HEAD.
    Named(Vec<String>),
}

impl Methods {
    /// Whether they are the same, in whatever order.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Named(one), Self::Named(other)) => {
                one.len() == other.len() && one.iter().all(|name| other.contains(name))
            }
            (Self::Any, Self::Named(_)) | (Self::Named(_), Self::Any) => false,
        }
    }
}

/// Two routes that fit the very same requests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the same method and path as another route")]
pub struct RouteConflict {
    /// The operation that was there first.
    pub first: OperationIx,
    /// Why both cannot be.
    pub kind: ConflictKind,
}

/// Why two routes of one path cannot both be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictKind {
    /// Neither has a condition.
    Same,
    /// The first has no condition, so that the second would never be asked.
    Hides,
    /// The second is public and has no condition, so that none of the first would ever be asked.
    Opens,
    /// They have conditions, and some methods in common, but not all.
    Methods,
}

/// All routes of a catalog, as a trie of segments. A look-up visits each node at most once.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    operations: Vec<Operation>,
    /// Those of each operation.
    methods: Vec<Methods>,
    root: Node,
}

impl RouteTable {
    /// Adds a route. Several may have the same methods and path, if all but the last have conditions.
    ///
    /// # Errors
    /// [`RouteConflict`] where another route fits the very same requests; the table is then unchanged.
    pub fn add(
        &mut self,
        methods: &Methods,
        pattern: &Pattern,
        operation: Operation,
    ) -> Result<OperationIx, RouteConflict> {
        let ix = OperationIx(u32::try_from(self.operations.len()).unwrap_or(u32::MAX));
        let mut node = &mut self.root;
        let mut rest = false;
        for segment in &pattern.segments {
            match segment {
                Segment::Literal(text) => node = node.literal_mut(text),
                Segment::Parameter(_) => node = node.parameter.get_or_insert_default(),
                Segment::Rest(_) => rest = true,
            }
        }
        let leaf = if rest {
            &mut node.rest
        } else if pattern.slash {
            &mut node.slash
        } else {
            &mut node.plain
        };
        match leaf.add(methods, ix) {
            None => {}
            Some(head) => self.follow(head, methods, &operation, ix)?,
        }
        self.operations.push(operation);
        self.methods.push(methods.clone());
        Ok(ix)
    }

    /// Has an operation asked after those of the same methods and path that begin at `head`.
    fn follow(
        &mut self,
        head: OperationIx,
        methods: &Methods,
        operation: &Operation,
        ix: OperationIx,
    ) -> Result<(), RouteConflict> {
        let mut last = head;
        let mut protected = false;
        for (place, known) in self.variants(head) {
            last = place;
            protected |= !known.public;
        }
        let same = self.methods.get(head.0 as usize).is_some_and(|known| known.is_same(methods));
        let open = self.operation(last).is_some_and(|last| last.when().is_some());
        let conflict = |first, kind| Err(RouteConflict { first, kind });
        if !open {
            let kind = if operation.when().is_some() { ConflictKind::Hides } else { ConflictKind::Same };
            return conflict(last, kind);
        }
        if !same {
            return conflict(head, ConflictKind::Methods);
        }
        if operation.public && operation.when().is_none() && protected {
            return conflict(head, ConflictKind::Opens);
        }
        if let Some(last) = self.operations.get_mut(last.0 as usize) {
            last.conditions.get_or_insert_default().otherwise = Some(ix);
        }
        Ok(())
    }

    /// An operation and those after it of the same methods and path, in the order in which they are asked.
    pub fn variants(&self, head: OperationIx) -> impl Iterator<Item = (OperationIx, &Operation)> {
        let mut next = Some(head);
        std::iter::from_fn(move || {
            let ix = next?;
            let operation = self.operation(ix)?;
            next = operation.conditions.as_ref().and_then(|conditions| conditions.otherwise);
            Some((ix, operation))
        })
    }

    /// The operation of a request, by method and canonical path.
    #[must_use]
    pub fn find(&self, method: &str, path: &str) -> Option<OperationIx> {
        self.look_up(Some(method), path)
    }

    /// Whether any route, of whatever method, fits the canonical path.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        self.look_up(None, path).is_some()
    }

    fn look_up(&self, method: Option<&str>, path: &str) -> Option<OperationIx> {
        let rest = path.as_bytes().strip_prefix(b"/")?;
        let (rest, slash) = match rest {
            [] => (None, true),
            [stripped @ .., b'/'] => (Some(stripped), true),
            _ => (Some(rest), false),
        };
        self.root.find(rest, Subject::new(method, slash))
    }

    /// The operation at a place that this table gave out.
    #[must_use]
    pub fn operation(&self, ix: OperationIx) -> Option<&Operation> {
        self.operations.get(ix.0 as usize)
    }

    /// All operations, in the order of the file.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[&str]) -> RouteTable {
        let mut table = RouteTable::default();
        for route in routes {
            let (methods, path) = route.split_once(' ').unwrap();
            let methods = match methods {
                "*" => Methods::Any,
                names => Methods::Named(names.split('|').map(str::to_owned).collect()),
            };
            let operation = Operation {
                name: (*route).to_owned(),
                public: false,
                features: FeatureSet::default(),
                charge: Box::default(),
                settle: Box::default(),
                conditions: None,
            };
            table.add(&methods, &Pattern::parse(path).unwrap(), operation).unwrap();
        }
        table
    }

    fn found<'a>(table: &'a RouteTable, method: &str, path: &str) -> &'a str {
        table.find(method, path).and_then(|ix| table.operation(ix)).map_or("-", |operation| &operation.name)
    }

    #[test]
    fn the_most_specific_path_wins_then_the_named_method() {
        let table =
            table(&["* /a/{*rest}", "GET /a/{x}", "* /a/{x}", "GET /a/b", "POST /a/b/c", "GET /a/{x}/c"]);
        for (request, route) in [
            ("GET /a", "* /a/{*rest}"),
            ("GET /a/", "* /a/{*rest}"),
            ("GET /a/b", "GET /a/b"),
            ("GET /a/b/", "GET /a/b"),
            ("HEAD /a/b", "GET /a/b"),
            ("PUT /a/b", "* /a/{x}"),
            ("GET /a/z", "GET /a/{x}"),
            ("GET /a/b/c", "GET /a/{x}/c"),
            ("POST /a/b/c", "POST /a/b/c"),
            ("GET /a/b/c/d", "* /a/{*rest}"),
            ("GET /ab", "-"),
            ("GET /", "-"),
        ] {
            let (method, path) = request.split_once(' ').unwrap();
            assert_eq!(found(&table, method, path), route, "{request}");
        }
    }

    #[test]
    fn many_literals_of_one_place_are_all_found() {
        let names: Vec<String> = (0..300).map(|n| format!("GET /v1/abcd-{n:03}-wxyz/{{x}}")).collect();
        let table = table(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (n, name) in names.iter().enumerate() {
            assert_eq!(found(&table, "GET", &format!("/v1/abcd-{n:03}-wxyz/1")), name);
        }
        for path in
            ["/v1/abcd-300-wxyz/1", "/v1/abcd--wxyz/1", "/v1/abcdwxyz/1", "/v1//1", "/v1/abcd-000-wxyz"]
        {
            assert_eq!(found(&table, "GET", path), "-");
        }
    }

    #[test]
    fn the_root_and_slashes() {
        let roots = table(&["GET /", "GET /x/", "POST /x"]);
        assert_eq!(found(&roots, "GET", "/"), "GET /");
        assert_eq!(found(&roots, "GET", "/x/"), "GET /x/");
        assert_eq!(found(&roots, "GET", "/x"), "-");
        assert_eq!(found(&roots, "POST", "/x/"), "POST /x");
        let all = table(&["* /{*rest}"]);
        for path in ["/", "/x", "/x/", "/x/y/z"] {
            assert_eq!(found(&all, "GET", path), "* /{*rest}");
        }
        let one = table(&["* /{x}"]);
        assert_eq!(found(&one, "GET", "/"), "-");
        assert_eq!(found(&one, "GET", "/x/"), "* /{x}");
        assert!(one.covers("/x") && !one.covers("/x/y"));
    }

    #[test]
    fn equal_but_for_names_is_a_conflict() {
        let mut table = table(&["GET /a/{x}"]);
        let operation = table.operations()[0].clone();
        let again = Pattern::parse("/a/{y}").unwrap();
        let get = Methods::Named(vec!["GET".into()]);
        assert!(table.add(&get, &again, operation.clone()).is_err());
        assert!(table.add(&Methods::Any, &again, operation).is_ok());
    }

    #[test]
    fn patterns_that_make_no_sense() {
        for text in ["", "a", "/a//b", "/a/../b", "/{*r}/x", "/{}", "/a{x}", "/{x}/{x}", "//", "/{*r}/"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
