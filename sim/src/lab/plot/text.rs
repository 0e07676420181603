//! Text in a picture whose fonts are not known: its width is a guess, on the
//! large side.

/// Without what XML can't hold, on one line.
pub(super) fn clean(text: &str) -> String {
    let bad = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if bad(c) { ' ' } else { c }).collect()
}

/// As the content of an XML element.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// How wide the text is at most, in the widest of the usual sans-serif fonts
/// (DejaVu Sans).
pub(super) fn width(text: &str, size: f64) -> f64 {
    let em = |c: char| match c {
        'f' | 'i' | 'j' | 'l' | 'r' | 't' | 'I' | ' ' | '.' | ',' | ':' | ';' | '|' | '!'
        | '\'' | '(' | ')' | '[' | ']' => 0.41,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '—' => 1.0,
        '+' | '=' | '<' | '>' | '≤' | '≥' | '~' | '→' | '←' => 0.84,
        'A'..='Z' => 0.75,
        c if c.is_ascii() => 0.63,
        '⁰' | '¹' | '²' | '³' | '⁴'..='⁹' | '⁻' => 0.5,
        // Letters of Europe; beyond them a character may fill a square.
        '\u{80}'..='\u{24f}' => 0.66,
        _ => 1.0,
    };
    size * text.chars().map(em).sum::<f64>()
}

/// Lines no wider than `room`, broken between words where that is possible, but
/// not between a number and its unit.
pub(super) fn wrap(text: &str, size: f64, room: f64) -> Vec<String> {
    let fits = |line: &str| width(line, size) <= room;
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in words(text) {
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if fits(&longer) {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            line.push(c);
            if !fits(&line) && line.chars().nth(1).is_some() {
                line.pop();
                lines.push(std::mem::replace(&mut line, c.to_string()));
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Words, a number with its unit as one.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let unit = matches!(word.trim_end_matches([',', ';', ')']), "%" | "s" | "ms" | "min" | "h");
        match words.last_mut() {
            Some(number) if unit && number.ends_with(|c: char| c.is_ascii_digit()) => {
                number.push(' ');
                number.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// The text, or its beginning and an ellipsis, no wider than `room`.
pub(super) fn shorten(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if width(&short, size) + size > room {
            short.pop();
            break;
        }
    }
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn wrapped_lines_fit_and_lose_nothing(text: String, room: u16) -> bool {
            let room = 20.0 + f64::from(room % 300);
            let lines = wrap(&text, 10.0, room);
            let letters = |s: &str| s.split_whitespace().collect::<String>();
            lines.iter().all(|l| width(l, 10.0) <= room) && letters(&lines.concat()) == letters(&text)
        }

        fn short_texts_fit(text: String, room: u16) -> bool {
            let room = 20.0 + f64::from(room % 300);
            width(&shorten(&text, 10.0, room), 10.0) <= room
        }
    }

    #[test]
    fn what_xml_cannot_hold_becomes_a_space() {
        assert_eq!(escape(&clean("a\0<b>\n&\"\u{ffff}'")), "a &lt;b&gt; &amp;&quot; &apos;");
    }

    #[test]
    fn words_stay_whole() {
        assert_eq!(wrap("one two three", 10.0, 50.0), ["one two", "three"]);
        assert_eq!(wrap("worst: 92.7 % of all", 10.0, 75.0), ["worst:", "92.7 % of all"]);
        assert_eq!(shorten("published", 10.0, 30.0), "pub…");
    }
}
