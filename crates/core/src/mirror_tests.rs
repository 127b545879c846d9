//! Each rule by an example, and all of them together by a property: whatever arrives in whatever order, the mirror is
//! the truth once the watch has told everything.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Thing {
    uid: String,
    version: String,
}

impl Versioned for Thing {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.version
    }
}

fn thing(uid: &str, version: u128) -> Thing {
    Thing { uid: uid.into(), version: version.to_string() }
}

fn key(name: &str) -> ObjectName {
    ObjectName::new("ns", name)
}

fn mirror(told: u128) -> Mirror<Thing> {
    let mut mirror = Mirror::default();
    mirror.only(&None, &HashSet::new(), Some(told));
    mirror
}

#[test]
fn late_answer_about_a_deleted_object_does_not_bring_it_back() {
    let mut mirror = mirror(1);
    mirror.changed(&None, &key("a"), thing("u", 5));
    mirror.gone(&None, &key("a"), Some(8));
    assert_eq!(mirror.answered(&key("a"), thing("u", 7)), Taken::No);
    assert_eq!(mirror.get(&key("a")), None);
    // An answer that the watch has not come to yet is news.
    assert_eq!(mirror.answered(&key("a"), thing("v", 9)), Taken::InPlaceOf(None));
}

#[test]
fn late_answer_about_the_former_object_does_not_replace_the_one_made_since() {
    let mut mirror = mirror(1);
    mirror.changed(&None, &key("a"), thing("old", 5));
    mirror.gone(&None, &key("a"), Some(8));
    mirror.changed(&None, &key("a"), thing("new", 9));
    assert_eq!(mirror.answered(&key("a"), thing("old", 7)), Taken::No);
    assert_eq!(mirror.get(&key("a")), Some(&thing("new", 9)));
    // Nor does late news of its deletion remove the new one.
    assert_eq!(mirror.gone(&None, &key("a"), Some(8)), Taken::No);
}

#[test]
fn word_of_the_version_that_is_known_counts() {
    let mut mirror = mirror(1);
    mirror.changed(&None, &key("a"), thing("u", 5));
    assert_eq!(mirror.changed(&None, &key("a"), thing("u", 4)), Taken::No, "older news");
    assert_eq!(mirror.changed(&None, &key("a"), thing("u", 5)), Taken::No, "the same again");
    assert_eq!(mirror.gone(&None, &key("a"), Some(5)), Taken::InPlaceOf(Some(thing("u", 5))));
    mirror.changed(&None, &key("b"), thing("v", 6));
    assert_eq!(mirror.only(&None, &HashSet::new(), Some(6)), [(key("b"), thing("v", 6))], "the list lacks it");
}

#[test]
fn answer_counts_where_it_is_newer_than_what_is_known() {
    let mut mirror = mirror(10);
    assert_eq!(mirror.answered(&key("a"), thing("u", 10)), Taken::No, "the watch has told up to there");
    assert_eq!(mirror.answered(&key("a"), thing("u", 11)), Taken::InPlaceOf(None));
    assert_eq!(mirror.answered(&key("a"), thing("u", 11)), Taken::No, "the same again");
    assert_eq!(mirror.answered(&key("a"), thing("u", 12)), Taken::InPlaceOf(Some(thing("u", 11))));
}

#[test]
fn what_became_of_each_object_is_said() {
    let mut mirror: Mirror<ObjectVersion> = Mirror::default();
    let version = |number: u32| ObjectVersion::from(format!("u/{number}").as_str());
    let (a, b) = (key("a"), key("b"));
    let listed = mirror.told(&None, News::Listed((a.clone(), version(3)), Some(5)));
    assert_eq!(listed, [(a.clone(), Taken::InPlaceOf(None))]);
    assert_eq!(mirror.told(&None, News::Only(HashSet::from([a.clone()]), Some(5))), []);
    let changed = mirror.told(&None, News::Changed((b.clone(), version(6))));
    assert_eq!(changed, [(b.clone(), Taken::InPlaceOf(None))]);
    assert_eq!(mirror.told(&None, News::Progress(Some(7))), []);
    assert_eq!(mirror.told(&None, News::Changed((b.clone(), version(6)))), [(b.clone(), Taken::No)]);
    let gone = mirror.told(&None, News::Gone((b.clone(), version(8))));
    assert_eq!(gone, [(b, Taken::InPlaceOf(Some(version(6))))]);
    let only = mirror.told(&None, News::Only(HashSet::new(), Some(9)));
    assert_eq!(only, [(a, Taken::InPlaceOf(Some(version(3))))]);
    assert_eq!((version(3).uid(), Versioned::resource_version(&version(3))), ("u", "3"));
}

#[test]
fn what_is_not_wanted_is_forgotten_and_said() {
    let mut mirror = mirror(1);
    mirror.changed(&None, &key("a"), thing("u", 5));
    mirror.changed(&None, &key("b"), thing("v", 6));
    assert_eq!(mirror.forget(|wanted| *wanted == key("a")), [(key("b"), thing("v", 6))]);
    assert!(mirror.get(&key("a")).is_some() && mirror.get(&key("b")).is_none());
}

#[test]
fn absence_is_believed_only_for_what_was_known_when_it_was_asked_for() {
    let mut mirror = mirror(1);
    mirror.changed(&None, &key("a"), thing("u", 5));
    assert_eq!(mirror.not_found(&key("a"), Some(("u", "4"))), Taken::No);
    assert_eq!(mirror.not_found(&key("a"), None), Taken::No);
    assert_eq!(mirror.not_found(&key("a"), Some(("u", "5"))), Taken::InPlaceOf(Some(thing("u", 5))));
}

#[test]
fn list_counts_up_to_its_version() {
    let mut mirror = mirror(1);
    mirror.answered(&key("early"), thing("e", 5));
    mirror.answered(&key("late"), thing("l", 20));
    mirror.answered(&key("written"), thing("w", 21));
    let at = Some(10);
    assert!(!mirror.is_past(&None, at));
    assert_eq!(mirror.listed(&None, &key("written"), thing("w", 9), at), Taken::No, "the answer is newer");
    let gone = mirror.only(&None, &HashSet::from([key("written")]), at);
    assert_eq!(gone, [(key("early"), thing("e", 5))]);
    assert!(mirror.get(&key("late")).is_some() && mirror.get(&key("written")) == Some(&thing("w", 21)));
    assert!(mirror.is_past(&None, Some(9)), "the next list is older than this one");
}

#[test]
fn namespaces_that_are_watched_apart_do_not_disturb_each_other() {
    let mut mirror = Mirror::default();
    let (a, b): (Scope, Scope) = (Some("a".into()), Some("b".into()));
    mirror.only(&a, &HashSet::new(), Some(100));
    mirror.only(&b, &HashSet::new(), Some(10));
    assert_eq!(mirror.answered(&ObjectName::new("a", "x"), thing("u", 50)), Taken::No, "a has told past that");
    assert_eq!(mirror.answered(&ObjectName::new("b", "x"), thing("u", 50)), Taken::InPlaceOf(None));
    assert_eq!(mirror.only(&a, &HashSet::new(), Some(110)), []);
    assert_eq!(mirror.only(&b, &HashSet::new(), Some(110)).len(), 1);
}

#[test]
fn history_that_went_back_is_taken_in_by_the_next_list() {
    let mut mirror = mirror(1);
    mirror.changed(&None, &key("kept"), thing("k", 50));
    mirror.changed(&None, &key("lost"), thing("l", 60));
    mirror.changed(&None, &key("untouched"), thing("t", 20));
    let at = Some(40);
    assert!(mirror.is_past(&None, at));
    assert_eq!(mirror.listed(&None, &key("untouched"), thing("t", 20), at), Taken::No);
    mirror.doubt(&None);
    assert!(!mirror.is_past(&None, at));
    assert_ne!(mirror.listed(&None, &key("kept"), thing("k", 30), at), Taken::No);
    // What rests on it was forgotten.
    assert_ne!(mirror.listed(&None, &key("untouched"), thing("t", 20), at), Taken::No);
    let present = HashSet::from([key("kept"), key("untouched")]);
    assert_eq!(mirror.only(&None, &present, at), [(key("lost"), thing("l", 60))]);
    assert_ne!(mirror.changed(&None, &key("kept"), thing("k", 41)), Taken::No, "no longer deaf");
    assert!(mirror.is_past(&None, Some(40)), "from here on, versions count again");
}

#[test]
fn newer_list_with_an_older_object_shows_that_history_went_back() {
    let mut mirror = mirror(1);
    mirror.changed(&None, &key("a"), thing("u", 50));
    let went_back = |mirror: &Mirror<Thing>, uid: &str, listed: u128, at: u128| {
        let listed = ObjectVersion { uid: uid.into(), resource_version: listed.to_string() };
        mirror.went_back(&None, &key("a"), &listed, Some(at))
    };
    for (what, uid, listed, at, expected) in [
        ("raised revision", "u", 40, 1_000_000, true),
        ("as known", "u", 50, 1_000_000, false),
        ("newer", "u", 60, 1_000_000, false),
        ("another object", "v", 40, 1_000_000, false),
        ("a list of before", "u", 40, 45, false),
    ] {
        assert_eq!(went_back(&mirror, uid, listed, at), expected, "{what}");
    }
    mirror.doubt(&None);
    assert!(!went_back(&mirror, "u", 40, 1_000_000), "it is known already");
}

#[test]
fn versions_that_are_no_numbers_are_believed_as_they_come() {
    let odd = |version: &str| Thing { uid: "u".into(), version: version.into() };
    let mut mirror = Mirror::default();
    assert_ne!(mirror.changed(&None, &key("a"), odd("x")), Taken::No);
    assert_ne!(mirror.answered(&key("a"), odd("y")), Taken::No, "of the very object");
    let other = Thing { uid: "v".into(), version: "z".into() };
    assert_eq!(mirror.answered(&key("a"), other), Taken::No);
    assert_eq!(mirror.listed(&None, &key("a"), odd("y"), None), Taken::No);
    assert_eq!(mirror.only(&None, &HashSet::new(), None).len(), 1);
}

#[test]
fn old_list_is_judged_by_what_the_server_says_now() {
    let text = |seen: &str| (!seen.is_empty()).then(|| seen.to_owned());
    let table = [
        ("nothing in dispute", vec![], OldList::WentBack),
        ("known version stands", vec![("u/5", "u/9", "u/9")], OldList::Behind),
        ("newer than known", vec![("u/5", "u/9", "u/12")], OldList::Behind),
        ("newer than known, as the list has it", vec![("u/12", "u/9", "u/12")], OldList::WentBack),
        ("recreated since", vec![("", "u/9", "v/12")], OldList::Behind),
        ("deletion stands", vec![("u/5", "", "")], OldList::Behind),
        ("older than known", vec![("u/5", "u/9", "u/5")], OldList::WentBack),
        ("lost", vec![("", "u/9", "")], OldList::WentBack),
        ("back again", vec![("u/5", "", "u/5")], OldList::WentBack),
        (
            "newer than known, others are as listed",
            vec![("u/5", "u/9", "u/12"), ("w/1", "w/8", "w/1")],
            OldList::Behind,
        ),
        ("one contradicts", vec![("", "u/9", ""), ("w/1", "w/8", "w/8")], OldList::Behind),
        ("neither", vec![("u/5", "u/9", "u/6")], OldList::Behind),
    ];
    for (what, answers, expected) in table {
        let answers: Vec<(Disagreement, Option<String>)> = answers
            .into_iter()
            .map(|(listed, known, now)| {
                (Disagreement { key: key("a"), listed: text(listed), known: text(known) }, text(now))
            })
            .collect();
        assert_eq!(judge(answers.iter().map(|(disagreement, now)| (disagreement, now.clone()))), expected, "{what}");
    }
}

#[test]
fn disagreements_are_what_is_missing_and_what_differs() {
    let mut mirror = mirror(1);
    mirror.changed(&None, &key("same"), thing("s", 2));
    mirror.changed(&None, &key("newer"), thing("n", 9));
    mirror.changed(&None, &key("missing"), thing("m", 3));
    let listed = [("same", "s/2"), ("newer", "n/4"), ("back", "b/1")];
    let listed: HashMap<ObjectName, String> =
        listed.into_iter().map(|(name, seen)| (key(name), seen.to_owned())).collect();
    let mut found = mirror.disagreements(&None, &listed, 9);
    found.sort_by(|one, other| one.key.cmp(&other.key));
    let expected = [("back", Some("b/1"), None), ("missing", None, Some("m/3")), ("newer", Some("n/4"), Some("n/9"))];
    let expected = expected.map(|(name, listed, known)| Disagreement {
        key: key(name),
        listed: listed.map(str::to_owned),
        known: known.map(str::to_owned),
    });
    assert_eq!(found, expected);
}

/// One change of the cluster.
#[derive(Clone, Debug)]
enum Change {
    Create,
    Update,
    Delete,
}

/// What reaches the mirror.
#[derive(Clone, Debug)]
enum Arrival {
    /// The watch tells the next so many changes.
    Watch(usize),
    /// An answer about a name as it was after so many changes.
    Answer(u8, usize),
    /// An answer that there is none: asked when so many changes ago were known, so late.
    NotFound(u8),
    /// A list as of so many changes.
    List(usize),
    /// The list is refused as old, its judge says so or not, and the watch goes on from where it was.
    Bookmark,
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let arrival = prop_oneof![
        (1usize..4).prop_map(Arrival::Watch),
        (0u8..3, 0usize..40).prop_map(|(name, at)| Arrival::Answer(name, at)),
        (0u8..3).prop_map(Arrival::NotFound),
        (0usize..40).prop_map(Arrival::List),
        Just(Arrival::Bookmark),
    ];
    proptest::collection::vec(arrival, 0..60)
}

/// Every state of the cluster, one after the other; the version of each is its place, counted from 10.
fn history(changes: &[(u8, Change)]) -> Vec<(u8, HashMap<u8, Thing>)> {
    let mut states = vec![(0, HashMap::new())];
    let mut now: HashMap<u8, Thing> = HashMap::new();
    for (name, change) in changes {
        let version = 10 + states.len() as u128;
        match (change, now.get(name).cloned()) {
            (Change::Create, None) => drop(now.insert(*name, thing(&format!("u{version}"), version))),
            (Change::Update | Change::Create, Some(known)) => drop(now.insert(*name, thing(&known.uid, version))),
            (Change::Delete, Some(_)) => drop(now.remove(name)),
            (Change::Update | Change::Delete, None) => continue,
        }
        states.push((*name, now.clone()));
    }
    states
}

proptest! {
    /// The world moves on as the watch tells it; answers may be ahead of the watch or far behind it, lists too.
    #[test]
    fn once_the_watch_has_told_everything_the_mirror_is_the_truth(
        changes in proptest::collection::vec(
            (0u8..3, prop_oneof![Just(Change::Create), Just(Change::Update), Just(Change::Delete)]), 0..40),
        arrivals in arrivals(),
    ) {
        let states = history(&changes);
        let version = |at: usize| 10 + at as u128;
        let mut mirror: Mirror<Thing> = Mirror::default();
        mirror.only(&None, &HashSet::new(), Some(version(0)));
        // Up to where the watch has told.
        let mut at = 0;
        let tell = |mirror: &mut Mirror<Thing>, at: usize| {
            let (name, state) = &states[at];
            match state.get(name) {
                Some(object) => drop(mirror.changed(&None, &key(&name.to_string()), object.clone())),
                None => drop(mirror.gone(&None, &key(&name.to_string()), Some(version(at)))),
            }
        };
        for arrival in arrivals {
            match arrival {
                Arrival::Watch(count) => for _ in 0..count {
                    if at + 1 < states.len() {
                        at += 1;
                        tell(&mut mirror, at);
                    }
                },
                Arrival::Answer(name, when) => if let Some(object) = states[when.min(states.len() - 1)].1.get(&name) {
                    mirror.answered(&key(&name.to_string()), object.clone());
                },
                Arrival::NotFound(name) => {
                    // Asked and answered at once, by a server that knows everything.
                    let name_key = key(&name.to_string());
                    let known = mirror.get(&name_key).cloned();
                    if !states[states.len() - 1].1.contains_key(&name) {
                        mirror.not_found(&name_key, known.as_ref().map(|known| (known.uid(), known.resource_version())));
                    }
                }
                Arrival::List(when) => {
                    let when = when.min(states.len() - 1);
                    let listed = Some(version(when));
                    prop_assert_eq!(mirror.is_past(&None, listed), when < at);
                    if !mirror.is_past(&None, listed) {
                        for (name, object) in &states[when].1 {
                            let version = ObjectVersion { uid: object.uid.clone(), resource_version: object.version.clone() };
                            prop_assert!(!mirror.went_back(&None, &key(&name.to_string()), &version, listed));
                            mirror.listed(&None, &key(&name.to_string()), object.clone(), listed);
                        }
                        let present = states[when].1.keys().map(|name| key(&name.to_string())).collect();
                        mirror.only(&None, &present, listed);
                        at = when;
                    }
                }
                Arrival::Bookmark => mirror.has_told(&None, Some(version(at))),
            }
            // What was told is never forgotten: nothing known is older than the state that the watch has told.
            for (name, object) in &states[at].1 {
                if let Some(known) = mirror.get(&key(&name.to_string())) {
                    prop_assert!(number(&known.version) >= number(&object.version), "{} rolled back", name);
                }
            }
            // And nothing is known that was deleted before that.
            for (known, object) in mirror.iter() {
                let is_told = number(&object.version) <= Some(version(at));
                let name: u8 = known.name.parse().unwrap();
                prop_assert!(!is_told || states[at].1.get(&name) == Some(object), "{} came back", name);
            }
        }
        while at + 1 < states.len() {
            at += 1;
            tell(&mut mirror, at);
        }
        let truth: HashMap<ObjectName, Thing> =
            states[at].1.iter().map(|(name, object)| (key(&name.to_string()), object.clone())).collect();
        let known: HashMap<ObjectName, Thing> = mirror.iter().map(|(key, object)| (key.clone(), object.clone())).collect();
        prop_assert_eq!(known, truth);
    }
}
