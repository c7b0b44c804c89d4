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
        return Some(match look_alike(typed) {
            Some(odd) => format!("did you mean `{name}`? {odd}"),
            None => format!("did you mean `{name}`?"),
        });
    }
    let some: Vec<_> = known.into_iter().take(17).map(|name| format!("`{name}`")).collect();
    match some.len() {
        1 => Some(format!("the only one is {}", some[0])),
        2..=16 => Some(format!("known are {}", some.join(", "))),
        _ => None,
    }
}

/// Names are of ASCII: the first character that is not is told by its number, as it may look like another, or like nothing.
fn look_alike(typed: &str) -> Option<String> {
    let odd = typed.chars().find(|c| !c.is_ascii())?;
    let shown =
        if odd.is_alphanumeric() { format!("the `{odd}` in it") } else { "a character in it".to_owned() };
    Some(format!("{shown} is U+{:04X}, no letter of ASCII", u32::from(odd)))
}

/// The name that was meant by a text that is none: in small letters, with signs that names may have.
pub(super) fn as_name<T, E>(typed: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<String> {
    let lower = typed.trim().to_ascii_lowercase();
    let candidates =
        [lower.clone(), lower.replace([' ', '/', ':'], "-"), lower.replace([' ', '-', '.', '/', ':'], "_")];
    let found = candidates.into_iter().find(|name| name != typed && parse(name).is_ok())?;
    Some(format!("write `{found}`"))
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

    #[test]
    fn a_letter_of_another_script_is_told() {
        assert_eq!(
            help("\u{441}hat", ["chat", "export"]).unwrap(),
            "did you mean `chat`? the `\u{441}` in it is U+0441, no letter of ASCII"
        );
        assert!(
            help("chat\u{200b}", ["chat"])
                .unwrap()
                .ends_with("a character in it is U+200B, no letter of ASCII")
        );
    }

    #[test]
    fn names_are_made_of_texts() {
        let feature = crate::domain::id::FeatureId::parse;
        assert_eq!(as_name("Chat History", feature).as_deref(), Some("write `chat-history`"));
        assert_eq!(
            as_name("AI-Tokens", crate::domain::id::MeterId::parse).as_deref(),
            Some("write `ai_tokens`")
        );
        assert_eq!(as_name("1st", feature), None);
        assert_eq!(as_name("", feature), None);
    }
}
