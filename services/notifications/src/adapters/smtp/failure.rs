//! Why a letter was not handed over, and what that means for it.

use std::error::Error as _;
use std::fmt;

use crate::ports::MailError;

/// What is done with a mail server, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Encrypt,
    LogIn,
    Sender,
    Recipient,
    Data,
    Content,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Connect => "the connection",
            Step::Encrypt => "STARTTLS",
            Step::LogIn => "the login",
            Step::Sender => "MAIL FROM",
            Step::Recipient => "RCPT TO",
            Step::Data => "DATA",
            Step::Content => "the letter",
        })
    }
}

/// Something went wrong at a step.
#[derive(Debug)]
pub(super) struct Failure {
    step: Step,
    cause: Cause,
}

/// What went wrong. It holds nothing of a server's texts, which like to quote addresses.
#[derive(Debug)]
enum Cause {
    /// The server said no: its code, and the enhanced one when it gave one.
    Answer { code: u16, enhanced: Option<Enhanced> },
    /// There was no answer in time.
    Slow,
    /// There is no conversation, or none any more.
    Broken(String),
    /// The server can't do what this letter needs.
    Unable(&'static str),
}

impl Failure {
    /// There was no answer in time.
    pub(super) fn slow(step: Step) -> Self {
        Self { step, cause: Cause::Slow }
    }

    /// There is no conversation with the server.
    pub(super) fn broken(step: Step, why: &str) -> Self {
        Self { step, cause: Cause::Broken(why.to_owned()) }
    }

    /// The server can't do what this letter needs.
    pub(super) fn unable(step: Step, why: &'static str) -> Self {
        Self { step, cause: Cause::Unable(why) }
    }

    /// What lettre tells.
    pub(super) fn of(step: Step, error: &lettre::transport::smtp::Error) -> Self {
        let cause = if let Some(code) = error.status() {
            Cause::Answer { code: code.into(), enhanced: error.source().and_then(|text| enhanced(&text.to_string())) }
        } else if error.is_timeout() {
            Cause::Slow
        } else if error.is_response() {
            // Its text would quote the server's.
            Cause::Broken("the connection ended, or what came is not SMTP".to_owned())
        } else {
            let mut deepest: &dyn std::error::Error = error;
            while let Some(source) = deepest.source() {
                deepest = source;
            }
            Cause::Broken(deepest.to_string())
        };
        Self { step, cause }
    }

    /// Whether it went wrong at this step.
    pub(super) fn is_at(&self, step: Step) -> bool {
        self.step == step
    }

    /// Whether the server is still there and waits for the next command.
    pub(super) fn leaves_a_conversation(&self) -> bool {
        match self.cause {
            // With 421 the server hangs up.
            Cause::Answer { code, .. } => code != 421,
            Cause::Unable(_) => true,
            Cause::Slow | Cause::Broken(_) => false,
        }
    }
}

/// An enhanced code (RFC 3463): class, subject and detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Enhanced(u16, u16, u16);

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The enhanced code that a server's text begins with.
fn enhanced(text: &str) -> Option<Enhanced> {
    let mut parts = text.split_whitespace().next()?.split('.');
    let mut number = || -> Option<u16> {
        let part = parts.next()?;
        let is_number = (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<u16>().ok()).flatten()
    };
    let enhanced = Enhanced(number()?, number()?, number()?);
    parts.next().is_none().then_some(enhanced)
}

/// What an answer means for the letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It may be taken later.
    Later,
    /// It may be taken once somebody has corrected the settings, the account or the server.
    Settings,
    /// It will never be taken.
    Never,
}

/// What an answer other than yes means. The enhanced code tells more than the other: servers say 550 to whom they don't know
/// and to whom they don't let in.
fn verdict(step: Step, code: u16, enhanced: Option<Enhanced>) -> Verdict {
    match (step, code, enhanced) {
        (_, ..500, _) => Verdict::Later,
        // The sender's address (RFC 3463, 3.2), which some servers look at no sooner.
        (Step::Recipient, _, Some(Enhanced(_, 1, 7 | 8))) => Verdict::Settings,
        // The recipient's address; one that is malformed is refused with 501.
        (Step::Recipient, _, Some(Enhanced(_, 1, _))) => Verdict::Never,
        // The mail system, the conversation, or what is allowed: that is about us, or passes once somebody sees to it.
        (_, _, Some(Enhanced(_, 3 | 5 | 7, _))) => Verdict::Settings,
        // Not understood, not now in this order, or not without a login: whatever the letter says.
        (_, 500..=504 | 530 | 534 | 535 | 538, _) => Verdict::Settings,
        (Step::Recipient | Step::Data | Step::Content, ..) => Verdict::Never,
        _ => Verdict::Settings,
    }
}

/// What to look at when a server refuses all letters at a step.
fn remedy(step: Step) -> &'static str {
    match step {
        Step::Connect | Step::Encrypt => "check `notifications.smtp.url` and `notifications.smtp.ca_file`",
        Step::LogIn => "check the login in `notifications.smtp.url`",
        Step::Sender => "check `notifications.mail_from`, and the login in `notifications.smtp.url`",
        Step::Recipient | Step::Data | Step::Content => {
            "check `notifications.mail_from`, the login in `notifications.smtp.url`, and what the server allows"
        }
    }
}

impl From<Failure> for MailError {
    fn from(Failure { step, cause }: Failure) -> Self {
        match cause {
            Cause::Answer { code, enhanced } => {
                let detail = enhanced.map(|enhanced| format!(" {enhanced}")).unwrap_or_default();
                let said = format!("{step} was answered with {code}{detail}");
                match verdict(step, code, enhanced) {
                    Verdict::Later => MailError::Unavailable(said),
                    Verdict::Settings => MailError::Unavailable(format!("{said}; {}", remedy(step))),
                    Verdict::Never => MailError::Refused(said),
                }
            }
            Cause::Slow => MailError::Unavailable(format!("{step} had no answer in time")),
            Cause::Broken(why) => MailError::Unavailable(format!("{step} failed: {why}")),
            Cause::Unable(why) => MailError::Refused(why.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_means_the_same_for_every_letter() {
        use Step::{Connect, Content, Data, Encrypt, LogIn, Recipient, Sender};
        for step in [Connect, Encrypt, LogIn, Sender, Recipient, Data, Content] {
            for code in [421, 450, 451, 452, 454, 455] {
                assert_eq!(verdict(step, code, None), Verdict::Later, "{step} {code}");
            }
            for code in [500, 501, 502, 503, 504, 530, 535] {
                assert_eq!(verdict(step, code, None), Verdict::Settings, "{step} {code}");
            }
            let all_letters = matches!(step, Connect | Encrypt | LogIn | Sender);
            let expected = if all_letters { Verdict::Settings } else { Verdict::Never };
            for code in [521, 541, 550, 551, 552, 553, 554, 555, 556] {
                assert_eq!(verdict(step, code, None), expected, "{step} {code}");
            }
        }
    }

    #[test]
    fn an_enhanced_code_tells_whom_a_refusal_is_about() {
        use Step::{Content, Data, Recipient, Sender};
        use Verdict::{Later, Never, Settings};
        for (step, code, text, expected) in [
            (Recipient, 550, "5.1.1 no such user", Never),
            (Recipient, 550, "5.1.10 no mail for this domain", Never),
            (Recipient, 501, "5.1.3 no address", Never),
            (Recipient, 550, "5.2.1 disabled", Never),
            (Recipient, 552, "5.2.2 full", Never),
            (Recipient, 556, "5.4.4 nowhere", Never),
            (Recipient, 550, "5.0.0 no", Never),
            (Recipient, 550, "no", Never),
            (Recipient, 553, "no", Never),
            (Recipient, 450, "4.1.1 later", Later),
            (Recipient, 451, "4.7.1 greylisted", Later),
            (Recipient, 550, "5.7.1 relaying denied", Settings),
            (Recipient, 554, "5.7.1 relay access denied", Settings),
            (Recipient, 550, "5.7.26 not authenticated by SPF", Settings),
            (Recipient, 550, "5.1.8 the sender's domain is unknown", Settings),
            (Recipient, 553, "5.1.7 the sender's address is none", Settings),
            (Recipient, 553, "5.3.0 not here", Settings),
            (Recipient, 501, "5.5.4 no parameters", Settings),
            (Recipient, 501, "no", Settings),
            (Data, 554, "5.5.1 no valid recipients", Settings),
            (Content, 552, "5.3.4 too big for this system", Settings),
            (Content, 550, "5.7.1 it looks like spam", Settings),
            (Content, 554, "5.6.0 no letter", Never),
            (Content, 550, "no", Never),
            (Sender, 553, "5.1.8 who are you?", Settings),
            (Sender, 550, "5.1.1 who are you?", Settings),
        ] {
            assert_eq!(verdict(step, code, enhanced(text)), expected, "{step} {code} {text}");
        }
    }

    #[test]
    fn errors_name_codes_and_remedies_but_quote_nothing() {
        let answer = |step, code, text| Failure { step, cause: Cause::Answer { code, enhanced: enhanced(text) } };
        for (failure, expected) in [
            (
                answer(Step::Recipient, 550, "5.1.1 <a@b.c>: no such user"),
                "refuses the letter: RCPT TO was answered with 550 5.1.1",
            ),
            (answer(Step::Content, 554, "no spam, a@b.c"), "refuses the letter: the letter was answered with 554"),
            (answer(Step::Recipient, 450, "4.2.0 a@b.c"), "doesn't take letters: RCPT TO was answered with 450 4.2.0"),
            (answer(Step::LogIn, 535, "5.7.8 anna"), "the login was answered with 535 5.7.8; check the login in"),
            (
                answer(Step::Recipient, 550, "5.7.1 a@b.c: relaying denied"),
                "RCPT TO was answered with 550 5.7.1; check `notifications.mail_from`, the login in",
            ),
            (answer(Step::Sender, 550, ""), "MAIL FROM was answered with 550; check `notifications.mail_from`"),
            (Failure::slow(Step::Data), "doesn't take letters: DATA had no answer in time"),
            (Failure::broken(Step::Connect, "refused"), "doesn't take letters: the connection failed: refused"),
        ] {
            let error = MailError::from(failure).to_string();
            assert!(error.contains(expected) && !error.contains("a@b.c") && !error.contains("anna"), "{error}");
        }
    }

    #[test]
    fn enhanced_codes_are_numbers() {
        assert_eq!(enhanced("5.1.10 no"), Some(Enhanced(5, 1, 10)));
        for text in ["", "no", "5.1 no", "a.b.c no", "1.2.3.4 is blocked", "5.1.1234", "anna@1.2.3"] {
            assert_eq!(enhanced(text), None, "{text}");
        }
    }
}
