use std::time::Duration;

use proptest::prelude::*;

use super::{Moment, Record, Sight, Step};

const LEASE: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

fn record(version: &str, holder: Option<&str>) -> Record {
    Record { version: version.into(), holder: holder.map(Into::into), promise: Some(LEASE) }
}

fn saw(sights: &[(Option<Record>, u64)]) -> Sight {
    let mut sight = Sight::default();
    for (record, seen_at) in sights {
        sight.take_in(record.clone(), "me", LEASE, at(*seen_at));
    }
    sight
}

fn claim(over: Option<&str>) -> Step {
    Step::Claim { over: over.map(Into::into) }
}

#[test]
fn lease_that_nobody_holds_is_claimed_at_once() {
    assert_eq!(saw(&[]).decide("me", false, at(0)), claim(None));
    assert_eq!(saw(&[(Some(record("7", None)), 3)]).decide("me", false, at(3)), claim(Some("7")));
}

#[test]
fn holder_is_outwaited_by_changes_seen_here_and_by_nothing_else() {
    let sight = saw(&[(Some(record("1", Some("other"))), 100)]);
    assert_eq!(sight.decide("me", false, at(114)), Step::Wait { until: at(115) });
    assert_eq!(sight.decide("me", false, at(115)), claim(Some("1")));
    let renewed = saw(&[(Some(record("1", Some("other"))), 100), (Some(record("2", Some("other"))), 112)]);
    assert_eq!(renewed.decide("me", false, at(126)), Step::Wait { until: at(127) });
    let unchanged = saw(&[(Some(record("1", Some("other"))), 100), (Some(record("1", Some("other"))), 112)]);
    assert_eq!(unchanged.decide("me", false, at(115)), claim(Some("1")), "reading it again is no sign of life");
}

#[test]
fn holder_is_given_the_time_that_it_promised_not_ours() {
    let longer = Record { promise: Some(at(60)), ..record("1", Some("other")) };
    assert_eq!(saw(&[(Some(longer), 0)]).decide("me", false, at(59)), Step::Wait { until: at(60) });
    let absurd = Record { promise: Some(at(86_400)), ..record("1", Some("other")) };
    assert_eq!(saw(&[(Some(absurd), 0)]).decide("me", false, at(600)), claim(Some("1")));
    let silent = Record { promise: None, ..record("1", Some("other")) };
    assert_eq!(saw(&[(Some(silent), 0)]).decide("me", false, at(14)), Step::Wait { until: at(15) });
}

#[test]
fn deleting_the_lease_stops_nobody_and_lets_nobody_in() {
    let sight = saw(&[(Some(record("1", Some("other"))), 100), (None, 101)]);
    assert_eq!(sight.decide("me", false, at(115)), Step::Wait { until: at(116) });
    assert_eq!(sight.decide("me", false, at(116)), claim(None));
    let ours = saw(&[(Some(record("1", Some("me"))), 100), (None, 101)]);
    assert_eq!(ours.decide("me", true, at(101)), claim(None), "the leader makes it anew");
}

#[test]
fn leader_renews_until_it_sees_another_holder() {
    let ours = saw(&[(Some(record("4", Some("me"))), 100)]);
    assert_eq!(ours.decide("me", true, at(102)), claim(Some("4")));
    let cleared = saw(&[(Some(record("5", None)), 100)]);
    assert_eq!(cleared.decide("me", true, at(102)), claim(Some("5")));
    let stolen = saw(&[(Some(record("5", Some("other"))), 100)]);
    assert_eq!(stolen.decide("me", true, at(500)), Step::Lost { to: "other".into() });
}

#[test]
fn claim_whose_answer_was_lost_is_found_to_be_ours() {
    let sight = saw(&[(Some(record("1", Some("other"))), 100), (Some(record("2", Some("me"))), 116)]);
    assert_eq!(sight.decide("me", false, at(116)), claim(Some("2")));
}

/// The API server's side.
#[derive(Default)]
struct Server {
    lease: Option<Record>,
    versions: u64,
}

impl Server {
    fn put(&mut self, holder: &str, over: Option<&str>) -> Option<Record> {
        if self.lease.as_ref().map(|lease| lease.version.as_str()) != over {
            return None;
        }
        self.versions += 1;
        self.lease = Some(record(&self.versions.to_string(), Some(holder)));
        self.lease.clone()
    }
}

/// One replica, with a steady clock of its own that started at another time.
struct Replica {
    name: String,
    clock: Duration,
    sight: Sight,
    leads_until: Moment,
    leads: bool,
    ended: bool,
}

impl Replica {
    /// One turn at this instant: look, decide, write. The write arrives, its answer perhaps does not.
    fn turn(&mut self, server: &mut Server, now: Duration, took: Duration, answer_is_lost: bool) {
        let here = now + self.clock;
        if self.leads && here >= self.leads_until {
            self.ended = true;
        }
        if self.ended {
            return;
        }
        self.sight.take_in(server.lease.clone(), &self.name, LEASE, here + took);
        match self.sight.decide(&self.name, self.leads, here + took) {
            Step::Claim { over } => {
                if let Some(written) = server.put(&self.name, over.as_deref())
                    && !answer_is_lost
                {
                    self.sight.take_in(Some(written), &self.name, LEASE, here + took);
                    self.leads = true;
                    self.leads_until = here + RENEW;
                }
            }
            Step::Wait { .. } => {}
            Step::Lost { .. } => self.ended = true,
        }
    }

    fn may_act(&self, now: Duration) -> bool {
        self.leads && !self.ended && now + self.clock < self.leads_until
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the order of turns, pauses, lost answers and deletions: never two that may act. All replicas have looked
    /// at the lease before it is deleted; who has never seen its holder cannot wait for him.
    #[test]
    fn never_do_two_replicas_lead(
        offsets in proptest::collection::vec(0u64..1_000_000, 3),
        turns in proptest::collection::vec((0usize..3, 0u64..9_000, 0u64..1_500, 0u8..10), 1..200),
    ) {
        let mut server = Server::default();
        let mut now = Duration::ZERO;
        let mut replicas: Vec<Replica> = offsets.iter().enumerate().map(|(number, offset)| Replica {
            name: number.to_string(),
            clock: Duration::from_millis(*offset),
            sight: Sight::default(),
            leads_until: Duration::ZERO,
            leads: false,
            ended: false,
        }).collect();
        for replica in &mut replicas {
            replica.turn(&mut server, now, Duration::ZERO, false);
        }
        for (which, pause, took, fate) in turns {
            now += Duration::from_millis(pause);
            match fate {
                0 => {
                    // Twice: the first may have claimed it after the others looked.
                    for _ in 0..2 {
                        for replica in &mut replicas {
                            replica.turn(&mut server, now, Duration::ZERO, false);
                        }
                    }
                    server.lease = None;
                }
                _ => replicas[which].turn(&mut server, now, Duration::from_millis(took), fate == 1),
            }
            now += Duration::from_millis(took);
            let acting: Vec<&str> =
                replicas.iter().filter(|replica| replica.may_act(now)).map(|replica| replica.name.as_str()).collect();
            prop_assert!(acting.len() <= 1, "{acting:?}");
        }
    }
}
