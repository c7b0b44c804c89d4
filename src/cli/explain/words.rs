//! How explanations show numbers, lines of the policies and what was set for one tenant.

use serde_json::Value;

use super::super::output::{field, printable};

/// Where the lines below a step begin.
const INDENT: usize = 18;

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// Signs that not every output can show.
    pub(super) signs: bool,
    /// Colours.
    pub(super) colour: bool,
}

impl Style {
    /// For programs and files.
    pub(super) const PLAIN: Self = Self { signs: false, colour: false };
}

/// The colour of a text: what it says is good or bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Aside,
}

/// Text that is being put together.
pub(super) struct Text {
    style: Style,
    text: String,
}

impl Text {
    pub(super) const fn new(style: Style) -> Self {
        Self { style, text: String::new() }
    }

    fn toned(&self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Good => "1;32",
            Tone::Bad => "1;31",
            Tone::Aside => "2",
        };
        if self.style.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn line(&mut self, text: &str) {
        self.text.push_str(printable(text).trim_end());
        self.text.push('\n');
    }

    /// The line that says it all.
    pub(super) fn verdict(&mut self, good: bool, text: &str) {
        let tone = if good { Tone::Good } else { Tone::Bad };
        let line = self.toned(&printable(text), tone);
        self.text.push_str(&line);
        self.text.push('\n');
    }

    /// A step: whether it lets the request through, its name, and why.
    pub(super) fn step(&mut self, ok: bool, name: &str, detail: &str) {
        let (sign, tone) = match (ok, self.style.signs) {
            (true, true) => ("\u{2713} ", Tone::Good),
            (false, true) => ("\u{2717} ", Tone::Bad),
            (true, false) => ("ok", Tone::Good),
            (false, false) => ("NO", Tone::Bad),
        };
        let sign = self.toned(sign, tone);
        let rest = printable(&format!("{name:<14}{detail}"));
        self.text.push_str(&format!("{sign}  {}\n", rest.trim_end()));
    }

    /// A line below a step.
    pub(super) fn below(&mut self, deeper: usize, text: &str) {
        let text = printable(text);
        let line =
            format!("{:width$}{}", "", self.toned(text.trim_end(), Tone::Aside), width = INDENT + deeper);
        self.text.push_str(&line);
        self.text.push('\n');
    }

    /// The line of the policies behind something, and what else mattered.
    pub(super) fn ground(&mut self, deeper: usize, of: &Value) {
        if let Some(rule) = of.get("rule").filter(|rule| rule.is_object()) {
            let inherited = of.get("inherited_from").and_then(Value::as_str);
            let inherited = inherited.map_or_else(String::new, |plan| format!(" (inherited from {plan})"));
            self.below(deeper, &format!("{}{inherited}", rule_of(rule)));
        }
        for applied in list(of, "by") {
            self.below(deeper, &applied_of(applied));
        }
    }

    pub(super) fn end(self) -> String {
        self.text
    }
}

/// The items of a list; none where there is no such list.
pub(super) fn list<'v>(of: &'v Value, name: &str) -> &'v [Value] {
    of.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text field, where there is one.
pub(super) fn text_of<'v>(of: &'v Value, name: &str) -> Option<&'v str> {
    of.get(name).and_then(Value::as_str)
}

/// A number with separators between thousands; a word as it is.
pub(super) fn number(of: &Value, name: &str) -> String {
    match of.get(name).and_then(Value::as_u64) {
        Some(number) => grouped(number),
        None => field(of, &format!("/{name}")),
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `plans/basic.yaml:9  requests: 100000`.
pub(super) fn rule_of(rule: &Value) -> String {
    let place = format!("{}:{}", field(rule, "/file"), field(rule, "/line"));
    text_of(rule, "text").map_or_else(|| place.clone(), |text| format!("{place}  {text}"))
}

/// What was set or added for a tenant alone, and since and until when.
fn applied_of(applied: &Value) -> String {
    let (name, id) = (field(applied, "/name"), field(applied, "/id"));
    let what = match text_of(applied, "kind").unwrap_or_default() {
        "override" => format!("override of {name}: {}", applied.get("value").unwrap_or(&Value::Null)),
        "addon" => match applied.get("quantity").and_then(Value::as_u64) {
            Some(quantity) if quantity != 1 => format!("add-on {id}, {} times", grouped(quantity)),
            _ => format!("add-on {id}"),
        },
        "rollover" => format!("rolled over as {id}"),
        "proration" => "pro-rated, as the plan was changed within the month".to_owned(),
        "grace" => "days of grace".to_owned(),
        kind @ "trial" => kind.to_owned(),
        kind => format!("{kind} {id}"),
    };
    let since = text_of(applied, "since").map_or_else(String::new, |since| format!(", since {since}"));
    let until = text_of(applied, "until").map_or_else(String::new, |until| format!(", until {until}"));
    let rule = applied.get("rule").filter(|rule| rule.is_object());
    let rule = rule.map_or_else(String::new, |rule| format!(", {}", rule_of(rule)));
    format!("{what}{since}{until}{rule}")
}

/// The first twelve characters of a digest.
pub(super) fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (100_000, "100,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
        let of = json!({ "limit": "unlimited", "used": 1000 });
        assert_eq!((number(&of, "limit"), number(&of, "used")), ("unlimited".to_owned(), "1,000".to_owned()));
        assert_eq!(number(&of, "missing"), "-");
    }

    #[test]
    fn what_a_server_says_cannot_steer_the_terminal() {
        let mut text = Text::new(Style::PLAIN);
        let evil = "\u{1b}[2Jgone";
        text.line(evil);
        text.verdict(false, evil);
        text.step(true, "path", evil);
        text.below(2, evil);
        text.ground(
            0,
            &json!({ "rule": { "file": evil, "line": 1, "text": evil }, "inherited_from": evil,
                                "by": [{ "kind": evil, "id": evil, "value": evil }] }),
        );
        assert!(!text.end().contains('\u{1b}'));
    }

    #[test]
    fn signs_and_colours_are_for_terminals() {
        let shown = |signs, colour| {
            let mut text = Text::new(Style { signs, colour });
            text.step(true, "path", "/x");
            text.step(false, "route", "none");
            text.end()
        };
        assert_eq!(shown(false, false), "ok  path          /x\nNO  route         none\n");
        assert_eq!(shown(true, false), "\u{2713}   path          /x\n\u{2717}   route         none\n");
        assert!(shown(true, true).starts_with("\u{1b}[1;32m\u{2713} \u{1b}[0m  path"));
    }
}
