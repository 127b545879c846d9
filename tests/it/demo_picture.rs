//! The picture in the README: it shows what the demo says now. `make demo-picture` draws it again.

use std::fs;

use roxmltree::{Document, Node};

use crate::chart::root;
use crate::pages::read;

const PICTURE: &str = "docs/img/demo.svg";
/// The largest picture, in bytes: everybody who opens the README loads it.
const LARGEST: usize = 60_000;

/// The lines of the picture, with one blank between words. Fails where it is no well-formed XML.
fn lines() -> Vec<String> {
    let svg = fs::read_to_string(root().join(PICTURE)).expect("make demo-picture");
    let document = Document::parse(&svg).expect("well-formed XML");
    assert!(document.root_element().has_tag_name(("http://www.w3.org/2000/svg", "svg")));
    let texts = document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")));
    let text = |node: Node<'_, '_>| {
        node.descendants().filter(Node::is_text).filter_map(|part| part.text()).collect::<String>()
    };
    texts.map(|node| words(&text(node))).collect()
}

#[test]
fn picture_is_small_and_in_the_readme() {
    let size = fs::metadata(root().join(PICTURE)).expect("make demo-picture").len();
    assert!(size <= LARGEST as u64, "{size} bytes");
    assert!(read("README.md").contains(&format!("]({PICTURE})")), "the README does not show it");
    assert!(lines().len() > 20);
}

#[test]
fn picture_has_nothing_of_the_machine_that_drew_it() {
    let of_this_one =
        [env!("CARGO_MANIFEST_DIR"), env!("CARGO_BIN_EXE_zoho-operator"), "127.0.0.1", "localhost", "\u{1b}"];
    for line in lines() {
        assert!(!of_this_one.iter().any(|word| line.contains(word)), "{line}");
        // An absolute path: its word has a slash at the start and another one later. An address has two at once.
        let is_path = |word: &str| {
            let rest = word.trim_matches(['"', '\'', '(']).strip_prefix('/').unwrap_or_default();
            !rest.starts_with('/') && rest.contains('/')
        };
        assert!(!line.split(['=', ' ', ':']).any(is_path), "{line}");
    }
}

/// What the demo's source has the screen say between one step and the next, without what is filled in.
fn said(source: &str, title: &str) -> Option<Vec<String>> {
    let step = source.split_once(&format!("screen.step(\"{title}\")"))?.1;
    let step = step.split("screen.step(").next()?;
    let calls =
        ["screen.say(", "screen.done(", "screen.command("].into_iter().flat_map(|call| step.split(call).skip(1));
    let literals = calls.filter_map(|rest| Some(rest.split_once('"')?.1.split('"').next()?.replace("\\\n", "\n")));
    let fragments = literals.flat_map(|literal| {
        let outside = literal.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest).to_owned());
        outside.collect::<Vec<_>>()
    });
    Some(fragments.map(|part| words(&part)).filter(|part| part.contains(' ')).collect())
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The lines of each step, by its title.
fn steps(lines: &[String]) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in lines {
        match line.split_once(". ").filter(|(number, _)| number.parse::<u8>().is_ok()) {
            Some((_, title)) => steps.push((title.to_owned(), String::new())),
            None => {
                if let Some((_, shown)) = steps.last_mut() {
                    shown.extend([" ", line]);
                }
            }
        }
    }
    steps
}

#[test]
fn picture_shows_what_the_demo_says_now() {
    let source = read("crates/testkit/src/demo/story.rs");
    let steps = steps(&lines());
    assert!(steps.len() >= 2, "{steps:?}");
    for (title, shown) in &steps {
        let said = said(&source, title).unwrap_or_else(|| panic!("the demo has no step {title}: make demo-picture"));
        assert!(said.len() >= 2, "{title}: {said:?}");
        for part in said {
            assert!(words(shown).contains(&part), "{title} does not show \"{part}\": make demo-picture");
        }
    }
    // And the object is the one of the example.
    let example = read("examples/quickstart.yaml");
    let credential = example.split("\n---").find(|part| part.contains("kind: ZohoCredential")).expect("a credential");
    for line in credential.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(lines().contains(&line.to_owned()), "{line}: make demo-picture");
    }
}

#[test]
fn what_is_said_is_found_in_the_source() {
    let source = "screen.step(\"One\");\nscreen.say(\"first words\");\nscreen.done(&format!(\"It took {}, all \\\n    of it.\", x));\nscreen.step(\"Two\");\nscreen.say(\"other words\");";
    assert_eq!(said(source, "One"), Some(vec!["first words".to_owned(), "It took".into(), ", all of it.".into()]));
    assert_eq!(said(source, "Three"), None);
}
