//! Sign-ins of people: device codes, authorization codes and refresh tokens, whoever the provider.
//! How a refusal is worded is the provider's business.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::config::{Decision, Delegated, RefreshEnd, Rotation};

/// How long an authorization code is good.
const CODE_LIFETIME: Duration = Duration::from_secs(600);

/// What a client that polls too fast has to add (RFC 8628 section 3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// Clocks and networks are not that exact.
const TOO_FAST: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Pending,
    SlowDown,
    Declined,
    Expired,
    BadDeviceCode,
    BadCode,
    CodeUsed,
    CodeExpired,
    WrongRedirect,
    WrongVerifier,
    BadRefreshToken,
    RefreshEnded(RefreshEnd),
}

/// Who signed in, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignIn {
    pub(super) user: String,
    pub(super) scope: String,
}

#[derive(Default)]
pub(super) struct SignIns {
    devices: Vec<Device>,
    codes: HashMap<String, Code>,
    refresh: HashMap<String, Refresh>,
}

struct Device {
    app: usize,
    device_code: String,
    user_code: String,
    scope: String,
    ends: Instant,
    interval: Duration,
    polled: Option<Instant>,
    polls: u32,
    decision: Option<Decision>,
    redeemed: bool,
}

struct Code {
    app: usize,
    sign_in: SignIn,
    redirect_uri: String,
    challenge: Option<String>,
    ends: Instant,
    used: bool,
}

struct Refresh {
    app: usize,
    sign_in: SignIn,
    ended: Option<Denied>,
}

impl SignIns {
    /// The device code and the user code.
    pub(super) fn start_device(
        &mut self,
        app: usize,
        settings: &Delegated,
        scope: &str,
    ) -> (String, String) {
        let device = Device {
            app,
            device_code: noise(48),
            user_code: user_code(),
            scope: scope.to_owned(),
            ends: Instant::now() + settings.device_lifetime,
            interval: settings.device_interval,
            polled: None,
            polls: 0,
            decision: None,
            redeemed: false,
        };
        let codes = (device.device_code.clone(), device.user_code.clone());
        self.devices.push(device);
        codes
    }

    pub(super) fn poll(
        &mut self,
        app: usize,
        settings: &Delegated,
        device_code: &str,
    ) -> Result<SignIn, Denied> {
        let device = self
            .devices
            .iter_mut()
            .find(|one| one.app == app && one.device_code == device_code && !one.redeemed);
        let device = device.ok_or(Denied::BadDeviceCode)?;
        let now = Instant::now();
        let last = device.polled.replace(now);
        device.polls += 1;
        if last.is_some_and(|last| now + TOO_FAST < last + device.interval) {
            device.interval += SLOW_DOWN;
            return Err(Denied::SlowDown);
        }
        if now >= device.ends {
            return Err(Denied::Expired);
        }
        if let Some((polls, decision)) = &settings.device_decision
            && device.polls > *polls
        {
            device.decision.get_or_insert_with(|| decision.clone());
        }
        match device.decision.clone() {
            None => Err(Denied::Pending),
            Some(Decision::Decline) => Err(Denied::Declined),
            Some(Decision::Expire) => Err(Denied::Expired),
            Some(Decision::Approve(user)) => {
                device.redeemed = true;
                let scope = device.scope.clone();
                Ok(SignIn { user, scope })
            }
        }
    }

    /// Whether there is such a code that nobody has decided yet.
    pub(super) fn decide(&mut self, user_code: &str, decision: Decision) -> bool {
        let mut devices = self.devices.iter_mut();
        let device = devices.find(|one| one.user_code == user_code && one.decision.is_none());
        device
            .map(|device| device.decision = Some(decision))
            .is_some()
    }

    pub(super) fn undecided(&self, app: usize) -> Vec<String> {
        let devices = self.devices.iter();
        let devices = devices.filter(|one| one.app == app && one.decision.is_none());
        devices.map(|one| one.user_code.clone()).collect()
    }

    pub(super) fn new_code(
        &mut self,
        app: usize,
        sign_in: SignIn,
        redirect_uri: &str,
        challenge: Option<&str>,
    ) -> String {
        let code = format!("1.{}", noise(48));
        let kept = Code {
            app,
            sign_in,
            redirect_uri: redirect_uri.to_owned(),
            challenge: challenge.map(str::to_owned),
            ends: Instant::now() + CODE_LIFETIME,
            used: false,
        };
        self.codes.insert(code.clone(), kept);
        code
    }

    pub(super) fn redeem(
        &mut self,
        app: usize,
        code: &str,
        redirect_uri: Option<&str>,
        verifier: Option<&str>,
    ) -> Result<SignIn, Denied> {
        let code = self.codes.get_mut(code).filter(|code| code.app == app);
        let code = code.ok_or(Denied::BadCode)?;
        if code.used {
            return Err(Denied::CodeUsed);
        }
        if Instant::now() >= code.ends {
            return Err(Denied::CodeExpired);
        }
        if redirect_uri != Some(code.redirect_uri.as_str()) {
            return Err(Denied::WrongRedirect);
        }
        // RFC 7636 section 4.6; the verifier has 43 to 128 characters (section 4.1).
        let proven = verifier
            .filter(|verifier| (43..=128).contains(&verifier.len()))
            .map(|verifier| URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)));
        if code.challenge.is_some() && proven != code.challenge {
            return Err(Denied::WrongVerifier);
        }
        code.used = true;
        Ok(code.sign_in.clone())
    }

    pub(super) fn new_refresh(&mut self, app: usize, sign_in: SignIn) -> String {
        let token = format!("1.AXoA{}", noise(96));
        let kept = Refresh {
            app,
            sign_in,
            ended: None,
        };
        self.refresh.insert(token.clone(), kept);
        token
    }

    pub(super) fn refresh(
        &mut self,
        app: usize,
        token: &str,
        rotation: Rotation,
    ) -> Result<SignIn, Denied> {
        let refresh = self.refresh.get_mut(token).filter(|one| one.app == app);
        let refresh = refresh.ok_or(Denied::BadRefreshToken)?;
        if let Some(denied) = refresh.ended {
            return Err(denied);
        }
        match rotation {
            Rotation::OldStaysGood | Rotation::NoNewOne => {}
            Rotation::OldIsRevoked => refresh.ended = Some(Denied::BadRefreshToken),
        }
        Ok(refresh.sign_in.clone())
    }

    /// Ends every refresh token of an application.
    pub(super) fn end_refresh(&mut self, app: usize, end: RefreshEnd) {
        for refresh in self.refresh.values_mut().filter(|one| one.app == app) {
            refresh.ended = Some(Denied::RefreshEnded(end));
        }
    }

    /// Whether this refresh token could be used now.
    pub(super) fn is_good(&self, token: &str) -> bool {
        let refresh = self.refresh.get(token);
        refresh.is_some_and(|refresh| refresh.ended.is_none())
    }
}

/// Base64url of so many random bytes.
pub(super) fn noise(bytes: usize) -> String {
    let random: Vec<u8> = (0..bytes).map(|_| rand::random()).collect();
    URL_SAFE_NO_PAD.encode(random)
}

/// Nine letters and digits that nobody takes for each other.
fn user_code() -> String {
    const LETTERS: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ23456789";
    let letter = |_| char::from(LETTERS[usize::from(rand::random::<u8>()) % LETTERS.len()]);
    (0..9).map(letter).collect()
}
