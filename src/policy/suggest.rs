//! "Did you mean": the known name that is nearest to a mistyped one.

/// The nearest of `known`, where one is near enough to be meant.
pub(super) fn nearest<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Long inputs are no typos, and the distance takes quadratic time.
    if typed.len() > 100 {
        return None;
    }
    let lower = typed.to_lowercase();
    let most = (typed.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|name| !name.is_empty() && name.len() <= 100 && *name != typed)
        .map(|name| (strsim::damerau_levenshtein(&lower, name), name))
        .filter(|(distance, name)| *distance <= most && *distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

/// The help text for an unknown name: the nearest, or all where they are few.
pub fn help<'k>(typed: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> Option<String> {
    if let Some(name) = nearest(typed, known.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let some: Vec<_> = known.into_iter().take(17).map(|name| format!("`{name}`")).collect();
    match some.len() {
        1 => Some(format!("the only one is {}", some[0])),
        2..=16 => Some(format!("known are {}", some.join(", "))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typos_and_only_typos() {
        let known = ["chat", "chat.history", "ai.chat", "export"];
        assert_eq!(nearest("chat.histroy", known), Some("chat.history"));
        assert_eq!(nearest("Export", known), Some("export"));
        assert_eq!(nearest("billing", known), None);
        assert_eq!(nearest("x", ["y"]), None);
        assert!(help("billing", known).unwrap().contains("`export`"));
    }
}
