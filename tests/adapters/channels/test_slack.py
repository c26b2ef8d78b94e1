"""The Slack channel: what travels is within every limit and inert, 429 is honoured, secrets stay secret."""

from __future__ import annotations

import json
import logging
import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.channels.slack import SlackAnswer, SlackBot, SlackWebhook
from chalicelib.adapters.channels.slack_blocks import MAX_LINES, payload
from chalicelib.domain.alerts.alert import Alert, AlertReason, TopFinding
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, InUseState
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import DeniedError, SettingsError, TransientError, UpstreamError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = ImageRef("111122223333", "eu-west-1", "prod/api", "sha256:" + "a" * 64)
CONSOLE = "https://console.aws.amazon.com/ecr/x"
OURS = {"*In the registry*", "*Why*", "*Worst findings*", "*What hangs on it*", "*What to do*"}
HOSTILE = st.sampled_from(
    [
        *("<!channel>", "@here", "<@U123>", "`rm`", "*bold*", "_i_", "~s~", "&amp;", ":tada:", "\n\n• fake"),
        *("http://evil.example", "<http://evil.example|click>", "\u202e", "\x00", "\ud800"),
        *("x" * 100_000, "<" * 100_000, "\U0001f600" * 4000),
    ]
)
COMMAND = st.sampled_from(
    [
        "To have it pulled all the same: lazaretto release " + "x" * 300 + " --reason WHY",
        "lazaretto findings --min-severity HIGH",
        "Restore it: aws ecr update-image-storage-class --image-id imageDigest=sha256:" + "a" * 64,
        *(
            "see: lazaretto image http://evil.example",
            "lazaretto <!channel>",
            "lazaretto image \u202e",
            "x: lazaretto ",
        ),
    ]
)
TEXT = st.lists(st.text(max_size=200) | HOSTILE, max_size=3).map("".join)
FINDINGS = st.builds(
    TopFinding, id=TEXT, severity=st.sampled_from(Severity), package=st.none() | TEXT, version=TEXT, fixed_version=TEXT
)
REASONS = st.builds(AlertReason, rule=TEXT, decision=st.sampled_from(Decision), detail=TEXT, count=st.integers(0, 9999))
ALERTS = st.builds(
    Alert,
    event=st.just("verdict"),
    title=TEXT,
    at=st.just(NOW),
    ref=st.none() | st.just(REF) | st.builds(ImageRef, TEXT, TEXT, TEXT, TEXT),
    repository=st.none() | TEXT,
    tags=st.lists(TEXT, max_size=40).map(tuple),
    decision=st.none() | st.sampled_from(Decision),
    former=st.none() | st.sampled_from(Decision),
    notes=st.lists(TEXT, max_size=30).map(tuple),
    reasons=st.lists(REASONS, max_size=20).map(tuple),
    findings=st.lists(FINDINGS, max_size=5).map(tuple),
    more_findings=st.integers(0, 9999),
    counts=st.tuples(*[st.integers(0, 10**6)] * 6),
    running=st.none() | st.sampled_from(InUseState),
    registry=st.lists(TEXT, max_size=6).map(tuple),
    radius=st.lists(TEXT, max_size=10).map(tuple),
    act=st.booleans(),
    what_to_do=st.lists(TEXT | COMMAND, max_size=20).map(tuple),
    links=st.lists(st.tuples(TEXT, st.just(CONSOLE)), max_size=40).map(tuple),
    console_url=st.none() | st.just(CONSOLE) | st.just(CONSOLE + "x" * 4000),
)


def alert(**facts) -> Alert:
    return Alert(**({"event": "verdict", "title": "BLOCK: prod/api:v1 (new)", "at": NOW, "ref": REF} | facts))


class Held:
    """A secret that counts how often it had to be asked for anew."""

    def __init__(self, text: str) -> None:
        self.text, self.forgotten = text, 0

    def read(self) -> str:
        return self.text

    def forget(self) -> None:
        self.forgotten += 1


@contextmanager
def slack(*answers):
    """A server that gives these (status, headers, body) in turn, the last for ever; with what it got."""
    got, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, dict(self.headers), json.loads(body)))
            status, headers, text = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(text)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


OK = (200, {}, "ok")
OK_JSON = (200, {"Content-Type": "application/json"}, '{"ok": true}')


def texts(body):
    """Every text object of the blocks."""
    stack = list(body["blocks"])
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if node.get("type") in ("plain_text", "mrkdwn", "text"):
                yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def wide(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@settings(max_examples=150, deadline=None)
@given(ALERTS)
def test_any_alert_is_within_every_limit_and_holds_no_markup_of_others(given_alert):
    body = payload(given_alert)
    assert len(json.dumps(body)) < 13_000
    assert len(body["blocks"]) <= 50
    for block in body["blocks"]:
        if block["type"] == "header":
            assert 1 <= wide(block["text"]["text"]) <= 150
        elif "fields" in block:
            assert 1 <= len(block["fields"]) <= 10
            assert all(wide(f["text"]) <= 2000 for f in block["fields"])
        elif block["type"] == "section":
            assert 1 <= wide(block["text"]["text"]) <= 3000
        elif block["type"] == "rich_text":
            assert all(wide(text["text"]) >= 1 for text in texts({"blocks": [block]}))
        else:
            assert len(block["elements"]) <= 25
            assert all(wide(e["text"]["text"]) <= 75 for e in block["elements"])
            assert all(len(e["url"]) <= 3000 and e["url"].startswith(CONSOLE) for e in block["elements"])
    for text in texts(body):
        assert text["text"] in OURS or text["type"] in ("plain_text", "text")
        assert text.get("emoji", False) is False
        assert not re.search("://", text["text"])
        assert text["type"] == "text" or not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text["text"])
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text["text"])
    assert not re.search(r"[<>*_~`@!]|&(?!amp;|lt;|gt;)|://", body["text"])
    assert (body["mrkdwn"], body["unfurl_links"], body["unfurl_media"]) == (False, False, False)


def test_what_is_cut_says_how_much_more_there_was():
    body = payload(alert(reasons=tuple(AlertReason(f"r{i}", Decision.WARN) for i in range(30)), more_findings=7))
    shown = "\n".join(t["text"] for t in texts(body))
    assert f"and {30 - MAX_LINES} more" in shown
    assert "and 7 more findings matched" in shown


def test_a_line_of_data_cannot_pretend_to_be_another_line():
    body = payload(alert(reasons=(AlertReason("r", Decision.WARN, "one\n• ALLOW by nobody"),)))
    why = next(b["text"]["text"] for b in body["blocks"] if "• WARN" in b.get("text", {}).get("text", ""))
    assert "\n" not in why


def test_an_ordinary_alert_can_be_copied_from():
    body = payload(alert(what_to_do=("lazaretto image " + str(REF),), console_url=CONSOLE))
    assert any(str(REF) in t["text"] for t in texts(body))
    assert body["blocks"][-1]["elements"][0]["url"] == CONSOLE


def codes(body):
    """The texts of its blocks of code, in order."""
    rich = [b for b in body["blocks"] if b["type"] == "rich_text"]
    parts = [e for b in rich for e in b["elements"] if e["type"] == "rich_text_preformatted"]
    return [part["elements"][0]["text"] for part in parts]


RELEASE = f"lazaretto release {REF} --reason WHY"


def test_a_command_is_whole_in_a_block_of_code_of_its_own_however_much_there_is_to_say():
    said = [AlertReason("r" * 90, Decision.BLOCK, "x" * 500, 1)] * 20
    body = payload(
        alert(
            reasons=tuple(said),
            notes=("n" * 900,) * 30,
            registry=("r" * 900,) * 12,
            what_to_do=(
                "Upgrade openssl.",
                f"To have it pulled all the same: {RELEASE}",
                f"All about it: lazaretto image {REF}",
            ),
        )
    )
    assert codes(body) == [RELEASE, f"lazaretto image {REF}"]
    shown = [t["text"] for t in texts(body)]
    assert "• Upgrade openssl.\n" in shown
    assert "• To have it pulled all the same:\n" in shown


@pytest.mark.parametrize(
    "line",
    [
        "See it: lazaretto image http://evil.example",
        "See it: lazaretto image x\ny",
        "See it: lazaretto image \u202ex",
        "See it: lazaretto image " + "x" * 600,
        "If not: correct the policy first (lazaretto policy what-if, lazaretto policy apply).",
    ],
)
def test_what_cannot_be_pasted_as_it_stands_is_no_block_of_code(line):
    assert codes(payload(alert(what_to_do=(line,)))) == []


def test_the_images_a_summary_names_are_links():
    body = payload(alert(links=(("prod/api:v1", CONSOLE), ("x" * 200, CONSOLE)), what_to_do=()))
    buttons = body["blocks"][-1]["elements"]
    assert [(b["text"]["text"][:11], b["url"]) for b in buttons] == [("prod/api:v1", CONSOLE), ("x" * 11, CONSOLE)]


def test_a_webhook_is_posted_once():
    with slack(OK) as (address, got):
        SlackWebhook(Held(f"{address}/services/T/B/x"), local=True).send(alert())
    assert [path for path, _, _ in got] == ["/services/T/B/x"]
    assert got[0][2]["blocks"][0]["text"]["text"] == "BLOCK: prod/api:v1 (new)"


def test_a_short_retry_after_is_waited_and_the_alert_sent():
    with slack((429, {"Retry-After": "1"}, "ratelimited"), OK) as (address, got):
        SlackWebhook(Held(f"{address}/x"), local=True).send(alert())
    assert len(got) == 2


@pytest.mark.parametrize(("header", "seconds"), [("30", 30.0), ("soon", None), ("4", 4.0)])
def test_a_long_or_unreadable_retry_after_is_handed_back(header, seconds):
    with slack((429, {"Retry-After": header}, "ratelimited")) as (address, got):
        with pytest.raises(TransientError) as raised:
            SlackWebhook(Held(f"{address}/x"), local=True).send(alert())
        with pytest.raises(TransientError) as by_bot:
            SlackBot(Held("xoxb-1"), "C1", api=f"{address}/api/", local=True).send(alert())
    assert raised.value.retry_after_seconds == by_bot.value.retry_after_seconds == seconds
    assert len(got) == 2


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_webhook_that_is_refused_is_read_anew_next_time(status):
    with slack((status, {}, "no_service")) as (address, _):
        secret = Held(f"{address}/x")
        with pytest.raises(DeniedError, match="no_service"):
            SlackWebhook(secret, local=True).send(alert())
    assert secret.forgotten == 1


def test_blocks_that_slack_refuses_are_sent_again_as_bare_text():
    with slack((400, {}, "invalid_blocks"), OK) as (address, got):
        SlackWebhook(Held(f"{address}/x"), local=True).send(alert())
    assert "blocks" in got[0][2]
    assert "blocks" not in got[1][2]
    with slack((400, {}, "invalid_blocks")) as (address, _), pytest.raises(UpstreamError, match="invalid_blocks"):
        SlackWebhook(Held(f"{address}/x"), local=True).send(alert())


def test_a_server_in_trouble_or_out_of_reach_is_tried_again_later():
    with slack((503, {}, "<html>secret</html>")) as (address, _):
        with pytest.raises(TransientError, match="503"):
            SlackWebhook(Held(f"{address}/x"), local=True).send(alert())
        with pytest.raises(TransientError, match="503"):
            SlackBot(Held("xoxb-1"), "C1", api=f"{address}/", local=True).send(alert())
    with pytest.raises(TransientError, match="could not be reached"):
        SlackWebhook(Held(f"{address}/x"), local=True).send(alert())
    with pytest.raises(TransientError, match="could not be reached"):
        SlackBot(Held("xoxb-1"), "C1", api=f"{address}/", local=True).send(alert())


@pytest.mark.parametrize(
    "url",
    [
        *("https://hooks.slack.com.evil.example/services/x", "https://hooks.slack.com@evil.example/x", ""),
        *("http://hooks.slack.com/services/x", "http://169.254.169.254/latest", "https://hooks.slack.com/x\n"),
        *("https://hooks.slack.com:8443/x", "https://hooks.slack.com/../x?y", "http://127.0.0.1:80/x", "file:///etc/x"),
        *("https://user@hooks.slack.com/services/x", "https://hooks.slack.com:443/services/x", "https://3.5.7.9/x"),
        *(
            "https://user:hooks.slack.com@169.254.169.254/x",
            "https://hooks.slack.com\\@evil.example/x",
            "//hooks.slack.com/x",
        ),
        *(
            "https://hooks.slack.com%2eevil.example/x",
            "https://hooks.slack.com./services/x",
            "https://hooks.slack.com#@evil.example",
        ),
        *(
            "https://hooks.slack.com?@evil.example/x",
            "https://hooks\u2024slack.com/x",
            "https://hooks.slack.com/\u202ex",
        ),
        *(
            "HTTPS://HOOKS.SLACK.COM/services/x",
            "https://[::1]/x",
            "https://2130706433/x",
            "https://localhost/services/x",
        ),
        *(
            "https://slack.com/api/x",
            "https://evil.example/hooks.slack.com/x",
            "gopher://hooks.slack.com/x",
            "https://hooks.slack.io",
        ),
        *(
            "https://hooks.slack.com/x\r\nHost: evil.example",
            " https://hooks.slack.com/x",
            "https://hooks.slack.com/" + "x" * 501,
        ),
    ],
)
def test_no_other_host_than_slack_is_called_and_the_url_is_not_repeated(url):
    with pytest.raises(SettingsError) as raised:
        SlackWebhook(Held(url)).send(alert())
    assert not url.strip() or url.strip() not in str(raised.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_takes_nothing_along(status):
    with slack(OK) as (elsewhere, got), slack((status, {"Location": f"{elsewhere}/taken"}, "")) as (address, asked):
        for channel in (
            SlackWebhook(Held(f"{address}/services/x"), local=True),
            SlackBot(Held("xoxb-1"), "C1", api=f"{address}/", local=True),
        ):
            with pytest.raises(UpstreamError, match=str(status)):
                channel.send(alert())
    assert len(asked) == 2
    assert got == []


def test_of_an_answer_without_end_only_the_beginning_is_read():
    with slack((200, {}, "x" * 5_000_000)) as (address, got):
        SlackWebhook(Held(f"{address}/services/x"), local=True).send(alert())
    assert len(got) == 1


@pytest.mark.parametrize(
    "url", ["https://hooks.slack.com/services/T0/B0/x_-Y", "https://hooks.slack-gov.com/services/T0/B0/x"]
)
def test_slacks_own_hosts_are_called(url, monkeypatch):
    called = []
    posted = "chalicelib.adapters.channels.slack.post"
    monkeypatch.setattr(posted, lambda url, body: called.append(url) or SlackAnswer(200, "ok"))
    SlackWebhook(Held(url)).send(alert())
    assert called == [url]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1.evil.example/x", "http://127.0.0.1:80@evil.example/", "http://[::1]:1/"]
)
def test_the_local_stack_may_call_this_machine_only(url):
    with pytest.raises(SettingsError):
        SlackWebhook(Held(url), local=True).send(alert())
    with pytest.raises(SettingsError):
        SlackBot(Held("x"), "C1", api=url, local=True)


def test_a_bot_posts_to_its_channel_without_parsing_anything():
    with slack(OK_JSON) as (address, got):
        SlackBot(Held("xoxb-1"), "C1", api=f"{address}/api/", local=True).send(alert())
    path, headers, body = got[0]
    assert path == "/api/chat.postMessage"
    assert headers["Authorization"] == "Bearer xoxb-1"
    assert (body["channel"], body["parse"], body["link_names"]) == ("C1", "none", False)
    assert (body["mrkdwn"], body["unfurl_links"]) == (False, False)


@pytest.mark.parametrize(
    ("word", "error"),
    [
        *(("invalid_auth", DeniedError), ("not_in_channel", DeniedError), ("internal_error", TransientError)),
        *(("ratelimited", TransientError), ("something_new", UpstreamError), ("invalid_blocks", UpstreamError)),
    ],
)
def test_what_slack_says_to_a_bot_becomes_our_error(word, error):
    with (
        slack((200, {"Content-Type": "application/json"}, json.dumps({"ok": False, "error": word}))) as (address, _),
        pytest.raises(error, match=word),
    ):
        SlackBot(Held("xoxb-1"), "C1", api=f"{address}/", local=True).send(alert())


def test_secrets_are_in_no_log_no_error_and_no_repr(caplog):
    caplog.set_level(logging.DEBUG)
    with slack((404, {}, "no_team")) as (address, _):
        for channel in (
            SlackWebhook(Held(f"{address}/services/hush"), local=True),
            SlackBot(Held("xoxb-hush"), "C1", api=f"{address}/", local=True),
        ):
            with pytest.raises(UpstreamError) as raised:
                channel.send(alert())
            assert "hush" not in str(raised.value) + repr(raised.value) + repr(channel)
            assert raised.value.__cause__ is None
    for channel in (SlackWebhook(Held(f"{address}/hush"), local=True),):
        with pytest.raises(TransientError):
            channel.send(alert())
    assert "hush" not in caplog.text
