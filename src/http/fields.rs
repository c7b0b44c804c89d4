//! Header fields on their way from the parser, which borrows a message's bytes, into a map whose values share them.

use std::cell::Cell;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

thread_local! {
    // Filled anew for each head: the memory stays.
    static PLACES: Cell<Vec<Place>> = const { Cell::new(Vec::new()) };
}

struct Place {
    name: HeaderName,
    begin: usize,
    end: usize,
}

/// The fields of one head, by where their values are in it.
pub(super) struct Fields {
    base: usize,
    places: Vec<Place>,
}

/// A value has a byte that none may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InvalidValue;

impl Fields {
    /// Fields of the head at the beginning of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut places = PLACES.take();
        places.clear();
        Self { base: bytes.as_ptr() as usize, places }
    }

    /// Adds a field whose value is a part of the bytes.
    pub fn add(&mut self, name: HeaderName, value: &[u8]) {
        // An empty value may point anywhere.
        let begin = if value.is_empty() { 0 } else { (value.as_ptr() as usize).wrapping_sub(self.base) };
        self.places.push(Place { name, begin, end: begin.wrapping_add(value.len()) });
    }

    /// The fields as a map over `head`, the same bytes; with room for so many more.
    pub fn into_map(mut self, head: &Bytes, more: usize) -> Result<HeaderMap, InvalidValue> {
        let mut map = HeaderMap::with_capacity(self.places.len() + more);
        for Place { name, begin, end } in self.places.drain(..) {
            if begin > end || end > head.len() {
                return Err(InvalidValue);
            }
            let value = HeaderValue::from_maybe_shared(head.slice(begin..end)).map_err(|_| InvalidValue)?;
            map.append(name, value);
        }
        Ok(map)
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        PLACES.set(std::mem::take(&mut self.places));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_share_the_head() {
        let head = Bytes::from_static(b"a: one, b:, a: two");
        let mut fields = Fields::of(&head);
        let name = |text: &'static str| HeaderName::from_static(text);
        fields.add(name("a"), &head[3..6]);
        fields.add(name("b"), b"");
        fields.add(name("a"), &head[15..18]);
        let map = fields.into_map(&head, 1).unwrap();
        assert_eq!(map.get_all("a").iter().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(map["b"], "");
        let mut foreign = Fields::of(&head);
        foreign.add(name("a"), &[b'x'; 64]);
        assert!(foreign.into_map(&head, 0).is_err() || cfg!(miri));
    }
}
