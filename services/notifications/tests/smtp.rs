//! Letters over SMTP, to a server that fails as it is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mail_parser::{Message, MessageParser};
use meshwork_notifications::adapters::{MailServer, Sender, Smtp, SmtpOptions};
use meshwork_notifications::domain::Occasion;
use meshwork_notifications::ports::{Letter, MailError, Mailer, Recipient};
use meshwork_testkit::smtp::{At, Encryption, Options, TriedLogin};
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use uuid::Uuid;

const ANNA: &str = "anna@example.com";

fn options(server: &meshwork_testkit::Smtp, url: &str) -> SmtpOptions {
    SmtpOptions {
        server: MailServer::parse(url).unwrap(),
        ca_file: Some(server.ca_file()),
        timeout: Duration::from_secs(5),
        max_connections: 2,
    }
}

fn mailer(options: SmtpOptions) -> Smtp {
    Smtp::new(options, Sender::new("shop@meshwork.local").unwrap()).unwrap()
}

/// A mailer as the URL of a server wants it.
fn mailer_of(server: &meshwork_testkit::Smtp) -> Smtp {
    mailer(options(server, &server.url()))
}

fn plain() -> meshwork_testkit::Smtp {
    meshwork_testkit::Smtp::start(Options::default())
}

fn with_login(encryption: Encryption) -> meshwork_testkit::Smtp {
    let login = Some(("shop".to_owned(), "hush".to_owned()));
    meshwork_testkit::Smtp::start(Options { encryption, login, ..Options::default() })
}

fn letter_to(email: &str, display_name: &str) -> Letter {
    let (order, reason) = ("orders/7f1c".parse().unwrap(), "too late\r\n.\r\nQUIT".to_owned());
    let occasion = Occasion::OrderCancelled { order, reason };
    Letter {
        id: Uuid::from_u128(7),
        to: Recipient { email: email.to_owned(), display_name: display_name.to_owned() },
        subject: occasion.subject(),
        body: occasion.body(display_name),
        date: OffsetDateTime::UNIX_EPOCH,
    }
}

fn letter() -> Letter {
    letter_to(ANNA, "Anna")
}

fn parsed(raw: &str) -> Message<'_> {
    MessageParser::default().parse(raw.as_bytes()).unwrap()
}

/// The cause of a letter that may be taken later.
fn later(result: Result<(), MailError>) -> String {
    match result {
        Err(MailError::Unavailable(cause)) => cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_letter_arrives_as_text_and_html() {
    let server = plain();
    mailer_of(&server).send(letter()).await.unwrap();
    let [mail] = server.wait_for(1).await.try_into().unwrap();
    assert_eq!((mail.from.as_str(), mail.to), ("shop@meshwork.local", vec![ANNA.to_owned()]));
    assert_eq!(mail.message_id, "<00000000-0000-0000-0000-000000000007@meshwork.local>");
    assert_eq!((mail.is_encrypted, mail.user), (false, None));
    let message = parsed(&mail.raw);
    assert_eq!(message.subject(), Some("Your order 7f1c was cancelled"));
    let text = message.body_text(0).unwrap();
    assert!(text.contains("Hello Anna,") && text.contains("Reason: too late . QUIT"), "{text}");
    let html = message.body_html(0).unwrap();
    assert!(html.contains("<th scope=\"row\">Reason</th><td>too late . QUIT</td>"), "{html}");
}

#[tokio::test]
async fn a_login_goes_over_tls() {
    for encryption in [Encryption::StartTls, Encryption::Implicit] {
        let server = with_login(encryption);
        mailer_of(&server).send(letter()).await.unwrap();
        let [mail] = server.wait_for(1).await.try_into().unwrap();
        assert_eq!((mail.is_encrypted, mail.user.as_deref()), (true, Some("shop")));
        assert_eq!(server.logins(), [TriedLogin { is_encrypted: true, is_right: true }]);
    }
}

#[tokio::test]
async fn a_login_is_held_back_where_tls_is_required_and_not_offered() {
    let server = with_login(Encryption::None);
    let url = format!("smtp://shop:hush@{}", server.address());
    let cause = later(mailer(options(&server, &url)).send(letter()).await);
    assert!(cause.starts_with("STARTTLS failed"), "{cause}");
    assert!(server.logins().is_empty() && server.mails().is_empty());
    for tls in ["none", "opportunistic"] {
        let right = MailServer::parse(&format!("smtp://shop:hush@mail.example.com?tls={tls}")).unwrap_err();
        assert!(right.contains("tls=required"), "{right}");
    }
    // To this host it may go as it is.
    mailer_of(&server).send(letter()).await.unwrap();
    assert_eq!(server.logins(), [TriedLogin { is_encrypted: false, is_right: true }]);
}

#[tokio::test]
async fn an_answer_that_was_put_in_before_tls_is_not_taken_for_the_servers() {
    let server = with_login(Encryption::StartTls);
    let put_in = "220 Go\r\n250-testkit\r\n250 AUTH PLAIN\r\n235 Welcome\r\n250 OK\r\n250 OK\r\n354 Go\r\n250 Taken";
    server.answer(At::StartTls, "", put_in, 1);
    let mailer = mailer_of(&server);
    let cause = later(mailer.send(letter()).await);
    assert!(cause.starts_with("STARTTLS failed"), "{cause}");
    assert!(server.logins().is_empty() && server.mails().is_empty());
    mailer.send(letter()).await.unwrap();
}

#[tokio::test]
async fn a_wrong_login_is_our_fault_and_not_the_letters() {
    let server = with_login(Encryption::StartTls);
    let url = server.url().replace("hush", "wrong");
    let cause = later(mailer(options(&server, &url)).send(letter()).await);
    assert_eq!(cause, "the login was answered with 535 5.7.8; check the login in `notifications.smtp.url`");
    assert!(later(mailer(options(&server, &url)).ping().await).starts_with("the login"));
}

#[tokio::test]
async fn without_a_login_tls_is_used_where_it_is_offered() {
    for (encryption, expected) in [(Encryption::StartTls, true), (Encryption::None, false)] {
        let server = meshwork_testkit::Smtp::start(Options { encryption, ..Options::default() });
        let url = format!("smtp://{}", server.address());
        // Nobody whom we know has signed for it.
        mailer(SmtpOptions { ca_file: None, ..options(&server, &url) }).send(letter()).await.unwrap();
        assert_eq!(server.wait_for(1).await[0].is_encrypted, expected);
    }
}

#[tokio::test]
async fn where_tls_is_not_required_letters_go_without_it_when_it_fails() {
    for answer in ["454 4.7.0 Not now", "220 Go\r\n250 This is no TLS"] {
        let server = meshwork_testkit::Smtp::start(Options { encryption: Encryption::StartTls, ..Options::default() });
        server.answer(At::StartTls, "", answer, 2);
        let cause = later(mailer_of(&server).send(letter()).await);
        assert!(cause.starts_with("STARTTLS "), "{cause}");
        assert!(server.mails().is_empty());
        mailer(options(&server, &format!("smtp://{}", server.address()))).send(letter()).await.unwrap();
        assert!(!server.wait_for(1).await[0].is_encrypted);
        assert_eq!(server.connections(), 3);
    }
}

#[tokio::test]
async fn a_server_that_somebody_else_signed_for_gets_nothing() {
    let (other, folder) = (plain(), tempfile::tempdir().unwrap());
    for encryption in [Encryption::StartTls, Encryption::Implicit] {
        let server = with_login(encryption);
        for ca_file in [None, Some(other.ca_file())] {
            let cause = later(mailer(SmtpOptions { ca_file, ..options(&server, &server.url()) }).send(letter()).await);
            assert!(cause.contains("invalid peer certificate"), "{cause}");
        }
        assert!(server.logins().is_empty());
    }
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let broken = folder.path().join("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n").unwrap();
    for ca_file in [empty, broken, PathBuf::from("/nowhere/ca.pem")] {
        let options = SmtpOptions { ca_file: Some(ca_file.clone()), ..options(&other, &other.url()) };
        let error = Smtp::new(options, Sender::new("shop@meshwork.local").unwrap()).err().unwrap();
        assert!(error.to_string().contains(ca_file.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_from_trouble_and_names_nobody() {
    let server = plain();
    let mailer = mailer_of(&server);
    let no = "550 5.1.1 <anna@example.com> is nobody here";
    let not_now = "451 4.7.1 <anna@example.com> later";
    for (at, answer, expected) in [
        (At::Connect, "421 4.3.2 Closing", "Unavailable"),
        (At::Connect, "554 5.3.2 No service", "Unavailable"),
        (At::Mail, not_now, "Unavailable"),
        (At::Mail, "550 5.7.1 shop@meshwork.local may not", "Unavailable"),
        (At::Rcpt, not_now, "Unavailable"),
        (At::Rcpt, "530 5.7.0 anna@example.com", "Unavailable"),
        (At::Rcpt, no, "Refused"),
        (At::Data, not_now, "Unavailable"),
        (At::Data, no, "Refused"),
        (At::Data, "250 2.0.0 OK", "Unavailable"),
        (At::Content, not_now, "Unavailable"),
        (At::Content, "421 4.3.2 Closing", "Unavailable"),
        (At::Rcpt, "554 5.7.1 anna@example.com: relay access denied", "Unavailable"),
        (At::Content, "552 5.3.4 anna@example.com", "Unavailable"),
        (At::Content, "552 5.2.3 anna@example.com", "Refused"),
        (At::Content, "what? anna@example.com", "Unavailable"),
    ] {
        server.answer(at, "", answer, 1);
        let fresh = mailer_of(&server);
        let error =
            if at == At::Connect { fresh.send(letter()).await } else { mailer.send(letter()).await }.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{at:?} {answer}: {error}");
        for secret in ["anna", "shop@"] {
            assert!(!error.to_string().contains(secret), "{error}");
        }
    }
    assert!(server.mails().is_empty());
    mailer.send(letter()).await.unwrap();
}

#[tokio::test]
async fn who_is_refused_harms_no_other_on_the_connection() {
    let server = plain();
    let mailer = mailer_of(&server);
    server.answer(At::Rcpt, "nobody@example.com", "550 5.1.1 no", 1);
    assert!(matches!(mailer.send(letter_to("nobody@example.com", "")).await, Err(MailError::Refused(_))));
    mailer.send(letter()).await.unwrap();
    mailer.send(letter_to("bert@example.com", "Bert")).await.unwrap();
    assert_eq!(server.mails().iter().map(|mail| mail.to[0].as_str()).collect::<Vec<_>>(), [ANNA, "bert@example.com"]);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_letter_that_is_tried_again_keeps_its_id() {
    let server = plain();
    let mailer = mailer_of(&server);
    server.answer(At::Rcpt, ANNA, "450 4.2.0 Greylisted", 1);
    later(mailer.send(letter()).await);
    mailer.send(Letter { date: OffsetDateTime::UNIX_EPOCH + Duration::from_secs(60), ..letter() }).await.unwrap();
    assert_eq!(server.mails().len(), 1);
    // It was taken, but nobody could know: it comes again, and can be told to be the same.
    server.drop_answers(1);
    let cause = later(mailer.send(letter()).await);
    assert!(cause.starts_with("the letter failed"), "{cause}");
    mailer.send(letter()).await.unwrap();
    let mails = server.wait_for(3).await;
    assert!(mails.iter().all(|mail| mail.message_id == mails[0].message_id), "{mails:?}");
}

#[tokio::test]
async fn waits_are_bounded() {
    let server = plain();
    server.slow_down(Duration::from_secs(30));
    let mailer = mailer(SmtpOptions { timeout: Duration::from_millis(100), ..options(&server, &server.url()) });
    let begun = Instant::now();
    let (one, two, three) = tokio::join!(mailer.send(letter()), mailer.send(letter()), mailer.send(letter()));
    for result in [one, two, three] {
        let cause = later(result);
        assert_eq!(cause, "the connection had no answer in time");
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// Takes one letter, and thinks about it for so long before it says so.
async fn take_slowly(listener: TcpListener, pause: Duration) {
    let (stream, _) = listener.accept().await.unwrap();
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut is_content = false;
    write.write_all(b"220 slow ESMTP\r\n").await.unwrap();
    while let Some(line) = lines.next_line().await.unwrap() {
        let answer: &[u8] = match line.as_str() {
            "." if is_content => {
                is_content = false;
                tokio::time::sleep(pause).await;
                b"250 Taken\r\n"
            }
            _ if is_content => continue,
            "DATA" => {
                is_content = true;
                b"354 Go\r\n"
            }
            _ => b"250 OK\r\n",
        };
        write.write_all(answer).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_may_think_about_a_letter_for_longer_than_about_a_command() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}?tls=none", listener.local_addr().unwrap());
    let server = tokio::spawn(take_slowly(listener, Duration::from_secs(2)));
    let options = SmtpOptions {
        server: MailServer::parse(&url).unwrap(),
        ca_file: None,
        timeout: Duration::from_secs(1),
        max_connections: 1,
    };
    mailer(options).send(letter()).await.unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn there_are_so_many_connections_at_most() {
    let server = plain();
    server.slow_down(Duration::from_millis(5));
    let mailer = std::sync::Arc::new(mailer_of(&server));
    let tries: Vec<_> = (0..12)
        .map(|_| {
            let mailer = mailer.clone();
            tokio::spawn(async move { mailer.send(letter()).await })
        })
        .collect();
    for sent in tries {
        sent.await.unwrap().unwrap();
    }
    assert_eq!(server.mails().len(), 12);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_try_that_is_given_up_leaves_no_half_conversation() {
    let server = plain();
    let mailer = mailer_of(&server);
    mailer.send(letter()).await.unwrap();
    server.slow_down(Duration::from_millis(200));
    let given_up =
        tokio::time::timeout(Duration::from_millis(300), mailer.send(letter_to("bert@example.com", ""))).await;
    assert!(given_up.is_err());
    server.slow_down(Duration::ZERO);
    mailer.send(letter()).await.unwrap();
    assert!(server.mails().iter().all(|mail| mail.to == [ANNA]));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_server_that_is_away_is_noticed() {
    let server = plain();
    let mailer = mailer_of(&server);
    mailer.ping().await.unwrap();
    mailer.send(letter()).await.unwrap();
    mailer.ping().await.unwrap();
    assert_eq!(server.connections(), 1);
    drop(server);
    let cause = later(mailer.ping().await);
    assert!(cause.starts_with("the connection failed: Connection refused"), "{cause}");
    let cause = later(mailer.send(letter()).await);
    assert!(cause.starts_with("the connection failed: Connection refused"), "{cause}");
}

#[tokio::test]
async fn names_of_all_scripts_arrive_and_break_nothing() {
    let server = plain();
    let mailer = mailer_of(&server);
    for name in
        ["李 小龙", "Zoë \"the\" Ünal, Dr.", "Anna\r\nBcc: eve@example.com\r\n\r\nHi", "a@b.c", "<x>", "\u{202e}anna"]
    {
        mailer.send(letter_to(ANNA, name)).await.unwrap();
        let mail = server.mails().pop().unwrap();
        assert_eq!(mail.to, [ANNA]);
        let message = parsed(&mail.raw);
        let shown = name.replace("\r\n\r\n", " ").replace("\r\n", " ").replace('\u{202e}', "");
        let to = message.to().unwrap();
        assert_eq!(to.iter().count(), 1);
        let to = to.first().unwrap();
        assert_eq!((to.name(), to.address()), (Some(shown.as_str()), Some(ANNA)));
        assert!(message.bcc().is_none());
        assert!(message.body_text(0).unwrap().starts_with(&format!("Hello {shown},\r\n")), "{}", mail.raw);
    }
}

#[tokio::test]
async fn addresses_beyond_ascii_need_a_server_that_takes_them() {
    let server = plain();
    let mailer = mailer_of(&server);
    mailer.send(letter_to("anna@bücher.example", "Anna")).await.unwrap();
    assert_eq!(server.mails()[0].to, ["anna@xn--bcher-kva.example"]);
    let refused = mailer.send(letter_to("zoë@example.com", "Zoë")).await.unwrap_err();
    assert!(matches!(&refused, MailError::Refused(_)) && !refused.to_string().contains("zoë"), "{refused}");
    let server = meshwork_testkit::Smtp::start(Options { utf8: true, ..Options::default() });
    let sent = mailer_of(&server);
    sent.send(letter_to("zoë@example.com", "Zoë")).await.unwrap();
    assert_eq!(server.mails()[0].to, ["zoë@example.com"]);
    for address in ["anna@example.com> SIZE=1", "anna@example.com\r\nRSET", "a\u{0}@example.com"] {
        let refused = sent.send(letter_to(address, "Anna")).await.unwrap_err();
        assert!(matches!(refused, MailError::Refused(_)), "{refused}");
    }
    assert_eq!(server.mails().len(), 1);
}
