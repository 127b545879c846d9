//! What templates may say, what they cost, and that no input breaks them.

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
        ("a\nb\n{{ acess_token }}", "line 3: there is no name acess_token: the names are access_token, authorization"),
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
fn joining_is_bounded_as_each_join_copies_what_was_joined_before() {
    let url = format!("https://{}.example", "u".repeat(2000));
    let joined = format!("{{{{ {} }}}}", ["api_url"; 200].join(" ~ "));
    let apart = "{{ api_url ~ '/' }}".repeat(200);
    let check = |source: &str| check(&target(&[("key", source), ("other", source)]), Some(&url));
    let defect = check(&joined).unwrap_err();
    assert_eq!(defect.reason, Reason::TemplateFailed);
    assert!(defect.message.contains("one after the other"), "{}", defect.message);
    check(&apart).unwrap();
    checked(&format!("{{{{ {} }}}}", ["access_token"; 20].join(" ~ "))).unwrap();
}

#[test]
fn longest_values_fit_into_what_was_foreseen() {
    let token = "t".repeat(LONGEST_TOKEN);
    let authorization = format!("Zoho-oauthtoken {token}");
    let api_domain = "d".repeat(LONGEST_API_DOMAIN);
    let values = Values { access_token: &token, authorization: &authorization, api_domain: &api_domain, ..values() };
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
    // A second or two. What grows exponentially never ends.
    assert!(started.elapsed() < Duration::from_secs(120), "{:?}", started.elapsed());
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
                prop_assert!(text.unwrap()["key"].len() <= bound.size);
            }
            Err(defect) => prop_assert!(defect.message.contains("Template key"), "{}", defect.message),
        }
        prop_assert!(started.elapsed() < Duration::from_secs(10));
    }
}
