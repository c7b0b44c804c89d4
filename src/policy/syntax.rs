//! What YAML's own mistakes mostly mean in policy files: routes begin with `*` and hold `{id}`, which YAML reads as its own.

/// What to do about text that is not YAML. `at` is the byte where the parser stopped, `info` why.
pub(super) fn help(text: &str, at: usize, info: &str) -> Option<String> {
    let (before, rest) = text.split_at_checked(at)?;
    let line = before.rsplit('\n').next().unwrap_or(before);
    let indented_by_tab = line.trim_start_matches(' ').starts_with('\t');
    if indented_by_tab || rest.starts_with('\t') || info.contains("a tab") {
        return Some("YAML is indented with spaces, not tabs".to_owned());
    }
    let whole = line.chars().chain(rest.chars().take_while(|c| *c != '\n'));
    if let Some(odd) = whole.into_iter().find(|c| c.is_whitespace() && !c.is_ascii()) {
        let odd = u32::from(odd);
        return Some(format!("the line holds U+{odd:04X}, which looks like a space and is none for YAML"));
    }
    if info.contains("directives") {
        return Some("remove the line: files begin with their first key".to_owned());
    }
    if info.contains("unknown anchor") {
        let name =
            rest.trim_start_matches('*').split(|c: char| c.is_whitespace() || ",]}".contains(c)).next();
        let name: String = name.unwrap_or_default().chars().take(40).collect();
        return Some(format!(
            "no `&{name}` stands before it; a text that begins with `*` needs quotes: \"*{name}\""
        ));
    }
    if let Some(first @ ('*' | '&' | '@' | '`' | '%' | '!')) = rest.chars().next() {
        return Some(match value(rest) {
            Some(value) => format!("a text that begins with `{first}` needs quotes: write \"{value}\""),
            None => format!("a text that begins with `{first}` needs quotes"),
        });
    }
    let within = |open: char, close: char| line.matches(open).count() > line.matches(close).count();
    if info.contains("mapping values are not allowed") {
        return Some("a text with `: ` in it needs quotes".to_owned());
    }
    if info.contains("flow mapping") || info.contains("flow sequence") {
        return Some(
            "a comma or a quote is missing: within `{ }` and `[ ]` a text with one of `{ } [ ] ,` needs quotes, as \"GET /v1/{id}\""
                .to_owned(),
        );
    }
    if info.contains("trailing content after") {
        let comma = within('{', '}') || within('[', ']');
        let help = if comma { "a comma is missing before it" } else { "put all of the text into the quotes" };
        return Some(help.to_owned());
    }
    let unclosed = [("'['", "`]`"), ("'{'", "`}`"), ("quote", "the same quote")];
    if info.contains("unclosed") {
        let close = unclosed.iter().find(|(open, _)| info.contains(open)).map(|(_, close)| *close);
        return close.map(|close| format!("nothing closes it: add {close}"));
    }
    if info.contains("block mapping") || info.contains("block collection") || info.contains("block sequence")
    {
        return Some("begin it in the same column as what stands beside it above".to_owned());
    }
    None
}

/// The value that begins here, if it is short: up to the end of the line, and of the braces around it.
fn value(rest: &str) -> Option<&str> {
    let line = rest.lines().next()?;
    let end = line.find(['}', ']', ',', '#', '"']).unwrap_or(line.len());
    let value = line[..end].trim();
    // A brace within the value may be its own: no guess where it ends.
    (!line.contains('{') && !value.is_empty() && value.len() <= 60).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_told() {
        for (text, at, info, part) in [
            ("- match: * /v1/x", 9, "while scanning an anchor", "write \"* /v1/x\""),
            ("- { match: * /v1/x }", 11, "while scanning an anchor", "write \"* /v1/x\""),
            ("- { match: * /{id} }", 11, "while scanning an anchor", "begins with `*` needs quotes"),
            ("a: *b, c", 3, "found unknown anchor", "no `&b` stands before it"),
            ("a: b: c", 4, "mapping values are not allowed in this context", "`: ` in it needs quotes"),
            ("[\"a\" b]", 5, "invalid trailing content after", "a comma is missing"),
            ("\"a\" b", 4, "invalid trailing content after", "into the quotes"),
            ("{ a: b", 0, "unclosed bracket '{'", "add `}`"),
            ("a: 'b", 3, "unclosed quote", "the same quote"),
            ("\ta: b", 1, "found character", "spaces, not tabs"),
        ] {
            let help = help(text, at, info).unwrap_or_default();
            assert!(help.contains(part), "{text}: {help}");
        }
        assert_eq!(help("é", 1, "x"), None);
        assert_eq!(help("a", 9, "x"), None);
    }
}
