//! Consent on another device: codes, who may ask for them, how often it may be asked, and what people answer. Pure.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::form::Violation;
use super::grants::random_text;

/// What is sent to the two endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceForm {
    /// `POST /oauth/v3/device/code`.
    Begin {
        /// Field `client_id`.
        client_id: String,
        /// Field `scope`.
        scope: String,
        /// Whether `access_type=offline` and `prompt=consent` were asked for.
        offline: bool,
    },
    /// `POST /oauth/v3/device/token`.
    Poll {
        /// Field `client_id`.
        client_id: String,
        /// Field `client_secret`.
        client_secret: String,
        /// Field `code`.
        device_code: String,
    },
}

/// What a person did with a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Agreed.
    Accepted,
    /// Refused.
    Refused,
    /// Agreed, with an account of another data center, such as `eu`.
    Elsewhere(String),
}

/// A question that waits for its answer.
#[derive(Clone, Debug)]
pub struct Device {
    code: String,
    user_code: String,
    client_id: String,
    scope: String,
    offline: bool,
    expires_at: Timestamp,
    answer: Option<Answer>,
    asked_at: Option<Timestamp>,
}

/// What a code for a device was good for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Consented {
    pub(super) scope: String,
    pub(super) offline: bool,
}

/// Why there is no token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// With this error code.
    Code(&'static str),
    /// The account lives there.
    Elsewhere(String),
}

/// The questions of a data center.
#[derive(Debug)]
pub struct Devices {
    interval: Duration,
    life: Duration,
    waiting: HashMap<String, Device>,
    polls: u64,
}

impl Default for Devices {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), life: Duration::from_mins(5), waiting: HashMap::new(), polls: 0 }
    }
}

impl Devices {
    /// Sets what is told of how often it may be asked, and how long a person may take. Default 30 s and 5 minutes.
    pub fn set_pace(&mut self, interval: Duration, life: Duration) {
        (self.interval, self.life) = (interval, life);
    }

    /// A person types a code and answers. False if there is no such question.
    pub fn answer(&mut self, user_code: &str, answer: Answer) -> bool {
        let asked = self.waiting.values_mut().find(|device| device.user_code == user_code);
        asked.map(|device| device.answer = Some(answer)).is_some()
    }

    /// A question, for another data center to know it, too.
    pub fn question(&self, user_code: &str) -> Option<Device> {
        self.waiting.values().find(|device| device.user_code == user_code).cloned()
    }

    /// Takes over a question of another data center, whose person has agreed here.
    pub fn adopt(&mut self, device: Device) {
        let device = Device { answer: Some(Answer::Accepted), asked_at: None, ..device };
        self.waiting.insert(device.code.clone(), device);
    }

    /// How often it was asked whether somebody has answered.
    pub fn polls(&self) -> u64 {
        self.polls
    }

    /// Begins a question, and returns its codes.
    pub(super) fn begin(&mut self, client_id: &str, scope: &str, offline: bool, now: Timestamp) -> (String, String) {
        let device = Device {
            code: format!("1004.{}.{}", random_text(), random_text()),
            user_code: random_text()[..8].to_uppercase(),
            client_id: client_id.to_owned(),
            scope: scope.to_owned(),
            offline,
            expires_at: now.checked_add(self.life).unwrap_or(Timestamp::MAX),
            answer: None,
            asked_at: None,
        };
        let codes = (device.code.clone(), device.user_code.clone());
        self.waiting.insert(device.code.clone(), device);
        codes
    }

    /// Interval and life, as they are told: in milliseconds, as Zoho does.
    pub(super) fn pace_in_milliseconds(&self) -> (u128, u128) {
        (self.interval.as_millis(), self.life.as_millis())
    }

    /// Is this asked sooner than is allowed after the time before?
    pub(super) fn violation(&self, device_code: &str, now: Timestamp) -> Option<Violation> {
        let asked_at = self.waiting.get(device_code)?.asked_at?;
        let next = asked_at.checked_add(self.interval).unwrap_or(Timestamp::MAX);
        (now < next).then_some("a device's code was asked about sooner than its interval")
    }

    /// Has the person answered? Agreement works once.
    pub(super) fn poll(&mut self, client_id: &str, device_code: &str, now: Timestamp) -> Result<Consented, Refusal> {
        self.polls += 1;
        let is_too_fast = self.violation(device_code, now).is_some();
        let asked = self.waiting.get_mut(device_code).filter(|device| device.client_id == client_id);
        let device = asked.ok_or(Refusal::Code("invalid_code"))?;
        device.asked_at = Some(now);
        if is_too_fast {
            return Err(Refusal::Code("slow_down"));
        }
        if device.expires_at <= now {
            return Err(Refusal::Code("expired"));
        }
        match &device.answer {
            None => Err(Refusal::Code("authorization_pending")),
            Some(Answer::Refused) => Err(Refusal::Code("access_denied")),
            Some(Answer::Elsewhere(location)) => Err(Refusal::Elsewhere(location.clone())),
            Some(Answer::Accepted) => {
                let consented = Consented { scope: device.scope.clone(), offline: device.offline };
                self.waiting.remove(device_code);
                Ok(consented)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
    }

    fn code(refusal: &Result<Consented, Refusal>) -> &'static str {
        match refusal {
            Err(Refusal::Code(code)) => code,
            Err(Refusal::Elsewhere(_)) => "other_dc",
            Ok(_) => "consented",
        }
    }

    #[test]
    fn consent_works_once_while_the_code_lives_for_who_asked() {
        let mut devices = Devices::default();
        let (device, user) = devices.begin("client", "A.b.READ", true, at(0));
        assert_eq!(code(&devices.poll("client", &device, at(30))), "authorization_pending");
        assert!(devices.answer(&user, Answer::Accepted) && !devices.answer("another", Answer::Accepted));
        assert_eq!(code(&devices.poll("other", &device, at(60))), "invalid_code");
        assert_eq!(
            devices.poll("client", &device, at(60)),
            Ok(Consented { scope: "A.b.READ".to_owned(), offline: true })
        );
        assert_eq!(code(&devices.poll("client", &device, at(90))), "invalid_code", "used");
        let (device, user) = devices.begin("client", "A.b.READ", true, at(0));
        devices.answer(&user, Answer::Accepted);
        assert_eq!(code(&devices.poll("client", &device, at(300))), "expired");
    }

    #[test]
    fn who_asks_too_often_is_told_to_slow_down() {
        let mut devices = Devices::default();
        let (device, user) = devices.begin("client", "A.b.READ", true, at(0));
        devices.answer(&user, Answer::Accepted);
        assert_eq!(devices.violation(&device, at(1)), None, "the first time");
        devices.answer(&user, Answer::Refused);
        assert_eq!(code(&devices.poll("client", &device, at(1))), "access_denied");
        assert!(devices.violation(&device, at(30)).is_some());
        assert_eq!(code(&devices.poll("client", &device, at(30))), "slow_down");
        assert_eq!(devices.violation(&device, at(60)), None);
    }

    #[test]
    fn account_of_another_data_center_is_served_there() {
        let (mut here, mut there) = (Devices::default(), Devices::default());
        let (device, user) = here.begin("client", "A.b.READ", true, at(0));
        here.answer(&user, Answer::Elsewhere("eu".to_owned()));
        assert_eq!(here.poll("client", &device, at(30)), Err(Refusal::Elsewhere("eu".to_owned())));
        there.adopt(here.question(&user).expect("asked"));
        assert_eq!(code(&there.poll("client", &device, at(60))), "consented");
    }
}
