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
    let mut size = 0;
    for (key, source) in &target.data {
        size += inspect(key, source, longest)?;
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

/// The longest text that a template can come to, if it says nothing but what templates may say.
///
/// That is the length of its source and of each value as often as it is named: nothing multiplies.
fn inspect(key: &str, source: &str, longest: impl Fn(&str) -> usize) -> Result<usize, Defect> {
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
    let mut size = source.len();
    let mut operators = 0;
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
            size += longest(name);
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
        operators += usize::from(is_operator(&token));
        if operators > MOST_OPERATORS {
            return refuse(&format!("it has more than {MOST_OPERATORS} operators, parentheses and tags"));
        }
        previous = Before::of(&token);
    }
    Ok(size)
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
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn target(templates: &[(&str, &str)]) -> Target {
        let data = templates.iter().map(|(key, source)| ((*key).to_owned(), (*source).to_owned())).collect();
        Target { data, ..Target::default() }
    }

    fn checked(source: &str) -> Result<(), String> {
        check(&target(&[("key", source)]), None).map_err(|defect| {
            assert_eq!(defect.reason, Reason::TemplateFailed);
            defect.message
        })
    }

    fn values() -> Values<'static> {
        Values {
            access_token: "1000.<a>&\"'\\.b",
            authorization: "Zoho-oauthtoken 1000.<a>&\"'\\.b",
            expires_at: "2026-01-02T03:04:05Z",
            api_domain: "",
            api_url: "https://patch.manageengine.eu",
        }
    }

    fn rendered(source: &str) -> String {
        checked(source).unwrap_or_else(|message| panic!("{source}: {message}"));
        render(&target(&[("key", source)]).data, &values()).unwrap().remove("key").unwrap()
    }

    #[test]
    fn templates_come_out_byte_for_byte() {
        let table = [
            ("", ""),
            ("no names", "no names"),
            ("{{ access_token }}", "1000.<a>&\"'\\.b"),
            ("{{access_token}}\n", "1000.<a>&\"'\\.b\n"),
            ("a\r\n\n{{ expires_at }}\r\n\n", "a\r\n\n2026-01-02T03:04:05Z\r\n\n"),
            (
                "Authorization: {{ authorization }}\nX-\u{dc}: \u{1f511}\n",
                "Authorization: Zoho-oauthtoken 1000.<a>&\"'\\.b\nX-\u{dc}: \u{1f511}\n",
            ),
            ("{\n  \"url\": \"{{ api_url }}/api\"\n}\n", "{\n  \"url\": \"https://patch.manageengine.eu/api\"\n}\n"),
            ("[{{ api_domain }}]", "[]"),
            ("{{ api_domain or api_url }}", "https://patch.manageengine.eu"),
            ("{{ api_domain or 'https://else' }}", "https://else"),
            ("{{ api_url ~ \"/api\" ~ '\\n' }}", "https://patch.manageengine.eu/api\n"),
            ("{% if api_domain %}a{% elif not (api_url == '') %}b{% else %}c{% endif %}", "b"),
            ("a\n{%- if api_url and expires_at != 'x' -%}\n b\n{%- endif %}\n", "ab\n"),
            ("x {# not {{ this }} #} y", "x  y"),
            ("{% raw %}{{ .Values.x | quote }}{% endraw %}", "{{ .Values.x | quote }}"),
            ("100% {access_token} $ {x} %}}", "100% {access_token} $ {x} %}}"),
        ];
        for (source, expected) in table {
            assert_eq!(rendered(source), expected, "{source}");
        }
    }

    #[test]
    fn bad_templates_are_named_with_key_line_and_what_to_do() {
        let nested = "{% if api_url %}".repeat(100);
        let table: &[(&str, &str)] = &[
            ("{{ .access_token }}", "line 1: names have no dot before them: drop the dot and write {{ access_token }}"),
            ("{{- .api_url -}}", "drop the dot and write {{ api_url }}"),
            ("{{ .Values.token }}", "drop the dot"),
            (
                "a\nb\n{{ acess_token }}",
                "line 3: there is no name acess_token: the names are access_token, authorization",
            ),
            ("{{ loop }}", "there is no name loop"),
            ("{{ self }}", "there is no name self"),
            ("{{ true }}", "there is no name true"),
            ("{{ end }}", "there is no name end"),
            ("{{ access_token", "syntax error"),
            ("{{ access_token }", "a value must end with }},"),
            ("{{ }}", "syntax error"),
            ("{{ 'a }}", "syntax error"),
            ("{{ access_token api_url }}", "syntax error: unexpected"),
            ("{{ ~ access_token }}", "syntax error"),
            ("{{ (access_token }}", "parentheses must be closed"),
            ("{% if api_url %}x", "syntax error"),
            ("{% endif %}", "syntax error"),
            ("{% else %}", "syntax error"),
            ("{# open", "syntax error"),
            ("${#array[@]}", "syntax error"),
            ("{% raw %}x", "syntax error"),
            ("{% for c in access_token %}{{ c }}{% endfor %}", "there is no tag for: templates have if, elif"),
            ("{% set x = 'a' %}", "there is no tag set"),
            ("{% macro x() %}{% endmacro %}", "there is no tag macro"),
            ("{% include 'x' %}", "there is no tag include"),
            ("{% autoescape true %}{% endautoescape %}", "there is no tag autoescape"),
            ("{% access_token %}", "there is no tag access_token"),
            ("{{ range(100000000) }}", "there is no name range"),
            ("{{ access_token() }}", "functions cannot be called"),
            ("{{ 'a'('b') }}", "functions cannot be called"),
            ("{{ ('a')('b') }}", "functions cannot be called"),
            ("{{ access_token.upper() }}", "no dot"),
            ("{{ access_token | upper }}", "filters are not available"),
            ("{{ api_url | default('x') }}", "write {{ api_url or \"…\" }}"),
            ("{{ access_token[0] }}", "`[` is not available"),
            ("{{ access_token * 1000000000 }}", "`*` is not available"),
            ("{{ 'a' + 'b' }}", "`+` is not available: there are names, strings, ~"),
            ("{{ 1 }}", "integer is not available"),
            ("{{ access_token if api_url }}", "write {% if api_url %}…{% else %}…{% endif %}"),
            ("{{ api_url is defined }}", "tests are not available"),
            ("{{ 'a' in api_url }}", "tests are not available"),
            ("{{ access_token, api_url }}", "`,` is not available"),
            ("{{ access_token; }}", "syntax error"),
            ("{{ äpi }}", "syntax error"),
            (&nested, "syntax error"),
        ];
        for (source, expected) in table {
            let message = checked(source).expect_err(source);
            assert!(message.starts_with("Template key of spec.target.data, line "), "{source}: {message}");
            assert!(message.contains(expected), "{source}: {message}");
        }
    }

    #[test]
    fn bad_keys_are_named() {
        let long = "k".repeat(254);
        for key in ["", "a b", "a/b", ".", "..", "..data", "ä", "a\nb", &long] {
            let message = check(&target(&[(key, "x")]), None).expect_err(key).message;
            assert!(message.contains("not a valid key of a Secret"), "{message}");
            assert!(message.len() < 400 && !message.contains('\n'), "{message}");
        }
        for key in ["a", "_", ".dockercfg", "A-b_c.1", "a..b", &long[1..]] {
            check(&target(&[(key, "x")]), None).unwrap();
        }
    }

    #[test]
    fn sizes_are_bounded() {
        checked(&"x".repeat(4096)).unwrap();
        assert!(checked(&"x".repeat(4097)).unwrap_err().contains("longer than 4 KiB"));
        assert!(checked(&"ä".repeat(2049)).unwrap_err().contains("longer than 4 KiB"), "bytes, not characters");
        let keys: Vec<String> = (0..33).map(|number| format!("k{number}")).collect();
        let many = |count| target(&keys[..count].iter().map(|key| (key.as_str(), "x")).collect::<Vec<_>>());
        check(&many(32), None).unwrap();
        assert!(check(&many(33), None).unwrap_err().message.contains("more than 32"));
    }

    #[test]
    fn what_would_not_fit_with_the_longest_token_is_too_large() {
        // 126 times 8192, the two default keys with a token, and less than 8192 for the rest: just below 1 MiB.
        let fits = "{{access_token}}".repeat(125);
        check(&target(&[("key", &fits)]), None).unwrap();
        let over = check(&target(&[("key", &"{{access_token}}".repeat(127))]), None).unwrap_err();
        assert_eq!(over.reason, Reason::TargetTooLarge);
        assert!(over.message.contains("1048576"), "{}", over.message);
        let without = Target { include_default_keys: Some(false), ..target(&[("key", &fits)]) };
        check(&without, None).unwrap();
    }

    #[test]
    fn longest_values_fit_into_what_was_foreseen() {
        let token = "t".repeat(LONGEST_TOKEN);
        let authorization = format!("Zoho-oauthtoken {token}");
        let api_domain = "d".repeat(LONGEST_API_DOMAIN);
        let values =
            Values { access_token: &token, authorization: &authorization, api_domain: &api_domain, ..values() };
        let all = "{{access_token}}{{authorization~expires_at}}{{api_domain or api_url}}".repeat(20);
        let data = target(&[("key", &all)]).data;
        let text = render(&data, &values).unwrap();
        assert_eq!(text["key"].len(), 20 * (8192 + 8208 + 20 + 261));
    }

    #[test]
    fn target_without_the_token_is_refused() {
        type Row = (&'static [(&'static str, &'static str)], Option<bool>, bool);
        let table: [Row; 8] = [
            (&[], None, true),
            (&[], Some(false), false),
            (&[("k", "{{ expires_at }}")], Some(false), false),
            (&[("k", "{{ expires_at }}")], Some(true), true),
            (&[("k", "{% if api_domain %}{{ access_token }}{% endif %}")], Some(false), false),
            (&[("k", "{{ authorization }}")], Some(false), true),
            (&[("access_token", "x"), ("authorization", "y")], None, false),
            (&[("access_token", "x")], None, true),
        ];
        for (templates, include_default_keys, expected) in table {
            let answer = check(&Target { include_default_keys, ..target(templates) }, None);
            assert_eq!(answer.is_ok(), expected, "{templates:?} {include_default_keys:?}: {answer:?}");
        }
    }

    #[test]
    fn nothing_overflows_the_stack_or_takes_long() {
        let started = Instant::now();
        for (unit, close) in [
            ("{{''~", ""),
            ("~''", "}}"),
            ("not ", "''}}"),
            ("(", "''}}"),
            ("''==", "''}}"),
            ("''or ", "''}}"),
            ("{%if''%}", ""),
            ("{%elif''%}", "{%endif%}"),
            ("{{", ""),
            ("{%", ""),
            ("{#", ""),
            ("{%raw%}", ""),
            ("{{api_url}}", ""),
        ] {
            for open in ["", "{{''", "{{", "{%if''%}"] {
                for count in [10, 100, 255, 1000, 4000] {
                    let source = format!("{open}{}{close}", unit.repeat(count));
                    // Also where the check would not let it through.
                    let _ = (checked(&source), render(&target(&[("key", &source)]).data, &values()));
                }
            }
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }

    #[test]
    fn message_about_a_real_rendering_quotes_nothing() {
        let unchecked = target(&[("key", "{{ access_token ~ }}")]).data;
        let message = render(&unchecked, &values()).unwrap_err().message;
        assert_eq!(message, "Template key of spec.target.data: it cannot be rendered with this token.");
    }

    /// Text that is often nearly a template.
    fn nearly_templates() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "{{",
            "}}",
            "{%",
            "%}",
            "{#",
            "#}",
            "-",
            " ",
            "\n",
            "if",
            "elif",
            "else",
            "endif",
            "raw",
            "endraw",
            "for",
            "in",
            "set",
            "and",
            "or",
            "not",
            "==",
            "!=",
            "~",
            "*",
            "+",
            "(",
            ")",
            "[",
            "]",
            ".",
            "|",
            "'",
            "\"",
            "\\",
            "x",
            "9",
            "access_token",
            "authorization",
            "expires_at",
            "api_domain",
            "api_url",
            "'a'",
            "{{ access_token }}",
            "{% if api_url %}",
            "{% endif %}",
            "{{ api_domain or 'x' }}",
            "\u{e4}",
            "\u{0}",
        ]);
        prop_oneof![
            3 => prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat()),
            1 => any::<String>(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_text_is_refused_or_renders_within_its_bound_and_always_the_same(
            source in nearly_templates(),
            token in "[!-~]{1,200}",
            api_domain in prop::option::of("https://[a-z]{1,9}"),
            api_url in prop::option::of("https://[a-z]{1,9}"),
        ) {
            let started = Instant::now();
            let target = target(&[("key", &source)]);
            let authorization = format!("Zoho-oauthtoken {token}");
            let values = Values {
                access_token: &token,
                authorization: &authorization,
                expires_at: "2026-01-02T03:04:05Z",
                api_domain: api_domain.as_deref().unwrap_or_default(),
                api_url: api_url.as_deref().unwrap_or_default(),
            };
            let lengths: BTreeMap<&str, usize> = values.named().map(|(name, value)| (name, value.len())).collect();
            match check(&target, api_url.as_deref()) {
                Ok(()) => {
                    let text = render(&target.data, &values);
                    prop_assert!(text.is_ok(), "passed the check and failed: {text:?}");
                    prop_assert_eq!(&text, &render(&target.data, &values));
                    let bound = inspect("key", &source, |name| lengths[name]).unwrap();
                    prop_assert!(text.unwrap()["key"].len() <= bound);
                }
                Err(defect) => prop_assert!(defect.message.contains("Template key"), "{}", defect.message),
            }
            prop_assert!(started.elapsed() < Duration::from_secs(1));
        }
    }
}
