//! The templates of `spec.target.data`: what they may say, and their rendering. Pure.
//!
//! A small part of Jinja: names, strings, `~ == != and or not`, `if`, `raw` and comments. All of it is defined for all
//! values, so a template that passed the check before a token was minted cannot fail with the token. And nothing in it
//! multiplies: thirty lines of `set x = x ~ x` would fill the operator's memory, which no limit on steps prevents.

use std::collections::BTreeMap;

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, Template, UndefinedBehavior, Value};

use crate::plan::Defect;
use zoho_api::{Reason, Target, keys};

/// Longest access token that is taken, in bytes.
pub const LONGEST_TOKEN: usize = 8192;
/// Longest API domain: `https://` and a host name (RFC 1035 section 2.3.4).
pub const LONGEST_API_DOMAIN: usize = 8 + 253;

/// Longest template, in bytes.
const LONGEST_TEMPLATE: usize = 4096;
/// Most templates of one target.
const MOST_TEMPLATES: usize = 32;
/// Longest key of a Secret.
const LONGEST_KEY: usize = 253;
/// What the API server lets the values of a Secret come to, in bytes.
const LARGEST_SECRET: usize = 1 << 20;
/// Most operators, parentheses and tags in one template: the engine parses and compiles by recursion.
const MOST_OPERATORS: usize = 256;
/// Bytes that `~` may copy in one rendering of a target: each copies all that its expression has joined so far.
const MOST_COPIED: usize = 4 << 20;
/// Steps of one rendering. There are no loops, so a template of 4 KiB cannot come near it.
const FUEL: u64 = 100_000;

/// What default keys and templates are made of. What is absent is the empty string.
///
/// Holds secret bytes, so it has no `Debug`.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    /// The token.
    pub access_token: &'a str,
    /// The ready header value.
    pub authorization: &'a str,
    /// When the token dies, RFC 3339.
    pub expires_at: &'a str,
    /// The API domain that Zoho named.
    pub api_domain: &'a str,
    /// The product's base URL.
    pub api_url: &'a str,
}

impl<'a> Values<'a> {
    /// Name and value, in the order of [`keys::VALUES`].
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &'a str)> {
        let values = [self.access_token, self.authorization, self.expires_at, self.api_domain, self.api_url];
        keys::VALUES.into_iter().zip(values)
    }
}

/// Checks keys and templates of a target, before anything is minted: after it, [`render`] does not fail, the Secret is
/// not too large for any token that is taken, and the token stands in it.
///
/// # Errors
///
/// `TemplateFailed` with the key, the line and what is wrong there; `TargetTooLarge`.
pub fn check(target: &Target, api_url: Option<&str>) -> Result<(), Defect> {
    if target.data.len() > MOST_TEMPLATES {
        return Err(defect(format!("spec.target.data has more than {MOST_TEMPLATES} templates.")));
    }
    let api_url = api_url.unwrap_or_default();
    let longest = |name: &str| match name {
        "access_token" => LONGEST_TOKEN,
        "authorization" => "Zoho-oauthtoken ".len() + LONGEST_TOKEN,
        "expires_at" => "2026-01-02T03:04:05Z".len(),
        "api_domain" => LONGEST_API_DOMAIN,
        _ => api_url.len(),
    };
    let (mut size, mut copied) = (0, 0);
    for (key, source) in &target.data {
        let bound = inspect(key, source, longest)?;
        (size, copied) = (size + bound.size, copied + bound.copied);
    }
    if copied > MOST_COPIED {
        return Err(defect(
            "The templates of spec.target.data join too many long values with ~. Write them one after the other instead: {{ api_url }}{{ access_token }}.".into(),
        ));
    }
    let includes_defaults = target.include_default_keys != Some(false);
    if includes_defaults {
        size += keys::VALUES.into_iter().filter(|key| !target.data.contains_key(*key)).map(longest).sum::<usize>();
    }
    if size > LARGEST_SECRET {
        return Err(Defect {
            reason: Reason::TargetTooLarge,
            message: format!(
                "With the longest accepted token ({LONGEST_TOKEN} bytes), the templates of spec.target.data would have {size} bytes, but a Secret can hold only {LARGEST_SECRET}. Use fewer or shorter templates."
            ),
            again_at: None,
        });
    }
    // With what may be absent present and absent.
    for (expires_at, api_domain) in
        [("2026-01-02T03:04:05Z", "https://www.zohoapis.com"), ("2026-01-02T03:04:05Z", ""), ("", "")]
    {
        let authorization = format!("Zoho-oauthtoken {DUMMY}");
        let values = Values { access_token: DUMMY, authorization: &authorization, expires_at, api_domain, api_url };
        let rendered = render_with(&target.data, &values, complaint)?;
        let default = |key| includes_defaults && !target.data.contains_key(key);
        let stands = default("access_token") || default("authorization");
        if !stands && rendered.values().all(|text| !text.contains(DUMMY)) {
            return Err(defect(
                "No key of the target holds the token: write {{ access_token }} or {{ authorization }} in a template of spec.target.data, or leave out spec.target.includeDefaultKeys.".into(),
            ));
        }
    }
    Ok(())
}

/// Renders the templates, by key. What comes out depends on nothing but the arguments.
///
/// A newline at the end of a template stays; values stand in the text byte for byte, without any escaping.
///
/// # Errors
///
/// `TemplateFailed`, for what does not pass [`check`].
pub fn render(data: &BTreeMap<String, String>, values: &Values) -> Result<BTreeMap<String, String>, Defect> {
    // Again, because the engine's own parser and compiler have no bound on their stack.
    for (key, source) in data {
        inspect(key, source, |_| 0)?;
    }
    // What the engine says may quote values, and these may be real.
    render_with(data, values, |key, _| failed(key, None, "it cannot be rendered with this token"))
}

/// Stands for a token while templates are checked.
const DUMMY: &str = "1000.00000000000000000000000000000000.00000000000000000000000000000000";

/// What a template can come to at most, in bytes.
#[derive(Clone, Copy, Debug)]
struct Bound {
    /// The text: the length of its source and of each value as often as it is named. Nothing multiplies.
    size: usize,
    /// What is copied on the way, because each operator makes a new text of all that its expression has joined.
    copied: usize,
}

/// What it comes to, if it says nothing but what templates may say.
fn inspect(key: &str, source: &str, longest: impl Fn(&str) -> usize) -> Result<Bound, Defect> {
    let is_key = |key: &str| {
        key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            && (1..=LONGEST_KEY).contains(&key.len())
            && key != "."
            && !key.starts_with("..")
    };
    if !is_key(key) {
        return Err(failed(
            key,
            None,
            "this is not a valid key of a Secret: use letters, digits, '-', '_' and '.', at most 253 of them, and not '..' at the beginning",
        ));
    }
    if source.len() > LONGEST_TEMPLATE {
        return Err(failed(key, None, "it is longer than 4 KiB"));
    }
    let mut bound = Bound { size: source.len(), copied: 0 };
    let mut operators = 0;
    // Of the expression that is being read: the length of its values, and its operators.
    let (mut joined, mut joins) = (0, 0);
    let mut previous = Before::Text;
    let mut tokens = tokenize(source, false, syntax());
    while let Some(token) = tokens.next() {
        let (token, span) = token.map_err(|error| complaint(key, &error))?;
        let line = Some(usize::from(span.start_line));
        let refuse = |what: &str| Err(failed(key, line, what));
        if let Token::Ident(name) = token
            && previous != Before::Tag
            && keys::VALUES.contains(&name)
        {
            bound.size += longest(name);
            joined += longest(name);
        } else if let Token::Dot = token {
            let next = tokens.next().and_then(Result::ok).map(|(token, _)| token);
            let meant = match next {
                Some(Token::Ident(name)) if keys::VALUES.contains(&name) => name,
                _ => keys::VALUES[0],
            };
            return refuse(&format!("names have no dot before them: drop the dot and write {{{{ {meant} }}}}"));
        } else if let Err(what) = is_allowed(&token, previous) {
            return refuse(&what);
        }
        joined += length_of_string(&token);
        joins += usize::from(is_operator(&token));
        operators += usize::from(is_operator(&token));
        if operators > MOST_OPERATORS {
            return refuse(&format!("it has more than {MOST_OPERATORS} operators, parentheses and tags"));
        }
        if matches!(token, Token::VariableEnd | Token::BlockEnd) {
            bound.copied += joins * joined;
            (joined, joins) = (0, 0);
        }
        previous = Before::of(&token);
    }
    Ok(bound)
}

/// What stands before a token, as far as it matters to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Text,
    /// `{%`
    Tag,
    /// A value, or `)`: what follows in parentheses would be a call.
    Value,
}

impl Before {
    fn of(token: &Token) -> Self {
        if matches!(token, Token::BlockStart) {
            return Self::Tag;
        }
        let is_value = matches!(token, Token::Str(_) | Token::String(_) | Token::ParenClose) || is_name(token);
        if is_value { Self::Value } else { Self::Text }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only strings have one")]
fn length_of_string(token: &Token) -> usize {
    match token {
        Token::Str(text) => text.len(),
        Token::String(text) => text.len(),
        _ => 0,
    }
}

fn is_name(token: &Token) -> bool {
    matches!(token, Token::Ident(name) if keys::VALUES.contains(name))
}

fn is_operator(token: &Token) -> bool {
    matches!(token, Token::Ident(_) | Token::Tilde | Token::Eq | Token::Ne | Token::ParenOpen) && !is_name(token)
}

/// May the token stand there? Whether the whole makes sense is for the engine to say.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is not known to be harmless is refused")]
fn is_allowed(token: &Token, previous: Before) -> Result<(), String> {
    match token {
        Token::Ident("if" | "elif" | "else" | "endif") if previous == Before::Tag => Ok(()),
        Token::Ident(name) if previous == Before::Tag => {
            Err(format!("there is no tag {}: templates have if, elif, else, endif, raw and endraw", excerpt(name)))
        }
        Token::Ident("and" | "or" | "not") => Ok(()),
        Token::Ident("if" | "else") => Err("write {% if api_url %}…{% else %}…{% endif %}".into()),
        Token::Ident("is" | "in") => {
            Err("tests are not available: every name is defined, and an absent value is empty: {% if api_url %}".into())
        }
        Token::Ident(name) => {
            Err(format!("there is no name {}: the names are {}", excerpt(name), keys::VALUES.join(", ")))
        }
        Token::Pipe => {
            Err("filters are not available; for a value that may be absent, write {{ api_url or \"…\" }}".into())
        }
        Token::BraceClose => {
            Err("a value must end with }}, a tag with %}, and parentheses must be closed before that".into())
        }
        Token::ParenOpen if previous == Before::Value => Err("functions cannot be called".into()),
        Token::TemplateData(_)
        | Token::VariableStart
        | Token::VariableEnd
        | Token::BlockStart
        | Token::BlockEnd
        | Token::Str(_)
        | Token::String(_)
        | Token::Tilde
        | Token::Eq
        | Token::Ne
        | Token::ParenOpen
        | Token::ParenClose => Ok(()),
        other => Err(format!("{other} is not available: there are names, strings, ~, ==, !=, and, or, not")),
    }
}

fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder().keep_trailing_newline(true).build().expect("the usual delimiters are valid")
}

/// No filters, functions, tests, loaders or escaping.
fn engine<'a>() -> Environment<'a> {
    let mut engine = Environment::empty();
    engine.set_syntax(syntax());
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    engine
}

fn render_with(
    data: &BTreeMap<String, String>,
    values: &Values,
    explain: impl Fn(&str, &Error) -> Defect,
) -> Result<BTreeMap<String, String>, Defect> {
    let engine = engine();
    let context = Value::from_pairs(values.named());
    let render = |template: Template| template.render(context.clone());
    data.iter()
        .map(|(key, source)| {
            let text = engine.template_from_str(source).and_then(render).map_err(|error| explain(key, &error))?;
            Ok((key.clone(), text))
        })
        .collect()
}

/// What the engine says of a template, where no real value was near.
fn complaint(key: &str, error: &Error) -> Defect {
    let kind = error.kind().to_string();
    failed(key, error.line(), &format!("{kind}: {}", excerpt(error.detail().unwrap_or_default())))
}

fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

fn failed(key: &str, line: Option<usize>, what: &str) -> Defect {
    let key = excerpt(key);
    let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
    defect(format!("Template {key} of spec.target.data{line}: {what}."))
}

fn defect(message: String) -> Defect {
    Defect { reason: Reason::TemplateFailed, message, again_at: None }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
