//! Rust text without what is not code: comments, strings and, when wanted, tests. Lines stay where they are.

/// `text` with comments, string and character literals replaced by spaces.
pub fn strip(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    let is_word_before = at > 0 && is_word(chars[at - 1]);
    match chars[at] {
        '/' if next(1) == '/' => find(chars, at, |c| c == '\n'),
        '/' if next(1) == '*' => block_comment_end(chars, at),
        '"' => string_end(chars, at + 1),
        'r' | 'b' | 'c' if !is_word_before => prefixed_end(chars, at),
        '\'' if next(1) == '\\' => find(chars, at + 3, |c| c == '\'') + 1,
        '\'' if next(2) == '\'' => at + 3,
        _ => at,
    }
    .min(chars.len())
}

fn find(chars: &[char], from: usize, is_end: impl Fn(char) -> bool) -> usize {
    (from..chars.len()).find(|at| is_end(chars[*at])).unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0usize, from);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') if depth == 1 => return at + 2,
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"`, `r#"`, `b"`, `br#"`, `c"`, `b'x'`.
fn prefixed_end(chars: &[char], from: usize) -> usize {
    let quote = find(chars, from, |c| !matches!(c, 'r' | 'b' | 'c'));
    if quote - from > 2 {
        return from;
    }
    let is_raw = chars[from..quote].contains(&'r');
    let open = find(chars, quote, |c| c != '#');
    let hashes = open - quote;
    match chars.get(open) {
        Some('"') if is_raw => {
            let closes =
                |at: usize| chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
            (open + 1..chars.len()).find(|at| closes(*at)).map_or(chars.len(), |at| at + 1 + hashes)
        }
        Some('"') if hashes == 0 => string_end(chars, open + 1),
        Some('\'') if hashes == 0 && chars[from] == 'b' && open == from + 1 => {
            let close = if chars.get(open + 1) == Some(&'\\') { open + 3 } else { open + 2 };
            find(chars, close, |c| c == '\'') + 1
        }
        _ => from,
    }
}

/// `code` (already stripped) with every item under `#[cfg(test)]` blanked.
pub fn without_tests(code: &str) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(ATTRIBUTE) {
        let end = item_end(&rest[at..]) + at;
        out.push_str(&rest[..at]);
        out.extend(rest[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The end of the item that `text` begins with: its `;`, or the brace that closes its first one.
fn item_end(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Lines (1-based) where `needle` stands as whole words: neither a letter, digit nor `_` touches it.
pub fn lines_with(code: &str, needle: &str) -> Vec<usize> {
    let is_whole = |line: &str, at: usize| {
        let before = line[..at].chars().next_back();
        let after = line[at + needle.len()..].chars().next();
        let touches = |c: Option<char>| c.is_some_and(is_word);
        !(touches(before) && needle.starts_with(is_word) || touches(after) && needle.ends_with(is_word))
    };
    let has = |line: &&str| line.match_indices(needle).any(|(at, _)| is_whole(line, at));
    code.lines().enumerate().filter(|(_, line)| has(line)).map(|(index, _)| index + 1).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "let a = \"unsafe \\\" x\"; // unsafe\n/* unsafe /* nested */ unsafe */ let b = r#\"unsafe \" \"#;\n\
                    let c = '\"'; let d = b\"unsafe\"; let e: &'a str = 'x'; let f = '\\''; let g = b'\\''; unsafe {}";
        assert_eq!(lines_with(&strip(text), "unsafe"), [3]);
        assert_eq!(strip(text).lines().count(), text.lines().count());
    }

    #[test]
    fn unfinished_literals_end_with_the_file() {
        for text in ["\"abc", "/* abc", "r#\"abc\"", "'\\", "b'", "r", "\"\\"] {
            assert!(strip(text).len() <= text.len() + 1, "{text}");
        }
    }

    #[test]
    fn test_items_are_blanked_up_to_their_end() {
        let text = "fn a() { now() }\n#[cfg(test)]\nmod tests { fn b() { now() } }\nfn c() { now() }\n#[cfg(test)]\nuse now;\n";
        assert_eq!(lines_with(&without_tests(text), "now"), [1, 4]);
    }

    #[test]
    fn whole_words_only() {
        assert!(lines_with("unsafe_code", "unsafe").is_empty());
        assert_eq!(lines_with("x\nstd::thread::spawn", "thread::spawn"), [2]);
        assert!(lines_with("mythread::spawn", "thread::spawn").is_empty());
    }
}
