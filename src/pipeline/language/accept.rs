//! What `Accept-Language` asks for. The header is anybody's: what is read of it is bounded, and nothing in it is an error.

use super::Language;

/// So much of it is read: browsers send less than a hundred bytes.
const MOST_BYTES: usize = 1024;
const MOST_RANGES: usize = 64;
/// The weight of a range that names none, in thousandths.
const WHOLE: u16 = 1000;

/// How much a language is wanted.
#[derive(Debug, Clone, Copy, Default)]
struct Wish {
    /// In thousandths; `None`: it is not named.
    weight: Option<u16>,
    /// Where it was first named with that weight.
    place: usize,
}

impl Wish {
    fn hear(&mut self, weight: u16, place: usize) {
        if self.weight.is_none_or(|known| known < weight) {
            *self = Self { weight: Some(weight), place };
        }
    }
}

/// The language that the values of a request's fields ask for, all together one list.
pub(super) fn asked<'v>(values: impl Iterator<Item = &'v [u8]>) -> Language {
    let (mut english, mut chinese, mut any) = (Wish::default(), Wish::default(), Wish::default());
    let (mut place, mut left) = (0, MOST_BYTES);
    'fields: for value in values {
        let whole = value.len() <= left;
        let value = &value[..value.len().min(left)];
        let mut ranges = value.split(|byte| *byte == b',').peekable();
        while let Some(range) = ranges.next() {
            // The last one of a list that is cut off may be cut itself.
            if place == MOST_RANGES || (!whole && ranges.peek().is_none()) {
                break 'fields;
            }
            place += 1;
            let Some((tag, weight)) = weighed(range) else { continue };
            match primary(tag) {
                b"*" if tag == b"*" => any.hear(weight, place),
                subtag if subtag.eq_ignore_ascii_case(b"en") => english.hear(weight, place),
                subtag if subtag.eq_ignore_ascii_case(b"zh") => chinese.hear(weight, place),
                _ => {}
            }
        }
        left -= value.len();
    }
    choose(english, chinese, any)
}

fn choose(english: Wish, chinese: Wish, any: Wish) -> Language {
    let weight = |wish: Wish| wish.weight.or(any.weight).unwrap_or(0);
    let place = |wish: Wish| if wish.weight.is_some() { wish.place } else { usize::MAX };
    let (of_english, of_chinese) = (weight(english), weight(chinese));
    let earlier = place(chinese) < place(english);
    if of_chinese > of_english || (of_chinese == of_english && of_chinese > 0 && earlier) {
        Language::Chinese
    } else {
        Language::English
    }
}

/// The first subtag.
fn primary(tag: &[u8]) -> &[u8] {
    tag.split(|byte| *byte == b'-').next().unwrap_or_default()
}

/// A range with its weight; `None`: it is none, or its weight is none.
fn weighed(range: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let tag = parts.next().filter(|tag| !tag.is_empty())?;
    let mut weight = WHOLE;
    for part in parts {
        let at = part.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (part[..at].trim_ascii(), part[at + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"q") {
            weight = thousandths(value)?;
        }
    }
    Some((tag, weight))
}

/// A `qvalue`: `0` or `1`, with up to three digits after the point.
fn thousandths(value: &[u8]) -> Option<u16> {
    let (whole, fraction): (u8, &[u8]) = match value {
        [whole] => (*whole, &[]),
        [whole, b'.', fraction @ ..] => (*whole, fraction),
        _ => return None,
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |place: usize| fraction.get(place).map_or(0, |digit| u16::from(digit - b'0'));
    let fraction = digit(0) * 100 + digit(1) * 10 + digit(2);
    match whole {
        b'0' => Some(fraction),
        b'1' if fraction == 0 => Some(WHOLE),
        _ => None,
    }
}

/// The same from the lines of a head that is not a good one.
pub(super) fn asked_in(head: &[u8]) -> Language {
    const NAME: &[u8] = b"accept-language:";
    let value = |line: &'_ [u8]| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value.len())
    };
    let lines = head.split(|byte| *byte == b'\n');
    asked(lines.filter_map(|line| Some(&line[line.len() - value(line)?..])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(value: &str) -> Language {
        asked([value.as_bytes()].into_iter())
    }

    #[test]
    fn who_asks_for_chinese_gets_it() {
        for value in [
            "zh",
            "ZH",
            "zh-CN",
            "zh-Hans",
            "zh-TW",
            "zh-Hant-HK",
            "zh-CN,zh;q=0.9,en;q=0.8",
            "fr, zh;q=0.1",
            "en;q=0.8, zh;q=0.801",
            " zh ; q=1.000 ",
            "de,fr;q=0.9,zh;q=0.2,*;q=0.1",
            "*, en;q=0",
            "zh,en",
            "en;q=0.5,zh;q=0.5;x=y,zh;q=0.6",
            "en;Q=0.1,zh;q=0.2",
            ",,zh,,",
            "zh;q=0.001",
            "en;q=0.9,zh-TW;q=0.3,zh;q=1",
            "en;q=0,*;q=0.5",
            "xx;q=2,zh;q=0.1",
        ] {
            assert_eq!(of(value), Language::Chinese, "{value}");
            assert!(Language::may_matter(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn everybody_else_is_told_in_english() {
        for value in [
            "",
            "en",
            "fr",
            "de-CH, fr;q=0.9",
            "en-US,en;q=0.9,zh-CN;q=0.8,zh;q=0.7",
            "*",
            "en,zh",
            "zh;q=0",
            "zh;q=0.000",
            "*, zh;q=0",
            "zh;q=1.001",
            "zh;q=0.1234",
            "zh;q=2",
            "zh;q=-1",
            "zh;q=",
            "zh;q",
            "zh;q=0,5",
            "zho",
            "zhen",
            "z",
            "-zh",
            "zh_CN",
            "zh;q=NaN",
            "\u{ff5a}\u{ff48}",
            "en;q=0.5,zh;q=0.5",
            "*;q=0.5,zh;q=0.2",
            "zh\0",
            ";zh",
            "q=1",
            "zh-CN;q=0.5,en;q=0.6",
            "*-zh",
        ] {
            assert_eq!(of(value), Language::English, "{value}");
        }
    }

    #[test]
    fn several_fields_are_one_list() {
        let of = |values: &[&str]| asked(values.iter().map(|value| value.as_bytes()));
        assert_eq!(of(&["en;q=0.2", "zh;q=0.3"]), Language::Chinese);
        assert_eq!(of(&["en", "zh"]), Language::English);
        assert_eq!(of(&[]), Language::English);
    }

    #[test]
    fn only_the_beginning_of_an_endless_header_is_read() {
        let many = format!("{}zh", "fr,".repeat(MOST_RANGES));
        assert_eq!(of(&many), Language::English);
        let few = format!("{}zh", "fr,".repeat(MOST_RANGES - 1));
        assert_eq!(of(&few), Language::Chinese);
        let long = format!("zh;q=0.4,{},en", "x".repeat(MOST_BYTES));
        assert_eq!(of(&long), Language::Chinese, "what is cut off is not read");
        // Cut in the middle of a weight, which would be another one.
        let cut = format!("{}zh;q=0.9", " ".repeat(MOST_BYTES - 6));
        assert_eq!(of(&cut), Language::English);
        let fields = vec!["fr"; 10_000];
        assert_eq!(asked(fields.iter().map(|field| field.as_bytes())), Language::English);
    }

    #[test]
    fn a_head_that_is_none_is_searched_by_lines() {
        let head = b"GET / HTTP/1.1\r\nbad header\r\nAccept-Language: zh-CN\r\n\r\n";
        assert_eq!(asked_in(head), Language::Chinese);
        assert_eq!(asked_in(b"GET /accept-language:zh HTTP/1.1\r\nx: y\r\n"), Language::English);
        assert_eq!(asked_in(b""), Language::English);
    }

    proptest! {
        #[test]
        fn nothing_in_the_header_panics(fields in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8)) {
            asked(fields.iter().map(Vec::as_slice));
            asked_in(&fields.concat());
        }

        #[test]
        fn nothing_that_looks_like_one_panics(value in "([a-z*]{0,3}(-[a-zA-Z]{0,4})?( ?; ?[qQ]? ?=? ?[0-9.]{0,6})?,? ?){0,80}") {
            let language = of(&value);
            prop_assert!(language == Language::English || Language::may_matter(value.as_bytes()));
        }
    }
}
